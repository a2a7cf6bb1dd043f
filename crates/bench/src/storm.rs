//! What a storm costs those who call servers that stay well, and whether anything is told or done
//! wrongly in it: the storm of the tests, for longer.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use switchboard_testkit::storm::{Gateway, Group, Outcome, Storm, Tally};

use crate::Failure;
use crate::compare::built_beside;
use crate::gateway;
use crate::load::{Loaded, nanoseconds};
use crate::subjects::free_address;

/// The calm run takes this share of the storm's time.
const CALM_SHARE: u32 = 3;

/// What `storm` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// How long the storm takes; the calm run before it takes a third of that.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What everything random comes from; a new one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// The program to strike; by default the one that was built beside this one.
    #[arg(long, value_name = "PATH")]
    switchboard: Option<PathBuf>,
}

/// Rides a storm, prints what came of it, and says whether nothing was wrong.
///
/// # Errors
/// If the gateway does not start.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let dir = tempfile::tempdir().map_err(Failure::at("no temporary folder"))?;
    let switchboard = match &options.switchboard {
        Some(path) => path.clone(),
        None => built_beside("switchboard")?,
    };
    let storm = Storm::gather(seed).await;
    let [listen, ops] = [free_address()?, free_address()?];
    let config = storm.gateway_config();
    let gateway = gateway::start(config, &switchboard, dir.path(), [listen, ops]).await?;

    let time = Duration::from_secs(options.seconds);
    let addresses = Gateway {
        url: &format!("http://{listen}/mcp"),
        metrics_url: &format!("http://{ops}/metrics"),
    };
    let outcome = storm.ride(addresses, time / CALM_SHARE, time).await;
    gateway.stop().await;
    print!("{}", report(&outcome));
    Ok(outcome.violations.count() == 0)
}

/// What came of a storm, as Markdown.
fn report(outcome: &Outcome) -> String {
    let runs = [("calm", &outcome.calm), ("storm", &outcome.storm)];
    let mut text =
        "\n| servers that stay well | calls | p50 | p99 | worst |\n|---|---|---|---|---|\n"
            .to_owned();
    for (run, tally) in runs {
        let [p50, p99, worst] = quantiles(tally);
        let calls = tally.calls(Group::Well);
        text += &format!("| {run} | {calls} | {p50:.1?} | {p99:.1?} | {worst:.1?} |\n");
    }
    text += "\n| servers that go wrong | calls |\n|---|---|\n";
    for (end, calls) in outcome.storm.ends(Group::Ill) {
        text += &format!("| {end} | {calls} |\n");
    }
    let mib = |bytes: f64| bytes / (1024.0 * 1024.0);
    let (before, after) = (outcome.before, outcome.after);
    text += "\n| the gateway holds | before | after |\n|---|---|---|\n";
    text += &format!(
        "| memory | {:.1} MiB | {:.1} MiB |\n| descriptors | {} | {} |\n| tasks | {} | {} |\n",
        mib(before.memory),
        mib(after.memory),
        before.descriptors,
        after.descriptors,
        before.tasks,
        after.tasks
    );
    text += &format!(
        "\nAll servers were usable again after {:.1?}.\n",
        outcome.recovered_in
    );
    text += &match outcome.violations.count() {
        0 => {
            "No wrong answer, nothing unsafe executed twice, every call ended in time.\n".to_owned()
        }
        count => format!("{count} times something was wrong:\n{}", outcome.violations),
    };
    text
}

fn quantiles(tally: &Tally) -> [Duration; 3] {
    let latencies = tally.well.iter().copied().map(nanoseconds).collect();
    let loaded = Loaded::new(Duration::ZERO, latencies);
    [0.5, 0.99, 1.0].map(|share| loaded.quantile(share))
}
