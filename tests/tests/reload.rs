//! A configuration that changes under a gateway that works: what is exchanged, what stays, and that
//! no call fails by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use switchboard_testkit::client::{Client, call};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::{PATIENCE, until};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many reloads there are in every run.
const RELOADS: usize = 100;
/// How many there are instead, if this is set in the environment: each waits for new connections.
const RELOADS_KEY: &str = "SWITCHBOARD_RELOADS";
const CALLERS: usize = 2;

/// What was counted of reloads so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    ok: f64,
    unchanged: f64,
    failed: f64,
    last_was_successful: f64,
}

async fn counted(front: &Front) -> Counted {
    let metrics = front.metrics("switchboard_config_").await;
    let total =
        |result| metrics[&format!("switchboard_config_reloads_total{{result=\"{result}\"}}")];
    Counted {
        ok: total("ok"),
        unchanged: total("unchanged"),
        failed: total("failed"),
        last_was_successful: metrics["switchboard_config_last_reload_successful"],
    }
}

/// Has the configuration read again and waits until that is done; says what it was counted as.
async fn reload(front: &Front, config: Value) -> Counted {
    let before = counted(front).await;
    front.gateway.rewrite(config);
    front.gateway.hang_up();
    counted_since(front, before).await
}

async fn counted_since(front: &Front, before: Counted) -> Counted {
    let sum = |counted: Counted| counted.ok + counted.unchanged + counted.failed;
    let deadline = Instant::now() + PATIENCE;
    while sum(counted(front).await) <= sum(before) {
        assert!(Instant::now() < deadline, "no reload in {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
    // Once more: the scrape that saw the count may have read the outcome before it.
    let now = counted(front).await;
    Counted {
        ok: now.ok - before.ok,
        unchanged: now.unchanged - before.unchanged,
        failed: now.failed - before.failed,
        last_was_successful: now.last_was_successful,
    }
}

fn ok() -> Counted {
    Counted {
        ok: 1.0,
        last_was_successful: 1.0,
        ..Counted::default()
    }
}

fn unchanged() -> Counted {
    Counted {
        unchanged: 1.0,
        last_was_successful: 1.0,
        ..Counted::default()
    }
}

fn failed() -> Counted {
    Counted {
        failed: 1.0,
        ..Counted::default()
    }
}

/// A configuration whose files are read again only when it is asked for.
fn unwatched(backends: &Value) -> Value {
    json!({ "server": { "watch_config": false }, "backends": backends })
}

async fn process_of(front: &Front, backend: &str) -> Value {
    let answer = front
        .client
        .call(&format!("{backend}__echo"), json!({}))
        .await;
    answer.result()["structuredContent"]["server"]["pid"].clone()
}

/// Calls both servers all the time, and checks every answer, until told to stop.
async fn keep_calling(url: String, caller: usize, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>) {
    let client = Client::new(&url);
    while !stop.load(Ordering::Relaxed) {
        for tool in ["local__echo", "remote__echo"] {
            let number = calls.fetch_add(1, Ordering::Relaxed);
            let arguments = json!({ "caller": caller, "number": number });
            let answer = client.call(tool, arguments.clone()).await;
            let echoed = &answer.result()["structuredContent"]["arguments"];
            assert_eq!(*echoed, arguments, "{tool}: {}", answer.raw);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_over_many_reloads() {
    let server = FakeHttp::start(Transport::Modern, "remote").await;
    let third = FakeHttp::start(Transport::Modern, "third").await;
    // Each differs from the one before in the timeout of `remote`, and most in `third`.
    let variant = |number: usize| {
        let timeout = json!(format!("{}s", 30 + number % 2));
        let mut backends = json!({ "local": faulty(&[]), "remote": remote(server.url()) });
        backends["remote"]["timeout"] = timeout;
        if number % 4 >= 2 {
            backends["third"] = remote(third.url());
            backends["third"]["prefix"] = json!(["third", "other"][number % 2]);
        }
        unwatched(&backends)
    };
    let front = Front::start(variant(0)).await;
    for backend in ["local", "remote"] {
        front.wait_until(backend, true).await;
    }
    let process = process_of(&front, "local").await;
    assert!(process.is_u64(), "{process}");
    // One of each kind, after which nothing should become more.
    let mut number = 0;
    while number < 4 {
        number += 1;
        assert_eq!(reload(&front, variant(number)).await, ok());
    }
    let mut callers = JoinSet::new();
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    for caller in 0..CALLERS {
        let url = front.gateway.url().to_owned();
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        callers.spawn(keep_calling(url, caller, stop, calls));
    }
    until("some calls", async || {
        (calls.load(Ordering::Relaxed) > 100).then_some(())
    })
    .await;
    let mut bound = front.census().await;
    // Connections of the pool, and of the servers that are just being exchanged.
    bound.tasks += 40;
    bound.files += 20;
    bound.threads += 2;

    let reloads = std::env::var(RELOADS_KEY).map_or(RELOADS, |count| {
        count.parse().expect("a whole number of reloads")
    });
    let begun = Instant::now();
    for made in 0..reloads {
        let (config, expected) = match made % 7 {
            5 => (unwatched(&json!({ "bad": {} })), failed()),
            6 => (variant(number), unchanged()),
            _ => {
                number += 1;
                (variant(number), ok())
            }
        };
        assert_eq!(reload(&front, config).await, expected, "reload {made}");
    }
    let made_calls = calls.load(Ordering::Relaxed);
    println!(
        "{reloads} reloads in {:?}, {made_calls} calls",
        begun.elapsed()
    );

    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.expect("every call is answered");
    }
    assert_eq!(process_of(&front, "local").await, process);
    front.wait_until_within(&bound).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_is_logged_with_its_line() {
    let config = unwatched(&json!({ "a": faulty(&[]) }));
    let front = Front::start(config.clone()).await;
    front.wait_until("a", true).await;
    let process = process_of(&front, "a").await;
    let mut bad = config.clone();
    bad["backends"]["a"]["timeot"] = json!("3s");
    assert_eq!(reload(&front, bad).await, failed());
    assert_eq!(process_of(&front, "a").await, process);
    let output = front.gateway.server().output();
    let logged = output.lines().find(|line| line.contains("stays as it was"));
    let logged = logged.unwrap_or_else(|| panic!("{output}"));
    for part in ["switchboard.json:1: backends.a.timeot: ", "timeout"] {
        assert!(logged.contains(part), "{logged}");
    }
    assert_eq!(reload(&front, config).await, unchanged());
    front.gateway.stop().await;
}

/// An entry of `auth.api_keys` whose key is its name.
fn key(name: &str) -> Value {
    entry_of(name, name)
}

#[tokio::test]
async fn a_changed_file_does_not_remove_auth_and_a_signal_does() {
    let config = json!({
        "server": { "watch_config": true },
        "auth": { "api_keys": [key("a")] },
        "backends": { "a": faulty(&[]) },
    });
    let front = Front::start(config.clone()).await;
    let status = async || {
        let draft = front.client.draft(&call("a__echo", &json!({})));
        front.client.send(draft).await.finish().await.status
    };
    let before = counted(&front).await;
    let mut open = config;
    let members = open.as_object_mut().expect("an object");
    members.remove("auth");
    front.gateway.rewrite(open);
    assert_eq!(counted_since(&front, before).await, failed());
    assert_eq!(status().await, 401);
    let output = front.gateway.server().output();
    assert!(output.contains("it has no `auth` any more"), "{output}");

    let before = counted(&front).await;
    front.gateway.hang_up();
    assert_eq!(counted_since(&front, before).await, ok());
    assert_eq!(status().await, 200);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_file_that_became_empty_removes_no_backend_and_a_signal_does() {
    let config = json!({
        "server": { "watch_config": true },
        "backends": { "a": faulty(&[]) },
    });
    let front = Front::start(config).await;
    front.wait_until("a", true).await;
    let process = process_of(&front, "a").await;
    let before = counted(&front).await;
    front.gateway.rewrite(json!({}));
    assert_eq!(counted_since(&front, before).await, failed());
    assert_eq!(process_of(&front, "a").await, process);
    let output = front.gateway.server().output();
    assert!(output.contains("it has no `backends` any more"), "{output}");

    let before = counted(&front).await;
    front.gateway.hang_up();
    assert_eq!(counted_since(&front, before).await, ok());
    let unknown = front.client.call("a__echo", json!({})).await;
    assert_eq!(unknown.error_code(), Some(-32602), "{}", unknown.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_removed_api_key_loses_its_streams_and_sessions() {
    let config = |keys: Value| {
        json!({
            "auth": { "api_keys": keys },
            "backends": { "a": faulty(&[]) },
        })
    };
    let front = Front::start(config(json!([key("old"), key("kept")]))).await;
    let open = async |name: &str| {
        let client = front.client.with_key(name);
        let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
        stream.next().await.expect("an open stream");
        let session = LegacyClient::connect(
            front.gateway.url(),
            Setup {
                key: Some(name.to_owned()),
                ..Setup::default()
            },
        )
        .await;
        let mut outside = session.get(None).await;
        outside.next_event().await.expect("an open stream");
        (stream, session, outside)
    };
    let (mut stream, _old, mut outside) = open("old").await;
    let (_stream, kept, _outside) = open("kept").await;
    assert_eq!(reload(&front, config(json!([key("kept")]))).await, ok());

    // What was told before comes first.
    let mut last = stream.next().await.expect("the answer");
    while last["method"].is_string() {
        last = stream.next().await.expect("the answer");
    }
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    assert_eq!(stream.next().await, None);
    // What was told before comes first here too.
    while outside.next_event().await.is_some() {}
    for gauge in ["switchboard_legacy_sessions", "switchboard_listen_streams"] {
        until("one is left", async || {
            (front.metrics(gauge).await[gauge] == 1.0).then_some(())
        })
        .await;
    }
    kept.call("a__echo", json!({})).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_certificate_without_its_key_changes_nothing() {
    let config = unwatched(&json!({ "a": faulty(&[]) }));
    let front = Front::start(config.clone()).await;
    front.wait_until("a", true).await;
    let pair = || generate_simple_self_signed(["a".to_owned()]).expect("a pair");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("the folder is ours");
        file
    };
    let mut broken = unwatched(&json!({ "b": faulty(&[]) }));
    broken["server"]["tls"] = json!({
        "cert": write("cert.pem", pair().cert.pem()),
        "key": write("key.pem", pair().signing_key.serialize_pem()),
    });
    assert_eq!(reload(&front, broken).await, failed());
    let output = front.gateway.server().output();
    let logged = output.lines().find(|line| line.contains("stays as it was"));
    let logged = logged.unwrap_or_else(|| panic!("{output}"));
    let expected = "switchboard.json:1: server.tls.key: does not fit the certificate";
    assert!(logged.contains(expected), "{logged}");
    front.works("a").await;
    assert_eq!(reload(&front, config).await, unchanged());
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_removed_api_key_is_refused_at_the_next_request_of_an_open_connection() {
    let config = |keys: Value| {
        json!({
            "server": { "watch_config": false },
            "auth": { "api_keys": keys },
            "backends": { "a": faulty(&[]) },
        })
    };
    let front = Front::start(config(json!([key("old"), key("kept")]))).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for name in ["old", "kept", "new"] {
            let draft = front.client.draft(&call("a__echo", &json!({})));
            let draft = draft.with_header("authorization", &format!("Bearer {name}"));
            statuses.push(front.client.send(draft).await.finish().await.status);
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 200, 401]);
    let changed = config(json!([key("kept"), key("new")]));
    assert_eq!(reload(&front, changed).await, ok());
    assert_eq!(statuses().await, [401, 200, 200]);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_noticed_and_what_needs_a_restart_is_named() {
    let front = Front::start(json!({
        "server": { "watch_config": true },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    front.wait_until("a", true).await;
    let before = counted(&front).await;
    front.gateway.rewrite(json!({
        "server": { "max_connections": 77 },
        "backends": { "a": faulty(&[]), "b": faulty(&[]) },
    }));
    assert_eq!(counted_since(&front, before).await, ok());
    front.works("b").await;
    let output = front.gateway.server().output();
    assert!(
        output.contains("after a restart: server.max_connections"),
        "{output}"
    );
    // Of the one that is gone no state is shown any more.
    let before = counted(&front).await;
    front
        .gateway
        .rewrite(json!({ "backends": { "b": faulty(&[]) } }));
    assert_eq!(counted_since(&front, before).await, ok());
    let states = front.metrics("switchboard_backend_state").await;
    assert!(
        states.keys().all(|key| key.contains("backend=\"b\"")),
        "{states:?}"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_of_a_removed_backend_is_finished() {
    let config = unwatched(&json!({ "a": faulty(&[]), "b": faulty(&[]) }));
    let front = Front::start(config).await;
    for backend in ["a", "b"] {
        front.wait_until(backend, true).await;
    }
    let running = tokio::spawn({
        let client = front.client.clone();
        async move { client.call("b__delay", json!({ "ms": 1_500 })).await }
    });
    until("a call in flight", async || {
        let in_flight = front.metrics("switchboard_calls_in_flight").await;
        in_flight.values().any(|count| *count >= 1.0).then_some(())
    })
    .await;
    let without = unwatched(&json!({ "a": faulty(&[]) }));
    assert_eq!(reload(&front, without).await, ok());
    let unknown = front.client.call("b__echo", json!({})).await;
    assert_eq!(unknown.error_code(), Some(-32602), "{}", unknown.raw);
    let answer = running.await.expect("an answer");
    assert!(
        answer.result()["structuredContent"].is_object(),
        "{}",
        answer.raw
    );
    until("its process has ended", async || {
        // That of the other backend, and its owner.
        (front.census().await.processes == 2).then_some(())
    })
    .await;
    front.gateway.stop().await;
}
