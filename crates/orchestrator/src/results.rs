//! From a backend's answer to the outcome of a call: everything stays as the server wrote it, but
//! for what would mislead the client.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use memchr::memmem;
use switchboard_backends::Answer;
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::call::{Call, Completed, Outcome};
use switchboard_protocol::capabilities::{ClientCapabilities, Question};
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason};
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::Edit;
use switchboard_protocol::splice::{
    Splice, for_each_item, for_each_member, member, without_own_meta,
};
use switchboard_protocol::token::Sealer;

use crate::catalogue::{ADDRESS_SCHEME, Snapshot, address};
use crate::continuation::{self, Continuation};
use crate::home::Home;
use crate::tasks;

/// What tokens are sealed with, and where: the address of this replica, if there are others.
#[derive(Clone, Copy)]
pub(crate) struct SealedAt<'s> {
    pub(crate) sealer: &'s Sealer,
    pub(crate) replica: Option<&'s Arc<str>>,
}

/// Makes the outcome of a call of `target` out of what `backend` answered. `target` is the name that
/// policies know it by.
pub(crate) fn outcome(
    snapshot: &Snapshot,
    sealed_at: SealedAt<'_>,
    call: &Call,
    target: &str,
    backend: &Arc<str>,
    answer: &Answer,
) -> Outcome {
    let SealedAt { sealer, replica } = sealed_at;
    let response = &answer.response;
    let raw = &response.raw;
    let result = answer.result;
    let keys = &response.keys;
    let mut splice = Splice::new();
    if !answer.missing_members.is_empty() {
        splice.insert_members(raw, result, answer.missing_members.as_bytes());
    }
    let addresses = Addresses {
        snapshot,
        backend,
        raw,
        is_again: false,
    };
    if let Some(meta) = keys.meta {
        addresses.edit_meta(meta, &mut splice);
    }
    let result_type = if call.method.may_require_input() {
        response.text(keys.result_type)
    } else {
        None
    };
    if call.method == Method::ToolsCall && result_type.as_deref() == Some("task") {
        return tasks::created(sealed_at, call, target, backend, answer, splice);
    }
    if result_type.as_deref() == Some("input_required") {
        if let Some(error) = undeclared(call, result.of(raw)) {
            return Outcome::Failed(error.into());
        }
        let state = response
            .text(keys.request_state)
            .map(|state| state.into_owned());
        let continuation = Continuation {
            home: Home::of(backend, answer, replica),
            state,
            is_first_use: true,
        };
        let token = match continuation::seal(sealer, call, &continuation) {
            Ok(token) => token,
            Err(detail) => return Outcome::Failed(unsealable(backend, &detail)),
        };
        match keys.request_state {
            Some(span) => splice.replace(span, format!("\"{token}\"").into_bytes()),
            None => splice.insert_members(
                raw,
                result,
                format!("\"requestState\":\"{token}\"").as_bytes(),
            ),
        }
        return Outcome::InputRequired(splice.apply_shared(raw, result));
    }
    match call.method {
        Method::ToolsCall => addresses.edit_content(keys.content, &mut splice),
        Method::PromptsGet => addresses.edit_messages(keys.messages, &mut splice),
        Method::SkillsGet => {
            if let Some(skill) = member(result.of(raw), "skill") {
                snapshot.edit_skill(backend, raw, skill, &mut splice);
            }
        }
        Method::DirectoryRead => addresses.edit_children(result, &mut splice),
        _ => {}
    }
    Outcome::Complete(Completed {
        result: splice.apply_shared(raw, result),
        is_error: response.is_tool_error(),
    })
}

/// The fault of a question whose state cannot be sealed.
pub(crate) fn unsealable(backend: &Arc<str>, detail: &str) -> CallError {
    let message =
        format!("The server \"{backend}\" asked for input in a way that cannot be passed on.");
    let fault = Fault::unknown(Reason::InvalidAnswer, message).of(backend);
    fault.with_detail(detail).into()
}

/// Whether a result may name a resource, in its content or its `_meta`.
pub(crate) fn may_name_resources(result: &[u8]) -> bool {
    static UI: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b"\"resourceUri\""));
    content_may_name_resources(result) || UI.find(result).is_some()
}

