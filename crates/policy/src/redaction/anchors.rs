//! The first look at a text: places where something may begin that is looked for.
//!
//! All that is looked for begins with one of a set of four bytes, its anchors. A table of bits, by a hash of four
//! bytes, tells for most places of a text that there is none; what each place costs does not depend on
//! how many there are.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::work;

/// Four bytes.
pub(super) type Anchor = [u8; 4];

/// What begins with an anchor, by its number.
type Beginners = SmallVec<[u32; 2]>;

/// The anchors of all that is looked for.
pub(super) struct Anchors {
    bits: Box<[u64; WORDS]>,
    beginners: HashMap<Anchor, Beginners, foldhash::fast::FixedState>,
    /// The beginnings of anchors, of one, two and three bytes.
    beginnings: HashMap<[u8; 3], (), foldhash::fast::FixedState>,
}

/// Bits of the table, as a power of two: 64 KiB, of which a text touches few lines. With the anchors of all
/// types of tokens and of some dozens of secrets, one in 250 other places is looked at in vain.
const WIDTH: u32 = 19;
/// Its words.
const WORDS: usize = 1 << (WIDTH - 6);

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
        let mut bits = Box::new([0; WORDS]);
        let mut beginnings = HashMap::default();
        for anchor in beginners.keys() {
            let hash = hash(*anchor);
            bits[hash >> 6] |= 1 << (hash & 63);
            for length in 1..=3 {
                beginnings.insert(padded(&anchor[..length]), ());
            }
        }
        Self {
            bits,
            beginners,
            beginnings,
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
        let mut at = 0;
        // Several places for one branch.
        while let Some(window) = text.get(at..at + BLOCK + 3) {
            let mut any = 0;
            for place in window.windows(4) {
                any |= self.bit(place);
            }
            if any != 0 {
                let mut places = window.windows(4).enumerate();
                if let Some((place, _)) = places.find(|(_, place)| self.is_anchor(place)) {
                    work::note(at + place);
                    return Some(from + at + place);
                }
            }
            at += BLOCK;
        }
        let mut places = text[at..].windows(4).enumerate();
        let found = places.find(|(_, place)| self.is_anchor(place));
        work::note(found.map_or(text.len(), |(place, _)| at + place));
        found.map(|(place, _)| from + at + place)
    }

    /// Whether an anchor may begin with these one to three bytes.
    pub(super) fn may_begin(&self, bytes: &[u8]) -> bool {
        self.beginnings.contains_key(&padded(bytes))
    }

    #[inline(always)]
    fn bit(&self, place: &[u8]) -> u64 {
        let hash = hash([place[0], place[1], place[2], place[3]]);
        // The mask shows the compiler what the hash makes sure of.
        (self.bits[(hash >> 6) & (WORDS - 1)] >> (hash & 63)) & 1
    }

    fn is_anchor(&self, place: &[u8]) -> bool {
        let anchor = [place[0], place[1], place[2], place[3]];
        self.bit(place) != 0 && self.beginners.contains_key(&anchor)
    }
}

/// How many places are looked at for one branch.
const BLOCK: usize = 16;

#[inline(always)]
fn hash(anchor: Anchor) -> usize {
    (u32::from_le_bytes(anchor).wrapping_mul(0x9E37_79B1) >> (32 - WIDTH)) as usize
}

/// Nothing that is looked for has a zero in it.
fn padded(bytes: &[u8]) -> [u8; 3] {
    let mut padded = [0; 3];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    padded
}
