//! Results cut so that they are no larger than they may be, and still results.

use switchboard_protocol::delivery::Cap;
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::{for_each_item, for_each_member, member};

pub(crate) use self::note::Rest;
use self::note::{Note, Notice};
use self::room::Room;
pub(crate) use self::room::longest;
pub(crate) use self::schemas::Schemas;
use self::structured::Bounds;
use super::skim::Skimmed;

mod block;
mod note;
mod room;
mod schemas;
mod structured;
#[cfg(test)]
mod tests;

/// The most values of structured content that is checked against a schema, which takes far more memory than its
/// text.
const MAX_VALUES: usize = 32 * 1024;

/// The members of a result that are made anew, or decided about one by one.
const OWN_MEMBERS: [&str; 12] = [
    "content",
    "contents",
    "messages",
    "structuredContent",
    "isError",
    "description",
    "resultType",
    "ttlMs",
    "cacheScope",
    "inputRequests",
    "requestState",
    "_meta",
];

/// What is there of a result: valid JSON, though it may be that of a beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning<'a> {
    /// The object.
    pub(crate) text: &'a [u8],
    /// Every value that ends by here is as its server wrote it; those that end behind were cut.
    pub(crate) sound: usize,
}

impl Beginning<'_> {
    fn is_whole(&self, part: &[u8]) -> bool {
        Span::of_part(self.text, part).range().end <= self.sound
    }
}

/// How a result is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'a> {
    /// What it answers: one whose results [may pass](Method::may_pass).
    pub(crate) method: Method,
    /// How large it may be.
    pub(crate) cap: Cap,
    /// How large it was in all, in bytes, if that is known.
    pub(crate) total: Option<u64>,
    /// Where what is missing went.
    pub(crate) rest: &'a Rest,
    /// Whether the client knows blocks that are links.
    pub(crate) knows_links: bool,
    /// The URI that was asked for, where a resource was.
    pub(crate) uri: Option<&'a str>,
    /// Whether it is known to say `isError: true`, though that may stand behind what is there.
    pub(crate) is_error: bool,
    /// What was found of a tool's result wherever it stands.
    pub(crate) skimmed: &'a Skimmed,
    /// What structured content has to be like.
    pub(crate) output_schema: Option<&'a [u8]>,
    /// Those that were read before.
    pub(crate) schemas: &'a Schemas,
}

/// A result that was cut.
#[derive(Debug)]
pub(crate) struct CutResult {
    /// The object.
    pub(crate) text: Vec<u8>,
    /// Whether it says `isError: true`.
    pub(crate) is_error: bool,
}

/// Why structured content is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LostStructured {
    /// No part of it fits and conforms to the schema.
    NoneFits,
    /// The schema is none that a part of it is checked against.
    NotChecked,
    /// It could not be read, or never came.
    NotRead,
}

/// What of a result becomes part of the cut one.
#[derive(Default)]
struct Kept {
    /// `"key":value`, each.
    members: Vec<Vec<u8>>,
    /// The blocks, messages or contents.
    items: Vec<Vec<u8>>,
    /// How many more there were, as far as the result was there.
    left_out: u64,
    structured: Option<Vec<u8>>,
    /// Why structured content is missing, if any is.
    lost_structured: Option<LostStructured>,
    is_error: bool,
    /// The members of `_meta`.
    meta: Vec<u8>,
    /// What all that is in bytes.
    bytes: u64,
}

