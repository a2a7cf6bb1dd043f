use super::*;
use proptest::prelude::*;
use switchboard_protocol::error::code;
use switchboard_protocol::splice::may_have_task;

fn client(version: Version) -> ClientIdentity {
    ClientIdentity::new(
        version,
        Some(br#"{"name":"c","version":"1"}"#),
        br#"{"elicitation":{"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a"]},"io.modelcontextprotocol/tasks":{}},"tasks":{},"experimental":{"x":{}}}"#,
    )
}

fn envelope(raw: &str) -> Envelope {
    Envelope::parse(Bytes::copy_from_slice(raw.as_bytes())).expect("a request")
}

fn translated(
    envelope: &Envelope,
    client: &ClientIdentity,
    log_level: Option<LogLevel>,
) -> Result<(Method, Envelope), ProtocolError> {
    let params = envelope.keys.params.map(|params| envelope.slice(params));
    let may_have_task = params.is_some_and(may_have_task);
    request(envelope, client, log_level, may_have_task)
}

fn modern(version: Version, raw: &str) -> String {
    let (_, request) = translated(&envelope(raw), &client(version), None).expect("translated");
    String::from_utf8(request.raw.to_vec()).expect("UTF-8")
}

#[test]
fn capabilities_are_those_of_the_version() {
    let declared = |version| {
        let capabilities = client(version).capabilities;
        String::from_utf8(capabilities.to_vec()).expect("UTF-8")
    };
    let rest = r#""roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a"]}}}"#;
    for version in [Version::V2024_11_05, Version::V2025_03_26] {
        assert_eq!(declared(version), format!(r#"{{"sampling":{{}},{rest}"#));
    }
    assert_eq!(
        declared(Version::V2025_06_18),
        format!(r#"{{"elicitation":{{}},"sampling":{{}},{rest}"#)
    );
    assert_eq!(
        declared(Version::V2025_11_25),
        format!(r#"{{"elicitation":{{"url":{{}}}},"sampling":{{"tools":{{}}}},{rest}"#)
    );
}

#[test]
fn what_is_no_object_declares_nothing() {
    let version = Version::LATEST_LEGACY;
    for raw in [
        r#"{"sampling":true,"roots":null,"elicitation":[]}"#,
        "[]",
        "7",
    ] {
        let client = ClientIdentity::new(version, Some(b"\"me\""), raw.as_bytes());
        assert_eq!(&client.capabilities[..], b"{}");
        assert_eq!(client.client_info, None);
    }
}

#[test]
fn every_request_says_who_makes_it() {
    let meta = concat!(
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
        r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"#,
        r#""io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{},"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a"]}}}"#,
    );
    let version = Version::V2025_06_18;
    assert_eq!(
        modern(
            version,
            r#" { "jsonrpc":"2.0","id":1,"method":"tools/list"}"#
        ),
        format!(r#"{{"params":{{{meta}}}}}, "jsonrpc":"2.0","id":1,"method":"tools/list"}}"#)
    );
    assert_eq!(
        modern(
            version,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"t","arguments": { "a" : [1e3] }},"x":1}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{{{meta}}},"name":"t","arguments": {{ "a" : [1e3] }}}},"x":1}}"#
        )
    );
    assert_eq!(
        modern(
            version,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken": 7,"a/b":[],"dev.switchboard/a":1,"io.modelcontextprotocol/clientInfo":{"name":"other"}}}}"#
        ),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{meta},"progressToken": 7,"a/b":[]}},"name":"t"}}}}"#
        )
    );
}

#[test]
fn the_session_s_log_level_is_each_request_s() {
    let raw =
        envelope(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"_meta":null}}"#);
    let client = client(Version::LATEST_LEGACY);
    let (method, request) = translated(&raw, &client, Some(LogLevel::Notice)).expect("translated");
    assert_eq!(method, Method::PromptsList);
    assert_eq!(
        request.text(request.meta.log_level).as_deref(),
        Some("notice")
    );
    assert_eq!(
        request.text(request.meta.protocol_version).as_deref(),
        Some("2026-07-28")
    );
}

