//! Private keys in PEM.

use super::super::class::BASE64_ANY;
use super::super::text::{Stop, Text};
use super::super::token::{Attempt, MAX_LENGTH, literal};

/// The lines between the first and the last of a private key in PEM.
pub(super) fn private_key(text: &Text<'_>, place: usize) -> Attempt {
    let start = match header_end(text, place) {
        Ok(Some(start)) => start,
        Ok(None) => return Attempt::No,
        Err(stop) => return stop.into(),
    };
    // `-----BEGIN RSA ` stands before it.
    let begins = |back: &usize| (0..5).all(|at| text.back(place, back - at) == Some(b"BEGIN"[at]));
    if !(6..48).any(|back| begins(&back)) {
        return Attempt::No;
    }
    match key_end(text, start) {
        Ok(Some(end)) => Attempt::Found { start, end },
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

/// Where the first line of a key ends, of which this is a part.
fn header_end(text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
    let Some(at) = literal(text, place, "PRIVATE")? else {
        return Ok(None);
    };
    let (blank, at) = text.char_at(at)?;
    if !matches!(blank, b' ' | b'+') {
        return Ok(None);
    }
    let Some(mut at) = literal(text, at, "KEY")? else {
        return Ok(None);
    };
    let (next, behind) = text.char_at(at)?;
    if matches!(next, b' ' | b'+') {
        match literal(text, behind, "BLOCK")? {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    literal(text, at, "-----")
}

/// How many short words may stand before the first line of a key: its headers, such as `Proc-Type`.
const MAX_SHORT_WORDS: usize = 12;
/// The fewest characters of a line of a key.
const LEAST_LINE: usize = 40;

/// Where the lines of a key end: before `-----END`, or with the last that is one.
fn key_end(text: &Text<'_>, start: usize) -> Result<Option<usize>, Stop> {
    let mut at = start;
    let mut last_line = None;
    let (mut short_words, mut length, mut dashes) = (0, 0, 0);
    let mut before_dashes = start;
    while at - start <= MAX_LENGTH {
        let (found, next) = match text.char_at(at) {
            Ok(found) => found,
            Err(Stop::More) => return Err(Stop::More),
            Err(Stop::End) => break,
        };
        if found == b'-' {
            if dashes == 0 {
                before_dashes = at;
            }
            dashes += 1;
            if dashes == 5 {
                return Ok(last_line.map(|_| before_dashes));
            }
        } else {
            dashes = 0;
        }
        if BASE64_ANY.has(found) && found != b'-' && found != b'_' {
            length += 1;
            if length >= LEAST_LINE {
                last_line = Some(next);
                short_words = 0;
            }
        } else {
            if (1..LEAST_LINE).contains(&length) {
                short_words += 1;
                if last_line.is_some() && short_words == 1 && length > 1 {
                    // The last line of a key is as long as it happens to be.
                    last_line = Some(at);
                }
            }
            length = 0;
            let ends_string = found == b'"' && text.bytes[at] == b'"';
            if short_words > MAX_SHORT_WORDS || ends_string {
                break;
            }
        }
        at = next;
    }
    Ok(last_line.map(|line| line.max(if length > 0 { at } else { line })))
}
