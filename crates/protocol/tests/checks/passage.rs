//! Input: a byte that picks the method, one that says in pieces of how many bytes the response
//! arrives, then the response to the request 7.

use bytes::Bytes;
use switchboard_protocol::envelope::{Message, Response};
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::{Edit, Parts, Passage, Refusal, may_pass};
use switchboard_protocol::splice::{self, Splice, for_each_item};

use super::members::{member, members, value};

const ID: u64 = 7;

pub(super) fn check(data: &[u8]) {
    let Some((&[method, size], raw)) = data.split_first_chunk() else {
        return;
    };
    let methods = [Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead];
    let method = methods[usize::from(method) % methods.len()];
    let raw = Bytes::copy_from_slice(raw);
    let at_once = pass(&raw, raw.len(), method);
    let in_pieces = pass(&raw, usize::from(size), method);
    // Of several mistakes another one may be met first.
    assert_eq!(
        in_pieces.as_ref().ok(),
        at_once.as_ref().ok(),
        "in pieces of {size}"
    );
    if may_pass(&raw, ID, method).is_err() {
        assert!(at_once.is_err());
    }
    match (at_once, collected(&raw, method)) {
        (Ok(passed), collected) => assert_eq!(Some(passed), collected),
        (Err(Refusal::Unusual(_)), collected) => assert!(collected.is_none() || is_unusual(&raw)),
        (Err(refusal), collected) => assert_eq!(collected, None, "{refusal}"),
    }
}

/// What the result becomes that arrives in pieces of this size, and whether it is a tool's error.
fn pass(raw: &Bytes, size: usize, method: Method) -> Result<(String, bool), Refusal> {
    let mut passage = Passage::new(ID, method, Edits);
    let mut parts = Parts::default();
    let mut passed = Vec::new();
    for start in (0..raw.len()).step_by(size.max(1)) {
        let end = raw.len().min(start + size.max(1));
        passage.push(&raw.slice(start..end), &mut parts)?;
        while let Some(part) = parts.pop() {
            assert!(!part.is_empty());
            passed.extend_from_slice(&part);
        }
        assert!(parts.is_empty());
    }
    passage.finish()?;
    assert!(passed.len() as u64 <= passage.upper_bound(raw.len() as u64));
    let passed = String::from_utf8(passed).expect("a part of a text");
    Ok((passed, passage.is_error()))
}

struct Edits;

impl Edit for Edits {
    fn uri(&self, uri: &str) -> Option<String> {
        (!uri.is_empty()).then(|| format!("at home: {uri}"))
    }

    fn meta(&self, meta: &Bytes) -> Option<Vec<u8>> {
        meta.starts_with(b"{")
            .then(|| splice::without_own_meta(meta))
    }

    fn upper_bound(&self, length: u64) -> u64 {
        // What is put before a URI is no longer than "uri" and what stands around it.
        length.saturating_mul(3)
    }
}

/// What the result becomes of a response that is there as a whole.
fn collected(raw: &Bytes, method: Method) -> Option<(String, bool)> {
    let response = Response::parse(raw.clone()).ok()?;
    let result = response
        .result
        .filter(|_| response.id_number() == Some(ID))?;
    let keys = &response.keys;
    let mut splice = Splice::new();
    if let Some(meta) = keys.meta
        && let Some(edited) = Edits.meta(&raw.slice(meta.range()))
    {
        splice.replace(meta, edited);
    }
    let uris = match method {
        Method::ToolsCall => items(raw, keys.content)
            .into_iter()
            .filter_map(|block| uri_of(block.of(raw)))
            .collect(),
        Method::PromptsGet => items(raw, keys.messages)
            .into_iter()
            .filter_map(|message| splice::member(message.of(raw), "content"))
            .filter_map(uri_of)
            .collect(),
        _ => Vec::new(),
    };
    for uri in uris {
        if let Some(edited) = json::as_str(uri).and_then(|text| Edits.uri(&text)) {
            splice.replace(Span::of_part(raw, uri), json::quoted(&edited));
        }
    }
    let mut out = Vec::new();
    splice.apply(raw, result, &mut out);
    let missing = method.missing_members(keys.result_type.is_some(), true, keys.ttl_ms.is_some());
    let is_empty = members(value(result.of(raw))?)?.is_empty();
    assert_eq!(out.pop(), Some(b'}'));
    if !is_empty && !missing.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(missing.as_bytes());
    out.push(b'}');
    let out = String::from_utf8(out).expect("a part of a text");
    Some((out, response.is_tool_error()))
}

fn items(raw: &Bytes, array: Option<Span>) -> Vec<Span> {
    let mut items = Vec::new();
    if let Some(array) = array {
        let text = array.of(raw);
        for_each_item(text, |item| items.push(Span::of_part(raw, item.of(text))));
    }
    items
}

fn uri_of(block: &[u8]) -> Option<&[u8]> {
    match &*splice::member(block, "type").and_then(json::as_str)? {
        "resource_link" => splice::member(block, "uri"),
        "resource" => splice::member(splice::member(block, "resource")?, "uri"),
        _ => None,
    }
}

/// Whether a response is one that is always read as a whole.
fn is_unusual(raw: &Bytes) -> bool {
    let Some(message) = value(raw).and_then(members) else {
        return false;
    };
    let result = member(&message, "result").and_then(members);
    let result_type = result
        .as_ref()
        .and_then(|result| member(result, "resultType"));
    member(&message, "params").is_some()
        || !matches!(Message::parse(raw.clone()), Ok(Message::Response(response)) if response.error.is_none())
        || result_type.is_some_and(|kind| kind != "\"complete\"")
}
