//! Rewriting a message by replacing parts of it, so that everything else stays as it came.

use bytes::Bytes;
use memchr::memmem::Finder;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::LazyLock;

use crate::OWN_META_PREFIX;
use crate::call::Payload;
use crate::json::{Scanner, Span};

/// A set of replacements to make in one text.
#[derive(Debug, Default)]
pub struct Splice<'a> {
    edits: SmallVec<[(Span, Cow<'a, [u8]>); 6]>,
}

impl<'a> Splice<'a> {
    /// Nothing to replace yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `with` in the place of `span`. Spans must not overlap.
    pub fn replace(&mut self, span: Span, with: impl Into<Cow<'a, [u8]>>) {
        self.edits.push((span, with.into()));
    }

    /// Puts members (`"key":value`, several separated by commas) at the start of the object at
    /// `object`. Once for each object that may be empty, and not where [`Splice::remove_member`]
    /// takes its only member: the comma depends on what is there.
    pub fn insert_members(&mut self, text: &[u8], object: Span, members: &[u8]) {
        let at = Span::new(object.start() + 1, object.start() + 1);
        let empty = text[at.start()..object.end()]
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_none_or(|byte| *byte == b'}');
        let mut with = members.to_vec();
        if !empty {
            with.push(b',');
        }
        self.edits.push((at, with.into()));
    }

    /// Takes the member whose value is at `value` out of its object, with one comma. At most one
    /// member of an object can be taken out this way, and its key must be one without quotes or
    /// backslashes, as all of the protocol's are.
    pub fn remove_member(&mut self, text: &[u8], value: Span) {
        let before = |end: usize| {
            text[..end]
                .iter()
                .rposition(|byte| !byte.is_ascii_whitespace())
        };
        let key_end = before(value.start())
            .filter(|colon| text[*colon] == b':')
            .and_then(before)
            .filter(|quote| text[*quote] == b'"');
        let Some(key_start) = key_end.and_then(|quote| memchr::memrchr(b'"', &text[..quote]))
        else {
            return;
        };
        let (mut start, mut end) = (key_start, value.end());
        match before(key_start) {
            Some(comma) if text[comma] == b',' => start = comma,
            _ => {
                let after = text[end..]
                    .iter()
                    .position(|byte| !byte.is_ascii_whitespace());
                if let Some(comma) = after.map(|at| end + at).filter(|at| text[*at] == b',') {
                    end = comma + 1;
                }
            }
        }
        self.edits.push((Span::new(start, end), Cow::Borrowed(b"")));
    }

    /// The part `of` of `text` with the replacements, which must all lie in `of`, as slices: what
    /// stays shares the memory of `text`.
    ///
    /// # Panics
    /// If a replacement does not lie in `of`, or two overlap.
    #[must_use]
    pub fn apply_shared(mut self, text: &Bytes, of: Span) -> Payload {
        self.put_in_order(of);
        let mut payload = Payload::default();
        let mut at = of.start();
        for (span, with) in self.edits {
            payload.push(text.slice(at..span.start()));
            payload.push(with.into_owned());
            at = span.end();
        }
        payload.push(text.slice(at..of.end()));
        payload
    }

    /// Adds the replacements of another splice of the same text.
    pub fn merge(&mut self, other: Self) {
        self.edits.extend(other.edits);
    }

    /// Whether there is nothing to replace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Writes the part `of` of `text` to `out`, with the replacements, which must all lie in `of`.
    ///
    /// # Panics
    /// If a replacement does not lie in `of`, or two overlap.
    pub fn apply(mut self, text: &[u8], of: Span, out: &mut Vec<u8>) {
        self.put_in_order(of);
        let mut at = of.start();
        for (span, with) in &self.edits {
            out.extend_from_slice(&text[at..span.start()]);
            out.extend_from_slice(with);
            at = span.end();
        }
        out.extend_from_slice(&text[at..of.end()]);
    }

    fn put_in_order(&mut self, of: Span) {
        self.edits
            .sort_by_key(|(span, _)| (span.start(), span.end()));
        debug_assert!(
            self.edits
                .iter()
                .try_fold(of.start(), |at, (span, _)| (at <= span.start())
                    .then_some(span.end()))
                .is_some_and(|end| end <= of.end()),
            "edits overlap or lie outside"
        );
    }
}

/// Copies the object `raw` (valid JSON) without the members whose key `keep` refuses, and with
/// `extra` members (`"key":value`, several separated by commas) in front.
pub fn filter_object(
    raw: &[u8],
    extra: &[u8],
    mut keep: impl FnMut(&str) -> bool,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    out.extend_from_slice(extra);
    let mut any = !extra.is_empty();
    for_each_member(raw, |key, member, _| {
        if keep(key) {
            if any {
                out.push(b',');
            }
            any = true;
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
}

/// Copies the `_meta` object `raw` (valid JSON) without the gateway's own keys.
#[must_use]
pub fn without_own_meta(raw: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    filter_object(raw, b"", |key| !key.starts_with(OWN_META_PREFIX), &mut kept);
    kept
}

/// Calls `visit(key, member, value)` for each member of the object `raw`, which must be valid JSON
/// (scanned before). Anything else than an object has no members.
pub fn for_each_member<'a>(raw: &'a [u8], mut visit: impl FnMut(&str, &'a [u8], &'a [u8])) {
    let mut scanner = Scanner::over_utf8(raw);
    if scanner.enter_object().is_err() {
        return;
    }
    let mut first = true;
    while let Ok(Some(key)) = scanner.next_key(&mut first) {
        let Ok(value) = scanner.value() else { return };
        let member = &raw[key.at as usize..value.end()];
        visit(&key.text(), member, value.of(raw));
    }
}

/// Calls `visit` with the place of each item of the array `raw`, which must be valid JSON (scanned
/// before). Anything else than an array has no items.
pub fn for_each_item(raw: &[u8], mut visit: impl FnMut(Span)) {
    let mut scanner = Scanner::over_utf8(raw);
    if scanner.enter_array().is_err() {
        return;
    }
    let mut first = true;
    while let Ok(true) = scanner.next_item(&mut first) {
        let Ok(value) = scanner.value() else { return };
        visit(value);
    }
}

/// The value of `key` in the object `raw`, which must be valid JSON.
#[must_use]
pub fn member<'a>(raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for_each_member(raw, |name, _, value| {
        if name == key && found.is_none() {
            found = Some(value);
        }
    });
    found
}