impl Cut<'_> {
    /// The result, no larger than its cap, and valid wherever what is left of it was.
    pub(crate) fn of(&self, beginning: &Beginning<'_>) -> CutResult {
        let notice = Notice::fitting(self, self.cap.most());
        let mut room = Room::new(self.cap.most());
        room.reserve(notice.most());
        let kept = self.keep(beginning, &mut room);
        CutResult {
            text: self.written(&kept, &notice),
            is_error: kept.is_error,
        }
    }

    fn items_key(&self) -> &'static str {
        match self.method {
            Method::PromptsGet => "messages",
            Method::ResourcesRead => "contents",
            _ => "content",
        }
    }

    fn keep(&self, beginning: &Beginning<'_>, room: &mut Room) -> Kept {
        let mut kept = Kept {
            is_error: self.is_error,
            ..Kept::default()
        };
        let before = room.left();
        self.keep_members(beginning, room, &mut kept);
        if self.method == Method::ToolsCall {
            self.keep_structured(beginning, room, &mut kept);
        }
        if let Some(items) = member(beginning.text, self.items_key()) {
            for_each_item(items, |item| {
                let item = item.of(items);
                let fitting = match self.method {
                    Method::PromptsGet => block::message(beginning, item, room),
                    Method::ResourcesRead => block::contents(beginning, item, self.uri, room),
                    _ => block::block(beginning, item, room),
                };
                match fitting {
                    Some(fitting) => kept.items.push(fitting),
                    None => kept.left_out += 1,
                }
            });
        }
        kept.bytes = before.bytes() - room.left().bytes();
        kept
    }

    /// Everything that is small beside the content, and whole.
    fn keep_members(&self, beginning: &Beginning<'_>, room: &mut Room, kept: &mut Kept) {
        for_each_member(beginning.text, |key, text, value| {
            if !beginning.is_whole(value) {
                return;
            }
            match key {
                "isError" => kept.is_error |= value == b"true",
                "_meta" if value.starts_with(b"{") && value.len() > 2 => {
                    let inside = value[1..value.len() - 1].trim_ascii();
                    let size = Size::of_text(inside) + Size::of_text(b",");
                    if size.is_within(room.left().part(4)) && room.take(size) {
                        kept.meta = inside.to_vec();
                    }
                }
                "description" if self.method != Method::PromptsGet => {}
                "description" if json::as_str(value).is_none() => {}
                _ if key != "description" && OWN_MEMBERS.contains(&key) => {}
                _ => {
                    let size = Size::of_text(text) + Size::of_text(b",");
                    if size.is_within(room.left().part(8)) && room.take(size) {
                        kept.members.push(text.to_vec());
                    }
                }
            }
        });
    }

    /// Structured content before the other: clients check it, and servers that send it mostly send
    /// the same once more as text.
    fn keep_structured(&self, beginning: &Beginning<'_>, room: &mut Room, kept: &mut Kept) {
        let Some(found) = &self.skimmed.structured else {
            let is_none = self.skimmed.has_ended && !self.skimmed.has_structured;
            let may_be_missing = !is_none && self.output_schema.is_some();
            kept.lost_structured = may_be_missing.then_some(LostStructured::NotRead);
            kept.is_error |= may_be_missing;
            return;
        };
        let has_content = member(beginning.text, "content").is_some_and(|items| items.len() > 2);
        let around = Size::of_text(b",\"structuredContent\":");
        let most = match has_content {
            true => room.left().half(),
            false => room.left(),
        };
        let most = most - around;
        kept.structured = if found.is_whole && Size::of_text(&found.text).is_within(most) {
            Some(found.text.clone())
        } else {
            match self.output_schema.map(|schema| self.schemas.schema(schema)) {
                None => {
                    let values = usize::MAX;
                    structured::cut(found, Bounds { size: most, values }, &|_| true)
                }
                Some(Some(schema)) => {
                    let bytes = most.bytes().min(schema.max_text());
                    let bounds = Bounds {
                        size: Size::new(bytes, most.tokens()),
                        values: MAX_VALUES,
                    };
                    structured::cut(found, bounds, &|text| schema.allows(text))
                }
                Some(None) => {
                    kept.lost_structured = Some(LostStructured::NotChecked);
                    None
                }
            }
        };
        match &kept.structured {
            Some(text) => {
                room.take(Size::of_text(text) + around);
            }
            None => {
                kept.lost_structured = kept.lost_structured.or(Some(LostStructured::NoneFits));
                kept.is_error |= self.output_schema.is_some();
            }
        }
    }

    fn written(&self, kept: &Kept, notice: &Notice<'_>) -> Vec<u8> {
        let items = kept.items.iter().map(Vec::as_slice);
        let note = notice.items(kept.lost_structured, kept.is_error);
        let mut out = format!("{{\"{}\":[", self.items_key()).into_bytes();
        for (index, item) in items.chain(note.iter().map(Vec::as_slice)).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.push(b']');
        if let Some(structured) = &kept.structured {
            out.extend_from_slice(b",\"structuredContent\":");
            out.extend_from_slice(structured);
        }
        if kept.is_error {
            out.extend_from_slice(b",\"isError\":true");
        }
        for member in &kept.members {
            out.push(b',');
            out.extend_from_slice(member);
        }
        out.push(b',');
        let missing = self.method.missing_members(false, true, false);
        out.extend_from_slice(missing.as_bytes());
        out.extend_from_slice(b",\"_meta\":{");
        out.extend_from_slice(&kept.meta);
        if !kept.meta.is_empty() {
            out.push(b',');
        }
        let note = Note {
            kept_bytes: kept.bytes,
            left_out: kept.left_out,
        };
        out.extend_from_slice(notice.member(&note).as_bytes());
        out.extend_from_slice(b"}}");
        out
    }
}

/// The inside of a JSON string; `None` of any other value.
pub(crate) fn inside(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inside @ .., b'"'] => Some(inside),
        _ => None,
    }
}

/// A text between `before` and `after`, no longer than there is room for; `None` if nothing of it
/// fits.
fn cut_text(before: &[u8], text: &[u8], after: &[u8], room: &mut Room) -> Option<Vec<u8>> {
    let around = Size::of_text(before) + Size::of_text(after) + Size::of_text(b",");
    if !around.is_within(room.left()) {
        return None;
    }
    let length = longest(text, room.left() - around);
    if length == 0 && !text.is_empty() {
        return None;
    }
    let text = &text[..length];
    room.take(around + Size::of_text(text));
    Some([before, text, after].concat())
}
