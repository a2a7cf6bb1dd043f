//! Content that some clients cannot use, in a form that they can.

use std::borrow::Cow;

use serde_json::{Value, json};
use switchboard_protocol::delivery::{Conversion, Conversions};
use switchboard_protocol::json::{Span, as_str};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::{Splice, for_each_item, member};

use super::Delivery;
use super::links::{Links, MAX_LINKS, Missing};
use crate::kept::KeptResult;

/// How far behind its base64 the end of a block is awaited, in bytes.
const END_WITHIN: usize = 4096;
/// The longest media type that is passed on of content that is converted, in bytes.
const MAX_MEDIA_TYPE: usize = 127;

/// The result object in `text` with its content converted. Values that end behind `sound` were cut, and
/// stay as they are; gives where those begin in the text that came of it.
pub(super) async fn convert(
    delivery: &Delivery<'_>,
    links: &mut Links<'_>,
    text: Vec<u8>,
    sound: usize,
) -> (Vec<u8>, usize) {
    if delivery.terms.conversions.is_none() {
        return (text, sound);
    }
    let converter = Converter {
        delivery,
        conversions: delivery.terms.conversions,
        sound,
        text: &text,
    };
    let found = converter.found();
    if found.is_empty() {
        return (text, sound);
    }
    let mut splice = Splice::new();
    for binary in &found {
        // Nothing is left of what was too large to be held.
        let kept = match binary.conversion == Conversion::Link && !binary.base64.is_empty() {
            true => {
                links
                    .keep(delivery, &binary.media_type, binary.base64)
                    .await
            }
            false => Err(Missing::Dropped),
        };
        let converted = binary.converted(&kept, delivery.knows_links());
        splice.replace(binary.place, converted.to_string().into_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    splice.apply(&text, Span::of_part(&text, &text), &mut out);
    // All that was changed stands before.
    let sound = (out.len() + sound).saturating_sub(text.len());
    (out, sound)
}

/// Whether the string in which a mended text ends, and which begins behind `sound`, is base64 of content
/// that will be converted: what follows of it need not be held.
pub(super) fn ends_in_converted(delivery: &Delivery<'_>, text: &[u8], sound: usize) -> bool {
    let converter = Converter {
        delivery,
        conversions: delivery.terms.conversions,
        sound,
        text,
    };
    converter.ends_in(&|value| Span::of_part(text, value).range().start == sound)
}

/// Whether a mended text ends in a block whose base64 was read, and which will be converted as soon as its
/// end is there, not far behind.
pub(super) fn awaits_end(delivery: &Delivery<'_>, text: &[u8], sound: usize) -> bool {
    let converter = Converter {
        delivery,
        conversions: delivery.terms.conversions,
        sound,
        text,
    };
    converter.ends_in(&|value| {
        let left = text.len() - Span::of_part(text, value).range().end;
        converter.is_whole(value) && left <= END_WITHIN
    })
}

struct Converter<'a> {
    delivery: &'a Delivery<'a>,
    conversions: Conversions,
    sound: usize,
    text: &'a [u8],
}

/// Something in base64.
struct Binary<'a> {
    /// What is converted.
    place: Span,
    /// Of which resource it is, where that was read.
    uri: Option<Cow<'a, str>>,
    /// What kind it is, for people.
    what: &'static str,
    media_type: Cow<'a, str>,
    base64: &'a [u8],
    conversion: Conversion,
}

