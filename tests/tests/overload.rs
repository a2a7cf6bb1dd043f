//! Ten times as many calls as fit: most of what could be answered still is, the rest is told at once
//! when to try again, and afterwards all is as before.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fault::FaultServer;
use switchboard_tests::front::Front;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How many calls fit.
const FIT: usize = 4;
/// How many clients there are in an overload.
const MANY: usize = 10 * FIT;
/// How long the server takes for a call, in milliseconds.
const WORK_MS: u64 = 50;
/// How long each of the three runs takes.
const RUN: Duration = Duration::from_secs(3);
/// How long a client waits after it was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// "At once" on a busy machine: half of all refusals take less.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What came of the calls of a run.
#[derive(Debug, Default)]
struct Run {
    completed: usize,
    /// How long each refusal took.
    refused: Vec<Duration>,
}

impl Run {
    fn median_refusal(&mut self) -> Duration {
        self.refused.sort_unstable();
        self.refused[self.refused.len() / 2]
    }
}

/// Has so many clients call one after the other for the time of a run. What is refused must say when
/// to try again, and must not have been executed.
async fn run(front: &Front, server: &FaultServer, name: &str, clients: usize) -> Run {
    let end = Instant::now() + RUN;
    let mut calling = JoinSet::new();
    for client in 0..clients {
        let name = format!("{name} {client}");
        let client = Client::new(front.gateway.url());
        calling.spawn(async move { call_until(end, &client, &name).await });
    }
    let mut run = Run::default();
    while let Some(called) = calling.join_next().await {
        let (completed, refused) = called.expect("every call is answered");
        run.completed += completed;
        for (key, took) in refused {
            assert_eq!(server.journal().of(&key).executed, 0, "{key} was executed");
            run.refused.push(took);
        }
    }
    run
}

/// The number of completed calls, and the keys of those that were refused.
async fn call_until(end: Instant, client: &Client, name: &str) -> (usize, Vec<(String, Duration)>) {
    let mut completed = 0;
    let mut refused = Vec::new();
    for at in 0.. {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let key = format!("{name} {at}");
        let arguments = json!({ "key": key, "ms": WORK_MS });
        let answer = client.call("slow__write", arguments).await;
        if answer.result()["structuredContent"]["key"] == key {
            completed += 1;
        } else {
            assert!(has_hint(&answer), "{} {}", answer.status, answer.raw);
            refused.push((key, began.elapsed()));
            sleep(AFTER_REFUSAL).await;
        }
    }
    (completed, refused)
}

/// Whether a refusal says when to try again: in HTTP's words before a call exists, in ours after.
fn has_hint(answer: &Answer) -> bool {
    let fault = answer.fault();
    if fault.is_object() {
        return fault["outcome"] == "not_sent"
            && fault["retryable"] == true
            && fault["retryAfterMs"].is_u64();
    }
    answer.status == 503 && answer.headers.contains_key("retry-after")
}

/// Offers ten times what fits to a gateway with this configuration, in front of a server as `slow`.
async fn holds_under_overload(mut config: Value) {
    let server = FaultServer::start("slow", Era::Modern).await;
    config["backends"]["slow"]["url"] = json!(server.url());
    let front = Front::start(config).await;
    front.wait_until("slow", true).await;

    let peak = run(&front, &server, "peak", FIT).await;
    assert_eq!(peak.refused, Vec::<Duration>::new(), "what fits is taken");

    let mut overload = run(&front, &server, "overload", MANY).await;
    eprintln!(
        "{} completed at the peak, {} in the overload with {} refused",
        peak.completed,
        overload.completed,
        overload.refused.len()
    );
    assert!(overload.completed * 10 >= peak.completed * 8);
    assert!(!overload.refused.is_empty(), "nothing was refused");
    let median = overload.median_refusal();
    assert!(median < AT_ONCE, "a refusal takes {median:?}");

    let after = run(&front, &server, "after", FIT).await;
    assert_eq!(after.refused, Vec::<Duration>::new(), "it recovers");
    assert!(after.completed * 10 >= peak.completed * 8);
    front.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_cap_keeps_its_goodput() {
    holds_under_overload(json!({ "server": { "max_in_flight": FIT } })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_with_a_cap_keeps_its_goodput() {
    let bulkhead = json!({ "max_concurrent": FIT, "max_queue": FIT, "queue_timeout": "200ms" });
    holds_under_overload(json!({ "backends": { "slow": { "bulkhead": bulkhead } } })).await;
}
