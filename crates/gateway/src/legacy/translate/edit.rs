//! Changing members of objects and items of arrays, and only those.

use std::borrow::Cow;

use switchboard_protocol::splice::{for_each_item, for_each_member};

/// What becomes of a member.
#[derive(Debug)]
pub(super) enum Edit<'a> {
    /// It stays as it was written.
    Keep,
    /// It goes.
    Drop,
    /// It gets another value.
    Value(Cow<'a, [u8]>),
}

impl From<Option<Vec<u8>>> for Edit<'_> {
    /// What a function that found nothing to change says, or the changed value.
    fn from(changed: Option<Vec<u8>>) -> Self {
        changed.map_or(Self::Keep, |value| Self::Value(value.into()))
    }
}

/// The object `raw` (valid JSON) with `extra` members (`"key":value`, comma-separated) in front and
/// what `edit(key, value)` makes of each of its own; `None` if nothing changes, or `raw` is no
/// object.
pub(super) fn object<'a>(
    raw: &'a [u8],
    extra: &[u8],
    mut edit: impl FnMut(&str, &'a [u8]) -> Edit<'a>,
) -> Option<Vec<u8>> {
    if raw.first() != Some(&b'{') {
        return None;
    }
    let mut changes = !extra.is_empty();
    let mut members: Vec<(&[u8], &[u8], Edit<'_>)> = Vec::new();
    for_each_member(raw, |key, member, value| {
        let edit = edit(key, value);
        changes |= !matches!(edit, Edit::Keep);
        members.push((member, value, edit));
    });
    if !changes {
        return None;
    }
    let mut out = Vec::with_capacity(raw.len() + extra.len() + 2);
    out.push(b'{');
    out.extend_from_slice(extra);
    for (member, value, edit) in members {
        if matches!(edit, Edit::Drop) {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        match edit {
            Edit::Value(new) => {
                out.extend_from_slice(&member[..member.len() - value.len()]);
                out.extend_from_slice(&new);
            }
            _ => out.extend_from_slice(member),
        }
    }
    out.push(b'}');
    Some(out)
}

/// The array `raw` (valid JSON) with what `edit` makes of its items: one item, or several separated
/// by commas; `None` if nothing changes, or `raw` is no array.
pub(super) fn array<'a>(
    raw: &'a [u8],
    mut edit: impl FnMut(&'a [u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut copied = 0;
    for_each_item(raw, |span| {
        if let Some(changed) = edit(span.of(raw)) {
            out.extend_from_slice(&raw[copied..span.start()]);
            out.extend_from_slice(&changed);
            copied = span.end();
        }
    });
    (copied > 0).then(|| {
        out.extend_from_slice(&raw[copied..]);
        out
    })
}

/// Whether a value is an object.
pub(super) fn is_object(raw: &[u8]) -> bool {
    raw.first() == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: Option<Vec<u8>>) -> Option<String> {
        out.map(|out| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn an_object_changes_where_it_is_told_to() {
        let raw = br#"{ "a" : 1, "b": [2 ] ,"\u0063":3}"#;
        let edited = object(raw, b"\"x\":0", |key, _| match key {
            "a" => Edit::Value(b"\"one\""[..].into()),
            "c" => Edit::Drop,
            _ => Edit::Keep,
        });
        assert_eq!(
            text(edited).as_deref(),
            Some(r#"{"x":0,"a" : "one","b": [2 ]}"#)
        );
        assert_eq!(object(raw, b"", |_, _| Edit::Keep), None);
        assert_eq!(
            text(object(raw, b"", |_, _| Edit::Drop)).as_deref(),
            Some("{}")
        );
        assert_eq!(object(b"[1]", b"\"x\":0", |_, _| Edit::Drop), None);
    }

    #[test]
    fn an_array_changes_where_it_is_told_to() {
        let raw = b"[1 , 2,3 ]";
        let edited = array(raw, |item| (item == b"2").then(|| b"4,5".to_vec()));
        assert_eq!(text(edited).as_deref(), Some("[1 , 4,5,3 ]"));
        assert_eq!(array(raw, |_| None), None);
        assert_eq!(array(b"{}", |_| Some(Vec::new())), None);
    }
}