impl<'a> Converter<'a> {
    /// What is to be converted.
    fn found(&self) -> Vec<Binary<'a>> {
        let mut found = Vec::new();
        self.each(&mut |raw| {
            found.extend(match self.delivery.method {
                Method::ResourcesRead => self.contents(raw),
                _ => self.block(raw),
            });
        });
        found
    }

    /// Each content block, or item of `contents`.
    fn each(&self, visit: &mut dyn FnMut(&'a [u8])) {
        let items = |key: &str| member(self.text, key).unwrap_or_default();
        match self.delivery.method {
            Method::PromptsGet => {
                let messages = items("messages");
                for_each_item(messages, |message| {
                    if let Some(block) = member(message.of(messages), "content") {
                        visit(block);
                    }
                });
            }
            Method::ResourcesRead => {
                let contents = items("contents");
                for_each_item(contents, |item| visit(item.of(contents)));
            }
            _ => {
                let content = items("content");
                for_each_item(content, |block| visit(block.of(content)));
            }
        }
    }

    /// Whether the text ends in a block that will be converted for certain, with base64 of which this holds.
    fn ends_in(&self, is_it: &dyn Fn(&'a [u8]) -> bool) -> bool {
        let has = |raw: &'a [u8], key: &str, conversion: Conversion| {
            let value = member(raw, key).filter(|value| value.starts_with(b"\""));
            conversion != Conversion::Keep && value.is_some_and(is_it)
        };
        let mut found = false;
        self.each(&mut |raw| {
            if self.is_whole(raw) {
                return;
            }
            let kind = member(raw, "type").filter(|kind| self.is_whole(kind));
            let resource = member(raw, "resource").unwrap_or(raw);
            let Conversions { image, audio, blob } = self.conversions;
            found |= match kind.and_then(as_str).as_deref() {
                Some("image") => has(raw, "data", image),
                Some("audio") => has(raw, "data", audio),
                Some(_) => has(resource, "blob", blob),
                // Its type stands behind: then it has to be certain whatever that is.
                None if image != Conversion::Keep && audio != Conversion::Keep => {
                    has(raw, "data", image) || has(resource, "blob", blob)
                }
                None => has(resource, "blob", blob),
            };
        });
        found
    }

    fn is_whole(&self, part: &[u8]) -> bool {
        Span::of_part(self.text, part).range().end <= self.sound
    }

    /// `place`: what it is all of.
    fn binary(&self, place: &[u8], raw: &'a [u8], what: &'static str) -> Option<Binary<'a>> {
        let (key, conversion) = match what {
            "image" => ("data", self.conversions.image),
            "audio" => ("data", self.conversions.audio),
            _ => ("blob", self.conversions.blob),
        };
        if conversion == Conversion::Keep || !self.is_whole(raw) {
            return None;
        }
        let media_type = member(raw, "mimeType").and_then(as_str);
        // It is repeated in what takes the content's place, and kept with it.
        let is_sound = |it: &Cow<'_, str>| {
            it.len() <= MAX_MEDIA_TYPE && it.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let media_type = media_type.filter(is_sound);
        Some(Binary {
            place: Span::of_part(self.text, place),
            uri: None,
            what,
            media_type: media_type.unwrap_or(Cow::Borrowed("application/octet-stream")),
            base64: super::cut::inside(member(raw, key)?)?,
            conversion,
        })
    }

    fn block(&self, block: &'a [u8]) -> Option<Binary<'a>> {
        let kind = member(block, "type").and_then(as_str);
        match kind.as_deref() {
            Some("image") => self.binary(block, block, "image"),
            Some("audio") => self.binary(block, block, "audio"),
            Some("resource") => self.binary(block, member(block, "resource")?, "blob"),
            _ => None,
        }
    }

    fn contents(&self, item: &'a [u8]) -> Option<Binary<'a>> {
        let uri = member(item, "uri").and_then(as_str)?;
        Some(Binary {
            uri: Some(uri),
            ..self.binary(item, item, "blob")?
        })
    }
}

impl Binary<'_> {
    /// What takes its place.
    fn converted(&self, kept: &Result<KeptResult, Missing>, knows_links: bool) -> Value {
        match (&self.uri, kept) {
            (Some(uri), kept) => json!({
                "uri": uri,
                "mimeType": "text/plain",
                "text": self.words(kept),
            }),
            (None, Ok(kept)) if knows_links => json!({
                "type": "resource_link",
                "uri": kept.uri,
                "name": format!("{} ({})", self.what, self.media_type),
                "mimeType": self.media_type,
                "size": self.bytes(),
            }),
            (None, kept) => json!({ "type": "text", "text": self.words(kept) }),
        }
    }

    /// How many bytes it decodes to.
    fn bytes(&self) -> u64 {
        let fill = self.base64.iter().rev().take_while(|byte| **byte == b'=');
        let characters = self.base64.len() - fill.count();
        Size::of_base64(characters as u64).bytes()
    }

    fn words(&self, kept: &Result<KeptResult, Missing>) -> String {
        let Self {
            what, media_type, ..
        } = self;
        let bytes = match self.bytes() {
            // More than could be held.
            0 => String::new(),
            bytes => format!(", {bytes} bytes"),
        };
        let (is, became) = match kept {
            Ok(kept) => (
                "is",
                format!("It is kept for a while as the resource {}.", kept.uri),
            ),
            Err(Missing::Dropped) => ("was", "The gateway left it out.".to_owned()),
            Err(Missing::TooMany) => (
                "was",
                format!(
                    "The gateway left it out: of one result it keeps {MAX_LINKS} such parts at most."
                ),
            ),
        };
        format!("[Here {is} a part that is not text: {what}, {media_type}{bytes}. {became}]")
    }
}
