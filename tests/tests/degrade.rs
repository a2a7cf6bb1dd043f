//! What becomes of the lists while a server is away, and when servers start that depend on others.

use serde_json::{Value, json};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Transport};
use switchboard_tests::front::{Front, assert_fault, remote};
use switchboard_tests::waiting::until;

/// Answers nothing well any more, health checks and lists included.
fn away() -> Behaviour {
    Behaviour {
        fault: Some(Fault::Status(503)),
        fault_everywhere: true,
        ..Behaviour::default()
    }
}

async fn fake() -> FakeHttp {
    FakeHttp::start(Transport::Modern, "near").await
}

/// A gateway that asks `near` often whether it is well.
async fn front(near: &FakeHttp, settings: Value) -> Front {
    let mut backend = remote(near.url());
    backend["health"] = json!({ "interval": "50ms", "failures": 1 });
    for (key, value) in settings.as_object().into_iter().flatten() {
        backend[key] = value.clone();
    }
    let front = Front::of(json!({ "near": backend })).await;
    front.gateway.wait_for_backends().await;
    front
}

async fn tools(front: &Front) -> Vec<Value> {
    let answer = front.client.request("tools/list", json!({})).await;
    let tools = answer.result()["tools"].as_array().cloned();
    tools.unwrap_or_default()
}

#[tokio::test]
async fn a_hidden_server_leaves_the_lists_and_calls_to_it_fail_as_unavailable() {
    let near = fake().await;
    let settings = json!({
        "on_unavailable": "hide",
        "hide_after": "100ms",
        "show_after": "100ms",
    });
    let front = front(&near, settings).await;
    let before = tools(&front).await;
    assert!(!before.is_empty());

    near.behave(away());
    until("it is hidden", async || {
        tools(&front).await.is_empty().then_some(())
    })
    .await;
    assert_eq!(front.missing().await["near"]["state"], "unavailable");
    let answer = front.client.call("near__echo", json!({})).await;
    assert_fault(&answer, 503, "near");

    near.behave(Behaviour::default());
    until("it is shown", async || {
        (tools(&front).await == before).then_some(())
    })
    .await;
    front.works("near").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_and_goes_changes_no_list() {
    let near = fake().await;
    let front = front(
        &near,
        json!({ "on_unavailable": "hide", "hide_after": "1h" }),
    )
    .await;
    let before = tools(&front).await;
    let mut listener = front
        .client
        .listen(json!({ "toolsListChanged": true }))
        .await;
    for _ in 0..5 {
        near.behave(away());
        front.wait_until("near", false).await;
        assert_eq!(tools(&front).await, before);
        near.behave(Behaviour::default());
        front.wait_until("near", true).await;
        assert_eq!(tools(&front).await, before);
    }
    // The stream ends with the gateway: all that it had to say has been said then.
    let stopped = tokio::spawn(front.gateway.stop());
    while let Some(message) = listener.next().await {
        assert_ne!(
            message["method"], "notifications/tools/list_changed",
            "{message}"
        );
    }
    stopped.await.expect("the gateway ends");
}

#[tokio::test]
async fn lists_that_cannot_be_read_again_are_shown_for_their_time_alone() {
    let near = fake().await;
    let front = front(&near, json!({ "stale_if_error": "100ms" })).await;
    assert!(!tools(&front).await.is_empty());
    near.behave(away());
    until("they are gone", async || {
        tools(&front).await.is_empty().then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_is_started_when_what_it_depends_on_is_ready() {
    let (first, second) = (fake().await, fake().await);
    first.behave(away());
    let mut dependent = remote(second.url());
    dependent["depends_on"] = json!(["first"]);
    let front = Front::of(json!({ "first": remote(first.url()), "second": dependent })).await;
    let waiting = until("the first is away", async || {
        let missing = front.missing().await;
        (missing.get("first")?["state"] == "unavailable").then_some(())?;
        missing.get("second").cloned()
    })
    .await;
    assert_eq!(waiting["state"], "starting", "{waiting}");
    assert_eq!(waiting["reason"], "it waits for \"first\"");
    // Started together, it would have been asked as the first was.
    assert!(second.requests().is_empty());

    first.behave(Behaviour::default());
    front.gateway.wait_for_backends().await;
    front.works("second").await;

    first.behave(away());
    front.works("second").await;
    front.gateway.stop().await;
}
