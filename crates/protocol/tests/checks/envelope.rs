use bytes::Bytes;
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::envelope::{
    Envelope, EnvelopeKeys, MAX_ID_BYTES, Message, MetaKeys, ParamKeys, Response, ResultKeys,
};
use switchboard_protocol::json::Span;

use super::members::{Members, member, members, text, value};

/// The keys that the gateway knows at one level, with the places that it found.
type Known<'k> = [(&'k str, Option<Span>)];

pub(super) fn check(data: &[u8]) {
    let message = Message::parse(Bytes::copy_from_slice(data));
    let expected = value(data).and_then(members).filter(is_message);
    assert_eq!(message.is_ok(), expected.is_some(), "{message:?}");
    let (Ok(message), Some(expected)) = (message, expected) else {
        return;
    };
    let as_request = Envelope::parse(Bytes::copy_from_slice(data));
    match message {
        Message::Request(request) => {
            assert!(as_request.is_ok());
            assert_eq!(request.raw, data);
            check_request(&request, &expected);
        }
        Message::Response(response) => {
            assert!(as_request.is_err());
            assert_eq!(response.raw, data);
            check_response(&response, &expected);
        }
    }
}

/// The rules of the envelope, in the words of serde_json.
fn is_message(message: &Members<'_>) -> bool {
    let get = |key| member(message, key);
    let is_object = |value: &str| value.starts_with('{');
    let inner = |key| get(key).and_then(members).unwrap_or_default();
    let params = inner("params");
    let inner_param = |key| member(&params, key).and_then(members).unwrap_or_default();
    let id_is_good = match get("id") {
        None => true,
        Some("null") => get("error").is_some(),
        Some(id) => is_id(id),
    };
    let shape_is_good = match (get("method"), get("result"), get("error")) {
        (Some(method), None, None) => {
            method.starts_with('"') && get("params").is_none_or(is_object)
        }
        (None, Some(result), None) => get("id").is_some() && is_object(result),
        (None, None, Some(error)) => is_object(error),
        _ => false,
    };
    is_strict(
        message,
        &["jsonrpc", "id", "method", "params", "result", "error"],
    ) && is_strict(&params, &names(&request_keys(&Default::default())))
        && is_strict(
            &inner_param("_meta"),
            &names(&meta_keys(&Default::default())),
        )
        && is_strict(&inner_param("ref"), &["type", "name", "uri"])
        && is_single(&inner("result"), &names(&result_keys(&Default::default())))
        && is_single(&inner("error"), &["code", "message", "data"])
        && get("jsonrpc") == Some("\"2.0\"")
        && id_is_good
        && shape_is_good
}

