//! The first look at a text: places where something may begin that is looked for.
//!
//! All that is looked for begins with one of a set of four bytes, its anchors. A table of bits, by a hash of four
//! bytes, tells for most places of a text that there is none; what each place costs does not depend on
//! how many there are.

use hashbrown::HashMap;
use smallvec::SmallVec;

/// Four bytes.
pub(super) type Anchor = [u8; 4];

/// What begins with an anchor, by its number.
type Beginners = SmallVec<[u32; 2]>;

/// The anchors of all that is looked for.
pub(super) struct Anchors {
    bits: Box<[u64]>,
    shift: u32,
    beginners: HashMap<Anchor, Beginners, foldhash::fast::FixedState>,
    /// The beginnings of anchors, of one, two and three bytes.
    beginnings: HashMap<[u8; 3], (), foldhash::fast::FixedState>,
}

/// The fewest bits of the table, as a power of two: 8 KiB.
const LEAST_BITS: u32 = 16;
/// The most: 128 KiB.
const MOST_BITS: u32 = 20;

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
        // One in 64 other places is looked at in vain.
        let wanted = (beginners.len() * 64).max(1).ilog2() + 1;
        let width = wanted.clamp(LEAST_BITS, MOST_BITS);
        let mut bits = vec![0_u64; 1 << (width - 6)].into_boxed_slice();
        let mut beginnings = HashMap::default();
        let shift = 32 - width;
        for anchor in beginners.keys() {
            let hash = hash(*anchor, shift);
            bits[hash >> 6] |= 1 << (hash & 63);
            for length in 1..=3 {
                beginnings.insert(padded(&anchor[..length]), ());
            }
        }
        Self {
            bits,
            shift,
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

    /// The first place from here on where an anchor stands.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let text = text.get(from..)?;
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
                    return Some(from + at + place);
                }
            }
            at += BLOCK;
        }
        let mut places = text[at..].windows(4).enumerate();
        let found = places.find(|(_, place)| self.is_anchor(place));
        found.map(|(place, _)| from + at + place)
    }

    /// Whether an anchor may begin with these one to three bytes.
    pub(super) fn may_begin(&self, bytes: &[u8]) -> bool {
        self.beginnings.contains_key(&padded(bytes))
    }

    #[inline(always)]
    fn bit(&self, place: &[u8]) -> u64 {
        let hash = hash([place[0], place[1], place[2], place[3]], self.shift);
        // The table has a power of two of words, and the hash is below their bits.
        (self.bits[(hash >> 6) & (self.bits.len() - 1)] >> (hash & 63)) & 1
    }

    fn is_anchor(&self, place: &[u8]) -> bool {
        let anchor = [place[0], place[1], place[2], place[3]];
        self.bit(place) != 0 && self.beginners.contains_key(&anchor)
    }
}

/// How many places are looked at for one branch.
const BLOCK: usize = 16;

#[inline(always)]
fn hash(anchor: Anchor, shift: u32) -> usize {
    (u32::from_le_bytes(anchor).wrapping_mul(0x9E37_79B1) >> shift) as usize
}

/// Nothing that is looked for has a zero in it.
fn padded(bytes: &[u8]) -> [u8; 3] {
    let mut padded = [0; 3];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    padded
}
