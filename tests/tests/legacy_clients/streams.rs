//! Streams that break off, and calls that are taken back.

use super::*;

/// A call of `slow` with progress, that takes so long.
fn slow(client: &LegacyClient, ms: u64, steps: u64) -> Value {
    client.message(
        "tools/call",
        json!({
            "name": "srv__slow",
            "arguments": { "ms": ms, "steps": steps },
            "_meta": { "progressToken": 7 },
        }),
    )
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_broke_off() {
    let scene = Scene::with(json!({ "legacy": { "resume_grace": "1s" } })).await;
    let client = scene.client("2025-11-25").await;
    let message = slow(&client, 1_000, 4);
    let mut exchange = client.start(&message).await;
    let first = exchange.next_event().await.expect("a priming event");
    assert_eq!(first.data, "");
    let second = exchange.next_event().await.expect("progress");
    let last = second.id.expect("an id");
    assert!(
        second.data.contains("notifications/progress"),
        "{}",
        second.data
    );
    let again: Value = serde_json::from_str(&second.data).expect("JSON");
    drop(exchange);

    let exchange = client.get(Some(&last)).await;
    assert_eq!(exchange.status, 200);
    let answer = client.follow(exchange, &message["id"]).await;
    assert!(answer.result()["content"].is_array(), "{answer:?}");
    let progress = |notification: &Value| notification["method"] == "notifications/progress";
    let rest = answer.notifications.iter().filter(|n| progress(n)).count();
    assert!(rest >= 2, "nothing is lost: {answer:?}");
    assert!(
        answer.notifications.iter().all(|n| *n != again),
        "nothing comes twice: {answer:?}"
    );
    // It was read to its end, so it is kept no longer than it might be missed.
    until("the stream is gone", async || {
        (client.get(Some(&last)).await.status == 400).then_some(())
    })
    .await;
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn the_answer_waits_for_a_client_that_comes_back() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let message = slow(&client, 400, 2);
    let mut exchange = client.start(&message).await;
    let first = exchange.next_event().await.expect("an event");
    drop(exchange);
    until("the call has ended", async || {
        (scene.server.counts().in_flight == 0).then_some(())
    })
    .await;
    for _ in 0..2 {
        // The first reader breaks off as well.
        let mut exchange = client.get(first.id.as_deref()).await;
        assert_eq!(exchange.status, 200);
        exchange.next_event().await.expect("an event");
    }
    let exchange = client.get(first.id.as_deref()).await;
    let answer = client.follow(exchange, &message["id"]).await;
    assert!(answer.result()["content"].is_array(), "{answer:?}");
    assert_eq!(scene.server.counts().cancelled, 0);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_nobody_comes_back_for_is_cancelled() {
    let scene = Scene::with(json!({ "legacy": { "resume_grace": "1s" } })).await;
    let client = scene.client("2025-11-25").await;
    let mut exchange = client.start(&slow(&client, 60_000, 600)).await;
    let first = exchange.next_event().await.expect("an event");
    drop(exchange);
    let again = client.get(first.id.as_deref()).await;
    assert_eq!(again.status, 200);
    assert_eq!(scene.server.counts().cancelled, 0, "it was resumed");
    drop(again);
    until("it is cancelled", async || {
        (scene.server.counts().cancelled == 1).then_some(())
    })
    .await;
    assert_eq!(client.get(first.id.as_deref()).await.status, 400);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_is_cancelled_by_its_client_and_by_the_end_of_its_session() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let bystander = scene.client("2025-11-25").await;
    let message = slow(&client, 60_000, 600);
    let mut exchange = client.start(&message).await;
    exchange.next_event().await.expect("an event");
    let cancel = Some(json!({ "requestId": message["id"], "reason": "enough" }));
    // The same id in another session is another call.
    bystander
        .notify("notifications/cancelled", cancel.clone())
        .await;
    assert!(exchange.next_event().await.is_some());
    assert_eq!(scene.server.counts().cancelled, 0);
    assert_eq!(client.notify("notifications/cancelled", cancel).await, 202);
    let answer = client.follow(exchange, &message["id"]).await;
    assert!(answer.response.is_null(), "{answer:?}");
    until("it is cancelled", async || {
        (scene.server.counts().cancelled == 1).then_some(())
    })
    .await;

    let mut exchange = client.start(&slow(&client, 60_000, 600)).await;
    exchange.next_event().await.expect("an event");
    assert_eq!(client.delete().await, 204);
    while exchange.next_event().await.is_some() {}
    until("that too", async || {
        (scene.server.counts().cancelled == 2).then_some(())
    })
    .await;
    scene.works().await;
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn event_ids_of_others_resume_nothing() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let other = scene.client("2025-11-25").await;
    let mut exchange = client.start(&slow(&client, 2_000, 8)).await;
    let first = exchange.next_event().await.expect("an event");
    let id = first.id.expect("an id");
    assert_eq!(other.get(Some(&id)).await.status, 400);
    for wrong in ["", "0", "999-0", "1-999", "-1-0", "1-1-1", "a-b", "0x1-0"] {
        let refused = client.get(Some(wrong)).await;
        assert_eq!(refused.status, 400, "{wrong}");
    }
    while exchange.next_event().await.is_some() {}
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn one_id_names_one_request_at_a_time() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let message = slow(&client, 60_000, 600);
    let mut exchange = client.start(&message).await;
    exchange.next_event().await.expect("an event");
    let again = client.start(&message).await;
    assert_eq!(again.status, 400);
    assert_eq!(client.delete().await, 204);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn nothing_is_left_of_clients_that_vanish() {
    let section = json!({ "legacy": { "resume_grace": "1s", "session_idle_timeout": "1s" } });
    let scene = Scene::with(section).await;
    scene.works().await;
    let mut before = scene.front.census().await;
    for round in 0..3 {
        let mut open = Vec::new();
        for at in 0..20 {
            let client = scene.client("2025-11-25").await;
            let mut exchange = client.start(&slow(&client, 60_000, 600)).await;
            exchange.next_event().await.expect("an event");
            let news = client.get(None).await;
            if at % 2 == round % 2 {
                assert_eq!(client.delete().await, 204);
            }
            open.push((client, exchange, news));
        }
        drop(open);
    }
    until("all calls are cancelled", async || {
        (scene.server.counts().in_flight == 0).then_some(())
    })
    .await;
    until("all sessions have ended", async || {
        let sessions = scene.front.metrics("switchboard_legacy").await;
        sessions.values().all(|count| *count == 0.0).then_some(())
    })
    .await;
    // Connections to the server that wait to be used again.
    before.tasks += 64;
    before.files += 64;
    scene.front.wait_until_within(&before).await;
    scene.works().await;
    scene.front.gateway.stop().await;
}
