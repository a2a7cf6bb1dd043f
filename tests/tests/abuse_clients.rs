//! Clients that send what they must not. Each gets the specified error, and the next good call
//! works.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, Draft, call, encoded, message};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, faulty, remote};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

/// How long a deadline of the tests' gateway is, and how long they wait for it.
const DEADLINE: &str = "500ms";
const PATIENCE: Duration = Duration::from_secs(30);

async fn front() -> Front {
    let front = Front::of(json!({ "a": faulty(&[]) })).await;
    front.wait_until("a", true).await;
    front
}

fn good() -> Value {
    call("a__echo", &json!({ "x": 1 }))
}

async fn answer_to(client: &Client, draft: Draft) -> Answer {
    client.send(draft).await.finish().await
}

/// Sends a body with the headers of a good call and expects this status and JSON-RPC error; then a
/// good call.
async fn refuses_body(front: &Front, what: &str, body: impl Into<Vec<u8>>, status: u16, code: i64) {
    let draft = front.client.draft(&good()).with_body(body.into());
    refuses(front, what, draft, status, code).await;
}

async fn refuses(front: &Front, what: &str, draft: Draft, status: u16, code: i64) {
    let answer = answer_to(&front.client, draft).await;
    assert_eq!(answer.status, status, "{what}: {}", answer.raw);
    assert_eq!(answer.error_code(), Some(code), "{what}: {}", answer.raw);
    let message = &answer.response["error"]["message"];
    assert!(
        message.as_str().is_some_and(|text| !text.is_empty()),
        "{what}: {}",
        answer.raw
    );
    front.works("a").await;
}

