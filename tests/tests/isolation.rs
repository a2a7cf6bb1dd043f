//! 50 clients at once with the same ids and the same progress tokens, against servers that answer
//! in any order: nothing reaches another caller.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, message};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Form, Transport};
use switchboard_tests::front::{Front, faulty, remote};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const CLIENTS: usize = 50;
const ROUNDS: usize = 3;
/// How many reports each call asks for.
const REPORTS: u64 = 5;

/// What may be lost on the way: on a shared channel a log notification names no call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logs {
    AllArrive,
    MayBeDropped,
}

/// A call like that of every other client but for what it wants back.
fn report(backend: &str, name: &str) -> Value {
    // Different pauses, so that answers overtake each other.
    let ms = name.bytes().map(u64::from).sum::<u64>() % 7;
    let meta = json!({ "progressToken": "token", "io.modelcontextprotocol/logLevel": "debug" });
    let arguments = json!({ "n": REPORTS, "ms": ms, "name": name });
    let tool = format!("{backend}__report");
    message(
        "tools/call",
        json!({ "name": tool, "arguments": arguments, "_meta": meta }),
    )
}

fn check(answer: &Answer, name: &str, logs: Logs) {
    assert_eq!(answer.response["id"], 1, "{name}: {}", answer.raw);
    let content = &answer.result()["structuredContent"];
    assert_eq!(content["arguments"]["name"], name, "{name}: {}", answer.raw);
    let mut progress = Vec::new();
    let mut logged = Vec::new();
    for notification in &answer.notifications {
        let params = &notification["params"];
        match notification["method"].as_str() {
            Some("notifications/progress") => {
                assert_eq!(
                    params["message"], name,
                    "progress of another: {notification}"
                );
                assert_eq!(params["progressToken"], "token", "{notification}");
                progress.push(params["progress"].as_u64().expect("a number"));
            }
            Some("notifications/message") => {
                assert_eq!(
                    params["data"]["name"], name,
                    "a log of another: {notification}"
                );
                logged.push(params["data"]["step"].as_u64().expect("a number"));
            }
            _ => panic!("{name} got {notification}"),
        }
    }
    let all: Vec<u64> = (1..=REPORTS).collect();
    assert_eq!(progress, all, "{name}");
    if logs == Logs::AllArrive {
        assert_eq!(logged, all, "{name}");
    }
}

