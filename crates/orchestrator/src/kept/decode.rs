//! From the raw JSON of a result, in pieces cut anywhere, to the text that is kept of it.
//!
//! Text of blocks is decoded; any other block, and any other member of the result, is kept as the
//! JSON that it came as. Parts stand one behind the other, a line break between two.

use switchboard_protocol::json::{self, ChunkScanner, Event, JsonError};

use super::outline::Outline;
use super::parts::{Kind, Parts};
use super::string::StringDecoder;

/// As much of a block is held back until it is known whether it is text, in bytes.
const MAX_HELD: usize = 64 * 1024;
/// The longest key there may be, in bytes.
const MAX_KEY: usize = 64 * 1024;
/// As much is copied of a member that says what a block is, in bytes.
const MAX_COPIED: usize = 256;

/// The container that the scanner is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Result,
    /// `content` or `contents`.
    Blocks,
    /// `messages`.
    Messages,
    Message,
    Block,
    /// The resource in a block.
    Resource,
    /// Somewhere in what is outlined.
    Outlined,
}

/// What becomes of the bytes that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They say nothing that is kept.
    Skip,
    /// They are a string whose text is kept.
    Text,
    /// They are kept as they are.
    Raw,
    /// They are kept as they are, unless the block turns out to be text.
    Held,
}

/// What a member that is copied says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Type,
    MediaType,
    Uri,
    IsError,
}

/// Makes the text.
#[derive(Debug)]
pub(super) struct Decoder {
    scanner: ChunkScanner,
    places: Vec<Place>,
    mode: Mode,
    held: Vec<u8>,
    text: StringDecoder,
    copied: Option<(Copied, Vec<u8>)>,
    block: Block,
    outline: Outline,
    pub(super) parts: Parts,
}

/// What is known of the block that is read.
#[derive(Debug, Default)]
struct Block {
    kind: Option<Kind>,
    media_type: Option<String>,
    uri: Option<String>,
    is_text: bool,
    /// How long its base64 is, and whether that is what is read.
    base64: u64,
    in_base64: bool,
}

/// What is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAResult;

