//! What parts the text of a kept result has, and how it is shown in few words.

use std::fmt::Write as _;

use switchboard_protocol::byte_size;

use super::body::breaks;
use super::outline::{Outline, thousands};

/// The most parts that are known one by one.
const MAX_PARTS: usize = 100;
/// The most parts beside blocks that are known where there are as many blocks.
const MAX_BESIDE: usize = 10;
/// The most parts that are shown in few words.
const MAX_SHOWN: usize = 6;
/// The longest description, in bytes.
const MAX_SHAPE: usize = 600;
/// The longest name of a part, in bytes.
const MAX_NAME: usize = 100;

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text of a block.
    Text,
    /// The text of a resource in a block.
    Resource,
    Image,
    Audio,
    /// A link to a resource.
    Link,
    /// A block of some other kind, or none that is known.
    Other,
    /// `structuredContent`.
    Structured,
    /// Another member of the result.
    Member(String),
}

impl Kind {
    /// Of what `type` of a block says.
    pub(super) fn of_block(word: &str) -> Self {
        match word {
            "text" => Self::Text,
            "image" => Self::Image,
            "audio" => Self::Audio,
            "resource" => Self::Resource,
            "resource_link" => Self::Link,
            _ => Self::Other,
        }
    }

    pub(super) fn word(&self) -> &str {
        match self {
            Self::Text => "text",
            Self::Resource => "resource",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Link => "resource_link",
            Self::Other => "other",
            Self::Structured => "structuredContent",
            Self::Member(name) => name,
        }
    }

    fn is_block(&self) -> bool {
        !matches!(self, Self::Structured | Self::Member(_))
    }
}

/// A part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    /// Where it begins and how long it is, in bytes of the text.
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) lines: u64,
    pub(super) media_type: Option<String>,
    /// Of which resource it is.
    pub(super) uri: Option<String>,
    /// How much its base64 decodes to, in bytes.
    pub(super) decoded: u64,
}

/// All parts, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Parts {
    all: Vec<Part>,
    blocks: u64,
    /// The part that is read, or was read last.
    last: Option<Part>,
    is_open: bool,
    /// How long the text is so far.
    length: u64,
    /// Whether the result says that the call failed.
    pub(super) is_error: bool,
    structured: Option<String>,
    /// What is open of the last part has ended with this byte.
    ends_with: u8,
}

impl Parts {
    /// A part begins: behind a line break if there is one before it.
    pub(super) fn begin(&mut self, kind: Kind, uri: Option<String>, out: &mut Vec<u8>) {
        self.end();
        self.put();
        if self.count() > 0 {
            out.push(b'\n');
            self.length += 1;
        }
        self.blocks += u64::from(kind.is_block());
        self.ends_with = 0;
        self.last = Some(Part {
            kind: match kind {
                Kind::Member(mut name) => {
                    name.truncate(name.floor_char_boundary(MAX_NAME));
                    Kind::Member(name)
                }
                kind => kind,
            },
            offset: self.length,
            length: 0,
            lines: 0,
            media_type: None,
            uri: uri.filter(|uri| uri.len() <= MAX_NAME),
            decoded: 0,
        });
        self.is_open = true;
    }

    fn count(&self) -> usize {
        self.all.len()
    }

    fn put(&mut self) {
        let Some(part) = self.last.take() else {
            return;
        };
        // What is beside the blocks is known however many of these there are.
        let more = if part.kind.is_block() { 0 } else { MAX_BESIDE };
        if self.all.len() < MAX_PARTS + more {
            self.all.push(part);
        }
    }

    /// What the part that is open is, where that became known only now.
    pub(super) fn is_a(&mut self, kind: Kind) {
        if let (Some(part), true) = (&mut self.last, self.is_open) {
            part.kind = kind;
        }
    }

    /// The part that is open has this in addition.
    pub(super) fn grew(&mut self, text: &[u8]) {
        if let (Some(part), true, Some(last)) = (&mut self.last, self.is_open, text.last()) {
            part.length += text.len() as u64;
            part.lines += breaks(text);
            self.length += text.len() as u64;
            self.ends_with = *last;
        }
    }

    /// What more is known of the part that is open.
    pub(super) fn describe(&mut self, media_type: Option<String>, decoded: u64) {
        if let (Some(part), true) = (&mut self.last, self.is_open) {
            part.media_type = media_type.filter(|it| it.len() <= MAX_NAME);
            part.decoded = decoded;
        }
    }

    /// The part that is open has ended.
    pub(super) fn end(&mut self) {
        if let (Some(part), true) = (&mut self.last, self.is_open) {
            part.lines += u64::from(part.length > 0 && self.ends_with != b'\n');
        }
        self.is_open = false;
    }

    pub(super) fn outline(&mut self, outline: Outline) {
        let words = outline.words();
        self.structured = (!words.is_empty()).then_some(words);
    }

    /// The parts, and what they are in few words. `is_whole`: there is nothing more of the result.
    pub(super) fn finish(mut self, is_whole: bool) -> (Vec<Part>, String) {
        self.put();
        let mut shape = String::new();
        if self.is_error {
            shape.push_str("error; ");
        }
        if self.blocks > 0 {
            let noun = if self.blocks == 1 { "block" } else { "blocks" };
            let _ = write!(shape, "content: {} {noun} (", thousands(self.blocks));
            let blocks = self.all.iter().filter(|part| part.kind.is_block());
            let shown: Vec<String> = blocks.take(MAX_SHOWN).map(words).collect();
            shape.push_str(&shown.join("; "));
            if self.blocks > shown.len() as u64 {
                shape.push_str("; …");
            }
            shape.push_str("); ");
        }
        for part in self.all.iter().filter(|part| !part.kind.is_block()) {
            let _ = write!(shape, "{}: ", plain(part.kind.word()));
            match (&part.kind, &self.structured) {
                (Kind::Structured, Some(outline)) => shape.push_str(outline),
                _ => shape.push_str(&byte_size::shown(part.length)),
            }
            shape.push_str("; ");
        }
        shape.truncate(shape.trim_end_matches("; ").len());
        if shape.len() > MAX_SHAPE {
            shape.truncate(shape.floor_char_boundary(MAX_SHAPE - 3));
            shape.push('…');
        }
        if !is_whole {
            shape.push_str("; the rest is missing");
        }
        (self.all, shape)
    }
}

/// A part in few words.
fn words(part: &Part) -> String {
    let what = plain(part.media_type.as_deref().unwrap_or(part.kind.word()));
    match part.kind {
        Kind::Text | Kind::Resource if part.decoded == 0 => {
            let noun = if part.lines == 1 { "line" } else { "lines" };
            let (size, lines) = (byte_size::shown(part.length), thousands(part.lines));
            format!("{what} {size}, {lines} {noun}")
        }
        _ if part.decoded > 0 => format!("{what} {}", byte_size::shown(part.decoded)),
        _ => format!("{what} {}", byte_size::shown(part.length)),
    }
}

/// What a server wrote, as it may stand within what the gateway says.
fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_NAME)];
    let is_fit = |it: char| it.is_ascii_graphic() || it == ' ';
    text.chars()
        .map(|it| if is_fit(it) { it } else { '?' })
        .collect()
}
