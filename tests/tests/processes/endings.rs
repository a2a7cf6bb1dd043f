//! Each evil, and each way in which a server comes to its end.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::front::Front;

use crate::tree::{alive, kill, mark, marked, until_alive, until_alone, until_gone};

/// How long the end of a tree may take: 5 s of asking, and time to notice on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// How long the end of all may take when the gateway was killed: 2 s of asking.
const WITHOUT_GATEWAY: Duration = Duration::from_secs(10);

/// Each evil by name: its flags, and how many processes it is at least, its owner among them.
const EVILS: [(&str, &[&str], usize); 6] = [
    ("stays", &["--ignore-stdin-close", "--ignore-sigterm"], 2),
    ("daemon", &["--daemon"], 3),
    ("deaf_daemon", &["--daemon", "--ignore-sigterm"], 3),
    ("tree", &["--tree", "3"], 5),
    (
        "deaf_tree",
        &["--tree", "3", "--ignore-sigterm", "--ignore-stdin-close"],
        5,
    ),
    (
        "everything",
        &[
            "--tree",
            "3",
            "--daemon",
            "--grandchild",
            "--ignore-sigterm",
        ],
        6,
    ),
];

/// A gateway with all evils, each of which is there as a whole.
async fn evils(mark: &str) -> Front {
    let backends: serde_json::Map<String, Value> = EVILS
        .iter()
        .map(|(name, flags, _)| {
            (
                (*name).to_owned(),
                marked(&format!("{mark}-{name}."), flags),
            )
        })
        .chain([
            (
                "dies".to_owned(),
                marked(mark, &["--crash-loop", "30", "--daemon"]),
            ),
            (
                "never".to_owned(),
                marked(mark, &["--exit-at-start", "--daemon"]),
            ),
        ])
        .collect();
    let front = Front::of(backends.into()).await;
    for (name, _, count) in EVILS {
        front.wait_until(name, true).await;
        until_alive(&format!("{mark}-{name}."), count).await;
    }
    front
}

#[tokio::test]
async fn nothing_of_a_server_outlives_its_backend() {
    let mark = mark("backend");
    let front = evils(&mark).await;
    front.gateway.rewrite(json!({ "backends": {} }));
    front.gateway.hang_up();
    until_gone(&mark, SOON).await;
    until_alone(&front).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn nothing_of_a_server_outlives_a_gateway_that_stops() {
    let mark = mark("stop");
    let front = evils(&mark).await;
    front.gateway.stop().await;
    assert_eq!(alive(&mark), []);
}

#[tokio::test]
async fn nothing_of_a_server_outlives_a_gateway_that_is_killed() {
    let mark = mark("kill");
    let front = evils(&mark).await;
    kill(front.gateway.server().id().expect("a running gateway"));
    until_gone(&mark, WITHOUT_GATEWAY).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_as_such() {
    let front = Front::of(json!({ "none": { "command": "no-such-program" } })).await;
    let reason = switchboard_tests::waiting::until("a reason", async || {
        let missing = front.missing().await;
        let reason = missing.get("none")?["reason"].as_str()?.to_owned();
        (reason != "it has not answered yet").then_some(reason)
    })
    .await;
    assert_eq!(
        reason,
        "its program, or the folder to start it in, was not found"
    );
    until_alone(&front).await;
    front.gateway.stop().await;
}
