//! What a gateway still does when it is offered ten times as much as it takes on at once, and whether
//! it does as much as before when that is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fault::FaultServer;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Failure;
use crate::compare::built_beside;
use crate::gateway;
use crate::load::{Loaded, nanoseconds};
use crate::subjects::free_address;

/// `server.max_in_flight`.
const CAP: usize = 32;
/// How many clients there are in the overload for each place.
const TIMES: usize = 10;
/// How long the server takes for a call, in milliseconds.
const WORK_MS: u64 = 50;
/// How long a client waits after it was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// The least share of the peak that has to be completed, in percent.
const LEAST_SHARE: usize = 80;
/// How long the backend may take until it is known.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What `overload` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each of the three runs takes: at the peak, in the overload, and after it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The program to load; by default the one that was built beside this one.
    #[arg(long, value_name = "PATH")]
    switchboard: Option<PathBuf>,
}

/// What came of the calls of a run.
#[derive(Debug, Default)]
struct Run {
    completed: usize,
    /// How long each refusal took, in nanoseconds.
    refused: Vec<u64>,
}

/// Loads a gateway, prints what came of it, and says whether at least 80 % of its peak was done in
/// the overload and after it.
///
/// # Errors
/// If the gateway does not start, or answers otherwise than with a result or a refusal.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::at("no temporary folder"))?;
    let switchboard = match &options.switchboard {
        Some(path) => path.clone(),
        None => built_beside("switchboard")?,
    };
    let server = FaultServer::start("slow", Era::Modern).await;
    let config = json!({
        "server": { "max_in_flight": CAP },
        "backends": { "slow": { "url": server.url() } },
    });
    let addresses = [free_address()?, free_address()?];
    let gateway = gateway::start(config, &switchboard, dir.path(), addresses).await?;
    let url: Arc<str> = format!("http://{}/mcp", addresses[0]).into();
    until_known(&url).await?;

    let time = Duration::from_secs(options.seconds);
    let mut runs = Vec::new();
    for (name, clients) in [("peak", CAP), ("overload", TIMES * CAP), ("after", CAP)] {
        runs.push((name, load(&url, clients, time).await?));
    }
    gateway.stop().await;

    let peak = runs.first().map_or(0, |(_, run)| run.completed);
    let enough = |run: &Run| run.completed * 100 >= peak * LEAST_SHARE;
    let is_well = peak > 0 && runs.iter().all(|(_, run)| enough(run));
    println!(
        "| run | completed a second | refused a second | p99 of a refusal |\n|---|---|---|---|"
    );
    for (name, run) in runs {
        let a_second = |count: usize| count as f64 / time.as_secs_f64();
        let (completed, refused) = (a_second(run.completed), a_second(run.refused.len()));
        let p99 = Loaded::new(time, run.refused).quantile(0.99);
        println!("| {name} | {completed:.0} | {refused:.0} | {p99:.1?} |");
    }
    Ok(is_well)
}

async fn until_known(url: &Arc<str>) -> Result<(), Failure> {
    let client = Client::new(url);
    let began = Instant::now();
    while call(&client).await? == Ended::Refused {
        if began.elapsed() > START_LIMIT {
            return Err(Failure("the backend does not become known".to_owned()));
        }
        sleep(AFTER_REFUSAL).await;
    }
    Ok(())
}

/// Has so many clients call one after the other for this time.
async fn load(url: &Arc<str>, clients: usize, time: Duration) -> Result<Run, Failure> {
    let end = Instant::now() + time;
    let mut calling = JoinSet::new();
    for _ in 0..clients {
        let client = Client::new(url);
        calling.spawn(async move { call_until(end, &client).await });
    }
    let mut all = Run::default();
    while let Some(called) = calling.join_next().await {
        let run = called.map_err(Failure::at("a client failed"))??;
        all.completed += run.completed;
        all.refused.extend(run.refused);
    }
    Ok(all)
}

async fn call_until(end: Instant, client: &Client) -> Result<Run, Failure> {
    let mut run = Run::default();
    while Instant::now() < end {
        let began = Instant::now();
        match call(client).await? {
            Ended::Completed => run.completed += 1,
            Ended::Refused => {
                run.refused.push(nanoseconds(began.elapsed()));
                sleep(AFTER_REFUSAL).await;
            }
        }
    }
    Ok(run)
}

#[derive(PartialEq, Eq)]
enum Ended {
    Completed,
    Refused,
}

async fn call(client: &Client) -> Result<Ended, Failure> {
    let answer = client.call("slow__read", json!({ "ms": WORK_MS })).await;
    if answer.result()["structuredContent"].is_object() {
        return Ok(Ended::Completed);
    }
    let is_refused = answer.status == 503 || answer.fault()["retryAfterMs"].is_u64();
    match is_refused {
        true => Ok(Ended::Refused),
        false => Err(Failure(format!("{} {}", answer.status, answer.raw))),
    }
}
