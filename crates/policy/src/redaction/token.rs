//! What a token looks like, and how one is recognised.

use smallvec::SmallVec;

use super::class::{ALNUM, Class};
use super::text::{Before, Stop, Text};

/// The characters of a candidate, escapes resolved.
pub(super) type Chars = SmallVec<[u8; 128]>;

/// The longest token as it stands in a text, in bytes.
pub(super) const MAX_LENGTH: usize = 32 * 1024;

/// A kind of token that can be told by how it begins.
pub(super) struct Token {
    /// The type that it belongs to, as operators and replacements name it.
    pub(super) name: &'static str,
    /// How it may begin.
    pub(super) starts: &'static [&'static str],
    /// What follows.
    pub(super) rest: &'static [Part],
    /// What else must be true of it; see [`plausible`] for what always must.
    pub(super) check: Option<fn(&[u8]) -> Check>,
}

/// A part of a token.
pub(super) enum Part {
    /// These very characters.
    Text(&'static str),
    /// From so many to so many characters of a set, as many as there are.
    Run(Class, usize, usize),
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is one, wherever it stands: it proves itself.
    Proven,
    /// It may be one.
    Possible,
    /// It may be the end of one, of which the beginning is no secret.
    Inside,
    /// It is none.
    No,
}

/// Whether something that is looked for begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// From here to there.
    Found {
        /// Where it begins, at or behind the place.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// It may, which cannot be told before more of the text is known.
    Open,
    /// It does not.
    No,
}

impl From<Stop> for Attempt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::End => Self::No,
            Stop::More => Self::Open,
        }
    }
}

impl Token {
    /// Whether one begins at this place.
    pub(super) fn at(&self, text: &Text<'_>, place: usize) -> Attempt {
        let mut open = false;
        for start in self.starts {
            match self.with_start(text, place, start) {
                Attempt::No => {}
                Attempt::Open => open = true,
                found @ Attempt::Found { .. } => return found,
            }
        }
        if open { Attempt::Open } else { Attempt::No }
    }

    fn with_start(&self, text: &Text<'_>, place: usize, start: &str) -> Attempt {
        let mut chars = Chars::new();
        let mut end = match literal(text, place, start, &mut chars) {
            Ok(Some(end)) => end,
            Ok(None) => return Attempt::No,
            Err(stop) => return stop.into(),
        };
        let before = text.before(place);
        if before == Before::InEscape {
            return Attempt::No;
        }
        let prefix = chars.len();
        for part in self.rest {
            let next = match part {
                Part::Text(literals) => literal(text, end, literals, &mut chars),
                Part::Run(class, min, max) => run(text, end, *class, *min, *max, &mut chars),
            };
            end = match next {
                Ok(Some(end)) => end,
                Ok(None) => return Attempt::No,
                Err(stop) => return stop.into(),
            };
        }
        let next = match text.char_at(end) {
            Ok((next, _)) => Some(next),
            Err(Stop::More) => return Attempt::Open,
            Err(Stop::End) => None,
        };
        let check = self.check.map_or(Check::Possible, |check| check(&chars));
        let ends = !next.is_some_and(|next| ALNUM.has(next));
        let begins = check == Check::Inside || before != Before::Word;
        let is_one = match check {
            Check::Proven => true,
            Check::Possible | Check::Inside => begins && ends && plausible(&chars[prefix..]),
            Check::No => false,
        };
        if is_one && end - place <= MAX_LENGTH {
            return Attempt::Found { start: place, end };
        }
        Attempt::No
    }
}

/// Where these characters end, if they stand at this place.
pub(super) fn literal(
    text: &Text<'_>,
    mut at: usize,
    literal: &str,
    chars: &mut Chars,
) -> Result<Option<usize>, Stop> {
    for wanted in literal.bytes() {
        let (found, next) = text.char_at(at)?;
        if found != wanted {
            return Ok(None);
        }
        chars.push(found);
        at = next;
    }
    Ok(Some(at))
}

/// Where the characters of this set end, if there are enough of them. A dot or dash that ends a
/// sentence is none of them.
pub(super) fn run(
    text: &Text<'_>,
    from: usize,
    class: Class,
    min: usize,
    max: usize,
    chars: &mut Chars,
) -> Result<Option<usize>, Stop> {
    let mut at = from;
    let mut count = 0;
    // Behind the last character that is no dot.
    let mut last = (from, chars.len());
    while count < max && at - from < MAX_LENGTH {
        let (found, next) = match text.char_at(at) {
            Ok(found) => found,
            Err(Stop::End) => break,
            Err(Stop::More) => return Err(Stop::More),
        };
        if !class.has(found) {
            break;
        }
        chars.push(found);
        at = next;
        count += 1;
        if found != b'.' {
            last = (at, chars.len());
        }
    }
    let dots = chars.len() - last.1;
    if count - dots < min {
        return Ok(None);
    }
    if class.has(b'.') {
        chars.truncate(last.1);
        return Ok(Some(last.0));
    }
    Ok(Some(at))
}

/// Whether it looks as if it were made by chance, and not as what stands for a token in examples.
pub(super) fn plausible(chars: &[u8]) -> bool {
    let mut seen = 0_u128;
    for byte in chars {
        seen |= 1 << (byte & 127);
    }
    if seen.count_ones() < 6 {
        return false;
    }
    let equal = |window: &[u8]| window.iter().all(|byte| *byte == window[0]);
    if chars.windows(7).any(equal) {
        return false;
    }
    let lower = chars.to_ascii_lowercase();
    let is_in = |word: &&[u8]| lower.windows(word.len()).any(|window| window == *word);
    !PLACEHOLDERS.iter().any(is_in)
}

/// Words that no chance makes.
const PLACEHOLDERS: &[&[u8]] = &[
    b"example",
    b"placeholder",
    b"your_",
    b"your-",
    b"yourtoken",
    b"yourkey",
    b"yourapi",
    b"redacted",
    b"changeme",
    b"xxxxxx",
    b"abcdefghij",
    b"insert",
    b"0123456789abcdef",
];

/// Whether GitHub, and who does as it does, made this: the last six characters are the CRC-32 of those
/// before, behind the prefix, in base 62.
pub(super) fn crc32_base62(body: &[u8]) -> bool {
    let Some((entropy, checksum)) = body.split_last_chunk::<6>() else {
        return false;
    };
    let mut rest = crc32(entropy);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits == *checksum
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 of IEEE 802.3. For the few bytes of a candidate, so without a table.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = (crc & 1).wrapping_neg();
            crc = (crc >> 1) ^ (0xEDB8_8320 & mask);
        }
    }
    !crc
}