/// Whether a JSON text may have the key `task` somewhere: `false` is certain, and cheaper to find out
/// than by reading all members.
#[must_use]
pub fn may_have_task(json: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"task\""));
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u"));
    KEY.find(json).is_some()
        // A letter can be written as an escape. Most texts have none of any kind.
        || (memchr::memchr(b'\\', json).is_some() && ESCAPE.find(json).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: usize, end: usize) -> Span {
        Span::new(start, end)
    }

    #[test]
    fn replaces_in_any_order_and_only_there() {
        let text = br#"{"a":1,"b":"two","c":[3]}"#;
        let mut splice = Splice::new();
        splice.replace(span(21, 24), &b"null"[..]);
        splice.replace(span(5, 6), &b"100"[..]);
        splice.insert_members(text, span(0, 25), b"\"z\":0");
        let mut out = Vec::new();
        splice.apply(text, span(0, 25), &mut out);
        assert_eq!(out, br#"{"z":0,"a":100,"b":"two","c":null}"#);
    }

    #[test]
    fn inserts_into_an_empty_object_without_a_comma() {
        let text = b"{ }";
        let mut splice = Splice::new();
        splice.insert_members(text, span(0, 3), b"\"z\":0");
        let mut out = Vec::new();
        splice.apply(text, span(0, 3), &mut out);
        assert_eq!(out, b"{\"z\":0 }");
    }

    #[test]
    fn removes_a_member_with_one_comma() {
        let cases: [(&[u8], &[u8], &[u8]); 4] = [
            (br#"{"a":1 , "b" : 2,"c":3}"#, b"2", br#"{"a":1 ,"c":3}"#),
            (br#"{"b":2}"#, b"2", b"{}"),
            (br#"{ "b":2 , "c":3}"#, b"2", br#"{  "c":3}"#),
            (br#"{"a":1,"b":2}"#, b"2", br#"{"a":1}"#),
        ];
        for (text, value, expected) in cases {
            let at = memchr::memmem::find(text, value).expect("present");
            let mut splice = Splice::new();
            splice.remove_member(text, Span::new(at, at + value.len()));
            let mut out = Vec::new();
            splice.apply(text, Span::new(0, text.len()), &mut out);
            assert_eq!(out, expected, "{}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn filters_members_by_their_resolved_key() {
        let mut out = Vec::new();
        filter_object(
            br#"{"keep": 1 , "\u0064rop":2,"x":{"drop":3}}"#,
            b"\"e\":0",
            |key| key != "drop",
            &mut out,
        );
        assert_eq!(out, br#"{"e":0,"keep": 1,"x":{"drop":3}}"#);
        out.clear();
        filter_object(br#"{"drop":1}"#, b"", |_| false, &mut out);
        assert_eq!(out, b"{}");
    }

    #[test]
    fn own_meta_goes_however_it_is_spelled() {
        let meta = br#"{"dev.switchboard/a":1,"a/b": [2],"dev.switchboard\u002fc":3}"#;
        assert_eq!(without_own_meta(meta), br#"{"a/b": [2]}"#);
    }

    #[test]
    fn a_task_is_seen_however_its_key_is_spelled() {
        for text in [
            r#"{"task":1}"#,
            r#"{"t\u0061sk":1}"#,
            r#"{"a\n":{"task":1}}"#,
        ] {
            assert!(may_have_task(text.as_bytes()), "{text}");
        }
        for text in [r#"{"tasks":1}"#, r#"{"a\n":"a task"}"#] {
            assert!(!may_have_task(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_filtered_object_is_what_serde_would_make(map in proptest::collection::btree_map("[a-d]{1,2}", any::<i32>(), 0..6), dropped in "[a-d]{1,2}") {
            let raw = serde_json::to_vec(&map).expect("serializes");
            let mut out = Vec::new();
            filter_object(&raw, b"", |key| key != dropped, &mut out);
            let mut expected = map;
            expected.remove(&dropped);
            let got: std::collections::BTreeMap<String, i32> = serde_json::from_slice(&out).expect("valid");
            prop_assert_eq!(got, expected);
        }
    }
}
