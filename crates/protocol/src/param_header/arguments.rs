//! From a call's raw `arguments` to the values that headers mirror.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use super::{ArgumentError, Node};
use crate::header;
use crate::json::{JsonError, Scanner};

/// The largest integer that IEEE 754 double precision tells from its neighbours: 2⁵³ − 1.
const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// A value that a header can carry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Boolean(bool),
}

impl<'a> Argument<'a> {
    /// Reads one scanned value; `Ok(None)` for null, `Err` for one that no header can carry.
    fn read(raw: &'a [u8]) -> Result<Option<Self>, ()> {
        match raw {
            b"null" => Ok(None),
            b"true" => Ok(Some(Self::Boolean(true))),
            b"false" => Ok(Some(Self::Boolean(false))),
            [b'"', ..] => read_text(raw).map(|text| Some(Self::Text(text))),
            _ => std::str::from_utf8(raw)
                .ok()
                .and_then(safe_integer)
                .map(|integer| Some(Self::Integer(integer)))
                .ok_or(()),
        }
    }

    /// The "Type conversion" of the specification, then its "Value Encoding".
    pub(super) fn to_header(&self) -> HeaderValue {
        match self {
            Self::Text(text) => header::encode_value(text),
            Self::Integer(integer) => HeaderValue::from(*integer),
            Self::Boolean(true) => HeaderValue::from_static("true"),
            Self::Boolean(false) => HeaderValue::from_static("false"),
        }
    }

    /// Whether a decoded header says the same. Integers SHOULD be compared as numbers: `42.0` is
    /// `42`.
    pub(super) fn agrees_with(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::Integer(own) => safe_integer(text) == Some(*own),
            Self::Boolean(own) => text == if *own { "true" } else { "false" },
        }
    }
}

/// Reads the value for each of `names` in one pass over the arguments.
pub(super) fn read<'a>(
    root: &Node,
    names: &[HeaderName],
    bytes: &'a [u8],
) -> Result<Vec<Option<Argument<'a>>>, ArgumentError> {
    let mut reader = Reader {
        names,
        bytes,
        scanner: Scanner::new(bytes)?,
        found: names.iter().map(|_| None).collect(),
    };
    reader.value(root)?;
    reader.scanner.end()?;
    Ok(reader.found)
}

struct Reader<'n, 'a> {
    names: &'n [HeaderName],
    bytes: &'a [u8],
    scanner: Scanner<'a>,
    found: Vec<Option<Argument<'a>>>,
}

impl Reader<'_, '_> {
    /// Reads the value that belongs to `node`; recursion is bounded by the depth of the schema.
    fn value(&mut self, node: &Node) -> Result<(), ArgumentError> {
        if let Some(index) = node.header {
            let raw = self.scanner.value()?.of(self.bytes);
            self.found[index] = Argument::read(raw).map_err(|()| ArgumentError::Unsuitable {
                header: self.names[index].clone(),
            })?;
            return Ok(());
        }
        if self.scanner.peek() != Some(b'{') {
            // Nothing is present at the paths below; what it should have been is the server's to
            // say.
            self.scanner.value()?;
            return Ok(());
        }
        self.object(node)
    }

    fn object(&mut self, node: &Node) -> Result<(), ArgumentError> {
        let mut seen = vec![false; node.children.len()];
        let mut first = true;
        self.scanner.enter_object()?;
        while let Some(key) = self.scanner.next_key(&mut first)? {
            let key = key.text();
            let child = node
                .children
                .binary_search_by(|(name, _)| name.as_ref().cmp(key.as_ref()));
            let Ok(index) = child else {
                self.scanner.value()?;
                continue;
            };
            let (name, child) = &node.children[index];
            if std::mem::replace(&mut seen[index], true) {
                return Err(ArgumentError::Repeated { key: name.clone() });
            }
            self.value(child)?;
        }
        Ok(())
    }
}

/// Reads a scanned string; `Err` for one with a lone surrogate, which is no text that UTF-8 can
/// carry.
fn read_text(raw: &[u8]) -> Result<Cow<'_, str>, ()> {
    if memchr::memchr(b'\\', raw).is_some() {
        return serde_json::from_slice(raw).map(Cow::Owned).map_err(|_| ());
    }
    let inner = raw.get(1..raw.len() - 1).ok_or(())?;
    std::str::from_utf8(inner)
        .map(Cow::Borrowed)
        .map_err(|_| ())
}

/// The integer that a JSON number stands for (`-7`, `42.0`, `1e3`), exactly; `None` if it is no
/// number, no integer, or outside the safe range.
fn safe_integer(text: &str) -> Option<i64> {
    if !is_number(text).unwrap_or(false) {
        return None;
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // How many of the digits, filled up with zeros, stand before the decimal point.
    let integral = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let mut value: i64 = 0;
    let mut position: i64 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if position < integral {
            value = value * 10 + i64::from(digit - b'0');
        } else if digit != b'0' {
            return None;
        }
        if value > MAX_SAFE_INTEGER {
            return None;
        }
        position += 1;
    }
    while position < integral && value != 0 {
        value *= 10;
        if value > MAX_SAFE_INTEGER {
            return None;
        }
        position += 1;
    }
    Some(if negative { -value } else { value })
}

/// Whether a text is exactly one JSON number.
fn is_number(text: &str) -> Result<bool, JsonError> {
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(false);
    }
    let mut scanner = Scanner::new(text.as_bytes())?;
    let number = scanner.value()?;
    Ok(number.of(text.as_bytes()).len() == text.len())
}
