//! Input: two bytes that pick members, then an object.

use bytes::Bytes;
use serde_json::value::RawValue;
use switchboard_protocol::json::Span;
use switchboard_protocol::splice::{self, Splice, filter_object, for_each_item, for_each_member};

use super::members::{Members, members, value};

const ADDED: &str = r#""added":{"a":[]},"also":null"#;
const REPLACEMENT: &str = r#"["replaced"]"#;

pub(super) fn check(data: &[u8]) {
    let Some((&[first, second], raw)) = data.split_first_chunk() else {
        return;
    };
    let Some(value) = value(raw) else { return };
    check_items(value);
    let Some(members) = members(value) else {
        return;
    };
    check_walk(raw, &members);
    check_filter(raw, &members, first);
    Edits::pick(raw, value, &members, first, second).check();
}

fn check_items(value: &str) {
    let value = value.as_bytes();
    let mut found = Vec::new();
    for_each_item(value, |span| found.push(span.of(value)));
    let items: Vec<&RawValue> = serde_json::from_slice(value).unwrap_or_default();
    let items: Vec<_> = items.iter().map(|item| item.get().as_bytes()).collect();
    assert_eq!(found, items);
}

fn check_walk(raw: &[u8], expected: &Members<'_>) {
    let mut found = Vec::new();
    for_each_member(raw, |key, part, value| {
        assert!(part.starts_with(b"\"") && part.ends_with(value));
        found.push((key.to_owned(), value));
    });
    let own = expected.iter();
    let own: Vec<_> = own
        .map(|(key, value)| (key.clone(), value.as_bytes()))
        .collect();
    assert_eq!(found, own);
    for (key, _) in &own {
        let first = own.iter().find(|(name, _)| name == key);
        assert_eq!(splice::member(raw, key), first.map(|(_, value)| *value));
    }
}

fn check_filter(raw: &[u8], all: &Members<'_>, pick: u8) {
    let dropped = picked(all, pick).map(|index| all[index].0.as_str());
    let is_kept = |key: &str| Some(key) != dropped;
    for extra in ["", ADDED] {
        let mut out = Vec::new();
        filter_object(raw, extra.as_bytes(), is_kept, &mut out);
        let mut expected = added(extra);
        expected.extend(all.iter().filter(|(key, _)| is_kept(key)).cloned());
        assert_eq!(parsed(&out), expected);
    }
}

/// Members added, one removed and one changed, all in one splice.
struct Edits<'a> {
    raw: &'a [u8],
    whole: Span,
    all: &'a Members<'a>,
    removed: Option<usize>,
    changed: Option<usize>,
    /// Which of the edits comes first: the order must not matter.
    order: usize,
}

impl<'a> Edits<'a> {
    fn pick(raw: &'a [u8], value: &str, all: &'a Members<'a>, first: u8, second: u8) -> Self {
        let removed = picked(all, first).filter(|index| has_plain_key(raw, *index));
        Self {
            raw,
            whole: Span::of_part(raw, value.as_bytes()),
            all,
            removed,
            changed: picked(all, second).filter(|index| Some(*index) != removed),
            order: usize::from(first),
        }
    }

    fn check(&self) {
        let mut out = Vec::new();
        self.splice().apply(self.raw, self.whole, &mut out);
        let shared = Bytes::copy_from_slice(self.raw);
        let shared = self.splice().apply_shared(&shared, self.whole);
        assert_eq!(shared.segments().concat(), out);
        assert_eq!(shared.len(), out.len());
        self.check_result(&parsed(&out));
    }

    fn splice(&self) -> Splice<'static> {
        let place = |index: usize| Span::of_part(self.raw, self.all[index].1.as_bytes());
        let mut splice = Splice::new();
        for step in 0..3 {
            match (step + self.order) % 3 {
                0 if self.adds() => {
                    splice.insert_members(self.raw, self.whole, ADDED.as_bytes());
                }
                1 if let Some(index) = self.removed => {
                    splice.remove_member(self.raw, place(index));
                }
                2 if let Some(index) = self.changed => {
                    let mut edit = Splice::new();
                    if members(self.all[index].1).is_some() {
                        edit.insert_members(self.raw, place(index), ADDED.as_bytes());
                    } else {
                        edit.replace(place(index), REPLACEMENT.as_bytes());
                    }
                    splice.merge(edit);
                }
                _ => {}
            }
        }
        splice
    }

    /// Where the only member goes, nothing may be put before it: the comma would be one too many.
    fn adds(&self) -> bool {
        self.removed.is_none() || self.all.len() > 1
    }

    fn check_result(&self, result: &Members<'_>) {
        let mut expected = added(if self.adds() { ADDED } else { "" });
        let mut changed = None;
        for (index, member) in self.all.iter().enumerate() {
            if Some(index) == self.changed {
                changed = Some(expected.len());
            }
            if Some(index) != self.removed {
                expected.push(member.clone());
            }
        }
        assert_eq!(result.len(), expected.len());
        for (index, (is, was)) in result.iter().zip(&expected).enumerate() {
            assert_eq!(is.0, was.0);
            match members(was.1) {
                _ if Some(index) != changed => assert_eq!(is.1, was.1),
                None => assert_eq!(is.1, REPLACEMENT),
                Some(inner) => {
                    let inner: Members<'_> = added(ADDED).into_iter().chain(inner).collect();
                    assert_eq!(parsed(is.1.as_bytes()), inner);
                }
            }
        }
    }
}

/// One of the members, or none.
fn picked(all: &Members<'_>, pick: u8) -> Option<usize> {
    Some(usize::from(pick) % (all.len() + 1)).filter(|index| *index < all.len())
}

fn has_plain_key(raw: &[u8], index: usize) -> bool {
    let mut keys = Vec::new();
    for_each_member(raw, |key, part, _| {
        let is_as_written = part[1..].starts_with(key.as_bytes());
        keys.push(is_as_written && !key.contains(['"', '\\']));
    });
    keys[index]
}

fn added(extra: &str) -> Members<'static> {
    match extra {
        "" => Members::new(),
        _ => members(r#"{"added":{"a":[]},"also":null}"#).expect("an object"),
    }
}

fn parsed(raw: &[u8]) -> Members<'_> {
    let text = || String::from_utf8_lossy(raw);
    // Nesting is not bounded again: what is added may be a level deeper than all that was there.
    let value: &RawValue = serde_json::from_slice(raw).unwrap_or_else(|_| panic!("{}", text()));
    members(value.get()).unwrap_or_else(|| panic!("{}", text()))
}
