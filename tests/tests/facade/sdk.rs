//! A client as it is published, which knows nothing but the address of the endpoint.

use std::time::Duration;

use serde_json::Value;
use switchboard_tests::tools;
use tokio::process::Command;
use tokio::time::timeout;

use super::Place;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn the_typescript_client_registers_and_logs_in_by_itself() {
    let place = Place::start().await;
    let mut command = Command::new(tools::node());
    command
        .arg(tools::repository().join("tests/real/typescript_oauth.mjs"))
        .arg(place.resource())
        .arg("f__echo")
        .env("SWITCHBOARD_TEST_CACHE", tools::cache())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("in time").expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!(seen["scope"], "mcp", "{seen}");
    assert_eq!(seen["resource"], place.resource(), "{seen}");
    let arguments = &seen["result"]["structuredContent"]["arguments"];
    assert_eq!(arguments["x"], 1, "{seen}");
    place.front.gateway.stop().await;
}
