//! What a server asks in the middle of a call, as a legacy client understands it, and its answers.

use std::borrow::Cow;

use switchboard_protocol::error::code::INTERNAL_ERROR;
use switchboard_protocol::json::{as_str, write_str};
use switchboard_protocol::splice::{for_each_item, member, without_own_meta};
use switchboard_protocol::version::Version;
use switchboard_protocol::{ERROR_KEY, OWN_META_PREFIX};

use super::edit::{self, Edit, is_object};
use super::{content, form, items};

/// The longest role of a message, in bytes as written.
const MAX_ROLE: usize = 64;

/// The parameters of a modern question as a request to a client of `version`; `None` if its
/// version has no such question. `params` is a JSON object, `{}` where the question has none.
/// `elicitation_id` is what an elicitation by URL is known by.
pub(crate) fn question<'a>(
    version: Version,
    method: &str,
    params: &'a [u8],
    elicitation_id: &str,
) -> Option<Cow<'a, [u8]>> {
    let changed = match method {
        "roots/list" => None,
        "sampling/createMessage" => sampling(version, params)?,
        "elicitation/create" => elicitation(version, params, elicitation_id)?,
        _ => return None,
    };
    Some(changed.map_or(Cow::Borrowed(params), Cow::Owned))
}

/// A legacy client's answer to a question as a modern client's. `params` are those of the question
/// in modern form; `result` is a JSON object. The gateway's own keys that the client may have
/// written are not in it.
pub(crate) fn answer<'a>(
    version: Version,
    method: &str,
    params: &[u8],
    result: &'a [u8],
) -> Cow<'a, [u8]> {
    let schema = (method == "elicitation/create" && version < Version::V2025_11_25)
        .then(|| member(params, "requestedSchema"))
        .flatten();
    let changed = edit::object(result, b"", |key, value| match key {
        _ if key.starts_with(OWN_META_PREFIX) => Edit::Drop,
        "_meta" => Edit::Value(without_own_meta(value).into()),
        "content" => schema
            .and_then(|schema| form::modern_content(schema, value))
            .into(),
        _ => Edit::Keep,
    });
    changed.map_or(Cow::Borrowed(result), Cow::Owned)
}

/// What stands in the place of an answer if the client answered with an error: `error` is its error
/// object.
pub(crate) fn refusal(error: &[u8]) -> Vec<u8> {
    let code = member(error, "code").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    let code: i64 = code.unwrap_or(INTERNAL_ERROR);
    let message = member(error, "message").and_then(as_str);
    let mut out = format!("{{\"{ERROR_KEY}\":{{\"code\":{code},\"message\":").into_bytes();
    write_str(&mut out, &message.unwrap_or_default());
    out.extend_from_slice(b"}}");
    out
}

/// Elicitation came with 2025-06-18, by form alone; 2025-11-25 has the same forms as 2026-07-28,
/// and an id for what is asked by URL.
fn elicitation(version: Version, params: &[u8], id: &str) -> Option<Option<Vec<u8>>> {
    let is_url = member(params, "mode").and_then(as_str).as_deref() == Some("url");
    if version >= Version::V2025_11_25 {
        if !is_url {
            return Some(None);
        }
        let mut extra = b"\"elicitationId\":".to_vec();
        write_str(&mut extra, id);
        return Some(edit::object(params, &extra, |key, _| match key {
            "elicitationId" => Edit::Drop,
            _ => Edit::Keep,
        }));
    }
    if version < Version::V2025_06_18 || is_url {
        return None;
    }
    Some(edit::object(params, b"", |key, value| match key {
        "mode" => Edit::Drop,
        "requestedSchema" => form::legacy_schema(value).into(),
        _ => Edit::Keep,
    }))
}

/// Sampling is in every version: with tools, and several blocks to a message, since 2025-11-25.
fn sampling(version: Version, params: &[u8]) -> Option<Option<Vec<u8>>> {
    if version >= Version::V2025_11_25 {
        return Some(edit::object(params, b"", |key, value| match key {
            "tools" => items::list(value, version, items::tool).into(),
            "messages" => edit::array(value, newest_message).into(),
            _ => Edit::Keep,
        }));
    }
    if member(params, "tools").is_some() || member(params, "toolChoice").is_some() {
        return None;
    }
    let mut can_be_said = true;
    let changed = edit::object(params, b"", |key, value| match key {
        "messages" => edit::array(value, |message| {
            older_messages(message, version, &mut can_be_said)
        })
        .into(),
        _ => Edit::Keep,
    });
    can_be_said.then_some(changed)
}

/// Structured results of tools are objects in 2025-11-25.
fn newest_message(raw: &[u8]) -> Option<Vec<u8>> {
    let block = |raw| {
        edit::object(raw, b"", |key, value| match key {
            "structuredContent" if !is_object(value) => {
                Edit::Value([b"{\"result\":", value, b"}"].concat().into())
            }
            _ => Edit::Keep,
        })
    };
    edit::object(raw, b"", |key, value| match key {
        "content" if is_object(value) => block(value).into(),
        "content" => edit::array(value, block).into(),
        _ => Edit::Keep,
    })
}

/// One message for each block of a message.
fn older_messages(raw: &[u8], version: Version, can_be_said: &mut bool) -> Option<Vec<u8>> {
    let original = member(raw, "content")?;
    let mut blocks: Vec<&[u8]> = Vec::new();
    if is_object(original) {
        blocks.push(original);
    } else {
        for_each_item(original, |span| blocks.push(span.of(original)));
    }
    let is_of_tools = |block: &&[u8]| {
        let kind = member(block, "type").and_then(as_str);
        matches!(kind.as_deref(), Some("tool_use" | "tool_result"))
    };
    if blocks.iter().any(is_of_tools) {
        *can_be_said = false;
        return None;
    }
    if let [only] = blocks[..]
        && is_object(original)
        && content::block(only, version).is_none()
    {
        return None;
    }
    let role = member(raw, "role").unwrap_or(b"\"user\"");
    // It is repeated for each block, and one of the protocol's two words.
    if role.len() > MAX_ROLE {
        *can_be_said = false;
        return None;
    }
    if blocks.is_empty() {
        blocks.push(b"{\"type\":\"text\",\"text\":\"\"}");
    }
    let mut out = Vec::with_capacity(raw.len());
    for (index, block) in blocks.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"content\":");
        match content::block(block, version) {
            Some(changed) => out.extend_from_slice(&changed),
            None => out.extend_from_slice(block),
        }
        out.extend_from_slice(b",\"role\":");
        out.extend_from_slice(role);
        out.push(b'}');
    }
    Some(out)
}

#[cfg(test)]
mod tests;
