//! What a client hears outside of its calls, and the levels of logs within them.

use super::*;

const WATCHED: &str = "test://watched-resource";

/// Waits until the client has heard a notification that fits.
async fn heard(client: &LegacyClient, what: &str, fits: impl Fn(&Value) -> bool) {
    until(what, async || {
        client.heard().iter().any(&fits).then_some(())
    })
    .await;
}

fn is_update(notification: &Value) -> bool {
    notification["method"] == "notifications/resources/updated"
        && notification["params"]["uri"] == WATCHED
}

async fn touch(scene: &Scene) {
    let arguments = json!({ "uri": WATCHED });
    let answer = scene
        .front
        .client
        .call("srv__touch_resource", arguments)
        .await;
    assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
}

#[tokio::test]
async fn changed_lists_and_resources_are_told_to_who_asked() {
    let scene = Scene::new().await;
    let subscribed = scene.client("2025-11-25").await;
    let other = scene.client("2025-06-18").await;
    let oldest = Setup {
        wire: Wire::Sse,
        ..setup("2024-11-05")
    };
    let oldest = LegacyClient::connect(&scene.beside("/sse"), oldest).await;
    subscribed.listen().await;
    other.listen().await;
    for client in [&subscribed, &oldest] {
        let answer = client
            .request("resources/subscribe", json!({ "uri": WATCHED }))
            .await;
        assert_eq!(answer.result(), &json!({}), "{answer:?}");
    }
    touch(&scene).await;
    heard(&subscribed, "the update", is_update).await;
    heard(&oldest, "the update", is_update).await;

    scene
        .front
        .client
        .call("srv__add_tool", json!({ "name": "fresh" }))
        .await;
    for client in [&subscribed, &other, &oldest] {
        heard(client, "the change", |heard| {
            heard["method"] == "notifications/tools/list_changed"
        })
        .await;
        let list = client.request("tools/list", json!({})).await;
        let tools = list.result()["tools"].as_array().expect("tools");
        assert!(tools.iter().any(|tool| tool["name"] == "srv__fresh"));
    }
    assert!(!other.heard().iter().any(is_update), "it did not subscribe");

    for client in [&subscribed, &oldest] {
        let answer = client
            .request("resources/unsubscribe", json!({ "uri": WATCHED }))
            .await;
        assert_eq!(answer.result(), &json!({}));
    }
    let before = subscribed.heard().len();
    touch(&scene).await;
    scene
        .front
        .client
        .call("srv__add_tool", json!({ "name": "fresher" }))
        .await;
    until("the next news", async || {
        (subscribed.heard().len() > before).then_some(())
    })
    .await;
    assert!(!subscribed.heard()[before..].iter().any(is_update));
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn news_wait_for_the_stream_and_a_new_stream_takes_over() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let answer = client
        .request("resources/subscribe", json!({ "uri": WATCHED }))
        .await;
    assert_eq!(answer.result(), &json!({}));
    touch(&scene).await;
    let mut first = client.get(None).await;
    let prime = first.next_event().await.expect("a priming event");
    let update = first.next_event().await.expect("the update");
    assert!(update.data.contains(WATCHED), "{}", update.data);

    let mut second = client.get(None).await;
    second.next_event().await.expect("a priming event");
    assert!(first.next_event().await.is_none(), "the first one ends");
    touch(&scene).await;
    let again = second.next_event().await.expect("the update");
    assert!(again.data.contains(WATCHED));
    drop(second);
    // All of it once more, for a client that lost it.
    let mut third = client.get(prime.id.as_deref()).await;
    let replayed = third.next_event().await.expect("the update");
    assert_eq!((replayed.id, replayed.data), (update.id, update.data));
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn logs_come_at_the_level_of_the_session() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let count = async |client: &LegacyClient| {
        let answer = client.call("srv__test_tool_with_logging", json!({})).await;
        let is_log = |n: &&Value| n["method"] == "notifications/message";
        answer.notifications.iter().filter(is_log).count()
    };
    assert_eq!(count(&client).await, 3, "info by default");
    let answer = client
        .request("logging/setLevel", json!({ "level": "emergency" }))
        .await;
    assert_eq!(answer.result(), &json!({}));
    assert_eq!(count(&client).await, 0);
    let other = scene.client("2025-11-25").await;
    assert_eq!(count(&other).await, 3, "the level is its session's");
    for level in [json!("loud"), json!(1), Value::Null] {
        let answer = client
            .request("logging/setLevel", json!({ "level": level }))
            .await;
        assert_eq!(answer.error_code(), Some(-32602), "{answer:?}");
    }
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_are_checked_and_bounded() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let long = format!("test://{}", "x".repeat(5_000));
    for uri in [json!(null), json!(7), json!(long)] {
        let answer = client
            .request("resources/subscribe", json!({ "uri": uri }))
            .await;
        assert_eq!(answer.error_code(), Some(-32602), "{answer:?}");
    }
    let unknown = client
        .request("resources/unsubscribe", json!({ "uri": "a:b" }))
        .await;
    assert_eq!(unknown.result(), &json!({}));
    for n in 0..256 {
        let uri = format!("none:{n}");
        let answer = client
            .request("resources/subscribe", json!({ "uri": uri }))
            .await;
        assert_eq!(answer.result(), &json!({}), "{n}: {answer:?}");
    }
    let answer = client
        .request("resources/subscribe", json!({ "uri": "none:more" }))
        .await;
    assert_eq!(answer.error_code(), Some(-32602), "{answer:?}");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_gateway_does() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let oldest = Setup {
        wire: Wire::Sse,
        ..setup("2024-11-05")
    };
    let _oldest = LegacyClient::connect(&scene.beside("/sse"), oldest).await;
    let mut stream = client.get(None).await;
    stream.next_event().await.expect("a priming event");
    let began = std::time::Instant::now();
    scene.front.gateway.stop().await;
    assert!(began.elapsed().as_secs() < 15, "nothing holds it up");
    assert!(stream.next_event().await.is_none());
}
