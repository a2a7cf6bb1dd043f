use super::*;
use proptest::prelude::*;
use std::sync::Arc;
use switchboard_protocol::call::Principal;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::version::Version;

fn call(text: &str) -> Call {
    let request = Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid");
    let method = Method::parse(&request.method()).expect("known");
    Call::new(
        request,
        method,
        Arc::new(Principal::anonymous()),
        Version::LATEST,
    )
}

fn rewrite<'a>(target: Option<&'a str>, request_state: RequestState<'a>) -> Rewrite<'a> {
    Rewrite {
        target,
        request_state,
        param_headers: Vec::new(),
        endpoint: None,
        take: Take::Whole,
    }
}

fn text(out: &Outgoing) -> &str {
    std::str::from_utf8(&out.body).expect("UTF-8")
}

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

#[test]
fn a_modern_request_changes_only_what_must() {
    let call = call(&format!(
        r#"{{"jsonrpc":"2.0","id":"mine","method":"tools/call","params":{{ "x": 1, "name":"gh__get", "arguments":{{"b": 1,"a":[1.0e2]}}, "_meta":{{{META},"progressToken":"t","v/k":[]}} }}}}"#
    ));
    let out = modern(
        &call,
        &rewrite(Some("get \"it\""), RequestState::Keep),
        7,
        Some("00-a-b-01"),
    );
    assert_eq!(
        text(&out),
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{ "x": 1, "name":"get \"it\"", "arguments":{{"b": 1,"a":[1.0e2]}}, "_meta":{{"traceparent":"00-a-b-01",{META},"progressToken":7,"v/k":[]}} }}}}"#
        )
    );
    assert_eq!(out.name.expect("a name header"), "get \"it\"");
}

#[test]
fn request_state_is_restored_or_removed() {
    let call = call(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"n","requestState":"sealed","_meta":{{{META}}}}}}}"#
    ));
    let restored = modern(&call, &rewrite(None, RequestState::Restore("own")), 7, None);
    assert!(text(&restored).contains(r#""name":"n","requestState":"own","_meta""#));
    let removed = modern(&call, &rewrite(None, RequestState::Remove), 7, None);
    assert!(text(&removed).contains(r#""name":"n","_meta""#));
}

#[test]
fn the_gateways_own_metadata_and_unrouted_extensions_stay_here() {
    let call = call(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","_meta":{"dev.switchboard/x":1,"dev.switchboard\/y":2,"progressToken":3,"io.modelcontextprotocol/clientCapabilities":{"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}}}}"#,
    );
    let out = modern(&call, &rewrite(None, RequestState::Keep), 7, None);
    assert!(
        text(&out).contains(
            r#""_meta":{"progressToken":7,"io.modelcontextprotocol/clientCapabilities":{"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#
        ),
        "{}",
        text(&out)
    );
}

#[test]
fn a_legacy_request_carries_nothing_modern() {
    let call = call(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a__n","task":{{}},"arguments":{{"b": 1}},"requestState":"s","inputResponses":{{}},"_meta":{{{META},"io.modelcontextprotocol/logLevel":"info","progressToken":"t","v/k":[],"dev.switchboard/x":1}}}}}}"#
    ));
    let out = legacy(&call, &rewrite(Some("n"), RequestState::Keep), 9, None);
    assert_eq!(
        text(&out),
        r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"_meta":{"progressToken":9,"v/k":[]},"name":"n","arguments":{"b": 1}}}"#
    );
}

#[test]
fn completions_are_renamed_in_their_reference() {
    let call = call(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{{"type":"ref/prompt","name":"a__p"}},"argument":{{"name":"x","value":"y"}},"_meta":{{{META}}}}}}}"#
    ));
    let expected = r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"x","value":"y"}"#;
    let modern = modern(&call, &rewrite(Some("p"), RequestState::Keep), 9, None);
    assert!(text(&modern).contains(expected), "{}", text(&modern));
    let legacy = legacy(&call, &rewrite(Some("p"), RequestState::Keep), 9, None);
    assert!(text(&legacy).contains(expected), "{}", text(&legacy));
}

/// [`legacy`] without what it knows beforehand: a walk over all members, of `_meta` too.
fn walked(
    call: &mut Call,
    rewrite: &Rewrite<'_>,
    id: u64,
    traceparent: Option<&str>,
) -> serde_json::Value {
    call.request.meta_members += 1;
    let mut meta = b"\"_meta\":".to_vec();
    legacy_meta(call, id, traceparent, &mut meta);
    let mut out = head(call.method, id, 0);
    legacy_params(call, rewrite, &meta, &mut out);
    out.push(b'}');
    serde_json::from_slice(&out).expect("valid JSON")
}

/// An object with some of these members, in any order and with white space here and there.
fn some_of(members: &'static [&'static str]) -> impl Strategy<Value = String> {
    let chosen = proptest::sample::subsequence(members, 0..=members.len()).prop_shuffle();
    (chosen, "[ \n]?", "[ \t]?").prop_map(|(members, before, after)| {
        let members = members.join(&format!("{after},{before}"));
        format!("{{{before}{members}{after}}}")
    })
}

const META_MEMBERS: &[&str] = &[
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
    r#""io.modelcontextprotocol/clientInfo" : {"name":"c"}"#,
    r#""io.modelcontextprotocol\/clientCapabilities":{}"#,
    r#""io.modelcontextprotocol/logLevel":"info""#,
    r#""progressToken":"t""#,
    r#""traceparent": "00-0-0-00""#,
    r#""tracestate":"a=b""#,
    r#""dev.switchboard/x":1"#,
    r#""v/k":[]"#,
];

const PARAM_MEMBERS: &[&str] = &[
    r#""name":"a__n""#,
    r#""n\u0061mes":1"#,
    r#""uri" : "a__n""#,
    r#""taskId":"a__n""#,
    r#""arguments":{"b": 1,"task":2}"#,
    r#""task":{}"#,
    r#""requestState":"s""#,
    r#""inputResponses": {}"#,
    r#""ref":{"type":"ref/prompt","name":"a__n"}"#,
    r#""argument":{"name":"x","value":"y"}"#,
];

proptest! {
    #[test]
    fn a_spliced_legacy_request_is_the_walked_one(
        method in proptest::sample::select(&["tools/call", "prompts/get", "resources/read", "completion/complete", "tools/list"][..]),
        params in some_of(PARAM_MEMBERS),
        meta in proptest::option::of(some_of(META_MEMBERS)),
        target in proptest::option::of(Just("n")),
        traceparent in proptest::option::of(Just("00-a-b-01")),
    ) {
        let meta = meta.map(|meta| format!("\"_meta\": {meta}"));
        let inner = params[1..params.len() - 1].trim();
        let params = match (inner, meta) {
            (_, None) => params,
            ("", Some(meta)) => format!("{{ {meta}}}"),
            (inner, Some(meta)) => format!("{{{inner} , {meta} }}"),
        };
        let mut call = call(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ));
        let rewrite = rewrite(target, RequestState::Keep);
        let spliced = legacy(&call, &rewrite, 9, traceparent);
        let spliced: serde_json::Value = serde_json::from_slice(&spliced.body).expect("valid JSON");
        prop_assert_eq!(spliced, walked(&mut call, &rewrite, 9, traceparent));
    }
}
