use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Envelope, EnvelopeError> {
    Envelope::parse(Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn finds_what_decides_and_leaves_the_rest() {
    let text = r#" {"params":{"arguments":{"b": 1,"a":[ ]},"name":"caf\u00e9","_meta":{"progressToken":7,"x/y":{},"dev.switchboard/a":1}},"method":"tools/call","id":"x","jsonrpc":"2.0"} "#;
    let envelope = parse(text).expect("valid");
    assert!(envelope.is_request());
    assert_eq!(envelope.method(), "tools/call");
    assert_eq!(envelope.id(), Some(&b"\"x\""[..]));
    assert_eq!(envelope.id_bytes(), &b"\"x\""[..]);
    assert_eq!(envelope.text(envelope.params.name).as_deref(), Some("café"));
    let arguments = envelope.params.arguments.expect("present");
    assert_eq!(envelope.slice(arguments), br#"{"b": 1,"a":[ ]}"#);
    assert_eq!(envelope.number(envelope.meta.progress_token), Some(7));
    assert!(envelope.has_own_meta);
}

#[test]
fn refuses_what_two_peers_could_read_differently() {
    let refused = [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
            "twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","name":"y"}}"#,
            "twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","n\u0061me":"y"}}"#,
            "twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"NAME":"x"}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"x/y":1,"x/y":2}}}"#,
            "twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","paramſ":{"name":"x"}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","argument\u017F":{}}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progressTo\u212Aen":1}}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","urı":"y"}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x\uD800"}}"#,
            "surrogate",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"ref":{"uri":"x\udc00\ud800"}}}"#,
            "surrogate",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"ProgressToken":1}}}"#,
            "case",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"ref":{"type":"x","type":"y"}}}"#,
            "twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1,"b1":1,"b2":1,"b3":1,"b4":1,"a1":2}}"#,
            "twice",
        ),
    ];
    for (text, why) in refused {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_decides_nothing_may_hold_what_is_no_text() {
    for params in [
        r#"{"name":"x\u0000","arguments":{"a":"\ud800","A":1,"a":2}}"#,
        r#"{"name":"\ud83d\ude00","_meta":{"x/y":"\ud800"}}"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{params}}}"#);
        assert!(parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn a_refusal_quotes_no_more_than_the_start_of_a_key() {
    let key = "é".repeat(10_000);
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","{key}":1,"{key}":2}}"#);
    let error = parse(&text).expect_err("twice").to_string();
    assert!(error.len() < 200, "{error}");
}

#[test]
fn ids_are_as_json_writes_them() {
    for id in [
        "0",
        "-0",
        "-1",
        "18446744073709551615",
        "99999999999999999999",
        r#""""#,
        r#""\u0000""#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
        assert_eq!(parse(&text).expect(id).id(), Some(id.as_bytes()));
    }
    for id in [
        "01",
        "+1",
        "-",
        "-01",
        "1.",
        "0x1",
        "1e1",
        "1E+0",
        "1.0",
        "100000000000000000000",
        "'1'",
        "NaN",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#);
        assert!(parse(&text).is_err(), "{id}");
    }
}

#[test]
fn refuses_wrong_shapes_with_a_reason() {
    let refused = [
        ("[]", "batches"),
        ("1", "object"),
        ("{}", "jsonrpc"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, "jsonrpc"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "method"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, "id"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, "id"),
        (r#"{"jsonrpc":"2.0","id":1e3,"method":"a"}"#, "id"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"a"}"#, "id"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, "id"),
        (
            r#"{"jsonrpc":"2.0","id":123456789012345678901,"method":"a"}"#,
            "id",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "string"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#,
            "params",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            "only one",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            "only one",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "never responses"),
    ];
    for (text, why) in refused {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#,
        "x".repeat(MAX_ID_BYTES)
    );
    assert!(parse(&long).is_err());
}

#[test]
fn the_method_decides_which_key_names_the_target() {
    let text = r#"{"jsonrpc":"2.0","method":"a","params":{"name":"n","uri":"u"}}"#;
    let envelope = parse(text).expect("valid");
    let target = |method| envelope.text(envelope.params.target(method));
    assert_eq!(target(Method::ToolsCall).as_deref(), Some("n"));
    assert_eq!(target(Method::PromptsGet).as_deref(), Some("n"));
    assert_eq!(target(Method::ResourcesRead).as_deref(), Some("u"));
    assert_eq!(target(Method::ToolsList), None);
    assert!(envelope.id_bytes().is_empty());
}

#[test]
fn reads_responses() {
    let text = br#"{"jsonrpc":"2.0","id":9,"result":{"content":[],"resultType":"complete","isError":true}}"#;
    let response = Response::parse(Bytes::from_static(text)).expect("valid");
    assert_eq!(response.id_number(), Some(9));
    assert_eq!(
        response.text(response.keys.result_type).as_deref(),
        Some("complete")
    );
    assert!(response.is_tool_error());

    let text = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#;
    let response = Response::parse(Bytes::from_static(text)).expect("valid");
    assert_eq!(response.error_code(), Some(-32600));
    assert!(!response.is_tool_error());
    let doubled = br#"{"jsonrpc":"2.0","id":9,"result":{"resultType":"complete","resultType":"input_required"}}"#;
    assert!(Message::parse(Bytes::from_static(doubled)).is_err());
    let request = br#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    assert!(Response::parse(Bytes::from_static(request)).is_err());
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(bytes.into());
    }

    #[test]
    fn structured_noise_never_panics(text in r#"\{("(jsonrpc|id|method|params|result|error|_meta|name)":("2.0"|1|\{\}|\[\]|null|"a"),?){0,6}\}"#) {
        let _ = Message::parse(text.into_bytes().into());
    }
}
