//! Arguments as a rule sees them: read in one way only, or not at all.
//!
//! What a rule looks at is sent on as it came, and the server reads it once more. So whatever two
//! readers may read differently is refused: a key twice, also where only its case differs (some
//! readers do not look at it), half a character, a number that not every reader keeps.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::objects::{Key, Map, Value};
use switchboard_protocol::json::{self, JsonError, Scanner};

/// The longest arguments that a rule looks at, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// The longest part of an argument that a message shows, in bytes.
const MAX_SHOWN: usize = 64;

/// What rules see of arguments.
#[derive(Debug)]
pub(super) struct Arguments {
    /// The object, as CEL has it.
    pub(super) value: Value,
    /// How many values there are in it, itself included.
    pub(super) values: usize,
    /// How long it was written, in bytes.
    pub(super) bytes: usize,
}

/// Why arguments are not looked at. For the caller: what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    Doubled(String),
    HalfCharacter,
    Number(String),
    TooLong,
    TooMuchWork,
    NoObject,
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doubled(key) => write!(
                f,
                "The arguments have the key {key} more than once, or in spellings that differ only \
                 in case, so what the server would read is not certain. Call again with each key once."
            ),
            Self::HalfCharacter => f.write_str(
                "The arguments have an escape for half a character (a lone surrogate), which servers \
                 read differently. Call again with whole characters.",
            ),
            Self::Number(number) => write!(
                f,
                "The arguments have the number {number}, which not every server reads exactly. Call \
                 again with fewer digits, or with text where the tool takes it."
            ),
            Self::TooLong => write!(
                f,
                "The arguments are longer than {MAX_BYTES} bytes, more than the gateway checks for \
                 this call. Call again with less at once."
            ),
            Self::TooMuchWork => f.write_str(
                "The arguments have more values than the gateway checks for this call. Call again \
                 with less at once.",
            ),
            Self::NoObject => f.write_str(
                "The arguments are no JSON object. Call again with an object of named arguments.",
            ),
        }
    }
}

impl From<JsonError> for Unclear {
    fn from(_: JsonError) -> Self {
        Self::NoObject
    }
}

impl Arguments {
    /// Of a call that has none.
    pub(super) fn none() -> Self {
        Self {
            value: map(HashMap::new()),
            values: 1,
            bytes: 2,
        }
    }

    /// Reads arguments that were scanned before.
    pub(super) fn read(text: &[u8]) -> Result<Self, Unclear> {
        if text.len() > MAX_BYTES {
            return Err(Unclear::TooLong);
        }
        let mut reader = Reader {
            scanner: Scanner::over_utf8(text),
            values: 0,
        };
        if reader.scanner.peek() != Some(b'{') {
            return Err(Unclear::NoObject);
        }
        let value = reader.value()?;
        reader.scanner.end()?;
        Ok(Self {
            value,
            values: reader.values,
            bytes: text.len(),
        })
    }
}

fn map(members: HashMap<Key, Value>) -> Value {
    Value::Map(Map {
        map: Arc::new(members),
    })
}

/// How deep it goes the scanner bounds.
struct Reader<'t> {
    scanner: Scanner<'t>,
    values: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Unclear> {
        self.values += 1;
        match self.scanner.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => {
                let span = self.scanner.string()?;
                let raw = span.of(self.scanner.bytes());
                Ok(Value::String(Arc::new(text(raw)?)))
            }
            _ => {
                let span = self.scanner.value()?;
                scalar(span.of(self.scanner.bytes()))
            }
        }
    }

    fn object(&mut self) -> Result<Value, Unclear> {
        self.scanner.enter_object()?;
        let mut members = HashMap::new();
        let mut folded = std::collections::HashSet::new();
        let mut first = true;
        while let Some(key) = self.scanner.next_key(&mut first)? {
            let at = key.at as usize;
            let name = key.text().into_owned();
            let end = self.scanner.position();
            if has_lone_surrogate(&self.scanner.bytes()[at..end]) {
                return Err(Unclear::HalfCharacter);
            }
            if !folded.insert(json::fold_case(&name)) {
                return Err(Unclear::Doubled(shown(&format!("{name:?}"))));
            }
            let value = self.value()?;
            members.insert(Key::String(Arc::new(name)), value);
        }
        Ok(map(members))
    }

    fn array(&mut self) -> Result<Value, Unclear> {
        self.scanner.enter_array()?;
        let mut items = Vec::new();
        let mut first = true;
        while self.scanner.next_item(&mut first)? {
            items.push(self.value()?);
        }
        Ok(Value::List(Arc::new(items)))
    }
}

fn shown(text: &str) -> String {
    let mut end = text.len().min(MAX_SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A string that was scanned, quotes included.
fn text(raw: &[u8]) -> Result<String, Unclear> {
    if has_lone_surrogate(raw) {
        return Err(Unclear::HalfCharacter);
    }
    Ok(json::as_str(raw).unwrap_or_default().into_owned())
}

fn has_lone_surrogate(raw: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            at += 1;
            continue;
        }
        match unit(raw, at) {
            Some(0xd800..0xdc00) => {
                if !matches!(unit(raw, at + 6), Some(0xdc00..0xe000)) {
                    return true;
                }
                at += 12;
            }
            Some(0xdc00..0xe000) => return true,
            _ => at += 2,
        }
    }
    false
}

/// The code unit of the escape `\uXXXX` at this offset, if it is one.
fn unit(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number, `true`, `false` or `null` that was scanned.
fn scalar(raw: &[u8]) -> Result<Value, Unclear> {
    let text = std::str::from_utf8(raw).map_err(|_| Unclear::NoObject)?;
    Ok(match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        number => {
            let exact = number.parse::<f64>().ok();
            let exact = exact.filter(|value| is_exact(number, *value));
            let value = exact.ok_or_else(|| Unclear::Number(shown(number)))?;
            match number.parse::<i64>() {
                Ok(whole) => Value::Int(whole),
                Err(_) => Value::Float(value),
            }
        }
    })
}

/// Whether a number, read as most readers do, is written as the same number again.
fn is_exact(written: &str, read: f64) -> bool {
    read.is_finite() && decimal(written) == decimal(&format!("{read:e}"))
}

/// A decimal number as its digits without zeros at either end, and the power of ten of the last.
fn decimal(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // An exponent that does not fit is that of no finite number other than 0.
    let mut exponent: i64 = exponent.parse().unwrap_or(i64::MAX / 2);
    let is_negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    exponent = exponent
        .saturating_sub(fraction.len() as i64)
        .saturating_add((digits.len() - significant.len()) as i64);
    match significant.trim_start_matches('0') {
        "" => (false, String::new(), 0),
        digits => (is_negative, digits.to_owned(), exponent),
    }
}

#[cfg(test)]
mod tests;
