//! What is noted of a JSON value that may be far larger: its beginning as it is, and of what follows the
//! members, with long strings cut, and few of what arrays and large objects have.

use crate::delivery::mend::{mend, whole_characters};

/// After the beginning no string is longer than this, in bytes.
const MAX_SHORT: usize = 128;
/// After the beginning no array has more items than this, or more than one object or array.
const MAX_ITEMS: usize = 8;
/// After the beginning no object has more members than this: they are many of the same kind.
const MAX_MEMBERS: usize = 32;
/// The longest number that is noted, in bytes.
const MAX_NUMBER: usize = 1024;
/// The most room after the beginning, in bytes.
const MAX_AFTER: usize = 32 * 1024;

/// What is noted so far.
#[derive(Debug, Default)]
pub(super) struct Excerpt {
    out: Vec<u8>,
    /// How long the beginning may be that is noted as it is, in bytes.
    max_beginning: usize,
    /// How much may be noted in all, in bytes.
    max: usize,
    open: Vec<Open>,
    /// The next value is left out, as its key was.
    leaves_out: bool,
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
    /// Objects and arrays that end by here have all members that their server wrote; those that end after it
    /// were cut.
    pub(crate) sound: usize,
    /// Whether it is just what its server wrote.
    pub(crate) is_whole: bool,
}

impl Excerpt {
    /// One whose beginning has so many bytes.
    pub(super) fn new(max_beginning: usize) -> Self {
        Self {
            max_beginning,
            max: max_beginning.saturating_add((max_beginning / 4).min(MAX_AFTER)),
            ..Self::default()
        }
    }

    /// How many bytes of memory it takes.
    pub(super) fn held(&self) -> usize {
        self.out.capacity()
    }

    /// Whether any of the value was read.
    pub(super) fn has_begun(&self) -> bool {
        self.max > 0
    }

    /// Whether nothing more can be noted.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// The key of the next value, as written.
    pub(super) fn key(&mut self, written: &[u8]) {
        let count = self.open.last().map_or(0, |open| open.count);
        if self.is_after() && count >= MAX_MEMBERS {
            self.leaves_out = true;
            return;
        }
        let comma: &[u8] = if count == 0 { b"" } else { b"," };
        for part in [comma, b"\"", written, b"\":"] {
            self.put(part);
        }
    }

    /// A value begins with this byte; whether it is noted.
    pub(super) fn begin(&mut self, first: u8) -> bool {
        let is_container = matches!(first, b'{' | b'[');
        let is_after = self.is_after();
        let leaves_out = std::mem::take(&mut self.leaves_out);
        if let Some(open) = self.open.last_mut() {
            let max = if is_container { 1 } else { MAX_ITEMS };
            if leaves_out || (is_after && !open.is_object && open.count >= max) {
                self.is_reduced = true;
                return false;
            }
            open.count += 1;
            if !open.is_object && open.count > 1 {
                self.put(b",");
            }
        }
        if is_container {
            self.put(&[first]);
        }
        if self.is_full {
            return false;
        }
        match first {
            b'{' | b'[' => self.open.push(Open {
                is_object: first == b'{',
                count: 0,
            }),
            b'"' => {
                let room = self.max_beginning.saturating_sub(self.out.len());
                self.scalar = Some(self.scalar(room.max(MAX_SHORT)));
            }
            _ => self.scalar = Some(self.scalar(MAX_NUMBER)),
        }
        true
    }

    /// More of the string, number or word that has begun.
    pub(super) fn copy(&mut self, part: &[u8]) {
        let Some(scalar) = &mut self.scalar else {
            return;
        };
        let length = part.len().min(scalar.room);
        scalar.room -= length;
        scalar.is_cut |= length < part.len();
        let (fits, rest) = part[..length].split_at(length.min(self.max - self.out.len()));
        self.put(fits);
        self.is_full |= !rest.is_empty();
    }

    /// The string, number or word has ended.
    pub(super) fn end(&mut self) {
        let Some(scalar) = self.scalar.take().filter(|scalar| scalar.is_cut) else {
            return;
        };
        self.is_reduced = true;
        if self.out.get(scalar.start) != Some(&b'"') {
            // A number that is cut is another.
            self.is_full = true;
            return;
        }
        let inside = &self.out[scalar.start + 1..];
        let length = whole_characters(inside);
        self.out.truncate(scalar.start + 1 + length);
        self.put(b"\"");
    }

    /// The object or array that began last has ended; whether that was the value.
    pub(super) fn close(&mut self) -> bool {
        if let Some(open) = self.open.pop() {
            self.put(if open.is_object { b"}" } else { b"]" });
        }
        self.open.is_empty()
    }

    /// What was noted; `None`: nothing, or no part of a value.
    pub(super) fn finish(self) -> Option<Structured> {
        let mut text = self.out;
        let has_ended = self.open.is_empty() && self.scalar.is_none() && !self.is_full;
        if has_ended && !text.is_empty() {
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

    /// Whether the beginning has been noted.
    fn is_after(&self) -> bool {
        self.out.len() >= self.max_beginning
    }

    fn scalar(&self, room: usize) -> Scalar {
        Scalar {
            start: self.out.len(),
            room,
            is_cut: false,
        }
    }

    /// Notes this, if there is room for it.
    fn put(&mut self, text: &[u8]) {
        let length = self.out.len().saturating_add(text.len());
        self.is_full |= length > self.max;
        if self.is_full {
            return;
        }
        if length > self.out.capacity() {
            // A vector would double beyond it.
            let room = self.out.capacity().saturating_mul(2).min(self.max);
            self.out.reserve_exact(room.max(length) - self.out.len());
        }
        self.out.extend_from_slice(text);
    }
}
