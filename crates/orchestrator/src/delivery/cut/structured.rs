//! Structured content cut so that it fits: arrays at their end, outer ones first, then objects of many members,
//! then long strings, then all of these.

use switchboard_protocol::json::Scanner;
use switchboard_protocol::size::Size;

use super::inside;
use super::room::{Room, longest};
use crate::delivery::mend::string_end;
use crate::delivery::skim::Structured;

/// How many arrays within arrays are cut one after the other before all of them are.
const LEVELS: usize = 3;
/// Strings are cut to no less than this, in bytes, while something else can be left out: shorter ones are names,
/// times and addresses.
const LONG: u64 = 128;
/// The shortest that strings are cut to, in bytes.
const SHORTEST: u64 = 8;
/// An object with more members than this is one of many of the same kind, and can lose some.
const MANY: u64 = 32;
/// The most items or members that are looked for in what is cut.
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
    /// The most members of an object.
    members: u64,
    /// The most bytes of a string.
    string: u64,
}

const UNCUT: Limits = Limits {
    outer: 0,
    items: u64::MAX,
    all: false,
    members: u64::MAX,
    string: u64::MAX,
};

/// How large structured content may be that is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) size: Size,
    /// How many values it may have.
    pub(super) values: usize,
}

/// As much of the value as is within the bounds and allowed; `None`: nothing is.
pub(super) fn cut(
    structured: &Structured,
    bounds: Bounds,
    is_allowed: &dyn Fn(&[u8]) -> bool,
) -> Option<Vec<u8>> {
    let value = &*structured.text;
    let unfinished = unfinished(value, structured.sound);
    let written = |limits: Limits| written(value, &unfinished, limits, bounds);
    let longest = bounds
        .size
        .bytes()
        .min(bounds.size.tokens().saturating_mul(4));
    let ways = ways();
    let mut cuts = ways.iter().filter_map(|(kind, limits)| match kind {
        Kind::Whole => written(*limits),
        Kind::Items => most_of(1, MOST_ITEMS, |items| written(Limits { items, ..*limits })),
        Kind::Members => most_of(MANY, MOST_ITEMS, |members| {
            written(Limits { members, ..*limits })
        }),
        Kind::Strings { least } => most_of(*least, longest, |string| {
            written(Limits { string, ..*limits })
        }),
    });
    cuts.find(|cut| is_allowed(cut))
}

/// What is cut, as long as it has to be.
enum Kind {
    /// A beginning may fit though the whole did not.
    Whole,
    Items,
    Members,
    Strings {
        least: u64,
    },
}

/// The ways to cut, from the one that leaves most of what it was.
fn ways() -> Vec<(Kind, Limits)> {
    let mut ways = vec![(Kind::Whole, UNCUT)];
    for outer in 0..=LEVELS {
        let all = outer == LEVELS;
        ways.push((
            Kind::Items,
            Limits {
                outer,
                all,
                ..UNCUT
            },
        ));
    }
    ways.push((Kind::Members, UNCUT));
    ways.push((Kind::Strings { least: LONG }, UNCUT));
    for (items, least) in [
        (64, LONG),
        (8, LONG),
        (1, LONG),
        (1, SHORTEST),
        (0, SHORTEST),
    ] {
        let limits = Limits {
            items,
            all: true,
            members: MANY.max(items),
            ..UNCUT
        };
        ways.push((Kind::Strings { least }, limits));
    }
    ways
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

fn written(value: &[u8], unfinished: &[usize], limits: Limits, bounds: Bounds) -> Option<Vec<u8>> {
    let mut writer = Writer {
        value,
        scanner: Scanner::over_utf8(value),
        unfinished,
        limits,
        room: Room::new(bounds.size),
        values_left: bounds.values,
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
    values_left: usize,
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
        let Some(left) = self.values_left.checked_sub(1) else {
            return false;
        };
        self.values_left = left;
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
        let mut count = 0;
        while let Ok(Some(key)) = self.scanner.next_key(&mut at_first) {
            if count >= self.limits.members {
                if self.scanner.value().is_err() {
                    return false;
                }
                continue;
            }
            let fits = (count == 0 || self.put(b","))
                && self.put(b"\"")
                && self.put(key.raw())
                && self.put(b"\":")
                && self.value(arrays);
            if !fits {
                return false;
            }
            count += 1;
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
