//! What becomes of a server whose owner is gone, and of an owner that nobody holds.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use switchboard_tests::front::Front;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tokio::process::Command;
use tokio::time::timeout;

use crate::tree::{alive, kill, mark, marked};

/// The owners of processes with the mark.
fn owners(mark: &str) -> Vec<u32> {
    let all = alive(mark).into_iter();
    all.filter(|(_, arguments)| arguments.contains(" __init "))
        .map(|(id, _)| id)
        .collect()
}

#[tokio::test]
async fn a_server_does_not_outlive_its_owner_and_is_started_again() {
    let mark = mark("owner");
    let flags = ["--ignore-stdin-close", "--ignore-sigterm"];
    let front = Front::of(json!({ "a": marked(&mark, &flags) })).await;
    front.wait_until("a", true).await;
    let before = alive(&mark);
    assert_eq!(before.len(), 2, "{before:#?}");
    let [owner] = owners(&mark)[..] else {
        panic!("no owner in {before:#?}");
    };
    kill(owner);
    until("none of them", async || {
        let now = alive(&mark);
        let stays = before.iter().any(|process| now.contains(process));
        (!stays).then_some(())
    })
    .await;
    until("another owner", async || {
        (owners(&mark).len() == 1).then_some(())
    })
    .await;
    front.wait_until("a", true).await;
    front.works("a").await;
    front.gateway.stop().await;
    assert_eq!(alive(&mark), []);
}

#[tokio::test]
async fn an_owner_without_a_lifeline_starts_nothing() {
    for step in ["__init", "__exec"] {
        let owner = Command::new(tools::program("switchboard"))
            .args([step, "sleep", "60"])
            .stdin(Stdio::null())
            .output();
        let output = timeout(Duration::from_secs(10), owner).await;
        let output = output.expect("it ends").expect("it starts");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is started by the gateway alone"), "{said}");
    }
}
