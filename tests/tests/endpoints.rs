//! One backend that runs in several places: calls are spread over them, what fails in one is done
//! in another where that is safe, and one that keeps failing is left alone.

use serde_json::{Value, json};

use switchboard_testkit::client::Answer;
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, RefusedPort, Transport};
use switchboard_tests::front::{Front, assert_fault, remote};
use switchboard_tests::waiting::until;

/// What a client says in `_meta` of how long it waits, in milliseconds.
const TIMEOUT_KEY: &str = "dev.switchboard/timeoutMs";

/// A backend `s` with these endpoints and settings.
async fn front(endpoints: Value, settings: Value) -> Front {
    let mut backend = settings;
    backend["endpoints"] = endpoints;
    let front = Front::of(json!({ "s": backend })).await;
    front.wait_until("s", true).await;
    front
}

async fn fakes(labels: &[&str]) -> Vec<FakeHttp> {
    let mut fakes = Vec::new();
    for label in labels {
        fakes.push(FakeHttp::start(Transport::Modern, label).await);
    }
    fakes
}

fn places(fakes: &[FakeHttp]) -> Value {
    fakes.iter().map(|fake| remote(fake.url())).collect()
}

/// How many tool calls a server got.
fn calls(fake: &FakeHttp) -> usize {
    fake.requests_of("tools/call").len()
}

fn server(answer: &Answer) -> &str {
    answer.result()["structuredContent"]["server"]["label"]
        .as_str()
        .unwrap_or_else(|| panic!("an answer of a server, not {}", answer.raw))
}

/// Waits until all of these have shown their lists.
async fn all_learned(fakes: &[FakeHttp]) {
    until("every endpoint was asked for its tools", async || {
        let all = fakes
            .iter()
            .all(|fake| !fake.requests_of("tools/list").is_empty());
        all.then_some(())
    })
    .await;
}

/// Calls until both of two servers have answered one: then both are well.
async fn both_answer(front: &Front, fakes: &[FakeHttp]) {
    until("both endpoints answer", async || {
        front.client.call("s__echo", json!({})).await;
        fakes.iter().all(|fake| calls(fake) > 0).then_some(())
    })
    .await;
    fakes.iter().for_each(FakeHttp::forget_requests);
}

#[tokio::test]
async fn calls_take_turns() {
    let fakes = fakes(&["a", "b"]).await;
    let front = front(places(&fakes), json!({ "balance": "round_robin" })).await;
    both_answer(&front, &fakes).await;
    for _ in 0..20 {
        front.client.call("s__echo", json!({})).await;
    }
    assert_eq!(fakes.iter().map(calls).collect::<Vec<_>>(), [10, 10]);
    front.gateway.stop().await;
}

