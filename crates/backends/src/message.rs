//! A call as the bytes that a backend gets.

use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use std::borrow::Cow;
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::ParamKeys;
use switchboard_protocol::extension;
use switchboard_protocol::header;
use switchboard_protocol::json::{Span, write_str};
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{Splice, filter_object, for_each_member, may_have_task};

use crate::link::{MayArrive, Outgoing};

/// How much longer than what the client sent a request usually gets, in bytes: room for its head
/// and a `traceparent`.
const ADDED: usize = 160;

/// What becomes of `requestState` on the way to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState<'a> {
    /// There is none, or it passes as it came.
    Keep,
    /// The backend's own state takes the place of the gateway's token.
    Restore(&'a str),
    /// The backend sent none, so it gets none.
    Remove,
}

/// What is changed about a call for the backend that it goes to.
#[derive(Debug)]
pub struct Rewrite<'a> {
    /// The backend's own name of the tool or prompt, or its own form of the URI; `None`: as the
    /// client wrote it.
    pub target: Option<&'a str>,
    /// What becomes of `requestState`.
    pub request_state: RequestState<'a>,
    /// The `Mcp-Param-*` headers to send.
    pub param_headers: Vec<(HeaderName, HeaderValue)>,
    /// The endpoint where what the call goes on with is, as an [`Answer`](crate::Answer) named it.
    pub endpoint: Option<u64>,
    /// How a large result is taken.
    pub take: Take,
}

impl Rewrite<'_> {
    /// How a large result of this method may be given before it is whole, if it may.
    pub(crate) fn may_arrive(&self, method: Method) -> Option<MayArrive> {
        let passes = self.take != Take::Whole && method.may_pass();
        passes.then_some(MayArrive {
            method,
            at_once: self.take == Take::AtOnce,
        })
    }
}

/// How a large result is taken from its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// When all of it is there.
    #[default]
    Whole,
    /// While it arrives, as slowly as its client reads: see [`Reply::Arriving`](crate::Reply).
    AsRead,
    /// While it arrives, and as fast as it does, so that nobody waits who shares the connection.
    AtOnce,
}

/// The call as a modern request: a splice of what the client sent.
pub(crate) fn modern(
    call: &Call,
    rewrite: &Rewrite<'_>,
    id: u64,
    traceparent: Option<&str>,
) -> Outgoing {
    let request = &call.request;
    let mut out = head(call.method, id, request.raw.len() + ADDED);
    if let Some(params) = request.keys.params {
        let mut splice = Splice::new();
        rename(call, rewrite, &mut splice);
        match (rewrite.request_state, request.params.request_state) {
            (RequestState::Restore(state), Some(span)) => splice.replace(span, quoted(state)),
            (RequestState::Remove, Some(span)) => splice.remove_member(&request.raw, span),
            _ => {}
        }
        edit_meta(call, id, traceparent, &mut splice);
        splice.apply(&request.raw, params, &mut out);
    } else {
        out.extend_from_slice(b"{}");
    }
    out.push(b'}');
    Outgoing {
        id,
        method: call.method.as_str(),
        name: name_header(call, rewrite),
        param_headers: rewrite.param_headers.clone(),
        on_behalf: None,
        trace: None,
        body: out.into(),
    }
}

/// The call as a legacy request: the parameters without what only modern requests carry.
pub(crate) fn legacy(
    call: &Call,
    rewrite: &Rewrite<'_>,
    id: u64,
    traceparent: Option<&str>,
) -> Outgoing {
    let request = &call.request;
    let mut out = head(call.method, id, request.raw.len() + ADDED);
    let mut meta = b"\"_meta\":".to_vec();
    legacy_meta(call, id, traceparent, &mut meta);
    match request.keys.params {
        Some(params) if !has_rare_params(call) => {
            let mut splice = Splice::new();
            rename(call, rewrite, &mut splice);
            match request.params.meta {
                Some(span) => splice.replace(span, &meta[b"\"_meta\":".len()..]),
                None => splice.insert_members(&request.raw, params, &meta),
            }
            splice.apply(&request.raw, params, &mut out);
        }
        _ => legacy_params(call, rewrite, &meta, &mut out),
    }
    out.push(b'}');
    Outgoing {
        id,
        method: call.method.as_str(),
        name: None,
        param_headers: Vec::new(),
        on_behalf: None,
        trace: None,
        body: out.into(),
    }
}

