//! One form for all spellings of a JSON value: peers write the same value anew, with other white
//! space, other escapes, another order of keys.

use crate::json::{self, JsonError, Scanner};
use crate::token::digest;

/// The one form that all spellings of `text`, a value that was scanned before, share: of a scalar
/// its text, of an array or object the digest of its parts, so that every byte is looked at once
/// however deep it lies. The order of keys, white space and escapes do not count; everything else
/// does, a doubled key and the spelling of a number included. Empty for what is no JSON.
#[must_use]
pub fn canonical(text: &[u8]) -> Vec<u8> {
    // The depth is bounded by the scanner.
    next_value(&mut Scanner::over_utf8(text), text).unwrap_or_default()
}

fn next_value(scanner: &mut Scanner<'_>, text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut first = true;
    match scanner.peek() {
        Some(b'{') => {
            let mut members = Vec::new();
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                members.push((key.text(), next_value(scanner, text)?));
            }
            // Stable: of doubled keys the order counts.
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let parts = members
                .iter()
                .flat_map(|(key, value)| [key.as_bytes(), value]);
            Ok(composed(b"object", parts))
        }
        Some(b'[') => {
            let mut items = Vec::new();
            scanner.enter_array()?;
            while scanner.next_item(&mut first)? {
                items.push(next_value(scanner, text)?);
            }
            Ok(composed(b"array", items.iter().map(Vec::as_slice)))
        }
        Some(b'"') => {
            let raw = scanner.string()?.of(text);
            Ok(json::quoted(&json::as_str(raw).unwrap_or_default()))
        }
        _ => Ok(scanner.value()?.of(text).to_vec()),
    }
}

fn composed<'a>(kind: &'a [u8], parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let parts: Vec<&[u8]> = std::iter::once(kind).chain(parts).collect();
    digest(&parts).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(raw: &str) -> Vec<u8> {
        canonical(raw.as_bytes())
    }

    #[test]
    fn spellings_of_one_value_are_one() {
        assert_eq!(
            form(r#"{"b":[1, "\u0061"],"a":{} }"#),
            form(r#"{ "a":{}, "b":[1,"a"]}"#)
        );
    }

    #[test]
    fn what_is_not_the_same_stays_apart() {
        let distinct = [
            r#"{"a":1}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":12345678901234567890124}"#,
            "{}",
            "[]",
        ];
        let forms: std::collections::HashSet<_> = distinct.iter().map(|raw| form(raw)).collect();
        assert_eq!(forms.len(), distinct.len());
    }
}
