//! Structured content cut so that it fits: arrays at their end, outer ones first, then long strings.

use switchboard_protocol::json::Scanner;
use switchboard_protocol::size::Size;

use super::inside;
use super::room::{Room, longest};
use crate::delivery::mend::string_end;
use crate::delivery::skim::Structured;

/// How many arrays within arrays are cut one after the other before all of them are.
const LEVELS: usize = 3;
/// The shortest that strings are cut to, in tokens, or four times as many bytes.
const SHORTEST: u64 = 8;
/// The most items that are looked for in an array that is cut.
const MOST_ITEMS: u64 = 1 << 20;

/// How much stays of what may be long.
#[derive(Clone, Copy)]
struct Limits {
    /// Arrays in fewer arrays than this have one item.
    outer: usize,
    /// Arrays in this many have so many items; those deeper all they had.
    items: u64,
    /// Whether deeper ones have as many too.
    all: bool,
    /// The most bytes and tokens of a string.
    string: u64,
}

/// The value, no larger than that; `None` if it does not get as small.
pub(super) fn cut(structured: &Structured, most: Size) -> Option<Vec<u8>> {
    let value = &*structured.text;
    let unfinished = unfinished(value, structured.sound);
    let written = |limits: Limits| written(value, &unfinished, limits, most);
    let uncut = Limits {
        outer: 0,
        items: u64::MAX,
        all: false,
        string: u64::MAX,
    };
    // A beginning may fit though the whole did not.
    if let Some(text) = written(uncut) {
        return Some(text);
    }
    for level in 0..=LEVELS {
        let of_items = |items| Limits {
            outer: level,
            items,
            all: level == LEVELS,
            string: u64::MAX,
        };
        if let Some(text) = most_of(1, MOST_ITEMS, |items| written(of_items(items))) {
            return Some(text);
        }
    }
    for items in [1, 0] {
        let of_string = |string| Limits {
            outer: 0,
            items,
            all: true,
            string,
        };
        let longest = most.bytes().min(most.tokens().saturating_mul(4));
        if let Some(text) = most_of(SHORTEST, longest, |string| written(of_string(string))) {
            return Some(text);
        }
    }
    None
}

/// What comes of the largest number of these that gives anything, if the least does.
fn most_of(least: u64, most: u64, mut of: impl FnMut(u64) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut best = of(least)?;
    let (mut fits, mut too_many) = (least, most.saturating_add(1));
    // By doubling first, so that few are tried that are far too many.
    while fits.saturating_mul(2) < too_many {
        match of(fits * 2) {
            // More than there are.
            Some(text) if text == best => return Some(best),
            Some(text) => (best, fits) = (text, fits * 2),
            None => too_many = fits * 2,
        }
    }
    while fits + 1 < too_many {
        let middle = fits + (too_many - fits) / 2;
        match of(middle) {
            Some(text) => (best, fits) = (text, middle),
            None => too_many = middle,
        }
    }
    Some(best)
}

/// Where the objects and arrays begin of which the end is missing, in the value, from the outermost on.
fn unfinished(value: &[u8], sound: usize) -> Vec<usize> {
    let sound = sound.min(value.len());
    let mut open = Vec::new();
    let mut at = 0;
    while at < sound {
        match value[at] {
            b'{' | b'[' => open.push(at),
            b'}' | b']' => {
                open.pop();
            }
            b'"' => match string_end(value, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => break,
            },
            _ => {}
        }
        at += 1;
    }
    open
}

fn written(value: &[u8], unfinished: &[usize], limits: Limits, most: Size) -> Option<Vec<u8>> {
    let mut writer = Writer {
        value,
        scanner: Scanner::over_utf8(value),
        unfinished,
        limits,
        room: Room::new(most),
        out: Vec::new(),
    };
    writer.value(0).then_some(writer.out)
}

/// Writes what the scanner comes by, which reads everything once.
struct Writer<'a> {
    value: &'a [u8],
    scanner: Scanner<'a>,
    /// Where objects and arrays begin of which the end is missing.
    unfinished: &'a [usize],
    limits: Limits,
    room: Room,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, text: &[u8]) -> bool {
        let fits = self.room.take(Size::of_text(text));
        if fits {
            self.out.extend_from_slice(text);
        }
        fits
    }

    /// Whether the next value fits. `arrays`: in how many arrays it is.
    fn value(&mut self, arrays: usize) -> bool {
        match self.scanner.peek() {
            Some(b'{') => self.object(arrays),
            Some(b'[') => self.array(arrays),
            first => match self.scanner.value() {
                Ok(span) if first == Some(b'"') => self.string(span.of(self.value)),
                Ok(span) => self.put(span.of(self.value)),
                Err(_) => false,
            },
        }
    }

    fn string(&mut self, value: &[u8]) -> bool {
        let inside = inside(value).unwrap_or_default();
        let most = self.limits.string;
        let length = match most {
            u64::MAX => inside.len(),
            most => longest(inside, Size::new(most, most.div_ceil(4))),
        };
        self.put(b"\"") && self.put(&inside[..length]) && self.put(b"\"")
    }

    fn object(&mut self, arrays: usize) -> bool {
        if self.scanner.enter_object().is_err() || !self.put(b"{") {
            return false;
        }
        let mut at_first = true;
        let mut is_first = true;
        while let Ok(Some(key)) = self.scanner.next_key(&mut at_first) {
            let fits = (is_first || self.put(b","))
                && self.put(b"\"")
                && self.put(key.raw())
                && self.put(b"\":")
                && self.value(arrays);
            if !fits {
                return false;
            }
            is_first = false;
        }
        self.put(b"}")
    }

    fn array(&mut self, arrays: usize) -> bool {
        let Limits {
            outer, items, all, ..
        } = self.limits;
        let mut most = match arrays {
            _ if all => items,
            _ if arrays < outer => 1,
            _ if arrays == outer => items,
            _ => u64::MAX,
        };
        if self.scanner.enter_array().is_err() || !self.put(b"[") {
            return false;
        }
        let mut count = 0;
        let mut at_first = true;
        while let Ok(true) = self.scanner.next_item(&mut at_first) {
            // One whose end is missing may be without what it has to have.
            if self.scanner.peek() == Some(b'{') && self.is_unfinished() {
                most = count;
            }
            if count >= most {
                if self.scanner.value().is_err() {
                    return false;
                }
                continue;
            }
            if !((count == 0 || self.put(b",")) && self.value(arrays + 1)) {
                return false;
            }
            count += 1;
        }
        self.put(b"]")
    }

    fn is_unfinished(&self) -> bool {
        let at = self.scanner.position();
        self.unfinished.binary_search(&at).is_ok()
    }
}