/// Whether more of the parameters is changed than their target and `_meta`.
fn has_rare_params(call: &Call) -> bool {
    let request = &call.request;
    let ParamKeys {
        request_state,
        input_responses,
        reference,
        ..
    } = request.params;
    let is_known = request_state.or(input_responses).or(reference).is_some();
    let may_have_task = || {
        let params = request.keys.params.map(|params| request.slice(params));
        call.method == Method::ToolsCall && params.is_some_and(may_have_task)
    };
    is_known || may_have_task()
}

/// The `_meta` of a legacy request.
fn legacy_meta(call: &Call, id: u64, traceparent: Option<&str>, out: &mut Vec<u8>) {
    let request = &call.request;
    let progress = request
        .meta
        .progress_token
        .map(|_| format!("\"progressToken\":{id}"));
    let trace = traceparent.map(|value| format!("\"traceparent\":\"{value}\""));
    let extra = match (progress, trace) {
        (None, None) => String::new(),
        (Some(only), None) | (None, Some(only)) => only,
        (Some(progress), Some(trace)) => format!("{progress},{trace}"),
    };
    let dropped = [
        request.meta.progress_token,
        request.meta.protocol_version,
        request.meta.client_info,
        request.meta.client_capabilities,
        request.meta.log_level,
        request.meta.traceparent.filter(|_| traceparent.is_some()),
    ];
    // Most have no other keys, and need no walk to find that out.
    if dropped.iter().flatten().count() == request.meta_members {
        out.push(b'{');
        out.extend_from_slice(extra.as_bytes());
        out.push(b'}');
        return;
    }
    let meta = request
        .params
        .meta
        .map_or(&b"{}"[..], |span| request.slice(span));
    let is_dropped = |key: &str| {
        key.starts_with(OWN_META_PREFIX)
            || matches!(
                key,
                "progressToken"
                    | "io.modelcontextprotocol/protocolVersion"
                    | "io.modelcontextprotocol/clientInfo"
                    | "io.modelcontextprotocol/clientCapabilities"
                    | "io.modelcontextprotocol/logLevel"
            )
            || (key == "traceparent" && traceparent.is_some())
    };
    filter_object(meta, extra.as_bytes(), |key| !is_dropped(key), out);
}

/// The parameters of a legacy request member by member, whatever they are. `meta` is the member.
fn legacy_params(call: &Call, rewrite: &Rewrite<'_>, meta: &[u8], out: &mut Vec<u8>) {
    let request = &call.request;
    out.push(b'{');
    out.extend_from_slice(meta);
    let named = request.params.target(call.method);
    for_each_member(
        request
            .keys
            .params
            .map_or(b"{}", |span| request.slice(span)),
        |key, member, value| {
            let replaced = match (key, rewrite.target) {
                ("_meta" | "requestState" | "inputResponses", _) => return,
                // To modern clients it means nothing (SEP-2663, Backward Compatibility).
                ("task", _) if call.method == Method::ToolsCall => return,
                (_, Some(target)) if named == Some(Span::of_part(&request.raw, value)) => {
                    Some(quoted(target))
                }
                ("ref", Some(target)) => Some(renamed_reference(value, target)),
                _ => None,
            };
            out.push(b',');
            match replaced {
                Some(value) => {
                    write_str(out, key);
                    out.push(b':');
                    out.extend_from_slice(&value);
                }
                None => out.extend_from_slice(member),
            }
        },
    );
    out.push(b'}');
}

