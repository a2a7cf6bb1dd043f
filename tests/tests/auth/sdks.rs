//! Clients as they are published, which know nothing but the address of the endpoint.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use switchboard_tests::tools;
use tokio::process::Command;
use tokio::time::timeout;

use crate::Guarded;

const PATIENCE: Duration = Duration::from_secs(120);

/// Has this script find its way to a token, and call a tool with it.
async fn finds_its_way(runtime: PathBuf, script: &str) {
    let guarded = Guarded::start().await;
    let mut command = Command::new(runtime);
    command
        .arg(tools::repository().join("tests/real").join(script))
        .arg(guarded.resource())
        .arg("f__echo")
        .env("SWITCHBOARD_TEST_CACHE", tools::cache())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.expect("in time").expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!(seen["scope"], "mcp", "{seen}");
    assert_eq!(seen["resource"], guarded.resource(), "{seen}");
    let arguments = &seen["result"]["structuredContent"]["arguments"];
    assert_eq!(arguments["x"], 1, "{seen}");
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn the_typescript_client_finds_its_way_to_a_token() {
    finds_its_way(tools::node(), "typescript_oauth.mjs").await;
}

#[tokio::test]
async fn the_python_client_finds_its_way_to_a_token() {
    finds_its_way(tools::python(), "python_oauth.py").await;
}
