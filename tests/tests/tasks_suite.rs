//! The official suite's scenarios of the tasks extension, before servers of both eras.

use serde_json::json;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::FakeTasks;
use switchboard_tests::conformance::{Verdict, tasks_leg};
use switchboard_tests::front::{Front, remote};

/// A check that cannot pass, and why.
struct Excuse {
    scenario: &'static str,
    because: &'static str,
}

fn assert_passed(verdicts: &[Verdict], excuses: &[Excuse]) {
    let excused = |verdict: &&Verdict| {
        let mut excuses = excuses.iter();
        excuses.any(|excuse| excuse.scenario == verdict.scenario)
    };
    let report: Vec<String> = verdicts
        .iter()
        .filter(|verdict| !verdict.faults.is_empty() && !excused(verdict))
        .map(Verdict::to_string)
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
    for excuse in excuses {
        let passed = verdicts.iter().filter(|verdict| verdict.faults.is_empty());
        let mut passed = passed.map(|verdict| &verdict.scenario);
        assert!(
            !passed.any(|scenario| scenario == excuse.scenario),
            "{} passes, though {}",
            excuse.scenario,
            excuse.because
        );
    }
}

/// The server alone: what fails here is not the gateway's.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_tasks_passes() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    assert_passed(&tasks_leg(server.url()).await, &[]);
}

async fn before(era: Era, excuses: &[Excuse]) {
    let server = FakeTasks::start(era, "t").await;
    let mut backend = remote(server.url());
    backend["prefix"] = json!("");
    let front = Front::of(json!({ "t": backend })).await;
    front.gateway.wait_for_backends().await;
    assert_passed(&tasks_leg(front.gateway.url()).await, excuses);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_modern_servers_pass() {
    before(Era::Modern, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_legacy_servers_pass() {
    before(
        Era::Legacy,
        &[
            Excuse {
                scenario: "tasks-required-task-error",
                because: "the gateway waits for the task of a tool that has to be one, instead",
            },
            Excuse {
                scenario: "tasks-mrtr-composition",
                because: "the server has no tool that asks before it becomes a task",
            },
        ],
    )
    .await;
}
