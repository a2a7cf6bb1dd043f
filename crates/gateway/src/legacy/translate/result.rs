//! A modern result as a legacy client takes it.

use std::ops::Range;

use bytes::Bytes;
use switchboard_protocol::call::Payload;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;

use super::edit::{self, Edit, is_object};
use super::rope::{Place, Rope};
use super::{content, items};

/// A complete modern result of `method` as a client of `version` takes it: without what 2026-07-28
/// added to every result, and with what that version cannot read in a form that it can. What stays
/// shares the memory of what came.
pub(crate) fn result(method: Method, version: Version, result: &Payload) -> Payload {
    let rope = Rope::new(result);
    let mut edits = Edits {
        rope: &rope,
        version,
        members: Vec::new(),
    };
    let mut structured = None;
    let mut content_index = None;
    rope.for_each_member(|key, place| {
        match key {
            "content" => content_index = Some(edits.members.len()),
            "structuredContent" => structured = Some(place.value.clone()),
            _ => {}
        }
        edits.add(method, key, place);
    });
    // Whatever a tool says in structured form alone would be lost on a client of this version.
    if method == Method::ToolsCall
        && version < Version::V2025_06_18
        && let (Some(index), Some(structured)) = (content_index, structured)
        && edits.is_empty_array(index)
    {
        let text = rope.slice(&structured);
        let block = content::text_block(&String::from_utf8_lossy(&text), None);
        edits.members[index].1 = Edit::Value([b"[", &*block, b"]"].concat().into());
    }
    edits.apply()
}

/// What becomes of each member of a result.
struct Edits<'r, 'p> {
    rope: &'r Rope<'p>,
    version: Version,
    members: Vec<(Place, Edit<'static>)>,
}

impl Edits<'_, '_> {
    fn add(&mut self, method: Method, key: &str, place: Place) {
        let version = self.version;
        let value = |range: &Range<usize>| self.rope.slice(range);
        let edit = match (method, key) {
            (_, "resultType" | "ttlMs" | "cacheScope" | "requestState" | "inputRequests") => {
                Edit::Drop
            }
            (_, "_meta") => meta(&value(&place.value)),
            (Method::ToolsCall, "structuredContent") => self.structured(&place.value),
            (Method::ToolsCall, "content") if version < Version::V2025_11_25 => {
                content::blocks(&value(&place.value), version).into()
            }
            (Method::PromptsGet, "messages") if version < Version::V2025_11_25 => {
                content::messages(&value(&place.value), version).into()
            }
            (Method::ToolsList, "tools") => {
                items::list(&value(&place.value), version, items::tool).into()
            }
            (Method::ResourcesList | Method::DirectoryRead, "resources")
            | (Method::ResourceTemplatesList, "resourceTemplates")
            | (Method::PromptsList, "prompts") => {
                items::list(&value(&place.value), version, items::other).into()
            }
            _ => Edit::Keep,
        };
        self.members.push((place, edit));
    }

    /// `structuredContent` came with 2025-06-18 and was an object until 2026-07-28.
    fn structured(&self, value: &Range<usize>) -> Edit<'static> {
        if self.version < Version::V2025_06_18 {
            return Edit::Drop;
        }
        // The first byte is enough to tell, and what is no object is seldom long.
        if is_object(&self.rope.slice(&(value.start..value.start + 1))) {
            return Edit::Keep;
        }
        let mut wrapped = b"{\"result\":".to_vec();
        wrapped.extend_from_slice(&self.rope.slice(value));
        wrapped.push(b'}');
        Edit::Value(wrapped.into())
    }

    fn is_empty_array(&self, index: usize) -> bool {
        let (place, edit) = &self.members[index];
        let value = self.rope.slice(&place.value);
        let inner = value
            .strip_prefix(b"[")
            .and_then(|rest| rest.strip_suffix(b"]"));
        matches!(edit, Edit::Keep) && inner.is_some_and(|inner| inner.trim_ascii().is_empty())
    }

    fn apply(self) -> Payload {
        let mut out = Payload::default();
        // What is written next, and what of the original is not written yet but stays as it is.
        let mut written = b"{".to_vec();
        let mut run: Option<Range<usize>> = None;
        let mut any = false;
        for (place, edit) in self.members {
            if matches!(edit, Edit::Drop) {
                flush(self.rope, &mut written, &mut run, &mut out);
                continue;
            }
            if let (Some(run), Edit::Keep) = (&mut run, &edit) {
                run.end = place.member.end;
                continue;
            }
            flush(self.rope, &mut written, &mut run, &mut out);
            if any {
                written.push(b',');
            }
            any = true;
            match edit {
                Edit::Value(value) => {
                    let key = place.member.start..place.value.start;
                    written.extend_from_slice(&self.rope.slice(&key));
                    written.extend_from_slice(&value);
                }
                _ => run = Some(place.member),
            }
        }
        flush(self.rope, &mut written, &mut run, &mut out);
        written.push(b'}');
        out.push(written);
        out
    }
}

/// Gives out what was written, and then the run of the original that follows it.
fn flush(
    rope: &Rope<'_>,
    written: &mut Vec<u8>,
    run: &mut Option<Range<usize>>,
    out: &mut Payload,
) {
    if let Some(run) = run.take() {
        out.push(std::mem::take(written));
        rope.push_to(&run, out);
    }
}

/// `_meta` of a result without who answered, and not at all if nothing else is in it.
fn meta(raw: &[u8]) -> Edit<'static> {
    let mut left = 0;
    let edited = edit::object(raw, b"", |key, _| match key {
        "io.modelcontextprotocol/serverInfo" | "io.modelcontextprotocol/subscriptionId" => {
            Edit::Drop
        }
        _ => {
            left += 1;
            Edit::Keep
        }
    });
    if left == 0 && is_object(raw) {
        return Edit::Drop;
    }
    edited.into()
}

/// A notification to a client of `version`, or `None` if it has no such notification: without what
/// only modern clients understand.
pub(crate) fn notification(version: Version, raw: &Bytes) -> Option<Bytes> {
    let method = switchboard_protocol::splice::member(raw, "method")
        .and_then(switchboard_protocol::json::as_str)?;
    let newest = version >= Version::V2025_11_25;
    match &*method {
        "notifications/subscriptions/acknowledged" => return None,
        "notifications/elicitation/complete" | "notifications/tasks/status" if !newest => {
            return None;
        }
        _ => {}
    }
    let drops_message = version < Version::V2025_03_26 && &*method == "notifications/progress";
    let edited = edit::object(raw, b"", |key, params| match key {
        "params" => edit::object(params, b"", |key, value| match key {
            "_meta" => meta(value),
            "message" if drops_message => Edit::Drop,
            _ => Edit::Keep,
        })
        .into(),
        _ => Edit::Keep,
    });
    Some(edited.map_or_else(|| raw.clone(), Bytes::from))
}

#[cfg(test)]
mod tests;