fn is_id(id: &str) -> bool {
    if id.starts_with('"') {
        return id.len() <= MAX_ID_BYTES;
    }
    let digits = id.strip_prefix('-').unwrap_or(id);
    id.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// No key twice, none that is a known one but for its case, and every known string a text.
fn is_strict(members: &Members<'_>, known: &[&str]) -> bool {
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let is_variant = |key: &str| {
        known
            .iter()
            .any(|known| *known != key && folds_to(key, known))
    };
    let is_text =
        |value: &str| !value.starts_with('"') || serde_json::from_str::<String>(value).is_ok();
    keys.windows(2).all(|pair| pair[0] != pair[1])
        && !keys.iter().any(|key| is_variant(key))
        && known
            .iter()
            .all(|known| member(members, known).is_none_or(is_text))
}

/// No known key twice.
fn is_single(members: &Members<'_>, known: &[&str]) -> bool {
    known
        .iter()
        .all(|known| members.iter().filter(|(key, _)| key == known).count() < 2)
}

/// Whether any way to ignore the case of Unicode takes `key` for `known`.
fn folds_to(key: &str, known: &str) -> bool {
    let folds = |(character, known): (char, char)| {
        let mut upper = character.to_uppercase();
        character.to_lowercase().next() == Some(known.to_ascii_lowercase())
            || upper.len() == 1 && upper.next() == Some(known.to_ascii_uppercase())
    };
    key.chars().count() == known.len() && key.chars().zip(known.chars()).all(folds)
}

fn check_request(request: &Envelope, expected: &Members<'_>) {
    let raw = &request.raw;
    let params = request.keys.params.map(|span| object(raw, span));
    let params = params.unwrap_or_default();
    let meta = request.params.meta.map(|span| object(raw, span));
    let meta = meta.unwrap_or_default();
    let reference = request.reference.unwrap_or_default();
    let keys = &request.keys;
    check_known(raw, &envelope_keys(keys), expected);
    check_known(raw, &request_keys(&request.params), &params);
    check_known(raw, &meta_keys(&request.meta), &meta);
    let in_reference = member(&params, "ref").and_then(members);
    assert_eq!(request.reference.is_some(), in_reference.is_some());
    check_known(
        raw,
        &[
            ("type", reference.kind),
            ("name", reference.name),
            ("uri", reference.uri),
        ],
        &in_reference.unwrap_or_default(),
    );
    let has_own_meta = meta.iter().any(|(key, _)| key.starts_with(OWN_META_PREFIX));
    assert_eq!(request.has_own_meta, has_own_meta);
    assert_eq!(request.is_request(), member(expected, "id").is_some());
    assert_eq!(request.id(), member(expected, "id").map(str::as_bytes));
    assert_eq!(
        Some(request.method().into_owned()),
        member(expected, "method").and_then(text)
    );
    for (key, span) in request_keys(&request.params) {
        let is = request.text(span).map(String::from);
        assert_eq!(is, member(&params, key).and_then(text), "{key}");
        let number = member(&params, key).and_then(|value| serde_json::from_str(value).ok());
        assert_eq!(request.number(span), number, "{key}");
    }
}

fn check_response(response: &Response, expected: &Members<'_>) {
    let raw = &response.raw;
    let own = [
        ("id", response.id),
        ("result", response.result),
        ("error", response.error),
    ];
    check_known(raw, &own, expected);
    let inner = |key| member(expected, key).and_then(members).unwrap_or_default();
    check_known(raw, &result_keys(&response.keys), &inner("result"));
    let error = &response.error_keys;
    check_known(
        raw,
        &[
            ("code", error.code),
            ("message", error.message),
            ("data", error.data),
        ],
        &inner("error"),
    );
    let number = member(expected, "id").and_then(|id| serde_json::from_str(id).ok());
    assert_eq!(response.id_number(), number);
    // To serde_json -0 is a float.
    let code = member(&inner("error"), "code").and_then(|code| match code {
        "-0" => Some(0),
        _ => serde_json::from_str(code).ok(),
    });
    assert_eq!(response.error_code(), code);
}

/// Checks that each span is exactly the value that serde_json finds under its key, and a JSON value
/// by itself.
fn check_known(raw: &[u8], known: &Known<'_>, expected: &Members<'_>) {
    for (key, span) in known {
        let is = span.map(|span| span.of(raw));
        assert_eq!(is, member(expected, key).map(str::as_bytes), "{key}");
        assert!(is.is_none_or(|is| value(is).is_some()), "{key}");
    }
}

fn object(raw: &[u8], span: Span) -> Members<'_> {
    value(span.of(raw)).and_then(members).unwrap_or_default()
}

fn names<'k>(known: &Known<'k>) -> Vec<&'k str> {
    known.iter().map(|(name, _)| *name).collect()
}

fn envelope_keys(keys: &EnvelopeKeys) -> [(&'static str, Option<Span>); 6] {
    [
        ("jsonrpc", keys.jsonrpc),
        ("id", keys.id),
        ("method", keys.method),
        ("params", keys.params),
        ("result", keys.result),
        ("error", keys.error),
    ]
}

fn request_keys(keys: &ParamKeys) -> [(&'static str, Option<Span>); 13] {
    [
        ("name", keys.name),
        ("uri", keys.uri),
        ("arguments", keys.arguments),
        ("cursor", keys.cursor),
        ("_meta", keys.meta),
        ("requestState", keys.request_state),
        ("inputResponses", keys.input_responses),
        ("ref", keys.reference),
        ("notifications", keys.notifications),
        ("progressToken", keys.progress_token),
        ("progress", keys.progress),
        ("level", keys.level),
        ("requestId", keys.request_id),
    ]
}

fn meta_keys(keys: &MetaKeys) -> [(&'static str, Option<Span>); 9] {
    [
        (
            "io.modelcontextprotocol/protocolVersion",
            keys.protocol_version,
        ),
        ("io.modelcontextprotocol/clientInfo", keys.client_info),
        (
            "io.modelcontextprotocol/clientCapabilities",
            keys.client_capabilities,
        ),
        ("io.modelcontextprotocol/logLevel", keys.log_level),
        (
            "io.modelcontextprotocol/subscriptionId",
            keys.subscription_id,
        ),
        ("progressToken", keys.progress_token),
        ("traceparent", keys.traceparent),
        ("tracestate", keys.tracestate),
        ("baggage", keys.baggage),
    ]
}

fn result_keys(keys: &ResultKeys) -> [(&'static str, Option<Span>); 10] {
    [
        ("resultType", keys.result_type),
        ("isError", keys.is_error),
        ("_meta", keys.meta),
        ("requestState", keys.request_state),
        ("content", keys.content),
        ("contents", keys.contents),
        ("messages", keys.messages),
        ("ttlMs", keys.ttl_ms),
        ("cacheScope", keys.cache_scope),
        ("nextCursor", keys.next_cursor),
    ]
}