/// A request of the gateway's own. `params` are members (`"key":value`, comma-separated), without
/// `_meta`.
pub(crate) fn own(method: &'static str, id: u64, meta: &str, params: &str) -> Outgoing {
    let comma = if params.is_empty() || meta.is_empty() {
        ""
    } else {
        ","
    };
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{meta}{comma}{params}}}}}"
    );
    Outgoing {
        id,
        method,
        name: None,
        param_headers: Vec::new(),
        on_behalf: None,
        trace: None,
        body: Bytes::from(body),
    }
}

fn head(method: Method, id: u64, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    // Serializing a number into a Vec cannot fail.
    let _ = serde_json::to_writer(&mut out, &id);
    out.extend_from_slice(b",\"method\":\"");
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b"\",\"params\":");
    out
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_str(&mut out, text);
    out
}

fn rename(call: &Call, rewrite: &Rewrite<'_>, splice: &mut Splice<'_>) {
    let (Some(target), Some(span)) = (rewrite.target, target_span(call)) else {
        return;
    };
    let new = quoted(target);
    if call.request.slice(span) != new {
        splice.replace(span, new);
    }
}

fn target_span(call: &Call) -> Option<Span> {
    let params = &call.request.params;
    match call.method {
        Method::ToolsCall | Method::PromptsGet => params.name,
        Method::ResourcesRead | Method::SkillsGet | Method::DirectoryRead => params.uri,
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => params.task_id,
        Method::Complete => call
            .request
            .reference
            .and_then(|reference| reference.name.or(reference.uri)),
        _ => None,
    }
}

fn renamed_reference(reference: &[u8], target: &str) -> Vec<u8> {
    let mut out = vec![b'{'];
    for_each_member(reference, |key, member, _| {
        if out.len() > 1 {
            out.push(b',');
        }
        if matches!(key, "name" | "uri") {
            write_str(&mut out, key);
            out.push(b':');
            write_str(&mut out, target);
        } else {
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
    out
}

fn name_header(call: &Call, rewrite: &Rewrite<'_>) -> Option<HeaderValue> {
    if !call.method.has_name_header() {
        return None;
    }
    let target = rewrite
        .target
        .map(Cow::Borrowed)
        .or_else(|| call.target())?;
    Some(header::encode_value(&target))
}

fn edit_meta(call: &Call, id: u64, traceparent: Option<&str>, splice: &mut Splice<'_>) {
    let request = &call.request;
    let Some(meta) = request.params.meta else {
        return;
    };
    let mut edits = Splice::new();
    if let Some(token) = request.meta.progress_token {
        edits.replace(token, id.to_string().into_bytes());
    }
    match (traceparent, request.meta.traceparent) {
        (Some(value), Some(span)) => edits.replace(span, quoted(value)),
        (Some(value), None) => {
            edits.insert_members(
                &request.raw,
                meta,
                format!("\"traceparent\":\"{value}\"").as_bytes(),
            );
        }
        (None, _) => {}
    }
    if let Some(capabilities) = request.meta.client_capabilities {
        let raw = request.slice(capabilities);
        // Most clients declare none at all.
        let may_have_extensions = memchr::memmem::find(raw, b"extensions").is_some()
            || memchr::memchr(b'\\', raw).is_some();
        if may_have_extensions && let Some(kept) = extension::filtered(raw, extension::is_routed) {
            edits.replace(capabilities, kept);
        }
    }
    if request.has_own_meta {
        let mut edited = Vec::new();
        edits.apply(&request.raw, meta, &mut edited);
        let mut kept = Vec::with_capacity(edited.len());
        filter_object(
            &edited,
            b"",
            |key| !key.starts_with(OWN_META_PREFIX),
            &mut kept,
        );
        splice.replace(meta, kept);
    } else {
        splice.merge(edits);
    }
}

#[cfg(test)]
mod tests;
