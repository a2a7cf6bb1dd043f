//! How large JSON is for whoever has to take it: in bytes, and in estimated tokens.
//!
//! The estimate is for English text, code and JSON: a token for four ASCII characters, one for each
//! other character. It says more than most tokenizers count for text, and less for none.

use std::iter::Sum;
use std::ops::{Add, Sub};

use crate::json::{self, Span};
use crate::splice::{for_each_item, for_each_member};

/// A length, to be compared with a [`Cap`](crate::delivery::Cap).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    bytes: u64,
    /// Quarters of tokens, so that the sizes of parts add up to that of the whole.
    quarters: u64,
}

impl Size {
    /// The size of so many bytes and tokens.
    #[must_use]
    pub const fn new(bytes: u64, tokens: u64) -> Self {
        Self {
            bytes,
            quarters: tokens.saturating_mul(4),
        }
    }

    /// The size of JSON, or of any other text, as it is written.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        let ascii = text.iter().filter(|byte| byte.is_ascii()).count() as u64;
        // A character of several bytes begins with one of these; the others go on with one.
        let others = text.iter().filter(|byte| **byte >= 0xc0).count() as u64;
        Self {
            bytes: text.len() as u64,
            quarters: ascii + 4 * others,
        }
    }

    /// The size of so many characters of base64: that of what they decode to.
    #[must_use]
    pub const fn of_base64(characters: u64) -> Self {
        let decoded = characters / 4 * 3 + characters % 4 * 3 / 4;
        Self {
            bytes: decoded,
            quarters: decoded,
        }
    }

    /// The size of a result object, which must be valid JSON: what images, audio and blobs in
    /// `content`, `contents` and `messages` hold in base64 counts as what it decodes to.
    #[must_use]
    pub fn of_result(result: &[u8]) -> Self {
        Self::of_beginning(result, result.len())
    }

    /// The same of what came of a result so far, made whole. What of it ends behind `sound` was cut: what a
    /// block is may be said in what is still to come, and it counts as an image then.
    #[must_use]
    pub fn of_beginning(result: &[u8], sound: usize) -> Self {
        Self::decoded(result, |visit| for_each_encoded(result, sound, visit))
    }

    /// The same of one content block.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Self {
        Self::decoded(block, |visit| encoded_in(block, &|_| true, visit))
    }

    /// The same of one item of `contents`, or of an embedded resource.
    #[must_use]
    pub fn of_contents(item: &[u8]) -> Self {
        Self::decoded(item, |visit| blob_of(item, visit))
    }

    fn decoded<'a>(text: &'a [u8], find: impl FnOnce(&mut dyn FnMut(&'a [u8]))) -> Self {
        let mut encoded = Self::default();
        let mut decoded = Self::default();
        find(&mut |base64| {
            encoded = encoded + Self::of_text(base64);
            decoded = decoded + Self::of_base64(base64.len() as u64);
        });
        Self::of_text(text) - encoded + decoded
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// In estimated tokens.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.quarters.div_ceil(4)
    }

    /// Whether it is no more than that, in bytes and in tokens.
    #[must_use]
    pub const fn is_within(self, most: Self) -> bool {
        self.bytes <= most.bytes && self.quarters <= most.quarters
    }

    /// Half of it.
    #[must_use]
    pub const fn half(self) -> Self {
        self.part(2)
    }

    /// One of so many equal parts of it.
    #[must_use]
    pub const fn part(self, parts: u64) -> Self {
        Self {
            bytes: self.bytes / parts,
            quarters: self.quarters / parts,
        }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            quarters: self.quarters.saturating_add(other.quarters),
        }
    }
}

/// What is left; nothing where more is taken than there is.
impl Sub for Size {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            quarters: self.quarters.saturating_sub(other.quarters),
        }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), Self::add)
    }
}

