//! Twenty servers of which most go wrong at random, and clients that check every answer: nothing
//! wrong is told, nothing that is not safe is executed twice, every call ends in time, and what the
//! gateway holds afterwards is what it held before.
//!
//! `cargo run --release -p switchboard-bench -- storm` does the same for longer.

use std::time::Duration;

use switchboard_testkit::storm::{Gateway, Group, Storm};
use switchboard_tests::front::Front;

/// The seeds of every run. `SWITCHBOARD_STORM_SEED` is one more, to see again what failed elsewhere.
const SEEDS: [u64; 2] = [1, 20_260_728];
/// How long the calm run takes, and how long the storm.
const CALM: Duration = Duration::from_secs(1);
const STORM: Duration = Duration::from_secs(4);

async fn ride(seed: u64) {
    eprintln!("SWITCHBOARD_STORM_SEED={seed}");
    let storm = Storm::gather(seed).await;
    let front = Front::start(storm.gateway_config()).await;
    let gateway = Gateway {
        url: front.gateway.url(),
        metrics_url: front.metrics_url(),
    };
    let outcome = storm.ride(gateway, CALM, STORM).await;
    eprintln!("the storm: {:#?}", outcome.storm.ends(Group::Ill));
    eprintln!(
        "held before: {:?}, and after: {:?}",
        outcome.before, outcome.after
    );
    let violations = &outcome.violations;
    assert_eq!(violations.count(), 0, "seed {seed}:\n{violations}");

    for (run, tally) in [("calm", &outcome.calm), ("storm", &outcome.storm)] {
        let well = (tally.successes(Group::Well), tally.calls(Group::Well));
        assert!(well.1 > 0, "no calls in the {run} run");
        assert_eq!(well.0, well.1, "{run}: {:?}", tally.ends(Group::Well));
    }
    // Else there was no storm.
    let ill = &outcome.storm;
    assert!(ill.successes(Group::Ill) < ill.calls(Group::Ill));
    front.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_wrong_is_told_and_nothing_is_left_of_it() {
    for seed in SEEDS {
        ride(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_wrong_is_told_with_the_seed_of_the_environment() {
    let Ok(seed) = std::env::var("SWITCHBOARD_STORM_SEED") else {
        return;
    };
    ride(seed.parse().expect("a seed is a whole number")).await;
}