/// Whether content may name a resource; most results name none at all. A key written with an escape
/// may be anything.
fn content_may_name_resources(text: &[u8]) -> bool {
    static KEY: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b"\"uri\""));
    static ESCAPE: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b"\\u00"));
    KEY.find(text).is_some() || ESCAPE.find(text).is_some()
}

/// The error of a call that needs input which its client never said it could give: no server may
/// ask for that (specification: `basic/patterns/mrtr`, Server Requirements).
pub(crate) fn undeclared(call: &Call, result: &[u8]) -> Option<ProtocolError> {
    member(result, "inputRequests")?;
    asks_undeclared(call.client_capabilities(), result)
}

/// As [`undeclared`], of a client that declared this.
pub(crate) fn asks_undeclared(
    declared: ClientCapabilities,
    result: &[u8],
) -> Option<ProtocolError> {
    let mut missing = None;
    for_each_member(member(result, "inputRequests")?, |_, _, request| {
        let method = member(request, "method").and_then(json::as_str);
        // What an extension asks, only its client can tell.
        let question = Question::parse(&method.unwrap_or_default(), member(request, "params"));
        if let Some(question) = question.filter(|question| !declared.allows(*question)) {
            missing = Some(question);
        }
    });
    missing.map(Question::undeclared)
}

/// What [`outcome`] changes, of a result that is still arriving.
pub(crate) struct Edits {
    snapshot: Arc<Snapshot>,
    backend: Arc<str>,
}

impl Edits {
    pub(crate) fn new(snapshot: &Arc<Snapshot>, backend: &Arc<str>) -> Self {
        Self {
            snapshot: Arc::clone(snapshot),
            backend: Arc::clone(backend),
        }
    }
}

impl Edit for Edits {
    fn uri(&self, uri: &str) -> Option<String> {
        self.snapshot.exposed_uri(&self.backend, uri)
    }

    fn meta(&self, meta: &Bytes) -> Option<Vec<u8>> {
        let addresses = Addresses {
            snapshot: &self.snapshot,
            backend: &self.backend,
            raw: meta,
            is_again: false,
        };
        let whole = Span::of_part(meta, meta);
        let mut splice = Splice::new();
        addresses.edit_meta(whole, &mut splice);
        if splice.is_empty() {
            return None;
        }
        let mut edited = Vec::with_capacity(meta.len());
        splice.apply(meta, whole, &mut edited);
        Some(edited)
    }

    fn upper_bound(&self, length: u64) -> u64 {
        // An address is its URI, each byte as three at most, behind what leads to the backend. No
        // URI takes less room than `"uri":""`.
        let uris = length / 8 + 1;
        let before = address(&self.backend, "").len() as u64;
        length
            .saturating_mul(3)
            .saturating_add(uris.saturating_mul(before))
    }
}

/// A result that [`outcome`] made, perhaps under another catalogue, with the addresses of this one; `None`:
/// they are the same.
pub(crate) fn readdressed(snapshot: &Snapshot, backend: &str, result: &Bytes) -> Option<Bytes> {
    let addresses = Addresses {
        snapshot,
        backend,
        raw: result,
        is_again: true,
    };
    let place = |key: &str| member(result, key).map(|it| Span::of_part(result, it));
    let mut splice = Splice::new();
    addresses.edit_content(place("content"), &mut splice);
    if let Some(meta) = place("_meta") {
        addresses.edit_meta(meta, &mut splice);
    }
    let whole = Span::of_part(result, result);
    (!splice.is_empty()).then(|| splice.apply_shared(result, whole).into_contiguous())
}

/// Rewrites the URIs that would not lead the client back to the backend that wrote them.
pub(crate) struct Addresses<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) backend: &'a str,
    pub(crate) raw: &'a Bytes,
    /// Whether that was done before: an address leads there whatever the catalogue.
    pub(crate) is_again: bool,
}

