//! Many at once, and many in turn.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::front::Front;
use switchboard_tests::waiting::until;
use switchboard_tests::{servers, tools};

use crate::tree::{alive, kill, mark, marked, until_alive, until_gone};

/// How many servers run when the gateway is killed.
const SERVERS: usize = 40;
/// How many of them are started with `npx`.
const NPX: usize = 3;
/// How many backends are exchanged at once.
const AT_ONCE: usize = 10;
/// How often they are.
const ROUNDS: usize = 20;

/// A server behind a shell, which leaves others in the background, as `npx` and its like do.
fn behind_a_shell(mark: &str) -> Value {
    let script = "sleep 120 & (setsid sleep 120 &) ; \"$0\" \"$@\"; true";
    let server = tools::program("faulty-server");
    json!({ "command": "sh", "args": ["-c", script, server], "env": { "MARK": mark } })
}

/// `server-everything`, started as most people do: `npx` starts it, perhaps through a shell.
fn behind_npx(mark: &str) -> Value {
    json!({
        "command": "npx",
        "args": ["--no", "mcp-server-everything", "stdio"],
        "cwd": tools::cache().join("npm"),
        "env": { "MARK": mark, "npm_config_update_notifier": "false" },
    })
}

#[tokio::test]
async fn forty_trees_end_within_ten_seconds_when_the_gateway_is_killed() {
    let mark = mark("forty");
    let backends: serde_json::Map<String, Value> = (0..SERVERS)
        .map(|at| {
            let backend = match at < NPX {
                true => behind_npx(&mark),
                false => behind_a_shell(&mark),
            };
            (format!("b{at}"), backend)
        })
        .collect();
    let front = Front::of(backends.into()).await;
    front.gateway.wait_for_backends().await;
    // Of each the owner, the shell, two that sleep, and the server.
    let shells = (SERVERS - NPX) * 5;
    // Of `npx` the owner, itself and the server.
    until_alive(&mark, shells + NPX * 3).await;
    let arguments = alive(&mark);
    let started = arguments
        .iter()
        .filter(|(_, arguments)| arguments.contains("node_modules/.bin/mcp-server-everything"));
    assert!(started.count() >= NPX, "{arguments:#?}");
    kill(front.gateway.server().id().expect("a running gateway"));
    until_gone(&mark, Duration::from_secs(10)).await;
}

/// Exchanges all servers again and again, and checks that as many processes are there as before.
async fn exchange(test: &str, server: impl Fn(&str) -> Value) {
    let mark = mark(test);
    let backends = |round: usize| {
        let backends: serde_json::Map<String, Value> = (0..AT_ONCE)
            .map(|at| (format!("b{at}"), server(&format!("{mark}-{round}."))))
            .collect();
        json!({ "server": { "watch_config": false }, "backends": backends })
    };
    let front = Front::start(backends(0)).await;
    front.gateway.wait_for_backends().await;
    let before = front.census().await;
    for round in 1..=ROUNDS {
        front.gateway.rewrite(backends(round));
        front.gateway.hang_up();
        until_alive(&format!("{mark}-{round}."), 2 * AT_ONCE).await;
        until_gone(&format!("{mark}-{}.", round - 1), Duration::from_secs(60)).await;
    }
    front.gateway.wait_for_backends().await;
    front.wait_until_within(&before).await;
    let processes = until("all of the last round", async || {
        let processes = front.census().await.processes;
        (processes >= before.processes).then_some(processes)
    })
    .await;
    assert_eq!(processes, before.processes);
    front.gateway.stop().await;
    until_gone(&mark, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn two_hundred_starts_and_stops_leave_nothing() {
    exchange("rounds", |mark| marked(mark, &[])).await;
}

#[tokio::test]
async fn two_hundred_starts_and_stops_of_a_real_server_leave_nothing() {
    exchange("real-rounds", |mark| {
        let mut everything = servers::everything();
        everything["env"] = json!({ "MARK": mark });
        everything
    })
    .await;
}
