//! Content that some clients cannot use, in a form that they can.

use std::borrow::Cow;

use switchboard_protocol::delivery::{Conversion, Conversions};
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::{Splice, for_each_item, member};

use super::Delivery;

/// The longest media type that is passed on of content that is converted, in bytes.
const MAX_MEDIA_TYPE: usize = 127;

/// The result object in `text` with its content converted. Values that end behind `sound` were cut, and
/// stay as they are; gives where those begin in the text that came of it.
pub(super) fn convert(delivery: &Delivery<'_>, text: Vec<u8>, sound: usize) -> (Vec<u8>, usize) {
    if delivery.terms.conversions.is_none() {
        return (text, sound);
    }
    let converter = Converter {
        delivery,
        conversions: delivery.terms.conversions,
        sound,
        text: &text,
    };
    let mut splice = Splice::new();
    converter.result(&mut splice);
    if splice.is_empty() {
        drop(splice);
        return (text, sound);
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
    let is_it = |raw: &[u8], key: &str, conversion: Conversion| {
        let value = member(raw, key).filter(|value| value.starts_with(b"\""));
        let start = value.map(|value| Span::of_part(text, value).range().start);
        conversion != Conversion::Keep && start == Some(sound)
    };
    let mut found = false;
    converter.each(&mut |raw| {
        let kind = member(raw, "type").filter(|kind| converter.is_whole(kind));
        let resource = member(raw, "resource").unwrap_or(raw);
        let Conversions { image, audio, blob } = converter.conversions;
        found |= match kind.and_then(json::as_str).as_deref() {
            Some("image") => is_it(raw, "data", image),
            Some("audio") => is_it(raw, "data", audio),
            Some(_) => is_it(resource, "blob", blob),
            // Its type stands behind: then it has to be certain whatever that is.
            None if image != Conversion::Keep && audio != Conversion::Keep => {
                is_it(raw, "data", image) || is_it(resource, "blob", blob)
            }
            None => is_it(resource, "blob", blob),
        };
    });
    found
}

struct Converter<'a> {
    delivery: &'a Delivery<'a>,
    conversions: Conversions,
    sound: usize,
    text: &'a [u8],
}

/// Something in base64.
struct Binary<'a> {
    /// What kind it is, for people.
    what: &'static str,
    media_type: Cow<'a, str>,
    base64: &'a [u8],
    conversion: Conversion,
}

impl<'a> Converter<'a> {
    fn result(&self, splice: &mut Splice<'a>) {
        self.each(&mut |raw| match self.delivery.method {
            Method::ResourcesRead => self.contents(raw, splice),
            _ => self.block(raw, splice),
        });
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

    fn is_whole(&self, part: &[u8]) -> bool {
        Span::of_part(self.text, part).range().end <= self.sound
    }

    fn binary(&self, raw: &'a [u8], what: &'static str) -> Option<Binary<'a>> {
        let (key, conversion) = match what {
            "image" => ("data", self.conversions.image),
            "audio" => ("data", self.conversions.audio),
            _ => ("blob", self.conversions.blob),
        };
        if conversion == Conversion::Keep || !self.is_whole(raw) {
            return None;
        }
        let media_type = member(raw, "mimeType").and_then(json::as_str);
        // It is repeated in what takes the content's place, and kept with it.
        let is_sound = |it: &Cow<'_, str>| {
            it.len() <= MAX_MEDIA_TYPE && it.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let media_type = media_type.filter(is_sound);
        Some(Binary {
            what,
            media_type: media_type.unwrap_or(Cow::Borrowed("application/octet-stream")),
            base64: super::cut::inside(member(raw, key)?)?,
            conversion,
        })
    }

    fn block(&self, block: &'a [u8], splice: &mut Splice<'a>) {
        let kind = member(block, "type").and_then(json::as_str);
        let binary = match kind.as_deref() {
            Some("image") => self.binary(block, "image"),
            Some("audio") => self.binary(block, "audio"),
            Some("resource") => member(block, "resource").and_then(|it| self.binary(it, "blob")),
            _ => None,
        };
        let Some(binary) = binary else {
            return;
        };
        let converted = match self.kept(&binary) {
            Some(kept) if self.delivery.knows_links() => serde_json::json!({
                "type": "resource_link",
                "uri": kept.uri,
                "name": format!("{} ({})", binary.what, binary.media_type),
                "mimeType": binary.media_type,
                "size": Size::of_base64(binary.base64.len() as u64).bytes(),
            }),
            kept => serde_json::json!({
                "type": "text",
                "text": binary.words(kept.as_ref().map(|kept| &*kept.uri)),
            }),
        };
        splice.replace(
            Span::of_part(self.text, block),
            converted.to_string().into_bytes(),
        );
    }

    fn contents(&self, item: &'a [u8], splice: &mut Splice<'a>) {
        let Some(binary) = self.binary(item, "blob") else {
            return;
        };
        let Some(uri) = member(item, "uri").and_then(json::as_str) else {
            return;
        };
        let kept = self.kept(&binary);
        let converted = serde_json::json!({
            "uri": uri,
            "mimeType": "text/plain",
            "text": binary.words(kept.as_ref().map(|kept| &*kept.uri)),
        });
        splice.replace(
            Span::of_part(self.text, item),
            converted.to_string().into_bytes(),
        );
    }

    /// What was kept of it, where it is to be and there is room.
    fn kept(&self, binary: &Binary<'_>) -> Option<crate::kept::KeptResult> {
        // Nothing is left of what was too large to be held.
        if binary.conversion != Conversion::Link || binary.base64.is_empty() {
            return None;
        }
        let Delivery {
            kept, call, target, ..
        } = self.delivery;
        kept.keep_content(call, target, &binary.media_type, binary.base64)
            .ok()
    }
}

impl Binary<'_> {
    fn words(&self, uri: Option<&str>) -> String {
        let Self {
            what, media_type, ..
        } = self;
        let bytes = match self.base64.len() {
            // More than could be held.
            0 => String::new(),
            length => format!(", {} bytes", Size::of_base64(length as u64).bytes()),
        };
        match uri {
            Some(uri) => format!(
                "[Here is a part that is not text: {what}, {media_type}{bytes}. It is kept for a while as the resource {uri}.]"
            ),
            None => format!(
                "[Here was a part that is not text: {what}, {media_type}{bytes}. The gateway left it out.]"
            ),
        }
    }
}
