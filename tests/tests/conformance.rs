//! The official conformance suite, revision 2026-07-28.

use serde_json::json;
use switchboard_tests::conformance::{CLIENT_SCENARIOS, Verdict, client_leg, server_leg};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use tokio::process::Command;

/// How many scenarios the revision requires of a server.
const SERVER_SCENARIOS: usize = 37;

async fn fixtures() -> Server {
    let mut command = Command::new(tools::program("conformance-server"));
    command.args(["--http", "127.0.0.1:0", "--era", "modern"]);
    Server::start(command).await
}

fn assert_passed(verdicts: &[Verdict], expected: usize) {
    let report: Vec<String> = verdicts.iter().map(Verdict::to_string).collect();
    let passed = verdicts.iter().filter(|v| v.faults.is_empty()).count();
    assert_eq!(
        (passed, verdicts.len()),
        (expected, expected),
        "{}",
        report.join("\n")
    );
}

/// The fixtures alone: what fails here is not the gateway's.
#[tokio::test]
async fn the_fixtures_pass_every_server_scenario() {
    let fixtures = fixtures().await;
    assert_passed(&server_leg(fixtures.url()).await, SERVER_SCENARIOS);
}

#[tokio::test]
async fn the_gateway_passes_every_server_scenario() {
    let fixtures = fixtures().await;
    let gateway = Gateway::start(json!({
        "backends": { "fixtures": { "url": fixtures.url(), "prefix": "" } },
    }))
    .await;
    gateway.wait_for_backends().await;
    assert_passed(&server_leg(gateway.url()).await, SERVER_SCENARIOS);
    gateway.stop().await;
}

/// The official client alone: what fails here is not the gateway's.
#[tokio::test]
async fn the_client_passes_every_client_scenario() {
    assert_passed(&client_leg(None).await, CLIENT_SCENARIOS.len());
}

#[tokio::test]
async fn the_gateway_passes_every_client_scenario() {
    let gateway = tools::program("switchboard");
    assert_passed(&client_leg(Some(&gateway)).await, CLIENT_SCENARIOS.len());
}
