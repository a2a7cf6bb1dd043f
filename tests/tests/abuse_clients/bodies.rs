//! Bodies that are no request, and how bodies travel.

use serde_json::json;
use switchboard_testkit::client::call;

use crate::{INVALID_REQUEST, PARSE_ERROR, answer_to, changed, front, good, refuses, refuses_body};

#[tokio::test]
async fn what_is_not_json_is_a_parse_error() {
    let front = front().await;
    let bodies: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("white space", b" \n"),
        (
            "half an object",
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/ca"#,
        ),
        ("words", b"hello"),
        ("a comma too many", br#"{"jsonrpc":"2.0","id":1,}"#),
        (
            "two documents",
            br#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#,
        ),
        ("single quotes", b"{'jsonrpc':'2.0'}"),
        ("a comment", br#"{"jsonrpc":"2.0"/* */}"#),
        ("not a number", br#"{"jsonrpc":"2.0","id":NaN}"#),
        ("a leading zero", br#"{"jsonrpc":"2.0","id":01}"#),
        ("invalid UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\"}"),
        (
            "a raw control character",
            b"{\"jsonrpc\":\"2.0\",\"id\":\"\x01\"}",
        ),
    ];
    for (what, body) in bodies {
        refuses_body(&front, what, body, 400, PARSE_ERROR).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_single_request_is_an_invalid_request() {
    let front = front().await;
    let batch = format!("[{}]", good());
    let id = |id: &str| changed(r#""id":1"#, &format!(r#""id":{id}"#));
    let bodies = [
        ("a batch", batch.as_str()),
        ("an empty batch", "[]"),
        ("a number", "1"),
        ("null", "null"),
        ("an empty object", "{}"),
        ("a response", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        (
            "an error",
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#,
        ),
        ("an id that is null", &id("null")),
        ("an id that is a fraction", &id("1.5")),
        ("an id that is true", &id("true")),
        ("an id that is an object", &id("{}")),
        ("an id that is an array", &id("[1]")),
        ("another JSON-RPC", &changed(r#""2.0""#, r#""1.0""#)),
        ("no JSON-RPC", &changed(r#""jsonrpc":"2.0","#, "")),
        (
            "a method that is a number",
            &changed(r#""tools/call""#, "7"),
        ),
        (
            "params that are an array",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#,
        ),
        ("a huge id", &id(&format!("\"{}\"", "x".repeat(1 << 20)))),
        ("a huge number as id", &id(&"1".repeat(1 << 20))),
    ];
    for (what, body) in bodies {
        refuses_body(&front, what, body, 400, INVALID_REQUEST).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn keys_that_stand_twice_or_in_another_case_are_refused() {
    let front = front().await;
    let name = r#""name":"a__echo""#;
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let bodies = [
        ("id twice", changed(r#""id":1"#, r#""id":1,"id":2"#)),
        (
            "method twice",
            changed(r#""id":1"#, r#""id":1,"method":"tools/list""#),
        ),
        (
            "an escaped method",
            changed(r#""id":1"#, r#""id":1,"\u006dethod":"tools/list""#),
        ),
        (
            "Method",
            changed(r#""id":1"#, r#""id":1,"Method":"tools/list""#),
        ),
        (
            "params twice",
            changed(r#""id":1"#, r#""id":1,"params":{}"#),
        ),
        (
            "name twice",
            changed(name, r#""name":"a__echo","name":"a__hang""#),
        ),
        (
            "Name",
            changed(name, r#""name":"a__echo","Name":"a__hang""#),
        ),
        (
            "arguments twice",
            changed(name, r#""name":"a__echo","arguments":{"y":1}"#),
        ),
        (
            "version twice",
            changed(version, &format!("{version},{version}")),
        ),
        (
            "ProgressToken",
            changed(version, &format!(r#"{version},"ProgressToken":1"#)),
        ),
        (
            "an unknown key twice",
            changed(r#""id":1"#, r#""id":1,"x":1,"x":2"#),
        ),
    ];
    for (what, body) in bodies {
        refuses_body(&front, what, body, 400, INVALID_REQUEST).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn deep_nesting_is_refused_and_shallow_nesting_is_not() {
    let front = front().await;
    let nested = |levels: usize| {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        changed(r#"{"x":1}"#, &format!(r#"{{"x":{value}}}"#))
    };
    for levels in [200, 100_000] {
        let draft = front.client.draft(&good()).with_body(nested(levels));
        let answer = answer_to(&front.client, draft).await;
        assert_eq!(answer.status, 400, "{levels} levels");
        let code = answer.error_code();
        assert!(
            matches!(code, Some(PARSE_ERROR | INVALID_REQUEST)),
            "{}",
            answer.raw
        );
        front.works("a").await;
    }
    let draft = front.client.draft(&good()).with_body(nested(60));
    let answer = answer_to(&front.client, draft).await;
    assert!(
        answer.result()["structuredContent"].is_object(),
        "{}",
        answer.raw
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_body_is_bounded_and_comes_as_it_is() {
    let front = front().await;
    let client = &front.client;
    let large = |bytes: usize| client.draft(&call("a__echo", &json!({ "x": "x".repeat(bytes) })));
    refuses(&front, "5 MiB", large(5 << 20), 413, INVALID_REQUEST).await;
    let fits = answer_to(client, large(3 << 20)).await;
    assert_eq!(fits.status, 200);
    assert!(fits.raw.len() > 3 << 20);

    for coding in ["gzip", "br", "deflate"] {
        let draft = client
            .draft(&good())
            .with_header("content-encoding", coding);
        refuses(&front, coding, draft, 415, INVALID_REQUEST).await;
    }
    let plain = client
        .draft(&good())
        .with_header("content-encoding", "identity");
    assert_eq!(answer_to(client, plain).await.status, 200);
    front.gateway.stop().await;
}

#[tokio::test]
async fn media_types_are_negotiated() {
    let front = front().await;
    let draft = || front.client.draft(&good());
    for accept in [
        "application/json",
        "text/event-stream",
        "text/html",
        "application/jsonp, text/event-stream",
    ] {
        let draft = draft().with_header("accept", accept);
        refuses(&front, accept, draft, 406, INVALID_REQUEST).await;
    }
    refuses(
        &front,
        "no Accept",
        draft().without_header("accept"),
        406,
        INVALID_REQUEST,
    )
    .await;
    for media_type in [
        "text/plain",
        "application/json5",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let draft = draft().with_header("content-type", media_type);
        refuses(&front, media_type, draft, 415, INVALID_REQUEST).await;
    }
    let without = draft().without_header("content-type");
    refuses(&front, "no Content-Type", without, 415, INVALID_REQUEST).await;

    let fine = [
        draft().with_header("accept", "*/*"),
        draft().with_header("accept", "text/event-stream;q=0.9, application/json"),
        draft()
            .with_header("accept", "application/json")
            .and_header("accept", "text/event-stream"),
        draft().with_header("content-type", "Application/JSON; charset=utf-8"),
    ];
    for draft in fine {
        let headers = draft.headers.clone();
        assert_eq!(
            answer_to(&front.client, draft).await.status,
            200,
            "{headers:?}"
        );
    }
    front.gateway.stop().await;
}
