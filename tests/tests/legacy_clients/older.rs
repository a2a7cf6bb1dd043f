//! What only the older revisions have: batches, and HTTP+SSE.

use super::*;

#[tokio::test]
async fn a_batch_is_answered_with_an_array_or_a_stream() {
    let scene = Scene::new().await;
    let client = scene.client("2025-03-26").await;
    let plain = vec![
        client.message("ping", json!({})),
        client.call_message("srv__echo", json!({ "n": 1 })),
        json!({ "jsonrpc": "2.0", "method": "notifications/unknown" }),
        client.message("tools/unknown", json!({})),
    ];
    let ids: Vec<Value> = [0, 1, 3].map(|at: usize| plain[at]["id"].clone()).into();
    let (status, mut answers) = client.batch(plain).await;
    assert_eq!(status, 200);
    answers.sort_by_key(|answer| answer["id"].as_u64());
    let answered: Vec<Value> = answers.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(answered, ids);
    assert_eq!(answers[2]["error"]["code"], -32601);

    let mut progress = client.call_message("srv__test_tool_with_progress", json!({}));
    progress["params"]["_meta"] = json!({ "progressToken": "p" });
    let (status, messages) = client
        .batch(vec![progress, client.message("ping", json!({}))])
        .await;
    assert_eq!(status, 200);
    let answers = messages
        .iter()
        .filter(|message| message.get("result").is_some());
    assert_eq!(answers.count(), 2, "{messages:?}");
    assert_eq!(messages.len(), 5, "{messages:?}");

    let notifications = vec![json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })];
    assert_eq!(
        client.batch(notifications).await,
        (202.try_into().expect("a status"), vec![])
    );
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn calls_of_a_batch_ask_and_a_batch_answers_them() {
    let scene = Scene::new().await;
    let client = scene.client("2025-03-26").await;
    let calls = [
        client.call_message("srv__test_input_required_result_sampling", json!({})),
        client.call_message("srv__test_input_required_result_list_roots", json!({})),
    ];
    let mut exchange = client.send(client.draft(&json!(calls))).await;
    let mut next = async || exchange.next().await.expect("a message");
    let questions = [next().await, next().await];
    let answers: Vec<Value> = questions
        .iter()
        .map(|question| {
            let result = switchboard_testkit::client::accept(question);
            json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
        })
        .collect();
    assert_eq!(client.post(&json!(answers)).await, 202);
    let mut answered = [next().await, next().await];
    answered.sort_by_key(|answer| answer["id"].as_u64());
    for (call, answer) in calls.iter().zip(&answered) {
        assert_eq!(call["id"], answer["id"]);
        assert!(answer["result"]["content"].is_array(), "{answer}");
    }
    assert!(exchange.next().await.is_none(), "all was answered");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_whole() {
    let scene = Scene::new().await;
    let client = scene.client("2025-03-26").await;
    let ping = client.message("ping", json!({}));
    let initialize = client.message("initialize", json!({ "protocolVersion": "2025-03-26" }));
    let wrong = [
        vec![],
        vec![ping.clone(), json!(1)],
        vec![ping.clone(), json!([])],
        vec![initialize, ping.clone()],
        vec![ping.clone(); 101],
    ];
    for batch in wrong {
        let count = batch.len();
        let (status, answers) = client.batch(batch).await;
        assert_eq!(status, 400, "{count}");
        assert!(answers[0]["error"]["message"].is_string(), "{answers:?}");
    }
    for version in ["2025-11-25", "2025-06-18", "2024-11-05"] {
        let client = scene.client(version).await;
        let (status, _) = client.batch(vec![ping.clone()]).await;
        assert_eq!(status, 400, "{version}");
    }
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn http_sse_serves_the_oldest_clients() {
    let scene = Scene::new().await;
    for version in ["2024-11-05", "2025-06-18"] {
        let setup = Setup {
            wire: Wire::Sse,
            ..setup(version)
        };
        let client = LegacyClient::connect(&scene.beside("/sse"), setup).await;
        let list = client.request("tools/list", json!({})).await;
        assert!(list.result()["tools"].is_array(), "{list:?}");
        let mut call = client.call_message("srv__test_tool_with_progress", json!({}));
        call["params"]["_meta"] = json!({ "progressToken": "p" });
        let answer = client.ask(&call).await;
        assert_eq!(answer.status, 202);
        assert!(answer.result()["content"].is_array(), "{answer:?}");
        let progress = client.heard();
        let progress = progress
            .iter()
            .filter(|heard| heard["params"]["progressToken"] == "p");
        assert_eq!(progress.count(), 3);
        let again = client
            .request("initialize", json!({ "protocolVersion": version }))
            .await;
        assert_eq!(again.error_code(), Some(-32600), "{again:?}");
    }
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_session_of_http_sse_is_as_long_as_its_stream() {
    let scene = Scene::new().await;
    let http = Client::new(&scene.beside("/sse"));
    let mut draft = http
        .draft(&Value::Null)
        .with_header("accept", "text/event-stream")
        .with_body("");
    draft.verb = http::Method::GET;
    let mut stream = http.send(draft).await;
    assert_eq!(stream.status, 200);
    let endpoint = stream.next_event().await.expect("the endpoint");
    assert_eq!(endpoint.name.as_deref(), Some("endpoint"));
    assert!(
        endpoint.data.starts_with("/messages?sessionId="),
        "{}",
        endpoint.data
    );
    let post = Client::new(&scene.beside(&endpoint.data));
    let ping = json!({ "jsonrpc": "2.0", "id": "p", "method": "ping" });
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    for message in [&ping, &call] {
        assert_eq!(post.send(post.draft(message)).await.status, 202);
    }
    let pong: Value =
        serde_json::from_str(&stream.next_event().await.expect("an answer").data).expect("JSON");
    assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": "p", "result": {} }));
    let early: Value =
        serde_json::from_str(&stream.next_event().await.expect("an answer").data).expect("JSON");
    assert_eq!(early["error"]["code"], -32600, "not initialized: {early}");

    // It is no session of streamable HTTP.
    let id = endpoint.data.rsplit_once('=').expect("an id").1;
    let wrong = scene
        .front
        .client
        .draft(&ping)
        .with_header("mcp-session-id", id);
    assert_eq!(scene.front.client.send(wrong).await.status, 404);
    for path in ["/messages", "/messages?sessionId=", "/messages?sessionId=x"] {
        let other = Client::new(&scene.beside(path));
        assert_eq!(other.send(other.draft(&ping)).await.status, 404, "{path}");
    }
    let initialize = json!({
        "jsonrpc": "2.0", "id": 3, "method": "initialize",
        "params": { "protocolVersion": "2024-11-05", "capabilities": {} },
    });
    let slow = json!({
        "jsonrpc": "2.0", "id": 4, "method": "tools/call",
        "params": { "name": "srv__slow", "arguments": { "ms": 60_000, "steps": 600 } },
    });
    for message in [&initialize, &slow] {
        assert_eq!(post.send(post.draft(message)).await.status, 202);
    }
    until("the call has begun", async || {
        (scene.server.counts().in_flight == 1).then_some(())
    })
    .await;
    drop(stream);
    until("the call is cancelled", async || {
        (scene.server.counts().cancelled == 1).then_some(())
    })
    .await;
    until("the session has ended", async || {
        (post.send(post.draft(&ping)).await.status == 404).then_some(())
    })
    .await;
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn http_sse_can_be_switched_off_and_is_guarded() {
    let scene = Scene::with(json!({ "legacy": { "http_sse": false } })).await;
    for path in ["/sse", "/messages"] {
        let client = Client::new(&scene.beside(path));
        for verb in [http::Method::GET, http::Method::POST] {
            let mut draft = client.draft(&Value::Null);
            draft.verb = verb;
            assert_eq!(client.send(draft).await.status, 404, "{path}");
        }
    }
    scene.front.gateway.stop().await;

    let scene = Scene::new().await;
    let client = Client::new(&scene.beside("/sse"));
    let mut draft = client.draft(&Value::Null).with_body("");
    draft.verb = http::Method::GET;
    let foreign = draft.clone().with_header("origin", "https://evil.example");
    assert_eq!(client.send(foreign).await.status, 403);
    let foreign = draft.with_header("host", "evil.example");
    assert_eq!(client.send(foreign).await.status, 403);
    assert_eq!(client.send(client.draft(&Value::Null)).await.status, 405);
    scene.front.gateway.stop().await;
}
