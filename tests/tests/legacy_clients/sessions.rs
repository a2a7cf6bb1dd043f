//! Session ids, and what is refused.

use super::*;
use switchboard_tests::keys::entry_of;

use switchboard_testkit::fake_http::{FakeHttp, Transport};

/// What a client says in `_meta` of how long it waits, in milliseconds.
const TIMEOUT_KEY: &str = "dev.switchboard/timeoutMs";

/// Both of these are callers.
const KEYS: [(&str, &str); 2] = [
    ("ada", "key-of-ada-0123456789abcdef"),
    ("eve", "key-of-eve-0123456789abcdef"),
];

async fn status(client: &LegacyClient) -> u16 {
    client.request("ping", json!({})).await.status.as_u16()
}

#[tokio::test]
async fn what_is_no_session_of_the_caller_is_not_found() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let id = client.session().expect("a session");
    assert_eq!(status(&client).await, 200);
    let mut forged = id.clone();
    let middle = forged.len() / 2;
    let other = if &forged[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    forged.replace_range(middle..=middle, other);
    for wrong in [&forged, &id[1..], "0", "..%2f", &"A".repeat(10_000)] {
        client.set_session(Some(wrong.to_owned()));
        assert_eq!(status(&client).await, 404, "{wrong}");
        assert_eq!(client.get(None).await.status, 404);
        assert_eq!(client.delete().await, 404);
        let notified = client.notify("notifications/initialized", None).await;
        assert_eq!(notified, 404);
    }
    client.set_session(None);
    let answer = client.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.error_code(), Some(-32600), "{answer:?}");
    assert_eq!(client.get(None).await.status, 400);

    client.set_session(Some(id));
    assert_eq!(status(&client).await, 200, "it was none of its doing");
    assert_eq!(client.delete().await, 204);
    assert_eq!(status(&client).await, 404);
    assert_eq!(client.delete().await, 404);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_of_any_version_may_shorten_the_time_of_a_call() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let front = Front::of(json!({ "s": remote(fake.url()) })).await;
    front.wait_until("s", true).await;
    for version in LEGACY {
        let client = LegacyClient::connect(front.gateway.url(), setup(version)).await;
        let mut message = client.call_message("s__hang", json!({}));
        message["params"]["_meta"] = json!({ TIMEOUT_KEY: 100 });
        let answer = client.ask(&message).await;
        let text = answer.result().to_string();
        assert!(text.contains("did not answer within"), "{version}: {text}");
        message["params"]["_meta"] = json!({ TIMEOUT_KEY: "soon" });
        assert_eq!(client.ask(&message).await.error_code(), Some(-32602));
    }
    let sent = String::from_utf8_lossy(&fake.requests_of("tools/call")[0].body).into_owned();
    assert!(!sent.contains("dev.switchboard"), "{sent}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_session_is_its_principals() {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let keys = KEYS.map(|(name, key)| entry_of(name, key));
    let gateway = Gateway::start(json!({
        "auth": { "api_keys": keys },
        "backends": { "srv": remote(&server.url()) },
    }))
    .await;
    let with_key = |key: &str| Setup {
        key: Some(key.to_owned()),
        ..setup("2025-11-25")
    };
    let ada = LegacyClient::connect(gateway.url(), with_key(KEYS[0].1)).await;
    let eve = LegacyClient::connect(gateway.url(), with_key(KEYS[1].1)).await;
    let nobody = LegacyClient::new(gateway.url(), setup("2025-11-25"));
    assert_eq!((status(&ada).await, status(&eve).await), (200, 200));
    eve.set_session(ada.session());
    assert_eq!(status(&eve).await, 404);
    assert_eq!(eve.get(None).await.status, 404);
    assert_eq!(eve.delete().await, 404);
    nobody.set_session(ada.session());
    assert_eq!(status(&nobody).await, 401);

    let sse = Client::new(&gateway.url().replace("/mcp", "/sse")).with_key(KEYS[0].1);
    let mut draft = sse.draft(&Value::Null).with_body("");
    draft.verb = http::Method::GET;
    let mut stream = sse
        .send(draft.with_header("accept", "text/event-stream"))
        .await;
    let messages = stream.next_event().await.expect("the endpoint").data;
    let of_ada = ada.session().expect("a session");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for (path, key, expected) in [
        (&messages, KEYS[0].1, 202),
        (&messages, KEYS[1].1, 404),
        (&format!("/messages?sessionId={of_ada}"), KEYS[0].1, 404),
    ] {
        let post = Client::new(&gateway.url().replace("/mcp", path)).with_key(key);
        assert_eq!(post.send(post.draft(&ping)).await.status, expected);
    }
    assert_eq!(status(&ada).await, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn the_version_header_is_that_of_the_session() {
    let scene = Scene::new().await;
    let client = scene.client("2025-06-18").await;
    let ping = client.message("ping", json!({}));
    for (version, expected) in [("2025-06-18", 200), ("2025-11-25", 400), ("1", 400)] {
        let draft = client
            .draft(&ping)
            .with_header("mcp-protocol-version", version);
        assert_eq!(client.send(draft).await.status, expected, "{version}");
    }
    let draft = client.draft(&ping).without_header("mcp-protocol-version");
    assert_eq!(client.send(draft).await.status, 200, "it is known");
    // A modern request beside it has nothing to do with the session.
    let modern = scene
        .front
        .client
        .draft(&switchboard_testkit::client::message(
            "tools/list",
            json!({}),
        ));
    let modern = modern.with_header("mcp-session-id", &client.session().expect("a session"));
    assert_eq!(scene.front.client.send(modern).await.status, 200);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_bounded_and_unused_ones_give_way() {
    let scene =
        Scene::with(json!({ "legacy": { "max_sessions": 50, "max_sessions_per_principal": 20 } }))
            .await;
    let before = scene.front.census().await;
    let memory = async || {
        let metrics = scene.front.metrics("process_resident_memory_bytes").await;
        metrics["process_resident_memory_bytes"]
    };
    let memory_before = memory().await;
    let mut refused = 0;
    for _ in 0..2_000 {
        let client = LegacyClient::new(scene.url(), setup("2025-11-25"));
        let params =
            json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {} });
        let answer = client.ask(&client.message("initialize", params)).await;
        match answer.status.as_u16() {
            200 => {}
            503 => {
                assert!(answer.response["error"]["message"].is_string());
                refused += 1;
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    assert_eq!(refused, 2_000 - 20);
    let sessions = scene.front.metrics("switchboard_legacy_sessions").await;
    assert_eq!(sessions["switchboard_legacy_sessions"], 20.0);
    let grown = memory().await - memory_before;
    assert!(grown < 32.0 * 1024.0 * 1024.0, "{grown} bytes more");
    let mut bound = before;
    bound.tasks += 20;
    bound.files += 20;
    scene.front.wait_until_within(&bound).await;
    scene.works().await;
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn an_idle_session_ends() {
    let scene = Scene::with(json!({ "legacy": { "session_idle_timeout": "1s" } })).await;
    let client = scene.client("2025-11-25").await;
    assert_eq!(status(&client).await, 200);
    let open = scene.client("2025-11-25").await;
    open.listen().await;
    until("the idle session ends", async || {
        let sessions = scene.front.metrics("switchboard_legacy_sessions").await;
        (sessions["switchboard_legacy_sessions"] == 1.0).then_some(())
    })
    .await;
    assert_eq!(status(&client).await, 404);
    assert_eq!(status(&open).await, 200, "its stream is open");
    scene.front.gateway.stop().await;
}
