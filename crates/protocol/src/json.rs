//! A strict JSON scanner that yields spans, not values.
//!
//! The gateway forwards what it was given, so it needs to know *where* things are far more often
//! than *what* they are. The scanner checks the whole grammar of RFC 8259 (no leniency: what one
//! peer reads differently from the next is how requests are smuggled), bounds the depth, and leaves
//! the bytes alone.

mod chunks;

pub use self::chunks::{ChunkScanner, Event};

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

/// How deep arrays and objects may nest before a message is refused.
pub const MAX_DEPTH: usize = 128;

/// Texts are shorter than this.
pub(crate) const MAX_BYTES: usize = u32::MAX as usize;

/// A part of a message: byte offsets, end exclusive. Messages are smaller than 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    /// The end and one: never 0, so that a span that may be absent is no larger. A message has dozens,
    /// and is moved many times.
    behind: NonZeroU32,
}

impl Span {
    // Only `Scanner::new` checks that a text is smaller than 4 GiB; whoever makes spans of a text
    // that did not pass it has to know.
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        debug_assert!(end < MAX_BYTES, "a text of 4 GiB or more");
        Self {
            start: start as u32,
            behind: NonZeroU32::MIN.saturating_add(end as u32),
        }
    }

    /// All of a text; `None` if it is too long for spans.
    #[must_use]
    pub fn of_all(text: &[u8]) -> Option<Self> {
        (text.len() < MAX_BYTES).then(|| Self::new(0, text.len()))
    }

    /// Offset of the first byte.
    #[must_use]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// Offset behind the last byte.
    #[must_use]
    pub const fn end(self) -> usize {
        self.behind.get() as usize - 1
    }

    /// The bytes of this part of `bytes`, the message that the span was taken from.
    ///
    /// # Panics
    /// If `bytes` ends before the span does: it is another message.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }

    /// Where `part` lies in `text`, which it was cut from.
    ///
    /// # Panics
    /// If it was not.
    #[must_use]
    pub fn of_part(text: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let start = start
            .filter(|start| start + part.len() <= text.len())
            .expect("a part of the text");
        Self::new(start, start + part.len())
    }

    /// The span as a range of indices.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start()..self.end()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({:?})", self.range())
    }
}

/// Why a text is not the JSON we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The grammar was broken at this byte.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// The text is not UTF-8.
    #[error("not valid UTF-8 at byte {0}")]
    Utf8(usize),
    /// More than [`MAX_DEPTH`] levels.
    #[error("nested deeper than {MAX_DEPTH} levels at byte {0}")]
    Depth(usize),
    /// 4 GiB or more.
    #[error("the text is too large")]
    Size,
}

