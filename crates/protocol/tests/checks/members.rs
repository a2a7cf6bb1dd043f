//! JSON as serde_json sees it: the second opinion that the checks compare with.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use switchboard_protocol::json::MAX_DEPTH;

/// The members of an object in order, doubled ones included: keys with their escapes resolved,
/// values as written.
pub(super) type Members<'a> = Vec<(String, &'a str)>;

/// The JSON value in `raw` without the white space around it, if there is exactly one, not nested
/// too deep.
pub(super) fn value(raw: &[u8]) -> Option<&str> {
    let value: &RawValue = serde_json::from_slice(raw).ok()?;
    (depth(value.get()) <= MAX_DEPTH).then(|| value.get())
}

/// The members of a JSON value that is an object.
pub(super) fn members(value: &str) -> Option<Members<'_>> {
    let InOrder(members) = serde_json::from_str(value).ok()?;
    Some(members)
}

/// The value of a key's first member.
pub(super) fn member<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    members
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| *value)
}

/// The text of a JSON value that is a string. Half of a surrogate pair becomes U+FFFD.
pub(super) fn text(value: &str) -> Option<String> {
    let Text(text) = serde_json::from_str(value).ok()?;
    Some(text)
}

fn depth(value: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = value.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => {
                bytes.next();
            }
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

struct InOrder<'a>(Members<'a>);

impl<'de> Deserialize<'de> for InOrder<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrderVisitor)
    }
}

struct InOrderVisitor;

impl<'de> Visitor<'de> for InOrderVisitor {
    type Value = InOrder<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::new();
        while let Some((Text(key), value)) = map.next_entry::<Text, &RawValue>()? {
            members.push((key, value.get()));
        }
        Ok(InOrder(members))
    }
}

/// A string read as bytes, since serde_json gives no others than texts a `String`.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text, E> {
        let mut text = String::new();
        let mut rest = bytes;
        // Half of a surrogate pair stands in the bytes as the three that UTF-8 would have for it if
        // it had any.
        while let Some(at) = rest
            .windows(2)
            .position(|pair| pair[0] == 0xed && pair[1] >= 0xa0)
        {
            text.push_str(std::str::from_utf8(&rest[..at]).map_err(E::custom)?);
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[at + 3..];
        }
        text.push_str(std::str::from_utf8(rest).map_err(E::custom)?);
        Ok(Text(text))
    }
}
