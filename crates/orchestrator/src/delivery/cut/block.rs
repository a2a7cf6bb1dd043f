//! Content blocks, messages of prompts and contents of resources: whole, or cut at a character.

use std::borrow::Cow;

use switchboard_protocol::json;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::member;

use super::room::Room;
use super::{Beginning, cut_text, inside};

/// A content block, whole or cut; `None` if nothing of it fits, or it is none.
pub(super) fn block(beginning: &Beginning<'_>, raw: &[u8], room: &mut Room) -> Option<Vec<u8>> {
    if beginning.is_whole(raw) {
        if !is_block(raw) {
            return None;
        }
        if room.take(Size::of_block(raw) + Size::of_text(b",")) {
            return Some(raw.to_vec());
        }
    }
    match &*kind(beginning, raw)? {
        "text" => {
            let text = inside(member(raw, "text")?)?;
            let after = [&b"\""[..], &annotations(beginning, raw, room), b"}"].concat();
            cut_text(b"{\"type\":\"text\",\"text\":\"", text, &after, room)
        }
        "resource" => {
            let resource = member(raw, "resource")?;
            let before = b"{\"type\":\"resource\",\"resource\":";
            cut_contents(beginning, before, resource, None, b"}", room)
        }
        _ => None,
    }
}

/// What kind of block it is. Of one whose end is missing that may stand behind its text.
fn kind<'a>(beginning: &Beginning<'_>, raw: &'a [u8]) -> Option<Cow<'a, str>> {
    match member(raw, "type").filter(|kind| beginning.is_whole(kind)) {
        Some(kind) => json::as_str(kind),
        None if beginning.is_whole(raw) => None,
        None if member(raw, "resource").is_some() => Some("resource".into()),
        None => member(raw, "text").map(|_| "text".into()),
    }
}

/// `annotations` of a block, as they are added behind its text, if they are small.
fn annotations(beginning: &Beginning<'_>, raw: &[u8], room: &Room) -> Vec<u8> {
    let whole = member(raw, "annotations").filter(|it| beginning.is_whole(it));
    let small = whole.filter(|it| Size::of_text(it).is_within(room.left().part(8)));
    small.map_or_else(Vec::new, |it| [b",\"annotations\":", it].concat())
}

fn is_text(raw: &[u8], key: &str) -> bool {
    member(raw, key).is_some_and(|value| inside(value).is_some())
}

/// Whether it is a content block of the protocol (specification: `server/tools`, Tool Result).
fn is_block(raw: &[u8]) -> bool {
    match member(raw, "type").and_then(json::as_str).as_deref() {
        Some("text") => is_text(raw, "text"),
        Some("image" | "audio") => is_text(raw, "data") && is_text(raw, "mimeType"),
        Some("resource_link") => is_text(raw, "name") && is_text(raw, "uri"),
        Some("resource") => member(raw, "resource").is_some_and(is_contents),
        _ => false,
    }
}

/// Whether it is the contents of a resource (specification: `server/resources`, Reading Resources).
fn is_contents(raw: &[u8]) -> bool {
    is_text(raw, "uri") && (is_text(raw, "text") || is_text(raw, "blob"))
}

/// A message of a prompt.
pub(super) fn message(beginning: &Beginning<'_>, raw: &[u8], room: &mut Room) -> Option<Vec<u8>> {
    let role = member(raw, "role").filter(|role| beginning.is_whole(role));
    let role = role.and_then(json::as_str);
    let role = match role.as_deref() {
        Some(role @ ("user" | "assistant")) => role,
        // It may stand behind the content, of which the end is missing.
        None if !beginning.is_whole(raw) => "user",
        _ => return None,
    };
    let content = member(raw, "content")?;
    if beginning.is_whole(raw) {
        if !is_block(content) {
            return None;
        }
        let around = Size::of_text(raw) - Size::of_text(content);
        if room.take(around + Size::of_block(content) + Size::of_text(b",")) {
            return Some(raw.to_vec());
        }
    }
    let before = format!("{{\"role\":\"{role}\",\"content\":").into_bytes();
    let around = Size::of_text(&before) + Size::of_text(b"}");
    let mut left = *room;
    if !left.take(around) {
        return None;
    }
    let block = block(beginning, content, &mut left)?;
    *room = left;
    Some([before, block, b"}".to_vec()].concat())
}

/// Contents of a resource. `asked_for` is the URI of one that does not say it.
pub(super) fn contents(
    beginning: &Beginning<'_>,
    raw: &[u8],
    asked_for: Option<&str>,
    room: &mut Room,
) -> Option<Vec<u8>> {
    if beginning.is_whole(raw) {
        if !is_contents(raw) {
            return None;
        }
        if room.take(Size::of_contents(raw) + Size::of_text(b",")) {
            return Some(raw.to_vec());
        }
    }
    let asked_for = asked_for.filter(|_| !beginning.is_whole(raw));
    cut_contents(beginning, b"", raw, asked_for, b"", room)
}

/// The text of a resource, cut. Nothing of a blob: its beginning is of no use.
fn cut_contents(
    beginning: &Beginning<'_>,
    before: &[u8],
    raw: &[u8],
    asked_for: Option<&str>,
    after: &[u8],
    room: &mut Room,
) -> Option<Vec<u8>> {
    let text = inside(member(raw, "text")?)?;
    let whole_text = |key: &str| {
        member(raw, key).filter(|text| beginning.is_whole(text) && inside(text).is_some())
    };
    let uri = whole_text("uri");
    let uri = match (uri, asked_for) {
        (Some(uri), _) => uri.to_vec(),
        (None, Some(uri)) => json::quoted(uri),
        (None, None) => return None,
    };
    let mut start = [before, b"{\"uri\":", &uri].concat();
    if let Some(media_type) = whole_text("mimeType") {
        start.extend_from_slice(b",\"mimeType\":");
        start.extend_from_slice(media_type);
    }
    start.extend_from_slice(b",\"text\":\"");
    cut_text(&start, text, &[b"\"}", after].concat(), room)
}