/// Walks over a JSON text. Every method leaves the position behind what it read.
#[derive(Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    /// Behind the last escape that was read; 0 if there was none.
    escaped_until: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `bytes`, which must be UTF-8.
    ///
    /// # Errors
    /// [`JsonError::Utf8`], or [`JsonError::Size`] for 4 GiB and more.
    pub fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if bytes.len() >= MAX_BYTES {
            return Err(JsonError::Size);
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Self::over_utf8(bytes)),
            Err(error) => Err(JsonError::Utf8(error.valid_up_to())),
        }
    }

    /// As [`Scanner::new`] for a part of a text that was scanned before. Checks neither size nor
    /// encoding: spans of a text of 4 GiB or more would be wrong.
    #[must_use]
    pub fn over_utf8(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            pos: 0,
            depth: 0,
            escaped_until: 0,
        }
    }

    /// The next byte that is not white space, not consumed.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.pos) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.pos += 1;
        }
        None
    }

    /// The offset of the next byte to be read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.pos
    }

    /// The whole text.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is an escape in what was read since `start`, an earlier
    /// [`Scanner::position`].
    #[must_use]
    pub fn has_escapes_since(&self, start: usize) -> bool {
        self.escaped_until > start
    }

    /// What was read since `start`, an earlier [`Scanner::position`].
    #[must_use]
    pub fn since(&self, start: usize) -> Span {
        Span::new(start, self.pos)
    }

    /// Fails unless only white space is left.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] at the first other byte.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax()),
        }
    }

    /// Enters an object; follow with [`Scanner::next_key`] until it gives `None`.
    ///
    /// # Errors
    /// If the next value is not an object, or too deep.
    pub fn enter_object(&mut self) -> Result<(), JsonError> {
        self.enter(b'{')
    }

    /// Enters an array; follow with [`Scanner::next_item`] until it gives `false`.
    ///
    /// # Errors
    /// If the next value is not an array, or too deep.
    pub fn enter_array(&mut self) -> Result<(), JsonError> {
        self.enter(b'[')
    }

    fn enter(&mut self, open: u8) -> Result<(), JsonError> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(JsonError::Depth(self.pos - 1));
        }
        Ok(())
    }

    /// The next key of the object entered last, its value left to be read; `None` at the object's
    /// end.
    ///
    /// # Errors
    /// [`JsonError::Syntax`].
    pub fn next_key(&mut self, first: &mut bool) -> Result<Option<Key<'a>>, JsonError> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        let span = self.string()?;
        self.expect(b':')?;
        Ok(Some(Key {
            raw: &self.bytes[span.start() + 1..span.end() - 1],
            at: span.start,
            has_escapes: self.has_escapes_since(span.start()),
        }))
    }

    /// Whether the array entered last has another item, which is left to be read.
    ///
    /// # Errors
    /// [`JsonError::Syntax`].
    pub fn next_item(&mut self, first: &mut bool) -> Result<bool, JsonError> {
        self.more(b']', first)
    }

    fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, JsonError> {
        let was_first = std::mem::replace(first, false);
        match self.peek() {
            Some(byte) if byte == close => {
                self.pos += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !was_first => {
                self.pos += 1;
                // A closing bracket here would be a trailing comma; whoever reads the item or key
                // refuses it.
                Ok(true)
            }
            Some(_) if was_first => Ok(true),
            _ => Err(self.syntax()),
        }
    }

    /// Reads one value of any kind and gives its place.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] or [`JsonError::Depth`].
    pub fn value(&mut self) -> Result<Span, JsonError> {
        let first = self.peek().ok_or_else(|| self.syntax())?;
        let start = self.pos;
        match first {
            b'"' => return self.string(),
            b'{' => {
                self.enter_object()?;
                let mut at_first = true;
                while self.next_key(&mut at_first)?.is_some() {
                    self.value()?;
                }
            }
            b'[' => {
                self.enter_array()?;
                let mut at_first = true;
                while self.next_item(&mut at_first)? {
                    self.value()?;
                }
            }
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => self.number()?,
        }
        Ok(Span::new(start, self.pos))
    }

    /// Reads a string and gives its place, quotes included.
    ///
    /// # Errors
    /// [`JsonError::Syntax`].
    pub fn string(&mut self) -> Result<Span, JsonError> {
        self.peek();
        let start = self.pos;
        self.expect(b'"')?;
        loop {
            self.pos += plain_prefix(&self.bytes[self.pos..]);
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(Span::new(start, self.pos));
                }
                Some(b'\\') => {
                    self.escape()?;
                    self.escaped_until = self.pos;
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(())
            }
            Some(b'u') => {
                let digits = self.bytes.get(self.pos + 2..self.pos + 6);
                if digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    self.pos += 6;
                    Ok(())
                } else {
                    Err(self.syntax())
                }
            }
            _ => Err(self.syntax()),
        }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.at(b'-') {
            self.pos += 1;
        }
        if self.at(b'0') {
            self.pos += 1;
        } else {
            self.digits()?;
        }
        if self.at(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if self.at(b'e') || self.at(b'E') {
            self.pos += 1;
            if self.at(b'+') || self.at(b'-') {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        while self.bytes.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
        if self.pos == start {
            return Err(self.syntax());
        }
        Ok(())
    }

    fn literal(&mut self, text: &[u8]) -> Result<(), JsonError> {
        if self.bytes[self.pos..].starts_with(text) {
            self.pos += text.len();
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn at(&self, byte: u8) -> bool {
        self.bytes.get(self.pos) == Some(&byte)
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax(self.pos)
    }
}

/// A key of an object, as written.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    raw: &'a [u8],
    /// Offset of the opening quote.
    pub at: u32,
    has_escapes: bool,
}

impl<'a> Key<'a> {
    /// The key as it is written, without its quotes.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The key with its escapes resolved.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        unescape(self.raw)
    }

    /// The key's bytes with its escapes resolved: what keys are told apart by, without a second
    /// look at their UTF-8.
    #[must_use]
    pub fn name(self) -> Cow<'a, [u8]> {
        if self.has_escapes {
            Cow::Owned(unescape(self.raw).into_owned().into_bytes())
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// Resolves the escapes of a string that was scanned; `raw` is without its quotes. A lone surrogate
/// becomes U+FFFD.
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw).is_none() {
        return match std::str::from_utf8(raw) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(raw),
        };
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (character, length) = unescape_one(&rest[at..]);
        out.push(character);
        rest = &rest[at + length..];
    }
    out.push_str(&String::from_utf8_lossy(rest));
    Cow::Owned(out)
}

