//! Exact values that are looked for, in the forms in which programs write them.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::anchors::{Anchor, anchor_of};
use super::names::is_plain_word;
use super::text::{Before, Stop, Text};
use super::token::Attempt;

/// The shortest value that is looked for, in bytes: a shorter one is in many a text by chance.
pub const LEAST_SECRET_BYTES: usize = 8;
/// The longest, in bytes; of a longer one its beginning is looked for.
pub(super) const MOST_SECRET_BYTES: usize = 8 * 1024;
/// The most values that are looked for.
pub(super) const MOST_SECRETS: usize = 4096;

/// Values that are to be taken out wherever they stand.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Zeroizing<String>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Adds a value, and each line of one of several lines; whether it is looked for. One that is
    /// shorter than [`LEAST_SECRET_BYTES`] is not, nor are more than 4096 in all.
    pub fn add(&mut self, value: &str) -> bool {
        let value = value.trim();
        if value.len() < LEAST_SECRET_BYTES || self.0.len() >= MOST_SECRETS {
            return false;
        }
        let lines = value.lines().filter(|line| line.len() >= LEAST_LINE);
        if value.contains('\n') {
            for line in lines.take(MOST_LINES) {
                self.insert(line.trim());
            }
        }
        let end = value.floor_char_boundary(MOST_SECRET_BYTES);
        self.insert(&value[..end]);
        true
    }

    fn insert(&mut self, value: &str) {
        if !self.iter().any(|known| known == value) {
            self.0.push(Zeroizing::new(value.to_owned()));
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|secret| secret.as_str())
    }
}

/// The shortest line of a value of several that is looked for by itself: those of keys are longer.
const LEAST_LINE: usize = 32;
/// The most lines of a value that are looked for by themselves.
const MOST_LINES: usize = 128;

/// One way to write a secret.
pub(super) struct Form {
    bytes: Zeroizing<Vec<u8>>,
    /// What the bytes stand for, to be compared through escapes; `None`: they are compared as they are.
    value: Option<Zeroizing<Vec<u8>>>,
    /// Whether lines may be broken within, as in Base64 of mails.
    is_base64: bool,
    /// Whether it is a number: then it is one only if no digit stands beside it.
    pub(super) is_number: bool,
    /// Whether some of it may stand outside of strings of JSON: of a secret that is JSON itself.
    pub(super) may_be_structure: bool,
}

impl Form {
    /// What it begins with.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        anchor_of(&self.bytes)
    }

    /// Whether it stands at this place.
    pub(super) fn at(&self, text: &Text<'_>, place: usize) -> Attempt {
        let rest = text.bytes.get(place..).unwrap_or_default();
        let end = if rest.starts_with(&self.bytes) {
            Ok(Some(place + self.bytes.len()))
        } else if !text.is_whole && self.bytes.starts_with(rest) {
            Err(Stop::More)
        } else {
            self.end_through_escapes(text, place)
        };
        match end {
            Ok(None) | Err(Stop::End) => Attempt::No,
            _ if text.before(place) == Before::InEscape => Attempt::No,
            Ok(Some(end)) => self.found(text, place, end),
            Err(Stop::More) => Attempt::Open,
        }
    }

    fn found(&self, text: &Text<'_>, start: usize, end: usize) -> Attempt {
        if self.is_number {
            let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
            // One before it may be the last of an escape.
            let follows_digit = text.before(start) == Before::Word && is_digit(text.back(start, 1));
            if follows_digit || is_digit(text.bytes.get(end).copied()) {
                return Attempt::No;
            }
            if end == text.bytes.len() && !text.is_whole {
                return Attempt::Open;
            }
        }
        match text.end_of_escape(end) {
            Ok(end) => Attempt::Found { start, end },
            Err(Stop::More) => Attempt::Open,
            Err(Stop::End) => Attempt::Found {
                start,
                end: text.bytes.len(),
            },
        }
    }

    fn end_through_escapes(&self, text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
        let Some(value) = &self.value else {
            return Ok(None);
        };
        let mut at = place;
        let mut rest = value.iter();
        let mut wanted = rest.next();
        while let Some(byte) = wanted {
            let (found, next) = text.char_at(at)?;
            if found == *byte {
                wanted = rest.next();
            } else if !(self.is_base64 && matches!(found, b'\n' | b'\r')) {
                return Ok(None);
            }
            at = next;
        }
        Ok(Some(at))
    }
}

/// All ways to write a value.
pub(super) fn forms(value: &str) -> Vec<Form> {
    let mut all = forms_of(value);
    for form in unescaped_part(value).into_iter().flat_map(forms_of) {
        if !all.iter().any(|known| known.bytes == form.bytes) {
            all.push(form);
        }
    }
    all
}

/// The part of a value from its first four letters on that nobody escapes, where others stand before them, which are
/// written in more ways than are looked for (JSON in JSON, JSON in URLs, habits of their own). `None` too where that
/// is too little of the value to tell it by.
fn unescaped_part(value: &str) -> Option<&str> {
    let is_unescaped = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let begins = |place: &usize| {
        let first = value.as_bytes().get(*place..place + 4);
        first.is_some_and(|first| first.iter().all(is_unescaped))
    };
    // Only what is ASCII is compared through escapes.
    let last_beyond_ascii = value.rfind(|c: char| !c.is_ascii());
    let ascii_from = last_beyond_ascii.map_or(0, |last| value.ceil_char_boundary(last + 1));
    let start = (ascii_from..value.len()).find(begins)?;
    let part = &value[start..];
    let is_enough = part.len() >= LEAST_SECRET_BYTES && part.len() * 4 >= value.len() * 3;
    (start > 0 && is_enough && !is_plain_word(part)).then_some(part)
}