#[tokio::test]
async fn weights_are_shares() {
    let fakes = fakes(&["a", "b"]).await;
    let mut endpoints = places(&fakes);
    endpoints[0]["weight"] = json!(3);
    let front = front(endpoints, json!({ "balance": "weighted" })).await;
    both_answer(&front, &fakes).await;
    for _ in 0..40 {
        front.client.call("s__echo", json!({})).await;
    }
    // The turns go on from where they were.
    let (a, b) = (calls(&fakes[0]), calls(&fakes[1]));
    assert!((29..=31).contains(&a) && a + b == 40, "{a} and {b}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_costs_no_call() {
    let fakes = fakes(&["a"]).await;
    let port = RefusedPort::take();
    let endpoints = json!([remote(port.url()), remote(fakes[0].url())]);
    let front = front(endpoints, json!({})).await;
    for _ in 0..20 {
        let answer = front.client.call("s__echo", json!({})).await;
        assert_eq!(server(&answer), "a");
    }
    assert_eq!(calls(&fakes[0]), 20);
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_unsafe_call_of_unknown_outcome_is_made_once() {
    let fakes = fakes(&["a", "b"]).await;
    let front = front(places(&fakes), json!({ "balance": "round_robin" })).await;
    both_answer(&front, &fakes).await;
    fakes[0].fail_calls(Fault::DropMidAnswer);
    let mut lost = 0;
    for _ in 0..4 {
        let answer = front.client.call("s__echo", json!({})).await;
        if answer.result()["isError"] == json!(true) {
            assert_fault(&answer, 502, "s");
            assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
            assert_eq!(answer.fault()["attempts"].as_array().map(Vec::len), Some(1));
            lost += 1;
        }
    }
    assert_eq!(lost, 2);
    assert_eq!(calls(&fakes[0]) + calls(&fakes[1]), 4);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_safe_call_that_one_endpoint_loses_is_made_at_another() {
    let fakes = fakes(&["a", "b"]).await;
    let settings = json!({ "balance": "round_robin", "safe_tools": ["ec*"] });
    let front = front(places(&fakes), settings).await;
    both_answer(&front, &fakes).await;
    for fault in [Fault::DropMidAnswer, Fault::Garbage, Fault::Status(500)] {
        fakes[0].fail_calls(fault);
        for _ in 0..2 {
            let answer = front.client.call("s__echo", json!({})).await;
            assert_eq!(server(&answer), "b", "{fault:?}");
        }
    }
    assert!(calls(&fakes[0]) > 0);
    let retries = front.metrics("switchboard_backend_retries_total").await;
    assert!(retries.values().sum::<f64>() >= 3.0, "{retries:?}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_says_too_many_is_passed_by() {
    let fakes = fakes(&["a", "b"]).await;
    let front = front(places(&fakes), json!({ "balance": "round_robin" })).await;
    both_answer(&front, &fakes).await;
    fakes[0].fail_calls(Fault::Status(429));
    for _ in 0..6 {
        let answer = front.client.call("s__echo", json!({})).await;
        assert_eq!(server(&answer), "b");
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_opens_says_so_and_closes_again() {
    let fakes = fakes(&["a", "other"]).await;
    let front = Front::of(json!({
        "s": {
            "url": fakes[0].url(),
            "breaker": { "consecutive_failures": 3, "open_for": "300ms" },
        },
        "other": remote(fakes[1].url()),
    }))
    .await;
    front.wait_until("s", true).await;
    front.wait_until("other", true).await;
    fakes[0].fail_calls(Fault::Status(500));
    for _ in 0..3 {
        let answer = front.client.call("s__echo", json!({})).await;
        assert_eq!(answer.fault()["reason"], "server_error", "{}", answer.raw);
    }
    let answer = front.client.call("s__echo", json!({})).await;
    assert_eq!(answer.fault()["reason"], "breaker_open", "{}", answer.raw);
    assert_eq!(answer.fault()["outcome"], "not_sent");
    assert!(
        answer.fault()["retryAfterMs"]
            .as_u64()
            .is_some_and(|ms| ms > 0)
    );
    assert_eq!(calls(&fakes[0]), 3);
    let missing = until("lists say so", async || front.missing().await.remove("s")).await;
    assert_eq!(missing["state"], "unavailable", "{missing}");
    assert_eq!(missing["stage"], "calling", "{missing}");
    front.works("other").await;

    fakes[0].behave(Behaviour::default());
    until("the breaker lets a call in, and closes", async || {
        let answer = front.client.call("s__echo", json!({})).await;
        (answer.result()["isError"] != json!(true)).then_some(())
    })
    .await;
    front.wait_until("s", true).await;
    let turns = front
        .metrics("switchboard_backend_breaker_turns_total")
        .await;
    let of = |to: &str| {
        turns[&format!("switchboard_backend_breaker_turns_total{{backend=\"s\",to=\"{to}\"}}")]
    };
    assert!(of("open") >= 1.0 && of("closed") >= 1.0, "{turns:?}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_fault_of_the_server_opens_no_breaker() {
    let fakes = fakes(&["a"]).await;
    let settings =
        json!({ "breaker": { "consecutive_failures": 2 }, "retry": { "max_attempts": 1 } });
    let front = front(places(&fakes), settings).await;
    for status in [400, 404, 422, 429] {
        fakes[0].fail_calls(Fault::Status(status));
        for _ in 0..3 {
            let answer = front.client.call("s__echo", json!({})).await;
            assert_ne!(answer.fault()["reason"], "breaker_open", "{status}");
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_backend_that_fails_wholly_is_not_buried_under_retries() {
    let fakes = fakes(&["a"]).await;
    let settings = json!({
        "safe_tools": ["*"],
        "breaker": { "consecutive_failures": 100_000, "min_calls": 100_000 },
        "retry": { "max_attempts": 5, "base": "1ms", "cap": "1ms", "budget_floor": 0 },
    });
    let front = front(places(&fakes), settings).await;
    fakes[0].fail_calls(Fault::Status(500));
    for _ in 0..200 {
        front.client.call("s__echo", json!({})).await;
    }
    let seen = calls(&fakes[0]);
    assert!((200..=240).contains(&seen), "{seen} attempts at 200 calls");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_a_hint() {
    let fakes = fakes(&["a"]).await;
    let settings = json!({
        "bulkhead": { "max_concurrent": 2, "max_queue": 1, "queue_timeout": "30s" },
    });
    let front = front(places(&fakes), settings).await;
    let hang = || front.client.call("s__hang", json!({}));
    let client = &front.client;
    let refused = async {
        until("two calls are in the backend", async || {
            (fakes[0].in_flight() >= 2).then_some(())
        })
        .await;
        // One waits for its turn, the other finds no place to wait.
        let (one, other) = (
            client.call("s__echo", json!({})),
            client.call("s__echo", json!({})),
        );
        tokio::select! {
            answer = one => answer,
            answer = other => answer,
        }
    };
    let answer = tokio::select! {
        _ = hang() => panic!("it never answers"),
        _ = hang() => panic!("it never answers"),
        answer = refused => answer,
    };
    assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
    assert!(
        answer.fault()["retryAfterMs"]
            .as_u64()
            .is_some_and(|ms| ms >= 1000)
    );
    until("there is room again", async || {
        let answer = front.client.call("s__echo", json!({})).await;
        (answer.result()["isError"] != json!(true)).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn where_no_endpoint_is_well_all_are_asked() {
    let fakes = fakes(&["a", "b"]).await;
    let settings = json!({
        "balance": "round_robin",
        "health": { "interval": "100ms", "timeout": "1s", "failures": 1 },
    });
    let front = front(places(&fakes), settings).await;
    both_answer(&front, &fakes).await;
    for fake in &fakes {
        fake.behave(Behaviour {
            fault: Some(Fault::Status(500)),
            fault_everywhere: true,
            ..Behaviour::default()
        });
    }
    until("the checks notice", async || {
        front.missing().await.contains_key("s").then_some(())
    })
    .await;
    fakes.iter().for_each(FakeHttp::forget_requests);
    let answer = front.client.call("s__echo", json!({})).await;
    assert_eq!(answer.fault()["reason"], "server_error", "{}", answer.raw);
    assert_eq!(calls(&fakes[0]) + calls(&fakes[1]), 1, "one was asked");
    front.gateway.stop().await;
}

#[tokio::test]
async fn health_checks_take_an_endpoint_out_and_put_it_back() {
    let fakes = fakes(&["a", "b"]).await;
    let settings = json!({
        "balance": "round_robin",
        "health": { "interval": "50ms", "timeout": "1s", "failures": 2, "slow_start": "0s" },
    });
    let front = front(places(&fakes), settings).await;
    both_answer(&front, &fakes).await;
    fakes[0].behave(Behaviour {
        fault: Some(Fault::Status(500)),
        fault_everywhere: true,
        ..Behaviour::default()
    });
    let degraded = "switchboard_backend_state{backend=\"s\",state=\"degraded\"}";
    until("the checks notice", async || {
        let states = front.metrics("switchboard_backend_state").await;
        (states[degraded] == 1.0).then_some(())
    })
    .await;
    until("no call goes there any more", async || {
        fakes[0].forget_requests();
        for _ in 0..10 {
            front.client.call("s__echo", json!({})).await;
        }
        (calls(&fakes[0]) == 0).then_some(())
    })
    .await;
    assert!(front.missing().await.is_empty(), "nothing is missing");
    fakes[0].behave(Behaviour::default());
    until("calls go there again", async || {
        front.client.call("s__echo", json!({})).await;
        (calls(&fakes[0]) > 0).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_shortest_of_all_times_holds() {
    let fakes = fakes(&["a"]).await;
    let settings = json!({ "timeout": "30s", "tool_timeouts": { "ha*": "200ms" } });
    let front = front(places(&fakes), settings).await;
    let answer = front.client.call("s__hang", json!({})).await;
    assert_fault(&answer, 504, "s");

    let hurried = |tool: &str, ms: Value| {
        let mut message = switchboard_testkit::client::call(tool, &json!({ "ms": 60_000 }));
        message["params"]["_meta"][TIMEOUT_KEY] = ms;
        message
    };
    let answer = front.client.ask(&hurried("s__delay", json!(150))).await;
    assert_fault(&answer, 504, "s");
    let answer = front.client.ask(&hurried("s__delay", json!("soon"))).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    until("both servers' calls were cancelled once", async || {
        (fakes[0].cancelled() == 2).then_some(())
    })
    .await;
    assert_eq!(calls(&fakes[0]), 2);
    // The key is the gateway's own.
    let sent = String::from_utf8_lossy(&fakes[0].requests_of("tools/call")[1].body).into_owned();
    assert!(!sent.contains("dev.switchboard"), "{sent}");
    front.gateway.stop().await;
}

/// A call of `delay` that its client gives this many milliseconds.
fn hurried(ms: u64) -> Value {
    let mut message = switchboard_testkit::client::call("s__delay", &json!({ "ms": 60_000 }));
    message["params"]["_meta"][TIMEOUT_KEY] = json!(ms);
    message
}

#[tokio::test]
async fn a_client_in_a_hurry_opens_no_breaker_and_ends_no_probe() {
    let fakes = fakes(&["a"]).await;
    let settings = json!({ "breaker": { "consecutive_failures": 3, "open_for": "300ms" } });
    let front = front(places(&fakes), settings).await;
    for _ in 0..10 {
        let answer = front.client.ask(&hurried(1)).await;
        assert_fault(&answer, 504, "s");
    }
    front.works("s").await;

    fakes[0].fail_calls(Fault::Status(500));
    for _ in 0..3 {
        front.client.call("s__echo", json!({})).await;
    }
    fakes[0].behave(Behaviour::default());
    until("a hurried call becomes the probe", async || {
        let answer = front.client.ask(&hurried(5)).await;
        (answer.fault()["reason"] == "timeout").then_some(())
    })
    .await;
    // It neither opened the breaker anew nor closed it, and is in nobody's way.
    front.works("s").await;
    let turns = front
        .metrics("switchboard_backend_breaker_turns_total")
        .await;
    let opened: f64 = turns
        .iter()
        .filter(|(labels, _)| labels.contains("open"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(opened, 1.0, "{turns:?}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn progress_does_not_extend_the_time_of_a_call() {
    let fakes = fakes(&["a"]).await;
    let settings = json!({ "timeout": "600ms" });
    let front = front(places(&fakes), settings).await;
    let arguments = json!({ "n": 1_000, "ms": 50, "name": "me" });
    let mut message = switchboard_testkit::client::call("s__report", &arguments);
    message["params"]["_meta"]["progressToken"] = json!("t");
    let answer = front.client.ask(&message).await;
    assert_fault(&answer, 504, "s");
    let heard = answer.notifications.len();
    assert!(heard > 2, "{heard} notifications came before the end");
    front.gateway.stop().await;
}

#[tokio::test]
async fn heads_and_streams_that_do_not_come_are_given_up() {
    let fakes = fakes(&["a", "b"]).await;
    let front = Front::of(json!({
        "head": { "url": fakes[0].url(), "first_byte_timeout": "200ms" },
        "idle": { "url": fakes[1].url(), "stream_idle_timeout": "200ms" },
    }))
    .await;
    front.wait_until("head", true).await;
    front.wait_until("idle", true).await;
    let answer = front.client.call("head__hang", json!({})).await;
    assert_fault(&answer, 504, "head");
    assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
    fakes[1].behave(Behaviour {
        form: switchboard_testkit::fake_http::Form::EventStream,
        ..Behaviour::default()
    });
    let answer = front.client.call("idle__hang", json!({})).await;
    assert_fault(&answer, 504, "idle");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_canary_gets_the_calls_of_those_it_names() {
    const DIGEST_OF_ALICE: &str =
        "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90";
    let fakes = fakes(&["stable", "canary"]).await;
    let mut endpoints = places(&fakes);
    endpoints[1]["weight"] = json!(0);
    endpoints[1]["canary"] =
        json!({ "principals": ["key:alice"], "headers": { "x-canary": "yes" } });
    let front = Front::start(json!({
        "auth": { "api_keys": [
            { "name": "alice", "key_sha256": DIGEST_OF_ALICE },
            { "name": "bob", "key_sha256": "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9" },
        ] },
        "backends": { "s": { "endpoints": endpoints } },
    }))
    .await;
    all_learned(&fakes).await;
    let (alice, bob) = (front.client.with_key("alice"), front.client.with_key("bob"));
    until("the canary is well", async || {
        let answer = alice.call("s__echo", json!({})).await;
        (answer.result()["structuredContent"]["server"]["label"] == "canary").then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(server(&alice.call("s__echo", json!({})).await), "canary");
        assert_eq!(server(&bob.call("s__echo", json!({})).await), "stable");
        let message = switchboard_testkit::client::call("s__echo", &json!({}));
        let draft = bob.draft(&message).with_header("x-canary", "yes");
        assert_eq!(server(&bob.send(draft).await.finish().await), "canary");
    }
    let sent = fakes[1].requests_of("tools/call");
    assert!(
        sent.iter()
            .all(|request| !request.headers.contains_key("x-canary"))
    );
    front.gateway.stop().await;
}