impl From<JsonError> for NotAResult {
    fn from(_: JsonError) -> Self {
        Self
    }
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            scanner: ChunkScanner::default(),
            places: Vec::new(),
            mode: Mode::Skip,
            held: Vec::new(),
            text: StringDecoder::default(),
            copied: None,
            block: Block::default(),
            outline: Outline::default(),
            parts: Parts::default(),
        }
    }

    /// Takes the next piece of the result object, and adds what is known of its text to `out`.
    ///
    /// # Errors
    /// If it is no JSON. Not to be called again then.
    pub(super) fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), NotAResult> {
        self.scanner.begin(piece)?;
        loop {
            let from = self.scanner.position();
            let event = self.scanner.next(piece)?;
            self.pass(&piece[from..self.scanner.position()], out);
            match event {
                Event::More => {
                    return match self.scanner.key().len() {
                        0..=MAX_KEY => Ok(()),
                        _ => Err(NotAResult),
                    };
                }
                Event::Key => {}
                Event::Value(first) => self.value(first, out),
                Event::End => self.end(out),
                Event::Closed => self.closed(out),
            }
        }
    }

    /// Nothing more comes: what was held back, or is half, is what it is.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.mode == Mode::Text {
            self.text.finish(out);
        }
        if self.mode == Mode::Held && !self.held.is_empty() {
            self.keep_raw(out);
        }
        self.parts.end();
        let outline = std::mem::take(&mut self.outline);
        if outline.is_whole() || !self.places.is_empty() {
            self.parts.outline(outline);
        }
    }

    /// The key of the value that begins, if it is a member.
    fn key(&self) -> String {
        json::unescape(self.scanner.key()).into_owned()
    }

    fn place(&self) -> Option<Place> {
        self.places.last().copied()
    }

    /// These bytes went by.
    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some((_, copied)) = &mut self.copied {
            let room = MAX_COPIED.saturating_sub(copied.len());
            copied.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        if self.block.in_base64 {
            self.block.base64 += bytes.len() as u64;
        }
        match self.mode {
            Mode::Skip => {}
            Mode::Text => {
                let before = out.len();
                self.text.push(bytes, out);
                self.parts.grew(&out[before..]);
            }
            Mode::Raw => {
                out.extend_from_slice(bytes);
                self.parts.grew(bytes);
            }
            Mode::Held => {
                self.held.extend_from_slice(bytes);
                if self.held.len() > MAX_HELD {
                    self.keep_raw(out);
                }
            }
        }
    }

    fn value(&mut self, first: u8, out: &mut Vec<u8>) {
        match (self.place(), first) {
            (None, b'{') => self.enter(Place::Result),
            (None, _) => self.begin_raw(Kind::Other, out),
            (Some(Place::Result), _) => self.member(&self.key(), first, out),
            (Some(Place::Messages), b'{') => self.enter(Place::Message),
            (Some(Place::Message), b'{') if self.key() == "content" => self.begin_block(),
            (Some(Place::Message), b'[') if self.key() == "content" => self.enter(Place::Blocks),
            (Some(Place::Message), _) => {}
            (Some(Place::Blocks), b'{') => self.begin_block(),
            (Some(Place::Blocks | Place::Messages), _) => self.begin_raw(Kind::Other, out),
            (Some(Place::Block | Place::Resource), _) => {
                self.member_of_block(&self.key(), first, out)
            }
            (Some(Place::Outlined), _) => {
                if self.outline.value(first, self.scanner.key()) {
                    self.enter(Place::Outlined);
                }
            }
        }
    }

    fn enter(&mut self, place: Place) {
        self.places.push(place);
        self.scanner.enter();
    }

    /// A member of the result.
    fn member(&mut self, key: &str, first: u8, out: &mut Vec<u8>) {
        match (key, first) {
            ("content" | "contents", b'[') => self.enter(Place::Blocks),
            ("messages", b'[') => self.enter(Place::Messages),
            // What the result says of itself.
            ("resultType" | "_meta" | "ttlMs" | "cacheScope", _) => {}
            ("isError", _) => self.copied = Some((Copied::IsError, Vec::new())),
            ("structuredContent", _) => {
                self.begin_raw(Kind::Structured, out);
                self.outline = Outline::default();
                if self.outline.value(first, b"") {
                    self.enter(Place::Outlined);
                }
            }
            _ => self.begin_raw(Kind::Member(key.to_owned()), out),
        }
    }

    fn begin_block(&mut self) {
        self.block = Block::default();
        self.held.clear();
        self.mode = Mode::Held;
        self.enter(Place::Block);
    }

    fn begin_raw(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.parts.begin(kind, None, out);
        self.mode = Mode::Raw;
    }

    /// A member of a block, or of the resource in it.
    fn member_of_block(&mut self, key: &str, first: u8, out: &mut Vec<u8>) {
        let in_resource = self.place() == Some(Place::Resource);
        match (key, first) {
            ("type", b'"') if !in_resource => self.copied = Some((Copied::Type, Vec::new())),
            ("mimeType", b'"') => self.copied = Some((Copied::MediaType, Vec::new())),
            ("uri", b'"') => self.copied = Some((Copied::Uri, Vec::new())),
            ("resource", b'{') if !in_resource => self.enter(Place::Resource),
            ("text", b'"') if self.mode == Mode::Held || self.block.is_text => {
                self.begin_text(out);
            }
            ("data" | "blob", b'"') if self.mode != Mode::Skip => {
                self.keep_raw(out);
                self.block.in_base64 = true;
            }
            _ => {}
        }
    }

    /// What was held back of the block only says that it is text.
    fn begin_text(&mut self, out: &mut Vec<u8>) {
        if !self.block.is_text {
            let is_embedded = self.place() == Some(Place::Resource);
            let kind = if is_embedded {
                Kind::Resource
            } else {
                Kind::Text
            };
            self.parts.begin(kind, self.block.uri.take(), out);
            self.block.is_text = true;
            self.held = Vec::new();
        }
        self.text = StringDecoder::default();
        self.mode = Mode::Text;
    }

    /// The block is no text.
    fn keep_raw(&mut self, out: &mut Vec<u8>) {
        if self.mode != Mode::Held {
            return;
        }
        let kind = self.block.kind.clone().unwrap_or(Kind::Other);
        self.parts.begin(kind, self.block.uri.take(), out);
        out.extend_from_slice(&self.held);
        self.parts.grew(&self.held);
        self.held = Vec::new();
        self.mode = Mode::Raw;
    }

    /// A value that was not entered has ended.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.block.in_base64 = false;
        if let Some((what, written)) = self.copied.take() {
            self.copied(what, &written, out);
        }
        match self.place() {
            Some(Place::Block | Place::Resource) if self.mode == Mode::Text => {
                let before = out.len();
                self.text.finish(out);
                self.parts.grew(&out[before..]);
                self.mode = Mode::Skip;
            }
            None | Some(Place::Result | Place::Blocks | Place::Messages) => {
                self.parts.end();
                self.mode = Mode::Skip;
            }
            _ => {}
        }
    }

    fn copied(&mut self, what: Copied, written: &[u8], out: &mut Vec<u8>) {
        // What is longer than was copied has no closing quote, and says nothing.
        let text = || json::as_str(written).map(|text| text.into_owned());
        match what {
            Copied::IsError => self.parts.is_error = written == b"true",
            Copied::MediaType => self.block.media_type = text().or(self.block.media_type.take()),
            Copied::Uri => self.block.uri = text().or(self.block.uri.take()),
            Copied::Type => {
                self.block.kind = text().map(|word| Kind::of_block(&word));
                match &self.block.kind {
                    Some(kind) if self.mode == Mode::Raw => self.parts.is_a(kind.clone()),
                    None | Some(Kind::Text | Kind::Resource) => {}
                    Some(_) => self.keep_raw(out),
                }
            }
        }
    }

    fn closed(&mut self, out: &mut Vec<u8>) {
        match self.places.pop() {
            Some(Place::Block) => {
                self.keep_raw(out);
                let block = std::mem::take(&mut self.block);
                // Without its quotes.
                let decoded = block.base64.saturating_sub(2) / 4 * 3;
                self.parts.describe(block.media_type, decoded);
                self.parts.end();
                self.mode = Mode::Skip;
            }
            Some(Place::Outlined) => {
                self.outline.close();
                if self.place() == Some(Place::Result) {
                    self.parts.end();
                    self.mode = Mode::Skip;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
