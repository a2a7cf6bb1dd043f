use super::*;
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