impl Addresses<'_> {
    /// `_meta` of a result: without the gateway's own keys, and with a `ui.resourceUri` (MCP Apps)
    /// that leads there.
    pub(crate) fn edit_meta(&self, meta: Span, splice: &mut Splice<'_>) {
        let text = meta.of(self.raw);
        let mut edits = Splice::new();
        let mut has_own = false;
        for_each_member(text, |key, _, value| {
            has_own |= key.starts_with(OWN_META_PREFIX);
            if key == "ui"
                && let Some(uri) = member(value, "resourceUri")
            {
                self.edit_uri(uri, &mut edits);
            }
        });
        if !has_own {
            return splice.merge(edits);
        }
        let mut edited = Vec::with_capacity(text.len());
        edits.apply(self.raw, meta, &mut edited);
        splice.replace(meta, without_own_meta(&edited));
    }

    /// Content blocks of a tool's result.
    pub(crate) fn edit_content(&self, content: Option<Span>, splice: &mut Splice<'_>) {
        let Some(text) = content.map(|span| span.of(self.raw)) else {
            return;
        };
        // Most results name no resource at all.
        if content_may_name_resources(text) {
            for_each_item(text, |block| self.edit_block(block.of(text), splice));
        }
    }

    /// What is in a directory of a skill.
    fn edit_children(&self, result: Span, splice: &mut Splice<'_>) {
        let Some(children) = member(result.of(self.raw), "resources") else {
            return;
        };
        for_each_item(children, |child| {
            let child = child.of(children);
            self.snapshot
                .edit_child(self.backend, self.raw, child, splice);
        });
    }

    /// Messages of a prompt; `content` of each is one block.
    fn edit_messages(&self, messages: Option<Span>, splice: &mut Splice<'_>) {
        let Some(text) = messages.map(|span| span.of(self.raw)) else {
            return;
        };
        if content_may_name_resources(text) {
            for_each_item(text, |message| {
                if let Some(block) = member(message.of(text), "content") {
                    self.edit_block(block, splice);
                }
            });
        }
    }

    /// A `resource_link`, or an embedded `resource`.
    fn edit_block(&self, block: &[u8], splice: &mut Splice<'_>) {
        let kind = member(block, "type").and_then(json::as_str);
        let uri = match kind.as_deref() {
            Some("resource_link") => member(block, "uri"),
            Some("resource") => {
                member(block, "resource").and_then(|resource| member(resource, "uri"))
            }
            _ => None,
        };
        if let Some(uri) = uri {
            self.edit_uri(uri, splice);
        }
    }

    fn edit_uri(&self, uri: &[u8], splice: &mut Splice<'_>) {
        let Some(text) = json::as_str(uri) else {
            return;
        };
        if self.is_again && text.starts_with(ADDRESS_SCHEME) {
            return;
        }
        if let Some(address) = self.snapshot.exposed_uri(self.backend, &text) {
            splice.replace(Span::of_part(self.raw, uri), json::quoted(&address));
        }
    }
}

#[cfg(test)]
mod tests {
    use switchboard_protocol::passage::{Parts, Passage};

    use super::*;
    use crate::catalogue::SnapshotSettings;
    use crate::config::NamesConfig;

    /// Every URI becomes an address, each of its characters as long as any can get.
    #[test]
    fn no_result_gets_longer_than_it_is_said_to_get() {
        let settings = SnapshotSettings::new("1");
        let snapshot = Arc::new(Snapshot::build(&NamesConfig::default(), &[], &settings));
        for uri in ["", "x", "::::::::::::::::::::::::", "世界"] {
            let link = format!(r#"{{"uri":"{uri}","type":"resource_link"}}"#);
            let links = vec![link; 1000].join(",");
            let text = Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{links}]}}}}"#
            ));
            let edits = Edits::new(&snapshot, &"a server of a long name, 世界".into());
            let mut passage = Passage::new(1, Method::ToolsCall, edits);
            let most = passage.upper_bound(text.len() as u64);
            let mut parts = Parts::default();
            passage.push(&text, &mut parts).expect("a response");
            let length = parts.len() as u64;
            assert!(length > text.len() as u64, "it is edited");
            assert!(length <= most, "{uri}: {length} are more than {most}");
        }
    }
}