fn unescape_one(escape: &[u8]) -> (char, usize) {
    let simple = match escape.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unescape_unicode(escape),
        Some(&other) => char::from(other),
        None => return (char::REPLACEMENT_CHARACTER, escape.len()),
    };
    (simple, 2)
}

fn unescape_unicode(escape: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        let digits = escape.get(at..at + 4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let Some(high) = unit(2) else {
        return (char::REPLACEMENT_CHARACTER, escape.len());
    };
    if (0xd800..0xdc00).contains(&high)
        && escape.get(6..8) == Some(b"\\u")
        && let Some(low @ 0xdc00..0xe000) = unit(8)
    {
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            12,
        );
    }
    (
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
        6,
    )
}

/// The string value of a scanned JSON string (quotes included), or `None` if `raw` is another kind
/// of value.
#[must_use]
pub fn as_str(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(unescape(inner))
}

/// The bytes of the string value of a scanned JSON string, as [`Key::name`] has them: what texts are
/// told apart by, without a second look at their UTF-8.
#[must_use]
pub fn as_name(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(match memchr::memchr(b'\\', inner) {
        None => Cow::Borrowed(inner),
        Some(_) => Cow::Owned(unescape(inner).into_owned().into_bytes()),
    })
}

/// The one form of all spellings of a key that a reader without an eye for case takes for one.
#[must_use]
pub fn fold_case(key: &str) -> String {
    let upper = key.chars().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

/// Writes `text` as a JSON string, quotes included.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    // Serializing a str into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_str(&mut out, text);
    out
}

/// How many leading bytes need no attention inside a string: no quote, backslash or control
/// character.
///
/// Results of many megabytes pass through here once. Most strings end, or have an escape, within a
/// few words; what is longer is looked at in blocks, which the compiler does with vectors.
fn plain_prefix(bytes: &[u8]) -> usize {
    let (near, far) = bytes.split_at(bytes.len().min(BLOCK));
    let within_near = plain_words(near);
    if within_near < near.len() {
        return within_near;
    }
    let (blocks, _) = far.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| is_plain(block)).count();
    let at = BLOCK.min(bytes.len()) + plain * BLOCK;
    at + plain_words(&bytes[at..])
}

/// How many bytes are looked at together.
const BLOCK: usize = 64;

fn is_plain(block: &[u8; BLOCK]) -> bool {
    // Without a way out in the middle, which would stop the compiler.
    !block
        .iter()
        .fold(false, |any, byte| any | is_special(*byte))
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\') || byte < 0x20
}

/// As [`plain_prefix`], eight bytes at a time.
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = zero_byte(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_byte(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hit = quote | backslash | control;
        if hit != 0 {
            return index * 8 + (hit.trailing_zeros() / 8) as usize;
        }
    }
    let in_rest = rest.iter().position(|byte| is_special(*byte));
    words.len() * 8 + in_rest.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
