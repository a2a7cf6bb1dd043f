//! What a gateway owns after many calls, and what is left when it ends; and that results arrive
//! whole.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::client::{Client, call};
use switchboard_testkit::fake::{RESOURCE_URI, UNKNOWN_IN_CONTENT, UNKNOWN_IN_RESULT};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Form, Transport};
use switchboard_tests::front::{Census, Front, descendants, faulty, is_running, remote};
use switchboard_tests::waiting::until;
use tokio::task::JoinSet;
use tokio::time::sleep;

const CALLS: usize = 1000;
/// How many calls run at once.
const AT_ONCE: usize = 10;

/// What the gateway owns once nothing changes any more.
async fn settled(front: &Front) -> Census {
    let mut before = front.census().await;
    loop {
        sleep(Duration::from_millis(200)).await;
        let now = front.census().await;
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Makes this many calls, ten at once: most are answered, some fail, some are given up.
async fn make_calls(front: &Front, count: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        // With its own connection, which ends with it.
        let client = Client::new(front.gateway.url());
        callers.spawn(async move {
            for at in 0..count / AT_ONCE {
                make_call(&client, at).await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("every call is answered");
    }
}

async fn make_call(client: &Client, at: usize) {
    match at % 10 {
        3 => {
            let unknown = client.call("a__nothing", json!({})).await;
            assert_eq!(unknown.error_code(), Some(-32602));
        }
        5 => {
            let arguments = json!({ "n": 3, "ms": 1, "name": "me" });
            let meta = json!({ "progressToken": at });
            let params = json!({ "name": "a__report", "arguments": arguments, "_meta": meta });
            let answer = client.request("tools/call", params).await;
            assert_eq!(answer.notifications.len(), 3, "{}", answer.raw);
        }
        7 => {
            let meta = json!({ "progressToken": at });
            let arguments = json!({ "n": 1000, "ms": 1, "name": "me" });
            let params = json!({ "name": "a__report", "arguments": arguments, "_meta": meta });
            let given_up = switchboard_testkit::client::message("tools/call", params);
            let mut exchange = client.send(client.draft(&given_up)).await;
            exchange.next_raw().await.expect("a notification");
        }
        _ => {
            let answer = client.call("a__delay", json!({ "ms": 1 })).await;
            assert!(
                answer.result()["structuredContent"].is_object(),
                "{}",
                answer.raw
            );
        }
    }
}

async fn owns_no_more_after_many_calls(backend: Value) {
    let front = Front::of(json!({ "a": backend })).await;
    front.wait_until("a", true).await;
    make_calls(&front, AT_ONCE).await;
    let after_ten = settled(&front).await;
    make_calls(&front, CALLS).await;
    front.wait_until_within(&after_ten).await;
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn over_stdio_nothing_is_left_of_a_thousand_calls() {
    for era in ["modern", "legacy"] {
        owns_no_more_after_many_calls(faulty(&["--era", era])).await;
    }
}

#[tokio::test]
async fn over_modern_http_nothing_is_left_of_a_thousand_calls() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    owns_no_more_after_many_calls(remote(server.url())).await;
    assert_eq!(server.in_flight(), 0);
}

#[tokio::test]
async fn over_legacy_http_nothing_is_left_of_a_thousand_calls() {
    let server = FakeHttp::start(Transport::Legacy, "a").await;
    owns_no_more_after_many_calls(remote(server.url())).await;
    assert_eq!(server.in_flight(), 0);
    // The gateway ended its session before it ended itself.
    assert_eq!(server.sessions(), 0);
}

#[tokio::test]
async fn over_one_event_stream_nothing_is_left_of_a_thousand_calls() {
    let server = FakeHttp::start(Transport::Sse, "a").await;
    owns_no_more_after_many_calls(remote(server.url())).await;
    until("nothing in flight", async || {
        (server.in_flight() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn processes_that_come_and_go_leave_nothing() {
    let front = Front::of(json!({ "a": faulty(&["--grandchild"]) })).await;
    front.wait_until("a", true).await;
    let before = settled(&front).await;
    for _ in 0..3 {
        let [process, grandchild] = processes(&front, "a").await;
        front.client.call("a__exit", json!({ "code": 1 })).await;
        until("the process and its child are gone", async || {
            (!is_running(process) && !is_running(grandchild)).then_some(())
        })
        .await;
        until("another process", async || {
            let answer = front.client.call("a__echo", json!({})).await;
            answer.result()["structuredContent"]
                .is_object()
                .then_some(())
        })
        .await;
    }
    front.wait_until_within(&before).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn streams_of_listeners_leave_nothing_and_end_in_good_order() {
    let front = Front::of(json!({ "a": faulty(&[]) })).await;
    front.wait_until("a", true).await;
    let before = settled(&front).await;
    let streams =
        async || front.metrics("switchboard_listen_streams").await["switchboard_listen_streams"];
    let filter = || json!({ "toolsListChanged": true, "resourceSubscriptions": [RESOURCE_URI] });
    for _ in 0..3 {
        let mut listening = Vec::new();
        for _ in 0..50 {
            let client = Client::new(front.gateway.url());
            let mut stream = client.listen(filter()).await;
            let first = stream.next().await.expect("an acknowledgement");
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
            let meta = &first["params"]["_meta"];
            assert_eq!(meta["io.modelcontextprotocol/subscriptionId"], 1);
            listening.push(stream);
        }
        assert_eq!(streams().await, 50.0);
        drop(listening);
        until("no streams", async || {
            (streams().await == 0.0).then_some(())
        })
        .await;
        front.wait_until_within(&before).await;
    }
    let mut last = front.client.listen(filter()).await;
    last.next().await.expect("an acknowledgement");
    front.gateway.stop().await;
    let end = last.next().await.expect("a response at the end");
    assert_eq!(end["result"]["resultType"], "complete", "{end}");
    assert_eq!(last.next().await, None);
}

/// The process of a backend, and the child that it started.
async fn processes(front: &Front, backend: &str) -> [u32; 2] {
    let answer = front
        .client
        .call(&format!("{backend}__echo"), json!({}))
        .await;
    let server = &answer.result()["structuredContent"]["server"];
    ["pid", "grandchild"].map(|key| {
        let id = server[key]
            .as_u64()
            .unwrap_or_else(|| panic!("no {key} in {}", answer.raw));
        u32::try_from(id).expect("a process id")
    })
}

#[tokio::test]
async fn no_child_outlives_the_gateway() {
    let front = Front::start(json!({
        "server": { "drain_timeout": "500ms" },
        "backends": {
            "plain": faulty(&["--grandchild"]),
            "legacy": faulty(&["--grandchild", "--era", "legacy"]),
            "stays": faulty(&["--grandchild", "--ignore-stdin-close"]),
            "clings": faulty(&["--grandchild", "--ignore-stdin-close", "--ignore-sigterm"]),
            "deaf": faulty(&["--grandchild", "--never-answers", "--ignore-stdin-close"]),
        },
    }))
    .await;
    let mut known = Vec::new();
    for backend in ["plain", "legacy", "stays", "clings"] {
        front.wait_until(backend, true).await;
        known.extend(processes(&front, backend).await);
    }
    // A call that runs holds nothing up.
    let hanging = tokio::spawn({
        let client = front.client.clone();
        async move { client.call("plain__hang", json!({})).await }
    });
    until("a call in flight", async || {
        let in_flight = front.metrics("switchboard_calls_in_flight").await;
        in_flight.values().any(|count| *count >= 1.0).then_some(())
    })
    .await;
    let gateway = front.gateway.server().id().expect("a running gateway");
    let below = descendants(gateway);
    let expected = 3 * (5 + 1);
    assert_eq!(
        below.len(),
        expected,
        "a process of each, one more for calls of the legacy server, and the owner and a child of each"
    );
    assert!(known.iter().all(|process| below.contains(process)));

    front.gateway.stop().await;
    let left: Vec<u32> = below
        .into_iter()
        .filter(|process| is_running(*process))
        .collect();
    assert!(left.is_empty(), "{left:?} outlived the gateway");
    hanging.abort();
}

#[tokio::test]
async fn a_killed_gateway_takes_its_processes_with_it() {
    let front = Front::of(json!({ "a": faulty(&[]), "b": faulty(&["--era", "legacy"]) })).await;
    front.wait_until("a", true).await;
    front.wait_until("b", true).await;
    let gateway = front.gateway.server().id().expect("a running gateway");
    let below = descendants(gateway);
    assert_eq!(below.len(), 4, "two processes and their owners");
    let gateway = i32::try_from(gateway).ok().and_then(Pid::from_raw);
    kill_process(gateway.expect("a process id"), Signal::KILL).expect("it runs");
    until("its processes end", async || {
        below
            .iter()
            .all(|process| !is_running(*process))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn arguments_and_results_arrive_as_they_were_written() {
    let modern = FakeHttp::start(Transport::Modern, "a").await;
    let streaming = FakeHttp::start(Transport::Modern, "a").await;
    streaming.behave(Behaviour {
        form: Form::EventStream,
        ..Behaviour::default()
    });
    let legacy = FakeHttp::start(Transport::Legacy, "a").await;
    let sse = FakeHttp::start(Transport::Sse, "a").await;
    let backends = json!({
        "modern": remote(modern.url()),
        "streaming": remote(streaming.url()),
        "legacy": remote(legacy.url()),
        "sse": remote(sse.url()),
        "stdio": faulty(&[]),
        "old": faulty(&["--era", "legacy"]),
    });
    let names: Vec<String> = backends
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    let front = Front::of(backends).await;
    let arguments = r#"{"b": 1.00, "a" : "\u00e9é\/", "n":123456789012345678901, "b": [ ], "_meta":{"id":2}, "e":-0e+5}"#;
    for name in names {
        front.wait_until(&name, true).await;
        let tool = format!("{name}__echo");
        let good = call(&tool, &json!("ARGUMENTS"));
        let body = good.to_string().replacen("\"ARGUMENTS\"", arguments, 1);
        let draft = front.client.draft(&good).with_body(body);
        let answer = front.client.send(draft).await.finish().await;
        for part in [arguments, UNKNOWN_IN_RESULT, UNKNOWN_IN_CONTENT] {
            assert!(
                answer.raw.contains(part),
                "{name} lost {part}: {}",
                answer.raw
            );
        }
        assert_eq!(answer.result()["resultType"], "complete", "{name}");
    }
    front.gateway.stop().await;
}