/// Calls `visit` with each text in base64 of a result, without its quotes. What ends behind `sound` was
/// cut.
fn for_each_encoded<'a>(result: &'a [u8], sound: usize, visit: &mut dyn FnMut(&'a [u8])) {
    let is_whole = |part: &[u8]| Span::of_part(result, part).end() <= sound;
    for_each_member(result, |key, _, value| match key {
        "content" => for_each_item(value, |block| {
            let block = block.of(value);
            encoded_in(block, &is_whole, visit);
        }),
        "contents" => for_each_item(value, |item| blob_of(item.of(value), visit)),
        "messages" => for_each_item(value, |message| {
            for_each_member(message.of(value), |key, _, block| {
                if key == "content" {
                    encoded_in(block, &is_whole, visit);
                }
            });
        }),
        _ => {}
    });
}

/// In a content block: `data` of an image or audio, `blob` of an embedded resource. One that is not whole
/// may still say what it is.
fn encoded_in<'a>(
    block: &'a [u8],
    is_whole: &dyn Fn(&[u8]) -> bool,
    visit: &mut dyn FnMut(&'a [u8]),
) {
    let (mut kind, mut data, mut resource) = (None, None, None);
    for_each_member(block, |key, _, value| match key {
        "type" => kind = Some(value),
        "data" => data = Some(value),
        "resource" => resource = Some(value),
        _ => {}
    });
    let kind = kind.filter(|kind| is_whole(kind)).and_then(json::as_str);
    match kind.as_deref() {
        Some("image" | "audio") => resource = None,
        Some("resource") => data = None,
        None if !is_whole(block) => {}
        _ => return,
    }
    if let Some(data) = data {
        visit(unquoted(data));
    }
    if let Some(resource) = resource {
        blob_of(resource, visit);
    }
}

fn blob_of<'a>(resource: &'a [u8], visit: &mut dyn FnMut(&'a [u8])) {
    for_each_member(resource, |key, _, value| {
        if key == "blob" {
            visit(unquoted(value));
        }
    });
}

/// A string without its quotes; nothing of any other value, or of one with escapes, which is no
/// base64.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', text @ .., b'"'] if memchr::memchr(b'\\', text).is_none() => text,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn tokens_are_a_quarter_of_ascii_and_one_for_each_other_character() {
        for (text, bytes, tokens) in [
            ("", 0, 0),
            ("abcd", 4, 1),
            ("abcde", 5, 2),
            ("世界", 6, 2),
            ("ab世", 5, 2),
            ("🦀", 4, 1),
        ] {
            let size = Size::of_text(text.as_bytes());
            assert_eq!((size.bytes(), size.tokens()), (bytes, tokens), "{text}");
        }
    }

    #[test]
    fn base64_counts_as_what_it_decodes_to() {
        let image = r#"{"content":[{"type":"image","data":"AAAAAAAA","mimeType":"image/png"}]}"#;
        assert_eq!(
            Size::of_result(image.as_bytes()).bytes(),
            image.len() as u64 - 2
        );
        let embedded =
            r#"{"messages":[{"content":{"type":"resource","resource":{"blob":"AAAA"}}}]}"#;
        assert_eq!(
            Size::of_result(embedded.as_bytes()).bytes(),
            embedded.len() as u64 - 1
        );
        let read = r#"{"contents":[{"uri":"a:b","blob":"AAAA"}]}"#;
        assert_eq!(
            Size::of_result(read.as_bytes()).bytes(),
            read.len() as u64 - 1
        );
        // What is no base64, and what stands elsewhere, counts as it is.
        for plain in [
            r#"{"content":[{"type":"image","data":"A\nAA"}]}"#,
            r#"{"content":[{"type":"text","data":"AAAAAAAA"},{"data":"AAAAAAAA"}]}"#,
            r#"{"content":[{"type":"image","resource":{"blob":"AAAAAAAA"}}]}"#,
            r#"{"structuredContent":{"data":"AAAAAAAA","blob":"AAAA"}}"#,
        ] {
            assert_eq!(
                Size::of_result(plain.as_bytes()).bytes(),
                plain.len() as u64
            );
        }
        // What is still to come may say what it is.
        let began = r#"{"content":[{"type":"text"},{"data":"AAAAAAAA"}]}"#;
        for (sound, less) in [(began.len(), 0), (36, 2)] {
            assert_eq!(
                Size::of_beginning(began.as_bytes(), sound).bytes(),
                began.len() as u64 - less
            );
        }
    }
}
