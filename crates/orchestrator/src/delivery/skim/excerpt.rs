//! What is noted of a JSON value that may be far larger: all of its beginning, and of what follows the
//! members, with strings cut and no more than one item of each array.

use crate::delivery::mend::{mend, whole_characters};

/// Behind the beginning strings have no more bytes than this.
const SHORT: usize = 32;
/// The longest number that is noted, in bytes.
const MAX_WORD: usize = 256;
/// The most room behind the beginning, in bytes.
const MOST_BEHIND: usize = 32 * 1024;

/// What is noted so far.
#[derive(Debug)]
pub(super) struct Excerpt {
    out: Vec<u8>,
    /// How long the beginning may be that is noted as it is.
    beginning: usize,
    /// How much may be noted in all.
    most: usize,
    open: Vec<Open>,
    /// The string, number or word that is read.
    scalar: Option<Scalar>,
    /// Something of it was left out.
    is_reduced: bool,
    /// There is no room for more.
    is_full: bool,
}

/// An object or array that is open.
#[derive(Debug)]
struct Open {
    is_object: bool,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Scalar {
    /// Where it begins in what is noted.
    start: usize,
    /// How much more of it is noted.
    room: usize,
    is_cut: bool,
}

/// Structured content, or what was noted of it: valid JSON.
#[derive(Debug)]
pub(crate) struct Structured {
    /// The value.
    pub(crate) text: Vec<u8>,
    /// Objects and arrays that end by here have all members that their server wrote; those that end behind
    /// were cut.
    pub(crate) sound: usize,
    /// Whether it is just what its server wrote.
    pub(crate) is_whole: bool,
}

impl Excerpt {
    /// One whose beginning has so many bytes.
    pub(super) fn new(beginning: usize) -> Self {
        Self {
            out: Vec::new(),
            beginning,
            most: beginning.saturating_add((beginning / 4).min(MOST_BEHIND)),
            open: Vec::new(),
            scalar: None,
            is_reduced: false,
            is_full: false,
        }
    }

    /// How many bytes of memory it takes.
    pub(super) fn held(&self) -> usize {
        self.out.capacity()
    }

    /// The key of the next value, as written.
    pub(super) fn key(&mut self, written: &[u8]) {
        let comma: &[u8] = match self.open.last() {
            Some(Open { count: 0, .. }) => b"",
            _ => b",",
        };
        for part in [comma, b"\"", written, b"\":"] {
            self.put(part);
        }
    }

    /// A value begins with this byte; whether it is noted.
    pub(super) fn begin(&mut self, first: u8) -> bool {
        let is_behind = self.out.len() >= self.beginning;
        let mut needs_comma = false;
        if let Some(open) = self.open.last_mut() {
            if !open.is_object && open.count > 0 {
                if is_behind {
                    self.is_reduced = true;
                    return false;
                }
                needs_comma = true;
            }
            open.count += 1;
        }
        if needs_comma {
            self.put(b",");
        }
        match first {
            b'{' | b'[' => {
                self.put(&[first]);
                self.open.push(Open {
                    is_object: first == b'{',
                    count: 0,
                });
            }
            b'"' => {
                let room = self.beginning.saturating_sub(self.out.len()).max(SHORT);
                self.scalar = Some(self.scalar_of(room));
            }
            _ => self.scalar = Some(self.scalar_of(MAX_WORD)),
        }
        !self.is_full
    }

    /// More of the string, number or word that has begun.
    pub(super) fn copy(&mut self, part: &[u8]) {
        let Some(mut scalar) = self.scalar else {
            return;
        };
        let length = part.len().min(scalar.room);
        scalar.room -= length;
        scalar.is_cut |= length < part.len();
        self.scalar = Some(scalar);
        let (fits, rest) = part[..length].split_at(length.min(self.most - self.out.len()));
        self.put(fits);
        self.is_full |= !rest.is_empty();
    }

    /// The string, number or word has ended.
    pub(super) fn end(&mut self) {
        let Some(scalar) = self.scalar.take() else {
            return;
        };
        if !scalar.is_cut {
            return;
        }
        self.is_reduced = true;
        if self.out.get(scalar.start) != Some(&b'"') {
            // Nothing is left of a number that is cut.
            self.is_full = true;
            return;
        }
        let inside = &self.out[scalar.start + 1..];
        let length = whole_characters(inside);
        self.out.truncate(scalar.start + 1 + length);
        self.put(b"\"");
    }

    /// The object or array that began last has ended.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.pop() {
            self.put(if open.is_object { b"}" } else { b"]" });
        }
    }

    /// What was noted; `None` if that is no part of a value.
    pub(super) fn finish(self) -> Option<Structured> {
        let has_ended = self.open.is_empty() && self.scalar.is_none() && !self.is_full;
        let mut text = self.out;
        if has_ended {
            return Some(Structured {
                sound: text.len(),
                text,
                is_whole: !self.is_reduced,
            });
        }
        if !matches!(text.first(), Some(b'{' | b'[')) {
            return None;
        }
        let sound = mend(&mut text).sound;
        Some(Structured {
            text,
            sound,
            is_whole: false,
        })
    }

    fn scalar_of(&self, room: usize) -> Scalar {
        Scalar {
            start: self.out.len(),
            room,
            is_cut: false,
        }
    }

    /// Notes this, if there is room for it.
    fn put(&mut self, text: &[u8]) {
        self.is_full |= self.out.len().saturating_add(text.len()) > self.most;
        if !self.is_full {
            self.out.extend_from_slice(text);
        }
    }
}
