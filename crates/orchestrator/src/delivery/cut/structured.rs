//! Structured content cut so that it fits: arrays at their end, outer ones first, then long strings.

use switchboard_protocol::json::Scanner;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::for_each_member;

use super::room::{Room, longest};
use super::{Beginning, inside};

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
pub(super) fn cut(beginning: &Beginning<'_>, value: &[u8], most: Size) -> Option<Vec<u8>> {
    let written = |limits: Limits| written(beginning, value, limits, most);
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

fn written(beginning: &Beginning<'_>, value: &[u8], limits: Limits, most: Size) -> Option<Vec<u8>> {
    let mut writer = Writer {
        beginning,
        limits,
        room: Room::new(most),
        out: Vec::new(),
    };
    writer.value(value, 0).then_some(writer.out)
}

struct Writer<'a> {
    beginning: &'a Beginning<'a>,
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

    /// Whether it fits. `arrays`: in how many arrays it is.
    fn value(&mut self, value: &[u8], arrays: usize) -> bool {
        match value.first() {
            Some(b'{') => self.object(value, arrays),
            Some(b'[') => self.array(value, arrays),
            Some(b'"') => self.string(value),
            _ => self.put(value),
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

    fn object(&mut self, value: &[u8], arrays: usize) -> bool {
        let mut fits = self.put(b"{");
        let mut is_first = true;
        for_each_member(value, |_, text, member| {
            if !fits {
                return;
            }
            let key = &text[..text.len() - member.len()];
            fits = (is_first || self.put(b",")) && self.put(key.trim_ascii_end());
            fits = fits && self.value(member, arrays);
            is_first = false;
        });
        fits && self.put(b"}")
    }

    fn array(&mut self, value: &[u8], arrays: usize) -> bool {
        let Limits {
            outer, items, all, ..
        } = self.limits;
        let most = match arrays {
            _ if all => items,
            _ if arrays < outer => 1,
            _ if arrays == outer => items,
            _ => u64::MAX,
        };
        let mut fits = self.put(b"[");
        let mut count = 0;
        let mut scanner = Scanner::over_utf8(value);
        let mut at_first = true;
        if scanner.enter_array().is_err() {
            return false;
        }
        while fits && count < most && matches!(scanner.next_item(&mut at_first), Ok(true)) {
            let Ok(span) = scanner.value() else { break };
            let item = span.of(value);
            // One whose end is missing may be without what it has to have.
            if item.starts_with(b"{") && !self.beginning.is_whole(item) {
                break;
            }
            fits = (count == 0 || self.put(b",")) && self.value(item, arrays + 1);
            count += 1;
        }
        fits && self.put(b"]")
    }
}
