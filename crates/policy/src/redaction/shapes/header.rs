//! What a header has that says who calls.

use super::super::class::Class;
use super::super::named::{BETWEEN, LETTER_LOWER, MAX_BETWEEN};
use super::super::plausible::is_plausible;
use super::super::text::{Stop, Text};
use super::super::token::{Attempt, Chars, MAX_LENGTH};

/// The name of the header, as it is written.
pub(super) fn anchors() -> Vec<Vec<u8>> {
    [&b"Authorization"[..], b"authorization", b"AUTHORIZATION"]
        .map(<[u8]>::to_vec)
        .to_vec()
}

/// What a header `Authorization` has behind `Bearer`, `Basic` and the like.
pub(super) fn authorization_header(text: &Text<'_>, place: usize) -> Attempt {
    match credentials(text, place) {
        Ok(Some(found)) => found,
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

fn credentials(text: &Text<'_>, place: usize) -> Result<Option<Attempt>, Stop> {
    let mut at = place + "Authorization".len();
    let known = text.bytes.get(place..at);
    match known {
        None => return Err(text.stop()),
        Some(word) if !word.eq_ignore_ascii_case(b"authorization") => return Ok(None),
        Some(_) => {}
    }
    let mut between = 0;
    let mut word = Chars::new();
    // The scheme is the first word.
    loop {
        let (found, next) = text.char_at(at)?;
        if LETTER_LOWER.has(found.to_ascii_lowercase()) {
            word.push(found.to_ascii_lowercase());
        } else if !word.is_empty() || !BETWEEN.has(found) {
            break;
        } else {
            between += 1;
        }
        if between > MAX_BETWEEN || word.len() > 8 {
            return Ok(None);
        }
        at = next;
    }
    if between == 0 || !matches!(&word[..], b"bearer" | b"basic" | b"token" | b"apikey") {
        return Ok(None);
    }
    let mut blanks = 0;
    while let (b' ' | b'+', next) = text.char_at(at)? {
        at = next;
        blanks += 1;
        if blanks > MAX_BETWEEN {
            return Ok(None);
        }
    }
    if blanks == 0 {
        return Ok(None);
    }
    let start = at;
    let reach = text.memory.runs.reach(text, at, CREDENTIALS, 8192)?;
    let end = reach.end;
    if reach.count < 16 || end - place > MAX_LENGTH || !is_plausible(text, start, end) {
        return Ok(None);
    }
    let (chars, _) = text.chars(start, end, LOOKED_AT);
    let has = |test: fn(&u8) -> bool| chars.iter().any(test);
    let is_one = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    Ok(is_one.then_some(Attempt::Found { start, end }))
}

/// How many of the first characters of credentials are looked at for a digit and a letter.
const LOOKED_AT: usize = 256;
/// Those of RFC 6750 and RFC 7617.
const CREDENTIALS: Class = Class::new(b"A-Za-z0-9._~+/=-");