/// The good call as text, with one part of it changed.
fn changed(from: &str, to: &str) -> String {
    let text = good().to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1)
}

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
        "/sse",
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
    assert!(supported("initialize", &answer).is_some());
    let text = answer.response["error"]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(text.contains("2026-07-28"), "{}", answer.raw);
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn headers_mirror_the_message() {
    let front = front().await;
    let draft = || front.client.draft(&good());
    let wrong = [
        ("no version", draft().without_header("mcp-protocol-version")),
        (
            "another version",
            draft().with_header("mcp-protocol-version", "2025-11-25"),
        ),
        (
            "an unknown version",
            draft().with_header("mcp-protocol-version", "2030-01-01"),
        ),
        (
            "two versions",
            draft().and_header("mcp-protocol-version", "2026-07-28"),
        ),
        ("no method", draft().without_header("mcp-method")),
        (
            "another method",
            draft().with_header("mcp-method", "tools/list"),
        ),
        (
            "another case",
            draft().with_header("mcp-method", "Tools/Call"),
        ),
        (
            "two methods",
            draft().and_header("mcp-method", "tools/call"),
        ),
        ("no name", draft().without_header("mcp-name")),
        ("another name", draft().with_header("mcp-name", "a__hang")),
        (
            "another name in Base64",
            draft().with_header("mcp-name", "=?base64?YV9faGFuZw==?="),
        ),
        (
            "no Base64",
            draft().with_header("mcp-name", "=?base64?###?="),
        ),
        (
            "unpadded Base64",
            draft().with_header("mcp-name", "=?base64?YV9fZWNobw?=x"),
        ),
        (
            "Base64 of no text",
            draft().with_header("mcp-name", "=?base64?//8=?="),
        ),
        ("two names", draft().and_header("mcp-name", "a__hang")),
        (
            "the same name twice",
            draft().and_header("mcp-name", "a__echo"),
        ),
    ];
    for (what, draft) in wrong {
        refuses(&front, what, draft, 400, HEADER_MISMATCH).await;
    }
    let mut raw = draft();
    let latin = http::HeaderValue::from_bytes(b"a__echo\xe9").unwrap();
    raw.headers.insert("mcp-name", latin);
    refuses(
        &front,
        "a name that is not ASCII",
        raw,
        400,
        HEADER_MISMATCH,
    )
    .await;

    let base64 = draft().with_header("mcp-name", "=?base64?YV9fZWNobw==?=");
    assert_eq!(answer_to(&front.client, base64).await.status, 200);
    // A session is nothing that this revision knows: its header is ignored.
    let session = draft()
        .with_header("mcp-session-id", "x")
        .with_header("last-event-id", "1");
    let answer = answer_to(&front.client, session).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("mcp-session-id"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn mirrored_arguments_match_the_arguments() {
    let server = FakeHttp::start(Transport::Modern, "h").await;
    let backends = json!({ "a": faulty(&[]), "h": remote(server.url()) });
    let front = Front::of(backends).await;
    front.wait_until("a", true).await;
    front.wait_until("h", true).await;
    for tool in ["a__locate", "h__locate"] {
        let draft = |region: &str| {
            let call = call(tool, &json!({ "region": region }));
            front
                .client
                .draft(&call)
                .with_header("mcp-param-region", &encoded(region))
        };
        let wrong = [
            ("another", draft("eu").with_header("mcp-param-region", "us")),
            ("none", draft("eu").without_header("mcp-param-region")),
            (
                "no Base64",
                draft("eu").with_header("mcp-param-region", "=?base64?#?="),
            ),
            ("two", draft("eu").and_header("mcp-param-region", "us")),
            (
                "other Base64",
                draft("eu").with_header("mcp-param-region", "=?base64?dXM=?="),
            ),
        ];
        for (what, draft) in wrong {
            let before = server.requests_of("tools/call").len();
            refuses(
                &front,
                &format!("{tool}: {what}"),
                draft,
                400,
                HEADER_MISMATCH,
            )
            .await;
            assert_eq!(
                server.requests_of("tools/call").len(),
                before,
                "{tool}: {what}"
            );
        }
        for region in ["eu", "Zürich"] {
            let answer = answer_to(&front.client, draft(region)).await;
            let arguments = &answer.result()["structuredContent"]["arguments"];
            // The fake compares plain texts only.
            if tool == "a__locate" || region == "eu" {
                assert_eq!(arguments["region"], region, "{}", answer.raw);
            }
        }
        let absent = answer_to(&front.client, front.client.draft(&call(tool, &json!({})))).await;
        assert!(
            absent.result()["structuredContent"].is_object(),
            "{}",
            absent.raw
        );
    }
    // A header that the tool does not know goes on as it came.
    let strange = front.client.draft(&call("h__echo", &json!({})));
    let strange = strange.with_header("mcp-param-color", "=?base64?4oCc?=");
    assert_eq!(answer_to(&front.client, strange).await.status, 200);
    let calls = server.requests_of("tools/call");
    assert_eq!(
        calls.last().unwrap().headers["mcp-param-color"],
        "=?base64?4oCc?="
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn strange_hosts_and_origins_are_forbidden() {
    let front = front().await;
    let url = front.gateway.url();
    let authority = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let draft = || front.client.draft(&good());
    let port = authority.rsplit(':').next().unwrap();
    let origins = [
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        "null".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        "http://localhost:1".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("http://{authority}.evil.example"),
        format!("http://evil.example@{authority}"),
        format!("http://127.0.0.1.:{port}"),
        format!("http://lоcalhost:{port}").replace('о', "%D0%BE"),
        "file://".to_owned(),
        String::new(),
    ];
    for origin in &origins {
        let refused = draft().with_header("origin", origin);
        refuses(&front, origin, refused, 403, INVALID_REQUEST).await;
    }
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1:1".to_owned(),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil.example@{authority}"),
        format!("{authority}.evil.example"),
    ];
    for host in &hosts {
        let refused = draft().with_header("host", host);
        let answer = answer_to(&front.client, refused).await;
        let is_refused = matches!(answer.status.as_u16(), 400 | 403);
        assert!(is_refused, "{host}: {} {}", answer.status, answer.raw);
        front.works("a").await;
    }
    for origin in [
        format!("http://{authority}"),
        format!("http://localhost:{port}"),
    ] {
        let own = draft().with_header("origin", &origin);
        assert_eq!(answer_to(&front.client, own).await.status, 200, "{origin}");
    }
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

/// A connection that says what it likes.
struct Socket {
    stream: TcpStream,
}

impl Socket {
    async fn open(front: &Front) -> Self {
        let url = front.gateway.url();
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { stream }
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream
            .write_all(text.as_ref())
            .await
            .expect("an open connection");
    }

    /// Reads the status line of an answer.
    async fn status_line(mut self, what: &str) -> String {
        let mut said = Vec::new();
        while !said.contains(&b'\n') {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut said)).await;
            match read.unwrap_or_else(|_| panic!("{what} was never answered")) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Reads until the gateway closes the connection; returns what it said.
    async fn closed(mut self, what: &str) -> String {
        let mut said = Vec::new();
        let reading = self.stream.read_to_end(&mut said);
        let read = timeout(PATIENCE, reading).await;
        // A reset closes as well.
        let _ = read.unwrap_or_else(|_| panic!("{what} was never closed"));
        String::from_utf8_lossy(&said).into_owned()
    }
}

fn head(front: &Front, length: usize) -> String {
    let draft = front.client.draft(&good());
    let authority = draft.uri.authority().expect("an authority");
    let headers: String = draft
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
        .collect();
    format!("POST /mcp HTTP/1.1\r\nhost: {authority}\r\n{headers}content-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn slow_clients_are_cut_at_the_deadline() {
    let server = json!({
        "header_timeout": DEADLINE,
        "body_timeout": DEADLINE,
        "idle_timeout": DEADLINE,
    });
    let backends = json!({ "a": faulty(&[]) });
    let front = Front::start(json!({ "server": server, "backends": backends })).await;
    front.wait_until("a", true).await;

    let silent = Socket::open(&front).await;
    let mut half_head = Socket::open(&front).await;
    half_head.say("POST /mcp HTTP/1.1\r\nhost: 127").await;
    let mut half_preface = Socket::open(&front).await;
    half_preface.say("PRI * HTTP/2.0\r\n\r\nSM").await;
    let mut whole_preface = Socket::open(&front).await;
    whole_preface.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut half_body = Socket::open(&front).await;
    half_body.say(head(&front, 100)).await;
    half_body.say("{\"jsonrpc\"").await;
    let mut idle = Socket::open(&front).await;
    let body = good().to_string();
    idle.say(head(&front, body.len())).await;
    idle.say(&body).await;
    front.works("a").await;

    silent.closed("a silent connection").await;
    half_head.closed("half a head").await;
    half_preface.closed("half a preface").await;
    whole_preface.closed("a preface alone").await;
    let said = half_body.closed("half a body").await;
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said}"
    );
    let said = idle.closed("an idle connection").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_drips_is_cut_all_the_same() {
    let server = json!({ "header_timeout": DEADLINE, "body_timeout": DEADLINE });
    let backends = json!({ "a": faulty(&[]) });
    let front = Front::start(json!({ "server": server, "backends": backends })).await;
    front.wait_until("a", true).await;
    let whole_head = head(&front, 10_000);
    for (what, start) in [
        ("a dripping head", "POST /mcp HTTP/1.1\r\n"),
        ("a dripping body", &whole_head),
    ] {
        let mut socket = Socket::open(&front).await;
        socket.say(start).await;
        let dripping = async {
            // Ends when the gateway no longer takes it.
            while socket.stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let cut = timeout(PATIENCE, dripping).await;
        cut.unwrap_or_else(|_| panic!("{what} was never cut"));
        front.works("a").await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let front = front().await;
    let many: String = (0..10_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let long = "x".repeat(1 << 20);
    let heads = [
        (
            "10,000 headers",
            format!("POST /mcp HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
            "431",
        ),
        (
            "a header of 1 MiB",
            format!("POST /mcp HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            "431",
        ),
        // Its length is not known before the head is too long as a whole.
        (
            "a URI of 1 MiB",
            format!("POST /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            "431",
        ),
        (
            "a URI of 16 KiB",
            format!("POST /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..16384]),
            "414",
        ),
        ("no HTTP", "HELLO\r\n\r\n".to_owned(), "400"),
    ];
    for (what, head, status) in heads {
        let mut socket = Socket::open(&front).await;
        // The gateway may close before it has taken all of it.
        let _ = socket.stream.write_all(head.as_bytes()).await;
        let said = socket.status_line(what).await;
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}: {said}"
        );
        front.works("a").await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_not_read_twice() {
    let front = front().await;
    let hidden = good().to_string();
    let smuggled = format!("0\r\n\r\n{}{hidden}", head(&front, hidden.len()));
    let both =
        head(&front, smuggled.len()).replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n");
    let twice = head(&front, 0).replace(
        "\r\n\r\n",
        &format!("\r\ncontent-length: {}\r\n\r\n", smuggled.len()),
    );
    for (what, head) in [("a length and chunks", both), ("two lengths", twice)] {
        let mut socket = Socket::open(&front).await;
        let _ = socket
            .stream
            .write_all(format!("{head}{smuggled}").as_bytes())
            .await;
        let _ = socket.stream.shutdown().await;
        let said = socket.closed(what).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{what}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{what}: {said}");
        front.works("a").await;
    }
    front.gateway.stop().await;
}
