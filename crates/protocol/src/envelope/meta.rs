//! `_meta` put into requests that have none, without parsing them again.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Envelope, EnvelopeError, Keys, MetaKeys};
use crate::json::{MAX_BYTES, Span};

/// The members of a `_meta`, parsed once for all the requests that are given it.
#[derive(Clone, Debug)]
pub struct PreparedMeta {
    /// `"_meta":{…}`
    member: Bytes,
    /// Where the object is in `member`.
    object: Span,
    /// Places in `member`.
    keys: MetaKeys,
    has_own: bool,
    members: usize,
}

impl PreparedMeta {
    /// Parses comma-separated members, at least one, as they will stand in a request.
    ///
    /// # Errors
    /// As [`Message::parse`](super::Message::parse) has for a request with this `_meta`.
    pub fn new(members: &[u8]) -> Result<Self, EnvelopeError> {
        let head = br#"{"jsonrpc":"2.0","id":0,"method":"m","params":{"#;
        let name = br#""_meta":"#;
        let probe = Envelope::parse([&head[..], name, b"{", members, b"}}}"].concat().into())?;
        let (start, length) = (head.len(), name.len() + members.len() + b"{}".len());
        let back = |span: Span| Span::new(span.start() - start, span.end() - start);
        let mut keys = probe.meta;
        for slot in keys.slots() {
            *slot = slot.map(back);
        }
        Ok(Self {
            member: probe.raw.slice(start..start + length),
            object: Span::new(name.len(), length),
            keys,
            has_own: probe.has_own_meta,
            members: probe.meta_members,
        })
    }
}

impl Envelope {
    /// The same request with this `_meta` as the first member of its `params`; `None` if it has a
    /// `_meta`, or no `params` that are an object, or would be 4 GiB or longer.
    #[must_use]
    pub fn with_meta(&self, meta: &PreparedMeta) -> Option<Self> {
        let params = self.keys.params?;
        let (before, after) = self.raw.split_at(params.start() + 1);
        if self.params.meta.is_some() || before.last() != Some(&b'{') {
            return None;
        }
        let is_only = after.trim_ascii_start().first() == Some(&b'}');
        let separator: &[u8] = if is_only { b"" } else { b"," };
        let length = meta.member.len() + separator.len();
        if self.raw.len() + length >= MAX_BYTES {
            return None;
        }
        let mut raw = BytesMut::with_capacity(self.raw.len() + length);
        raw.put_slice(before);
        raw.put_slice(&meta.member);
        raw.put_slice(separator);
        raw.put_slice(after);

        let at = before.len();
        // What begins behind the place moves; what the place is in grows.
        let moved = |span: Span| {
            let (start, end) = (span.start(), span.end());
            Span::new(
                if start >= at { start + length } else { start },
                if end > at { end + length } else { end },
            )
        };
        let mut moved_in = self.clone();
        moved_in.raw = raw.freeze();
        move_all(&mut moved_in.keys, moved);
        move_all(&mut moved_in.params, moved);
        if let Some(reference) = &mut moved_in.reference {
            move_all(reference, moved);
        }
        let of_member = |span: Span| Span::new(span.start() + at, span.end() + at);
        moved_in.params.meta = Some(of_member(meta.object));
        moved_in.meta = meta.keys;
        move_all(&mut moved_in.meta, of_member);
        moved_in.has_own_meta = meta.has_own;
        moved_in.meta_members = meta.members;
        Some(moved_in)
    }
}

fn move_all(keys: &mut impl Keys, to: impl Fn(Span) -> Span) {
    for slot in keys.slots() {
        *slot = slot.map(&to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Envelope {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a request")
    }

    #[test]
    fn what_comes_of_it_is_what_parsing_it_would_give() {
        let meta = PreparedMeta::new(
            br#""io.modelcontextprotocol/logLevel":"info","x":[1],"dev.switchboard/y":1"#,
        )
        .expect("members");
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":[1]}}}"#,
            r#"{"params" : { "name":"a" , "uri":"b"},"method":"x","id":"long id","jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","params":{ },"id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","params":{"ref":{"type":"ref/prompt","name":"p"},"z":1},"id":1,"method":"completion/complete"}"#,
        ] {
            let given = parse(text).with_meta(&meta).expect("no _meta yet");
            let parsed = Envelope::parse(given.raw.clone()).expect("a request");
            assert_eq!(format!("{given:?}"), format!("{parsed:?}"), "{text}");
            assert!(given.has_own_meta);
            assert_eq!(given.text(given.meta.log_level).as_deref(), Some("info"));
        }
    }

    #[test]
    fn a_request_with_meta_or_without_params_is_left_alone() {
        let meta = PreparedMeta::new(br#""a":1"#).expect("members");
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#,
        ] {
            assert!(parse(text).with_meta(&meta).is_none(), "{text}");
        }
        assert!(PreparedMeta::new(b"").is_ok());
        assert!(PreparedMeta::new(br#""a":}"#).is_err());
        assert!(PreparedMeta::new(br#""a":1,"a":2"#).is_err());
    }
}