/// The ways to write a value that are looked for.
fn forms_of(value: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut add = |bytes: Vec<u8>, value: Option<&[u8]>, is_base64: bool| {
        let is_known = forms.iter().any(|known: &Form| *known.bytes == bytes);
        if bytes.len() >= LEAST_SECRET_BYTES && !is_known {
            let is_number = bytes.iter().all(u8::is_ascii_digit);
            let is_structure = |byte: &u8| b"0123456789+-.Etruefalsn,:[]{} \t\r\n".contains(byte);
            let may_be_structure = bytes.contains(&b'"') || bytes.iter().all(is_structure);
            let bytes = Zeroizing::new(bytes);
            let value = value.map(|value| Zeroizing::new(value.to_vec()));
            forms.push(Form {
                bytes,
                value,
                is_base64,
                is_number,
                may_be_structure,
            });
        }
    };
    let plain = Some(value.as_bytes()).filter(|value| value.is_ascii());
    add(value.as_bytes().to_vec(), plain, false);
    for json in in_json(value) {
        for nested in in_json(&json) {
            add(nested.into_bytes(), None, false);
        }
        add(json.into_bytes(), plain, false);
    }
    for url in in_url(value) {
        for nested in written_otherwise(&url) {
            add(nested.into_bytes(), plain, false);
        }
        add(url.into_bytes(), plain, false);
    }
    for base64 in in_base64(value.as_bytes()) {
        for written in written_otherwise(&base64) {
            add(written.into_bytes(), Some(base64.as_bytes()), true);
        }
        add(base64.clone().into_bytes(), Some(base64.as_bytes()), true);
    }
    forms
}

/// A text that is compared through escapes, as it may stand in JSON, in JSON within JSON and in URLs: in those
/// ways that it has to be looked for in by other anchors. Those with an escape such as `\u002b` need
/// none.
pub(super) fn written_otherwise(text: &str) -> BTreeSet<String> {
    let begins_otherwise = |written: &String| {
        let begins = anchor_of(written.as_bytes());
        let is_code = begins.is_some_and(|anchor| anchor.windows(2).any(|pair| pair == b"\\u"));
        begins != anchor_of(text.as_bytes()) && !is_code
    };
    let json = in_json(text);
    let nested: Vec<_> = json.iter().flat_map(|json| in_json(json)).collect();
    let all = json.into_iter().chain(nested).chain(in_url(text));
    all.filter(begins_otherwise).collect()
}

/// As JSON has it in a string, by the habits of those who write it: as little as must be escaped, slashes too,
/// what means something to HTML too, all but ASCII too.
fn in_json(value: &str) -> BTreeSet<String> {
    let escaped = |also: &dyn Fn(char) -> bool, upper: bool| {
        let mut out = String::with_capacity(value.len() + 8);
        for c in value.chars() {
            match c {
                '/' if also('/') => out.push_str("\\/"),
                c if also(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = match upper {
                            true => write!(out, "\\u{unit:04X}"),
                            false => write!(out, "\\u{unit:04x}"),
                        };
                    }
                }
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c < ' ' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out
    };
    let not_ascii = |c: char| !c.is_ascii();
    [
        escaped(&|_| false, false),
        escaped(&|c| c == '/', false),
        escaped(&|c| matches!(c, '<' | '>' | '&'), false),
        escaped(&|c| matches!(c, '<' | '>' | '&' | '\'' | '=' | '+'), false),
        escaped(
            &|c| matches!(c, '"' | '<' | '>' | '&' | '\'' | '`' | '+') || not_ascii(c),
            true,
        ),
        escaped(&not_ascii, false),
        escaped(&|c| c == '/' || not_ascii(c), false),
    ]
    .into()
}

/// As URLs have it, by the habits of those who write them.
fn in_url(value: &str) -> BTreeSet<String> {
    let escaped = |kept: &str, blank: &str, upper: bool| {
        let mut out = String::with_capacity(value.len() + 8);
        for byte in value.bytes() {
            let c = char::from(byte);
            if c.is_ascii_alphanumeric() || "-_.~".contains(c) || kept.contains(c) {
                out.push(c);
            } else if c == ' ' && !blank.is_empty() {
                out.push_str(blank);
            } else {
                let _ = match upper {
                    true => write!(out, "%{byte:02X}"),
                    false => write!(out, "%{byte:02x}"),
                };
            }
        }
        out
    };
    let component = "!*'()";
    let path = "!*'();:@&=+$,/?#[]";
    [
        escaped("", "", true),
        escaped("", "", false),
        escaped("", "+", true),
        escaped(component, "", true),
        escaped(path, "", true),
    ]
    .into()
}

/// What of it is the same in Base64 wherever it begins among the three bytes of a group, in both alphabets.
fn in_base64(value: &[u8]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for offset in 0..3 {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(value);
        // The first characters depend on what is before, the last on what is behind.
        let first = (offset * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for encoded in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            forms.insert(encoded[first..last].to_owned());
        }
    }
    forms
}
