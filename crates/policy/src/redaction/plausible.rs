//! What looks as if it were made by chance.

use super::class::Class;
use super::text::Text;
use super::work;

/// How many of the first characters of a candidate are looked at: in more, chance makes up for anything.
const LOOKED_AT: usize = 64;
/// The fewest different ones among them.
const LEAST_DIFFERENT: u32 = 6;
/// As many equal ones in a row chance does not make.
const EQUAL: usize = 7;

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
/// With what they begin.
const FIRST: Class = Class::new(b"epyrcxai0");

/// Places of a text where the last candidates failed, by what is enough for others to fail too. Of those
/// in one run of characters, not each is looked at.
#[derive(Clone, Copy, Default)]
pub(super) struct Implausible {
    /// A part with few different characters, without escapes.
    few: (usize, usize),
    /// The last part of such a word, and since where there are no escapes before it.
    word: Option<(usize, (usize, usize))>,
}

impl Implausible {
    fn tells(&self, from: usize, end: usize) -> bool {
        let end = end.min(from + LOOKED_AT);
        let is_few = self.few.0 <= from && end <= self.few.1;
        let has_word = |(since, word): (usize, (usize, usize))| {
            since <= from && from <= word.0 && word.1 <= end
        };
        is_few || self.word.is_some_and(has_word)
    }
}

/// Whether what stands between these places looks as if it were made by chance, and not as what stands for
/// a token in examples.
pub(super) fn is_plausible(text: &Text<'_>, from: usize, end: usize) -> bool {
    let mut known = text.memory.implausible.get();
    if known.tells(from, end) {
        return false;
    }
    let (chars, to) = text.chars(from, end, LOOKED_AT);
    work::note(2 * chars.len());
    let seen = chars
        .iter()
        .fold(0_u128, |seen, byte| seen | (1 << (byte & 127)));
    let is_plain = to - from == chars.len();
    if seen.count_ones() < LEAST_DIFFERENT {
        if is_plain {
            let has = |byte: &&u8| byte.is_ascii() && (seen >> **byte) & 1 == 1;
            let more = text.bytes[to..].iter().take_while(has).count();
            work::note(more);
            known.few = (from, to + more);
            text.memory.implausible.set(known);
        }
        return false;
    }
    let lower = chars.to_ascii_lowercase();
    let last = (0..lower.len())
        .rev()
        .find_map(|at| Some((at, made_at(&lower[at..])?)));
    let Some((at, length)) = last else {
        return true;
    };
    if is_plain {
        known.word = Some((from, (from + at, from + at + length)));
        text.memory.implausible.set(known);
    }
    false
}

/// The length of what stands here that no chance makes.
fn made_at(lower: &[u8]) -> Option<usize> {
    let is_equal = |row: &[u8]| row.iter().all(|byte| *byte == row[0]);
    if lower.get(..EQUAL).is_some_and(is_equal) {
        return Some(EQUAL);
    }
    if !FIRST.has(lower[0]) {
        return None;
    }
    let mut words = PLACEHOLDERS.iter();
    words
        .find(|word| lower.starts_with(word))
        .map(|word| word.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_looked_for() {
        for word in PLACEHOLDERS {
            assert_eq!(made_at(word), Some(word.len()));
        }
        assert_eq!(made_at(b"zzzzzzz"), Some(EQUAL));
        assert_eq!(made_at(b"zzzzzz"), None);
    }
}