/// Has all clients call at once, round after round, and checks what each gets.
async fn hammer(front: &Front, backends: &[(&'static str, Logs)]) {
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let mut clients = JoinSet::new();
    for at in 0..CLIENTS {
        let barrier = Arc::clone(&barrier);
        let client = Client::new(front.gateway.url());
        let (backend, logs) = backends[at % backends.len()];
        clients.spawn(async move {
            for round in 0..ROUNDS {
                barrier.wait().await;
                let name = format!("client {at} round {round} of {backend}");
                if at % 10 == 9 {
                    give_up(&client, backend, &name).await;
                    continue;
                }
                let answer = client.ask(&report(backend, &name)).await;
                check(&answer, &name, logs);
                let tool = format!("{backend}__echo");
                let echoed = client.call(&tool, json!({ "name": name })).await;
                let content = &echoed.result()["structuredContent"];
                assert_eq!(content["arguments"]["name"], name, "{}", echoed.raw);
                assert_eq!(content["server"]["label"], backend, "{}", echoed.raw);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.expect("what each client got is its own");
    }
}

/// Reads the first notification and goes away, so that the rest is for nobody.
async fn give_up(client: &Client, backend: &str, name: &str) {
    let call = report(backend, name);
    let mut exchange = client.send(client.draft(&call)).await;
    let first = exchange.next().await.expect("a message");
    let text = first.to_string();
    assert!(text.contains(name), "{name} got {text}");
}

/// A call that waits for a second and wants all logs, beside another that logs all the while.
///
/// On a shared channel a log notification names no call, so none of the other's may be taken for
/// the first's.
async fn beside_another_that_logs(era: &str, other: impl AsyncFn(&Client)) {
    let flags = ["--label", "a", "--era", era, "--ignore-cancelling"];
    let front = Front::of(json!({ "a": faulty(&flags) })).await;
    front.wait_until("a", true).await;
    let meta = json!({ "progressToken": "token", "io.modelcontextprotocol/logLevel": "debug" });
    let arguments = json!({ "n": 1, "ms": 1000, "name": "mine" });
    let params = json!({ "name": "a__report", "arguments": arguments, "_meta": meta });
    let mine = message("tools/call", params);
    // So that a legacy session logs from now on.
    front.client.ask(&report("a", "first")).await;
    let (mine, ()) = tokio::join!(front.client.ask(&mine), other(&front.client));
    for notification in &mine.notifications {
        assert!(
            notification.to_string().contains("mine"),
            "{era}: {notification}"
        );
    }
    assert_eq!(
        mine.result()["structuredContent"]["arguments"]["name"],
        "mine"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn logs_of_a_cancelled_call_reach_nobody() {
    for era in ["modern", "legacy"] {
        beside_another_that_logs(era, async |client| {
            let meta = json!({ "progressToken": 1, "io.modelcontextprotocol/logLevel": "debug" });
            let arguments = json!({ "n": 50, "ms": 10, "name": "another" });
            let params = json!({ "name": "a__report", "arguments": arguments, "_meta": meta });
            let call = message("tools/call", params);
            let mut exchange = client.send(client.draft(&call)).await;
            exchange.next().await.expect("a notification");
        })
        .await;
    }
}

#[tokio::test]
async fn logs_of_a_call_that_timed_out_reach_nobody() {
    for era in ["modern", "legacy"] {
        let mut backend = faulty(&["--era", era, "--ignore-cancelling"]);
        backend["timeout"] = json!("300ms");
        let front = Front::of(json!({ "a": backend })).await;
        front.wait_until("a", true).await;
        let params = |name: &str| {
            let meta = json!({ "io.modelcontextprotocol/logLevel": "debug" });
            let arguments = json!({ "n": 50, "ms": 10, "name": name });
            json!({ "name": "a__report", "arguments": arguments, "_meta": meta })
        };
        let first = front.client.request("tools/call", params("first")).await;
        assert_eq!(first.fault()["code"], 504, "{}", first.raw);
        let second = front.client.request("tools/call", params("second")).await;
        for notification in &second.notifications {
            assert!(
                notification.to_string().contains("second"),
                "{era}: {notification}"
            );
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn logs_of_a_call_that_asked_for_none_reach_nobody() {
    for era in ["modern", "legacy"] {
        beside_another_that_logs(era, async |client| {
            let arguments = json!({ "n": 50, "ms": 10, "name": "another" });
            let answer = client.call("a__report", arguments).await;
            assert_eq!(answer.notifications, Vec::<Value>::new());
        })
        .await;
    }
}

#[tokio::test]
async fn logs_of_the_only_call_arrive() {
    for era in ["modern", "legacy"] {
        let front = Front::of(json!({ "a": faulty(&["--label", "a", "--era", era]) })).await;
        front.wait_until("a", true).await;
        for name in ["one", "two"] {
            let answer = front.client.ask(&report("a", name)).await;
            check(&answer, name, Logs::AllArrive);
        }
        front.gateway.stop().await;
    }
}

async fn over_stdio(era: &str) {
    let front = Front::of(json!({
        "a": faulty(&["--label", "a", "--era", era, "--shuffle", "7"]),
    }))
    .await;
    front.wait_until("a", true).await;
    hammer(&front, &[("a", Logs::MayBeDropped)]).await;
    front.gateway.stop().await;
}

async fn over_http(transport: Transport, logs: Logs) {
    let server = FakeHttp::start(transport, "a").await;
    server.behave(shuffled());
    let front = Front::of(json!({ "a": remote(server.url()) })).await;
    front.wait_until("a", true).await;
    hammer(&front, &[("a", logs)]).await;
    front.gateway.stop().await;
}

fn shuffled() -> Behaviour {
    Behaviour {
        form: Form::AsNeeded,
        shuffle: Some(7),
        ..Behaviour::default()
    }
}

#[tokio::test]
async fn over_stdio_with_a_modern_server() {
    over_stdio("modern").await;
}

#[tokio::test]
async fn over_stdio_with_a_legacy_server() {
    over_stdio("legacy").await;
}

#[tokio::test]
async fn over_http_with_a_modern_server() {
    over_http(Transport::Modern, Logs::AllArrive).await;
}

#[tokio::test]
async fn over_http_with_a_legacy_server() {
    over_http(Transport::Legacy, Logs::AllArrive).await;
}

#[tokio::test]
async fn over_one_event_stream_with_an_old_server() {
    over_http(Transport::Sse, Logs::MayBeDropped).await;
}

#[tokio::test]
async fn over_all_of_them_at_once() {
    let modern = FakeHttp::start(Transport::Modern, "http_modern").await;
    let legacy = FakeHttp::start(Transport::Legacy, "http_legacy").await;
    modern.behave(shuffled());
    legacy.behave(shuffled());
    let front = Front::of(json!({
        "http_modern": remote(modern.url()),
        "http_legacy": remote(legacy.url()),
        "stdio_modern": faulty(&["--label", "stdio_modern", "--shuffle", "1"]),
        "stdio_legacy": faulty(&["--label", "stdio_legacy", "--shuffle", "2", "--era", "legacy"]),
    }))
    .await;
    let backends = [
        ("http_modern", Logs::AllArrive),
        ("http_legacy", Logs::AllArrive),
        ("stdio_modern", Logs::MayBeDropped),
        ("stdio_legacy", Logs::MayBeDropped),
    ];
    for (backend, _) in backends {
        front.wait_until(backend, true).await;
    }
    hammer(&front, &backends).await;
    front.gateway.stop().await;
}
