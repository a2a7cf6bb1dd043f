//! Many servers under load for a while.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use switchboard_tests::front::{Front, faulty};
use tokio::task::JoinSet;

/// How many servers there are.
const BACKENDS: usize = 24;
/// How many processes each of them has.
const INSTANCES: usize = 4;
/// How many calls each of them gets in one round.
const CALLS: usize = 50;
/// How many rounds are made before the memory is looked at, and then.
const ROUNDS: usize = 3;
/// How large results are.
const RESULT: usize = 32 * 1024;
/// How much the memory may grow in the later rounds, in KiB. What was kept of each answer would be
/// more than four times as much.
const FLAT: u64 = 24 * 1024;
/// How many processes there are for a server of the modern era: its own and its owner.
const PROCESSES: usize = 2;

fn backend(at: usize) -> Value {
    let era = if at.is_multiple_of(4) {
        "legacy"
    } else {
        "modern"
    };
    let mut backend = faulty(&["--era", era, "--label", &format!("b{at}")]);
    backend["instances"] = json!(INSTANCES);
    backend
}

/// Calls every server so often, all of them at once.
async fn round(front: &Front) {
    let mut callers = JoinSet::new();
    for at in 0..BACKENDS {
        let client = Client::new(front.gateway.url());
        callers.spawn(async move {
            let arguments = json!({ "text": "x".repeat(RESULT) });
            for _ in 0..CALLS {
                let answer = client
                    .call(&format!("b{at}__echo"), arguments.clone())
                    .await;
                let content = &answer.result()["structuredContent"];
                assert_eq!(content["arguments"], arguments, "{}", answer.raw);
                assert_eq!(content["server"]["label"], format!("b{at}"));
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("every call is answered");
    }
}

#[tokio::test]
async fn the_memory_stays_flat_with_many_servers_under_load() {
    let backends: serde_json::Map<String, Value> = (0..BACKENDS)
        .map(|at| (format!("b{at}"), backend(at)))
        .collect();
    let front = Front::of(backends.into()).await;
    front.gateway.wait_for_backends().await;
    for _ in 0..ROUNDS {
        round(&front).await;
    }
    let (before, census) = (front.memory().resident, front.census().await);
    assert!(census.processes >= BACKENDS * INSTANCES * PROCESSES);
    for _ in 0..ROUNDS {
        round(&front).await;
    }
    let after = front.memory().resident;
    assert!(after < before + FLAT, "{after} KiB after {before} KiB");
    let now = front.census().await;
    assert_eq!(now.processes, census.processes);
    tokio::time::timeout(Duration::from_secs(60), front.gateway.stop())
        .await
        .expect("all of them end");
}
