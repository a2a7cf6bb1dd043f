//! The first look at a text: places where something may begin that is looked for.
//!
//! All that is looked for begins with one of a set of four bytes, its anchors. Of each, three bytes stand at one
//! of two places side by side, so every other place of a text is looked at: a table of bits, by a hash of
//! three bytes, tells for most of them that there is nothing. What each costs does not depend on how many
//! anchors there are.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use super::work;

/// Four bytes.
pub(super) type Anchor = [u8; 4];

/// What begins with an anchor, by its number.
type Beginners = SmallVec<[u32; 2]>;

/// The anchors of all that is looked for.
pub(super) struct Anchors {
    /// All three bytes in a row of anchors.
    parts: Bits,
    /// Anchors.
    wholes: Bits,
    beginners: HashMap<Anchor, Beginners, foldhash::fast::FixedState>,
    /// What anchors begin with: one, two and three bytes.
    prefixes: HashSet<[u8; 3], foldhash::fast::FixedState>,
}

/// Bits of a table, as a power of two: 64 KiB, of which a text touches few lines. With the anchors of all types
/// of tokens, one in 30 of the places that are looked at in results of real servers has to be looked at again,
/// most since the same three bytes do stand there.
const WIDTH: u32 = 19;
/// Its words.
const WORDS: usize = 1 << (WIDTH - 6);

/// How an escape of JSON begins that stands for one of the first 256 characters. It is an anchor itself: what it
/// stands in the place of a letter of has none as it is written.
pub(super) const ESCAPE: Anchor = *b"\\u00";

/// The anchor that a text begins with.
pub(super) fn anchor_of(text: &[u8]) -> Option<Anchor> {
    text.first_chunk().copied()
}

impl Anchors {
    /// The anchors of things with these numbers.
    pub(super) fn new(anchors: impl IntoIterator<Item = (Anchor, u32)>) -> Self {
        let mut beginners: HashMap<Anchor, Beginners, _> = HashMap::default();
        for (anchor, number) in anchors {
            let known = beginners.entry(anchor).or_default();
            if !known.contains(&number) {
                known.push(number);
            }
        }
        if !beginners.is_empty() {
            beginners.entry(ESCAPE).or_default();
        }
        let (mut parts, mut wholes) = (Bits::default(), Bits::default());
        let mut prefixes = HashSet::default();
        for anchor in beginners.keys() {
            wholes.set(hash(*anchor));
            for part in anchor.windows(3) {
                parts.set(hash_of_three([part[0], part[1], part[2], 0]));
            }
            for length in 1..=3 {
                prefixes.insert(padded(&anchor[..length]));
            }
        }
        Self {
            parts,
            wholes,
            beginners,
            prefixes,
        }
    }

    /// Whether nothing is looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.beginners.is_empty()
    }

    /// What begins with these four bytes.
    pub(super) fn beginners(&self, anchor: Anchor) -> &[u32] {
        self.beginners.get(&anchor).map_or(&[], |known| known)
    }

    /// The first place from here on, and before another, where an anchor stands.
    pub(super) fn next(&self, text: &[u8], from: usize, until: usize) -> Option<usize> {
        // An anchor that begins before it may end behind.
        let text = text.get(from..text.len().min(until + 3))?;
        let found = self.next_in(text);
        work::note(found.unwrap_or(text.len()));
        found.map(|place| from + place)
    }

    /// Every other place is looked at: of the four bytes of an anchor, three stand at one of them.
    fn next_in(&self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk::<WINDOW>) {
            let mut any = 0;
            for place in (0..BLOCK).step_by(2) {
                any |= self.parts.word(hash_of_three(four(window, place)));
            }
            if any & 1 != 0
                && let Some(found) = self.first_in_block(text, at, window)
            {
                return Some(found);
            }
            at += BLOCK;
        }
        (at.saturating_sub(1)..text.len()).find(|place| self.is_anchor(text, *place))
    }

    /// The first anchor around the places of a block, which begins at `at`. By itself, so that the loop over
    /// blocks keeps what it needs in registers.
    #[inline(never)]
    fn first_in_block(&self, text: &[u8], at: usize, window: &[u8; WINDOW]) -> Option<usize> {
        let hits = (0..BLOCK).step_by(2).fold(0_u32, |hits, place| {
            hits | u32::from(self.parts.has(hash_of_three(four(window, place)))) << place
        });
        // Of each place and the one before.
        let mut places = hits | hits << 1;
        while places != 0 {
            let place = (at + places.trailing_zeros() as usize).checked_sub(1);
            if let Some(place) = place.filter(|place| self.is_anchor(text, *place)) {
                return Some(place);
            }
            places &= places - 1;
        }
        None
    }

    /// Whether an anchor may begin with these one to three bytes.
    pub(super) fn may_begin(&self, bytes: &[u8]) -> bool {
        self.prefixes.contains(&padded(bytes))
    }

    fn is_anchor(&self, text: &[u8], place: usize) -> bool {
        let four = text.get(place..).and_then(<[u8]>::first_chunk);
        four.is_some_and(|four| self.wholes.has(hash(*four)) && self.beginners.contains_key(four))
    }
}

/// A set of which it can be told at once what is not in it, by hashes.
struct Bits(Box<[u64; WORDS]>);

impl Default for Bits {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl Bits {
    fn set(&mut self, hash: u32) {
        self.0[(hash >> 6) as usize] |= 1 << (hash & 63);
    }

    /// Its last bit tells whether what has this hash may be in the set.
    #[inline(always)]
    fn word(&self, hash: u32) -> u64 {
        // The mask shows the compiler what the hash makes sure of.
        self.0[(hash >> 6) as usize & (WORDS - 1)] >> (hash & 63)
    }

    fn has(&self, hash: u32) -> bool {
        self.word(hash) & 1 != 0
    }
}

/// How many places are covered for one branch.
const BLOCK: usize = 16;
/// What is looked at for them.
const WINDOW: usize = BLOCK + 2;

/// The four bytes at a place before the last three.
#[inline(always)]
fn four(window: &[u8; WINDOW], place: usize) -> Anchor {
    // At once: byte by byte is slower, and what the compiler makes of an array of them.
    window[place..].first_chunk().copied().unwrap_or_default()
}

const FACTOR: u32 = 0x9E37_79B1;

#[inline(always)]
fn hash(four: Anchor) -> u32 {
    u32::from_le_bytes(four).wrapping_mul(FACTOR) >> (32 - WIDTH)
}

/// That of the first three of four bytes.
#[inline(always)]
fn hash_of_three(four: Anchor) -> u32 {
    // So shifted, the factor pushes the fourth out.
    u32::from_le_bytes(four).wrapping_mul(FACTOR << 8) >> (32 - WIDTH)
}

/// Nothing that is looked for has a zero in it.
fn padded(bytes: &[u8]) -> [u8; 3] {
    let mut padded = [0; 3];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    padded
}
