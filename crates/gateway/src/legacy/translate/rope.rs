//! The members of an object that lies in several slices.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use switchboard_protocol::call::Payload;
use switchboard_protocol::json::unescape;

/// A payload that is one JSON object, checked before. Offsets count from its first byte.
pub(super) struct Rope<'p> {
    segments: &'p [Bytes],
    /// Where each segment ends.
    ends: Vec<usize>,
}

/// A member: where it is, and where its value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From the key's opening quote to the end of the value.
    pub(super) member: Range<usize>,
    /// The value.
    pub(super) value: Range<usize>,
}

impl<'p> Rope<'p> {
    pub(super) fn new(payload: &'p Payload) -> Self {
        let segments = payload.segments();
        let mut end = 0;
        let ends = segments
            .iter()
            .map(|segment| {
                end += segment.len();
                end
            })
            .collect();
        Self { segments, ends }
    }

    /// The bytes at `range`, copied only if they lie in several slices.
    pub(super) fn slice(&self, range: &Range<usize>) -> Cow<'p, [u8]> {
        let mut parts = self.parts(range);
        let first = parts.next().unwrap_or_default();
        let Some(second) = parts.next() else {
            return Cow::Borrowed(first);
        };
        let mut out = Vec::with_capacity(range.len());
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        parts.for_each(|part| out.extend_from_slice(part));
        Cow::Owned(out)
    }

    /// Adds the bytes at `range` to `payload`, sharing their memory.
    pub(super) fn push_to(&self, range: &Range<usize>, payload: &mut Payload) {
        for (segment, part) in self.places(range) {
            payload.push(segment.slice(part));
        }
    }

    fn parts(&self, range: &Range<usize>) -> impl Iterator<Item = &'p [u8]> {
        self.places(range)
            .map(|(segment, part)| &segment[part])
            .filter(|part| !part.is_empty())
    }

    /// The segments that `range` touches, and which part of each.
    fn places(&self, range: &Range<usize>) -> impl Iterator<Item = (&'p Bytes, Range<usize>)> {
        let from = self.ends.partition_point(|end| *end <= range.start);
        let (start, stop) = (range.start, range.end);
        let rest = self.segments.iter().zip(&self.ends).skip(from);
        rest.map(move |(segment, end)| (segment, end - segment.len()))
            .take_while(move |(_, offset)| *offset < stop)
            .map(move |(segment, offset)| {
                let part = start.saturating_sub(offset)..(stop - offset).min(segment.len());
                (segment, part)
            })
    }

    /// Calls `visit(key, place)` for each member of the object. A payload that is no object has
    /// none.
    pub(super) fn for_each_member(&self, mut visit: impl FnMut(&str, Place)) {
        let mut walk = Walk::default();
        for (index, segment) in self.segments.iter().enumerate() {
            walk.read(
                segment,
                self.ends[index] - segment.len(),
                &mut |key, value| {
                    let raw = self.slice(&key);
                    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
                    let member = key.start..value.end;
                    visit(&unescape(inner), Place { member, value });
                },
            );
        }
    }
}

/// What is known between two bytes of valid JSON.
#[derive(Default)]
struct Walk {
    depth: usize,
    in_string: bool,
    /// The last byte was a backslash that escapes the next.
    escaped: bool,
    /// Where the last string of the outermost object began, and where it ended.
    string: Range<usize>,
    /// The key whose value is being read, and where the value began, once it has.
    key: Option<Range<usize>>,
    value_start: Option<usize>,
    /// Behind the last byte of the value that is not white space.
    value_end: usize,
}

impl Walk {
    fn read(
        &mut self,
        segment: &[u8],
        offset: usize,
        visit: &mut impl FnMut(Range<usize>, Range<usize>),
    ) {
        let mut at = 0;
        while at < segment.len() {
            if self.in_string {
                at = self.skip_string(segment, at, offset);
                continue;
            }
            let byte = segment[at];
            let here = offset + at;
            at += 1;
            if byte.is_ascii_whitespace() {
                continue;
            }
            if self.depth == 1 && self.structural(byte, visit) {
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.string.start = here;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.key.is_some() {
                self.value_start.get_or_insert(here);
                self.value_end = here + 1;
            }
        }
    }

    /// Takes what separates the members of the outermost object; `false` if it is something else.
    fn structural(&mut self, byte: u8, visit: &mut impl FnMut(Range<usize>, Range<usize>)) -> bool {
        match byte {
            b':' => {
                self.key = Some(self.string.clone());
                self.value_start = None;
                true
            }
            b',' | b'}' => {
                if let (Some(key), Some(start)) = (self.key.take(), self.value_start.take()) {
                    visit(key, start..self.value_end);
                }
                if byte == b'}' {
                    self.depth = 0;
                }
                true
            }
            _ => false,
        }
    }

    /// Goes on in a string; where it stops reading.
    fn skip_string(&mut self, segment: &[u8], at: usize, offset: usize) -> usize {
        if std::mem::take(&mut self.escaped) {
            return at + 1;
        }
        let Some(found) = memchr::memchr2(b'"', b'\\', &segment[at..]) else {
            return segment.len();
        };
        let end = at + found + 1;
        if segment[end - 1] == b'\\' {
            self.escaped = true;
        } else {
            self.in_string = false;
            if self.depth == 1 {
                self.string.end = offset + end;
            }
            self.value_end = offset + end;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchboard_protocol::splice::for_each_member;

    /// The same text, cut at these places.
    fn cut(text: &[u8], cuts: &[usize]) -> Payload {
        let text = Bytes::copy_from_slice(text);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let mut payload = Payload::default();
        let mut at = 0;
        for cut in cuts {
            payload.push(text.slice(at..cut));
            at = cut;
        }
        payload
    }

    fn members(text: &[u8], cuts: &[usize]) -> Vec<(String, String, String)> {
        let payload = cut(text, cuts);
        let rope = Rope::new(&payload);
        let string =
            |range: &Range<usize>| String::from_utf8_lossy(&rope.slice(range)).into_owned();
        let mut found = Vec::new();
        rope.for_each_member(|key, place| {
            found.push((key.to_owned(), string(&place.member), string(&place.value)));
        });
        found
    }

    fn expected(text: &[u8]) -> Vec<(String, String, String)> {
        let string = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
        let mut found = Vec::new();
        for_each_member(text, |key, member, value| {
            found.push((key.to_owned(), string(member), string(value)));
        });
        found
    }

    #[test]
    fn members_are_found_wherever_the_text_is_cut() {
        let text =
            br#"  { "a" : [1, {"b":"}"}] ,"\"c\\": "x\"y,:" , "d":{} ,"e":-1.5e3 ,"":null } "#;
        let expected = expected(text);
        assert_eq!(expected.len(), 5);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(
                    members(text, &[first, second]),
                    expected,
                    "{first} {second}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in ["[]", "{}", "[{\"a\":1}]", "\"a\"", ""] {
            assert!(members(text.as_bytes(), &[1]).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_rope_and_a_text_have_the_same_members(
            map in proptest::collection::btree_map("[\\PC\"\\\\]{0,4}", proptest::collection::vec("[\\PC\"\\\\{}:,\\[\\]]{0,6}", 0..3), 0..5),
            cuts in proptest::collection::vec(any::<usize>(), 0..5),
        ) {
            let text = serde_json::to_vec(&map).expect("serializes");
            prop_assert_eq!(members(&text, &cuts), expected(&text));
        }
    }
}
