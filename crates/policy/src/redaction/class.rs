//! Sets of characters.

/// A set of ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u128);

impl Class {
    /// That of these ranges: `A-Z` and single characters, in which `-` stands for itself where it is last.
    pub(super) const fn new(spec: &[u8]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < spec.len() {
            if at + 2 < spec.len() && spec[at + 1] == b'-' {
                let mut byte = spec[at];
                while byte <= spec[at + 2] {
                    set |= 1 << byte;
                    byte += 1;
                }
                at += 3;
            } else {
                set |= 1 << spec[at];
                at += 1;
            }
        }
        Self(set)
    }

    /// Whether the character is in it.
    #[inline]
    pub(super) const fn has(self, byte: u8) -> bool {
        byte < 128 && (self.0 >> byte) & 1 == 1
    }

    /// All of it, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |byte| self.has(*byte))
    }
}

/// Letters and digits.
pub(super) const ALNUM: Class = Class::new(b"A-Za-z0-9");
/// Those of Base64 for URLs.
pub(super) const WORD: Class = Class::new(b"A-Za-z0-9_-");
/// Those of Base64, without what fills it up.
pub(super) const BASE64: Class = Class::new(b"A-Za-z0-9+/");
/// Those of Base64 of both alphabets, with what fills it up.
pub(super) const BASE64_ANY: Class = Class::new(b"A-Za-z0-9+/=_-");
/// Hexadecimal digits as most write them.
pub(super) const HEX: Class = Class::new(b"0-9a-f");
/// Hexadecimal digits.
pub(super) const HEX_ANY: Class = Class::new(b"0-9a-fA-F");
/// Capitals and digits.
pub(super) const UPPER: Class = Class::new(b"A-Z0-9");
/// Small letters and digits.
pub(super) const LOWER: Class = Class::new(b"a-z0-9");
/// Letters.
pub(super) const LETTER: Class = Class::new(b"A-Za-z");
/// Those of Base32.
pub(super) const BASE32: Class = Class::new(b"A-Z2-7");
/// Those of tokens that have parts.
pub(super) const DOTTED: Class = Class::new(b"A-Za-z0-9_.-");
/// Digits.
pub(super) const DIGIT: Class = Class::new(b"0-9");
