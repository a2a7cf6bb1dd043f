//! What only the word before it tells.

use super::class::Class;
use super::plausible::is_plausible;
use super::text::{Stop, Text};
use super::token::{Attempt, MAX_LENGTH, Part, is_end, literal, parts};
use super::tokens::Named;

/// The value that stands behind one of the words.
pub(super) fn named(text: &Text<'_>, place: usize, named: &Named) -> Attempt {
    let mut open = false;
    for word in named.words {
        match behind_word(text, place, word, named.value) {
            Ok(None) => {}
            Ok(Some(found)) => return found,
            Err(Stop::More) => open = true,
            Err(Stop::End) => {}
        }
    }
    if open { Attempt::Open } else { Attempt::No }
}

fn behind_word(
    text: &Text<'_>,
    place: usize,
    word: &str,
    value: &[Part],
) -> Result<Option<Attempt>, Stop> {
    let Some(mut at) = literal(text, place, word)? else {
        return Ok(None);
    };
    // Quotes, an equals sign, blanks and whatever else languages put between a name and its value.
    let (mut between, mut colours) = (0, 0);
    loop {
        let (found, next) = text.char_at(at)?;
        if found == ESCAPE {
            colours += 1;
            if colours > MAX_COLOURS {
                return Ok(None);
            }
            at = colour_end(text, next)?;
            continue;
        }
        if !BETWEEN.has(found) {
            break;
        }
        between += 1;
        if between > MAX_BETWEEN {
            return Ok(None);
        }
        at = next;
    }
    if between == 0 {
        return Ok(None);
    }
    let start = at;
    let Some(end) = parts(text, start, value)? else {
        return Ok(None);
    };
    let is_bounded = is_end(text, end)? && end - place <= MAX_LENGTH;
    let is_one = is_bounded && is_plausible(text, start, end);
    Ok(is_one.then_some(Attempt::Found { start, end }))
}

/// With what a sequence begins that tells a terminal a colour.
const ESCAPE: u8 = 0x1b;

/// Where such a sequence ends that begins before this place.
fn colour_end(text: &Text<'_>, mut at: usize) -> Result<usize, Stop> {
    for _ in 0..12 {
        let (found, next) = text.char_at(at)?;
        at = next;
        if LETTER_LOWER.has(found) {
            break;
        }
    }
    Ok(at)
}

/// What may stand between a name and its value.
pub(super) const BETWEEN: Class = Class::new(b" \t\n\"'`:=>,()[]\\");
/// The most of it.
pub(super) const MAX_BETWEEN: usize = 16;
/// The most colours there.
const MAX_COLOURS: usize = 8;
/// Small letters.
pub(super) const LETTER_LOWER: Class = Class::new(b"a-z");
