//! What a token looks like, and how one is recognised.

use smallvec::SmallVec;

use super::class::{ALNUM, Class};
use super::plausible::is_plausible;
use super::runs::Run;
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
    /// What else tells one; see [`is_plausible`] for what must be true of all but those that prove
    /// themselves.
    pub(super) check: Check,
}

/// A part of a token.
pub(super) enum Part {
    /// These very characters.
    Text(&'static str),
    /// From so many to so many characters of a set, as many as there are.
    Run(Class, usize, usize),
}

/// What tells a token besides its characters. Where nothing else is said, no letter or digit stands
/// beside one.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Nothing.
    Form,
    /// This must be true of it as well.
    Also(fn(&[u8]) -> bool),
    /// If it has so many characters and this is true of them, it proves itself, whatever stands beside it.
    Proof(usize, fn(&[u8]) -> bool),
    /// It is the end of one, of which the beginning is no secret: a letter may stand before it.
    End,
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
        match self.end(text, place, start) {
            Ok(Some(end)) => Attempt::Found { start: place, end },
            Ok(None) => Attempt::No,
            Err(stop) => stop.into(),
        }
    }

    /// Where one ends that begins so at this place. What costs least is looked at first.
    fn end(&self, text: &Text<'_>, place: usize, start: &str) -> Result<Option<usize>, Stop> {
        let Some(rest) = literal(text, place, start)? else {
            return Ok(None);
        };
        let before = text.before(place);
        let begins = before != Before::Word || matches!(self.check, Check::End);
        let may_begin = begins || matches!(self.check, Check::Proof(..));
        if before == Before::InEscape || !may_begin {
            return Ok(None);
        }
        let Some(end) = parts(text, rest, self.rest)? else {
            return Ok(None);
        };
        let ends = is_end(text, end)?;
        if end - place > MAX_LENGTH {
            return Ok(None);
        }
        if let Check::Proof(length, proves) = self.check {
            let (chars, to) = text.chars(place, end, length);
            if to == end && chars.len() == length && proves(&chars) {
                return Ok(Some(end));
            }
        }
        if !(begins && ends && is_plausible(text, rest, end)) {
            return Ok(None);
        }
        let is_one = match self.check {
            Check::Also(is_true) => is_true(&text.chars(place, end, usize::MAX).0),
            Check::Form | Check::Proof(..) | Check::End => true,
        };
        Ok(is_one.then_some(end))
    }
}

/// Whether no letter or digit stands at this place.
pub(super) fn is_end(text: &Text<'_>, place: usize) -> Result<bool, Stop> {
    match text.char_at(place) {
        Ok((next, _)) => Ok(!ALNUM.has(next)),
        Err(Stop::End) => Ok(true),
        Err(Stop::More) => Err(Stop::More),
    }
}

/// Where these parts end, if they stand at this place.
pub(super) fn parts(text: &Text<'_>, mut at: usize, parts: &[Part]) -> Result<Option<usize>, Stop> {
    for (index, part) in parts.iter().enumerate() {
        let next = match part {
            Part::Text(characters) => literal(text, at, characters)?,
            // Many may begin in the same run. Those behind are short, and begin where one ends.
            Part::Run(class, min, max) if index == 0 => {
                let reach = text.memory.runs.reach(text, at, *class, *max)?;
                (reach.count >= *min).then_some(reach.end)
            }
            Part::Run(class, min, max) => run(text, at, *class, *min, *max)?,
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Where these characters end, if they stand at this place.
pub(super) fn literal(
    text: &Text<'_>,
    mut at: usize,
    literal: &str,
) -> Result<Option<usize>, Stop> {
    for wanted in literal.bytes() {
        let (found, next) = text.char_at(at)?;
        if found != wanted {
            return Ok(None);
        }
        at = next;
    }
    Ok(Some(at))
}

/// Where the characters of this set end, if there are enough of them: as many as there are, up to the
/// most.
pub(super) fn run(
    text: &Text<'_>,
    from: usize,
    class: Class,
    min: usize,
    max: usize,
) -> Result<Option<usize>, Stop> {
    let reach = Run::new(class, from).reach(text, from, max)?;
    Ok((reach.count >= min).then_some(reach.end))
}

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
