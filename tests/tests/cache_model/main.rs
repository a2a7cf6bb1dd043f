//! The cache of results against a simple oracle: random calls of several principals, one by one and
//! several at once, at a real server that numbers its answers, in memory and in Redis, within this process
//! and with two gateways as processes. In each the same promises: nobody gets what another's call got,
//! unless the operator says so; nothing answers after its time; what must not be kept is not; and of equal
//! calls at once one is made.

mod gateways;
mod oracle;
mod question;
mod server;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchboard_testkit::redis_server::RedisServer;

use self::gateways::{Answered, Gateway};
use self::oracle::{Asked, Oracle, Seen, Step};
use self::question::{Question, Random};
use self::server::{FAILS, MODES, Numbered, WELL};

const TTL: Duration = Duration::from_millis(600);
const STALE: Duration = Duration::from_millis(900);
const MAX_ENTRY: usize = 8 * 1024;
/// Steps for each seed.
const STEPS: usize = 300;
const SEEDS: u64 = 3;
/// The most calls at once.
const MOST_AT_ONCE: u64 = 6;

/// Makes random calls and checks each answer.
async fn run(seed: u64, steps: usize, server: &Numbered, gateways: Vec<Gateway>) -> Seen {
    let mut random = Random(seed);
    let mut oracle = Oracle::default();
    let mut failing = 0;
    for number in 0..steps {
        // Results age, which is what is promised about: time really passes. Nothing is waited for that
        // could be late, since the oracle measures how much has passed.
        match random.below(40) {
            0 => tokio::time::sleep(TTL / 3).await,
            1 => {
                tokio::time::sleep(TTL + Duration::from_millis(5)).await;
                // Or little that is stale would be asked for.
                failing = 6 * random.below(2);
            }
            _ => {}
        }
        let mode = match random.below(4) {
            0 => random.below(MODES as u64) as usize,
            _ => WELL,
        };
        let mode = if failing > 0 { FAILS } else { mode };
        failing = failing.saturating_sub(1);
        server.answer_as(mode);
        let asked = questions(&mut random, gateways.len());
        let step = Step {
            about: format!("seed {seed} step {number}"),
            mode,
            ..made(server, &gateways, asked).await
        };
        let kept = oracle.check(&step);
        for (asked, _) in kept.iter().map(|at| &step.calls[*at]) {
            // What a process wrote to Redis is there once the same process has read it: another could ask
            // before.
            if gateways[asked.gateway].is_process() {
                let again = Step {
                    about: format!("{}, read again", step.about),
                    mode,
                    ..made(server, &gateways, vec![asked.clone()]).await
                };
                oracle.check(&again);
            }
        }
    }
    for gateway in gateways {
        gateway.stop().await;
    }
    oracle.seen
}

/// What is asked at once: mostly one thing, now and then several that mostly are the same, of anybody and
/// anywhere.
fn questions(random: &mut Random, gateways: usize) -> Vec<Asked> {
    let count = match random.below(6) {
        0 => 2 + random.below(MOST_AT_ONCE - 1),
        _ => 1,
    };
    let first = Question::any(random);
    let mut asked = Vec::new();
    for _ in 0..count {
        let question = match random.below(8) {
            0 => Question::any(random),
            _ => first.clone(),
        };
        asked.push(Asked {
            params: question.written(random),
            question,
            principal: random.below(2) as usize,
            gateway: random.below(gateways as u64) as usize,
        });
    }
    asked
}

/// Makes these calls at once.
async fn made(server: &Numbered, gateways: &[Gateway], asked: Vec<Asked>) -> Step {
    let (before, began) = (server.answers(), Instant::now());
    let answers = answers(server, gateways, &asked).await;
    Step {
        about: String::new(),
        mode: WELL,
        calls: asked.into_iter().zip(answers).collect(),
        made: server.answers() - before,
        began,
        ended: Instant::now(),
    }
}

/// What comes of these calls, if the server answers once all of them are under way.
async fn answers(server: &Numbered, gateways: &[Gateway], asked: &[Asked]) -> Vec<Answered> {
    let left = Cell::new(asked.len());
    let calls = asked.iter().map(async |it| {
        let gateway = &gateways[it.gateway];
        let method = it.question.method();
        let answered = gateway.ask(method, &it.params, it.principal).await;
        left.set(left.get() - 1);
        answered
    });
    let mut calls = pin!(join_all(calls));
    if asked.len() == 1 {
        return calls.await;
    }
    server.open(false);
    // Each of those in this process joins its equals before it waits for anything.
    let first = poll_fn(|context| Poll::Ready(calls.as_mut().poll(context))).await;
    let answers = match first {
        Poll::Ready(answers) => answers,
        Poll::Pending => {
            tokio::select! {
                biased;
                // All were answered by what is kept.
                answers = &mut calls => answers,
                () = Gateway::are_under_way(gateways, &left) => {
                    server.open(true);
                    calls.await
                }
            }
        }
    };
    server.open(true);
    answers
}

/// That each of the ways to answer was seen.
fn check(seen: &[Seen]) {
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    for (what, count) in [
        ("made", sum(|it| it.made)),
        ("hits", sum(|it| it.hits)),
        ("hits of others' results", sum(|it| it.of_others)),
        ("stale", sum(|it| it.stale)),
        ("coalesced", sum(|it| it.coalesced)),
    ] {
        assert!(count > 2, "{what}: {seen:?}");
    }
}

#[tokio::test]
async fn the_cache_in_memory_keeps_its_promises() {
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        let (server, urls) = Numbered::start().await;
        let gateways = vec![Gateway::inside(&urls, None).await];
        seen.push(run(seed, STEPS, &server, gateways).await);
    }
    check(&seen);
}

#[tokio::test]
async fn the_cache_in_redis_keeps_its_promises_in_two_gateways() {
    let redis = RedisServer::start().await;
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        let (server, urls) = Numbered::start().await;
        let gateways = vec![
            Gateway::inside(&urls, Some(&redis)).await,
            Gateway::inside(&urls, Some(&redis)).await,
        ];
        seen.push(run(100 + seed, STEPS, &server, gateways).await);
    }
    check(&seen);
}

#[tokio::test]
async fn the_cache_in_redis_keeps_its_promises_in_two_processes() {
    let redis = RedisServer::start().await;
    let (server, urls) = Numbered::start().await;
    let gateways = vec![
        Gateway::process(&urls, &redis).await,
        Gateway::process(&urls, &redis).await,
    ];
    check(&[run(200, STEPS, &server, gateways).await]);
}
