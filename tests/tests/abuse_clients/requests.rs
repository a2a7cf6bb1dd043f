//! Requests for what is not there, without what they need, or of another revision.

use http::Method;
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, call, message};

use crate::{
    INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_VERSION, answer_to, front, good, refuses,
};

#[tokio::test]
async fn other_verbs_and_paths_are_not_there() {
    let front = front().await;
    for verb in [
        Method::GET,
        Method::DELETE,
        Method::PUT,
        Method::PATCH,
        Method::HEAD,
    ] {
        let mut draft = front
            .client
            .draft(&good())
            .with_header("mcp-session-id", "x");
        draft.verb = verb.clone();
        let answer = answer_to(&front.client, draft).await;
        assert_eq!(answer.status, 405, "{verb}");
        assert_eq!(answer.headers["allow"], "POST", "{verb}");
        assert!(!answer.headers.contains_key("mcp-session-id"));
    }
    for path in [
        "/",
        "/mcp/",
        "/mcp/nobody",
        "/sse/",
        "/metrics",
        "/%2e%2e/mcp",
    ] {
        let mut draft = front.client.draft(&good());
        draft.uri = front.gateway.url().replace("/mcp", path).parse().unwrap();
        assert_eq!(answer_to(&front.client, draft).await.status, 404, "{path}");
    }
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn unknown_methods_and_targets_are_told_apart() {
    let front = front().await;
    for method in ["tools/destroy", "", "rpc.discover", "TOOLS/CALL"] {
        let draft = front.client.draft(&message(method, json!({})));
        refuses(&front, method, draft, 404, METHOD_NOT_FOUND).await;
    }
    // What only sessions have.
    for method in ["ping", "logging/setLevel", "resources/subscribe"] {
        let draft = front.client.draft(&message(method, json!({})));
        refuses(&front, method, draft, 404, METHOD_NOT_FOUND).await;
    }
    for tool in [
        "a__nothing",
        "nobody__echo",
        "echo",
        "A__ECHO",
        "é",
        "a__echo ",
    ] {
        let answer = front.client.call(tool, json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        assert_eq!(answer.error_code(), Some(INVALID_PARAMS), "{}", answer.raw);
    }
    for (method, params) in [
        ("prompts/get", json!({ "name": "a__nothing" })),
        ("resources/read", json!({ "uri": "nobody://x" })),
        ("tools/list", json!({ "cursor": "no such page" })),
    ] {
        let answer = front.client.request(method, params).await;
        assert_eq!(answer.error_code(), Some(INVALID_PARAMS), "{}", answer.raw);
    }
    let nameless = front.client.draft(&message("tools/call", json!({})));
    let answer = answer_to(&front.client, nameless).await;
    assert_eq!(answer.status, 400, "{}", answer.raw);
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written() {
    let front = front().await;
    for id in [
        r#""""#,
        r#""\u0061é""#,
        "0",
        "-7",
        "9007199254740993",
        r#""9""#,
    ] {
        for tool in ["a__echo", "a__nothing"] {
            let body = call(tool, &json!({})).to_string();
            let body = body.replacen(r#""id":1"#, &format!(r#""id":{id}"#), 1);
            let draft = front.client.draft(&call(tool, &json!({}))).with_body(body);
            let answer = answer_to(&front.client, draft).await;
            assert!(
                answer.raw.contains(&format!(r#""id":{id}"#)),
                "{id}: {}",
                answer.raw
            );
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn metadata_has_to_be_there() {
    let front = front().await;
    let without = |field: &str| {
        let mut message = good();
        let meta = message["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(&format!("io.modelcontextprotocol/{field}"))
            .unwrap();
        front
            .client
            .draft(&message)
            .with_header("mcp-protocol-version", "2026-07-28")
    };
    for field in ["protocolVersion", "clientCapabilities"] {
        refuses(&front, field, without(field), 400, INVALID_PARAMS).await;
    }
    assert_eq!(
        answer_to(&front.client, without("clientInfo")).await.status,
        200
    );

    let mut bare = good();
    bare["params"].as_object_mut().unwrap().remove("_meta");
    let draft = front
        .client
        .draft(&bare)
        .with_header("mcp-protocol-version", "2026-07-28");
    refuses(&front, "no metadata", draft, 400, INVALID_PARAMS).await;

    let with = |field: &str, value: Value| {
        let mut message = good();
        message["params"]["_meta"][field] = value;
        front.client.draft(&message)
    };
    let wrong = [
        ("io.modelcontextprotocol/clientCapabilities", json!([])),
        ("io.modelcontextprotocol/clientInfo", json!("me")),
        ("io.modelcontextprotocol/logLevel", json!("loud")),
        ("io.modelcontextprotocol/logLevel", json!(3)),
        ("progressToken", json!(1.5)),
        ("progressToken", json!({})),
    ];
    for (field, value) in wrong {
        refuses(&front, field, with(field, value), 400, INVALID_PARAMS).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn other_versions_learn_which_are_spoken() {
    let front = front().await;
    let supported = |what: &str, answer: &Answer| {
        assert_eq!(answer.status, 400, "{what}: {}", answer.raw);
        let error = &answer.response["error"];
        let versions = &error["data"]["supported"];
        let named = versions
            .as_array()
            .is_some_and(|all| all.contains(&json!("2026-07-28")));
        assert!(named, "{what}: {}", answer.raw);
        error["code"].as_i64()
    };
    for version in ["2027-01-01", "2025-11-25", "newest", ""] {
        let mut message = good();
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(version);
        let answer = front.client.ask(&message).await;
        assert_eq!(supported(version, &answer), Some(UNSUPPORTED_VERSION));
        front.works("a").await;
    }

    let params = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "old", "version": "1" },
    });
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let answer = front.client.ask(&initialize).await;
    assert_eq!(answer.result()["protocolVersion"], "2025-11-25");
    // What says that it is modern gets no session.
    let modern = front.client.draft(&initialize);
    let modern = modern.with_header("mcp-protocol-version", "2026-07-28");
    let answer = answer_to(&front.client, modern).await;
    assert_eq!(answer.status, 400, "{}", answer.raw);
    assert!(!answer.headers.contains_key("mcp-session-id"));
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn notifications_are_accepted_and_not_answered() {
    let front = front().await;
    for method in [
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/unknown",
    ] {
        let params = json!({ "requestId": 1 });
        let notification = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let answer = front.client.ask(&notification).await;
        assert_eq!(answer.status, 202, "{method}");
        assert_eq!(answer.raw, "", "{method}");
        front.works("a").await;
    }
    front.gateway.stop().await;
}
