//! What legacy servers write in the form of 2026-07-28, and what they are answered in theirs, where
//! the two differ. `docs/versions.md` has the whole table.

use std::borrow::Cow;
use switchboard_protocol::json::{as_str, write_str};
use switchboard_protocol::splice::{filter_object, for_each_item, member};
use switchboard_protocol::version::Version;

/// A tool as a modern server would list it. `execution` says whether a tool can be called as a task
/// of 2025-11-25, which is kept apart (`Item::task_support`).
pub(crate) fn tool(raw: &[u8]) -> Cow<'_, [u8]> {
    if member(raw, "execution").is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    filter_object(raw, b"", |key| key != "execution", &mut out);
    Cow::Owned(out)
}

/// The `content` of an answer to sampling, as a server of `version` takes it: before 2025-11-25 a
/// message has one block, and before 2025-03-26 none of audio. Of several blocks the texts are put
/// together; if there are none, the first block is left. 2025-11-25 allows several, but common
/// libraries read one where no tools were offered: what can be one block without loss is.
pub(crate) fn sampled(version: Version, content: &[u8]) -> Cow<'_, [u8]> {
    if content.first() != Some(&b'[') {
        return without_audio(version, content);
    }
    let mut blocks: Vec<&[u8]> = Vec::new();
    for_each_item(content, |span| blocks.push(span.of(content)));
    let texts: Vec<Cow<'_, str>> = blocks
        .iter()
        .filter(|block| kind(block).as_deref() == Some("text"))
        .filter_map(|block| member(block, "text").and_then(as_str))
        .collect();
    let is_lossless = texts.len() == blocks.len();
    match (&blocks[..], &texts[..]) {
        ([only], _) => without_audio(version, only),
        _ if version >= Version::V2025_11_25 && !is_lossless => Cow::Borrowed(content),
        ([], _) => text("").into(),
        ([first, ..], []) => without_audio(version, first),
        (_, texts) => text(&texts.join("\n")).into(),
    }
}

fn without_audio(version: Version, block: &[u8]) -> Cow<'_, [u8]> {
    if version < Version::V2025_03_26 && kind(block).as_deref() == Some("audio") {
        return text("[Audio is left out: this server's protocol version has none]").into();
    }
    Cow::Borrowed(block)
}

fn kind(block: &[u8]) -> Option<Cow<'_, str>> {
    member(block, "type").and_then(as_str)
}

fn text(text: &str) -> Vec<u8> {
    let mut out = b"{\"type\":\"text\",\"text\":".to_vec();
    write_str(&mut out, text);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_nothing_of_tasks() {
        let plain = br#"{"name":"a","inputSchema":{"execution":1}}"#;
        assert_eq!(tool(plain), &plain[..]);
        let raw = br#"{"execution":{"taskSupport":"required"},"name":"a" ,"icons":[]}"#;
        assert_eq!(tool(raw), &br#"{"name":"a","icons":[]}"#[..]);
    }

    #[test]
    fn older_servers_are_answered_with_one_block() {
        let of = |version, raw: &str| {
            let out = sampled(version, raw.as_bytes()).into_owned();
            String::from_utf8(out).expect("UTF-8")
        };
        let image = r#"{"type":"image","data":"","mimeType":"image/png"}"#;
        let audio = r#"{"type":"audio","data":"","mimeType":"audio/wav"}"#;
        let (a, b) = (
            r#"{"type":"text","text":"a"}"#,
            r#"{"type":"text","text":"b"}"#,
        );
        let version = Version::V2025_06_18;
        assert_eq!(of(version, image), image);
        assert_eq!(of(version, &format!("[ {a} ]")), a);
        assert_eq!(
            of(version, &format!("[{image},{a},{b}]")),
            r#"{"type":"text","text":"a\nb"}"#
        );
        assert_eq!(of(version, &format!("[{image},{audio}]")), image);
        assert_eq!(of(version, "[]"), r#"{"type":"text","text":""}"#);
        assert_eq!(of(version, audio), audio);
        assert!(of(Version::V2024_11_05, audio).starts_with(r#"{"type":"text","#));
        let newest = Version::V2025_11_25;
        let mixed = format!("[{a},{image}]");
        assert_eq!(of(newest, &mixed), mixed);
        assert_eq!(of(newest, &format!("[{image}]")), image);
        assert_eq!(
            of(newest, &format!("[{a},{b}]")),
            r#"{"type":"text","text":"a\nb"}"#
        );
    }
}