#[test]
fn what_means_something_else_in_modern_requests_is_left_out() {
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":{"ttl":1},"requestState":"s","inputResponses":{},"other":1}}"#;
    let text = modern(Version::LATEST_LEGACY, raw);
    assert!(text.ends_with(r#"},"name":"t","other":1}}"#), "{text}");
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{},"context":{}}}"#;
    assert!(modern(Version::V2025_06_18, raw).contains("\"context\""));
    assert!(!modern(Version::V2025_03_26, raw).contains("\"context\""));
}

#[test]
fn requests_that_cannot_be_made_are_refused() {
    let cases = [
        (r#""initialize""#, code::METHOD_NOT_FOUND),
        (r#""ping""#, code::METHOD_NOT_FOUND),
        (r#""server/discover""#, code::METHOD_NOT_FOUND),
        (r#""subscriptions/listen""#, code::METHOD_NOT_FOUND),
        (
            r#""tasks/get","params":{"taskId":"t"}"#,
            code::METHOD_NOT_FOUND,
        ),
        (r#""tools/call""#, code::INVALID_PARAMS),
        (r#""tools/call","params":{"name":1}"#, code::INVALID_PARAMS),
        (
            r#""prompts/get","params":{"uri":"p"}"#,
            code::INVALID_PARAMS,
        ),
        (
            r#""resources/read","params":{"name":"p"}"#,
            code::INVALID_PARAMS,
        ),
        (
            r#""tools/list","params":{"_meta":[]}"#,
            code::INVALID_PARAMS,
        ),
        (
            r#""tools/list","params":{"_meta":{"progressToken":1.5}}"#,
            code::INVALID_PARAMS,
        ),
        (
            r#""tools/list","params":{"_meta":{"progressToken":{}}}"#,
            code::INVALID_PARAMS,
        ),
    ];
    for (rest, code) in cases {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{rest}}}"#);
        let client = client(Version::LATEST_LEGACY);
        let error = translated(&envelope(&raw), &client, None).expect_err("refused");
        assert_eq!(error.code, code, "{rest}: {error}");
    }
}

#[test]
fn a_retry_is_the_same_request_with_the_answers() {
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"a":1}}}"#;
    let client = client(Version::V2025_11_25);
    let (_, first) = translated(&envelope(raw), &client, None).expect("translated");
    let second = retry(&first, br#"{"q1":{"action":"decline"}}"#, Some(b"\"s\"")).expect("ok");
    let third = retry(&second, b"{}", None).expect("ok");
    let text = |span| second.slice(span);
    assert_eq!(
        second.params.input_responses.map(text),
        Some(&br#"{"q1":{"action":"decline"}}"#[..])
    );
    assert_eq!(
        second.text(second.params.request_state).as_deref(),
        Some("s")
    );
    assert!(third.params.request_state.is_none());
    for retried in [&second, &third] {
        let slice = |span| retried.slice(span);
        assert_eq!(
            retried.params.meta.map(slice),
            first.params.meta.map(|span| first.slice(span))
        );
        assert_eq!(
            retried.params.arguments.map(slice),
            Some(&br#"{"a":1}"#[..])
        );
    }
}

proptest! {
    #[test]
    fn parameters_and_metadata_of_others_stay(
        params in proptest::collection::btree_map("[a-z]{1,3}/[a-z]", "\\PC{0,6}", 0..4),
        meta in proptest::collection::btree_map("[a-z]{1,3}/[a-z]", any::<i64>(), 0..4),
    ) {
        let mut sent = serde_json::json!({ "name": "t", "_meta": meta });
        for (key, value) in &params {
            sent[key] = value.as_str().into();
        }
        let raw = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": sent });
        let got: serde_json::Value =
            serde_json::from_str(&modern(Version::V2025_11_25, &raw.to_string())).expect("JSON");
        for (key, value) in &params {
            prop_assert_eq!(&got["params"][key], value);
        }
        for (key, value) in &meta {
            prop_assert_eq!(&got["params"]["_meta"][key], value);
        }
    }
}
