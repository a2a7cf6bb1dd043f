//! Content blocks that older revisions lack, as text (2025-03-26 brought `audio`, 2025-06-18
//! `resource_link`, 2025-11-25 the icons of the latter).

use switchboard_protocol::json::{as_str, write_str};
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;

use super::edit::{self, Edit};

/// Whether blocks written for 2026-07-28 can be given to clients of this version as they are.
fn may_stay(raw: &[u8], version: Version) -> bool {
    match version {
        Version::V2024_11_05 | Version::V2025_03_26 => false,
        // Few blocks have icons, and most content is seen to have none at a glance.
        Version::V2025_06_18 => memchr::memmem::find(raw, b"\"icons\"").is_none(),
        Version::V2025_11_25 | Version::V2026_07_28 => true,
    }
}

/// An array of blocks; `None` if all may stay as they are.
pub(super) fn blocks(raw: &[u8], version: Version) -> Option<Vec<u8>> {
    if may_stay(raw, version) {
        return None;
    }
    edit::array(raw, |raw| block(raw, version))
}

/// Messages of a prompt, each with one block; `None` if all may stay as they are.
pub(super) fn messages(raw: &[u8], version: Version) -> Option<Vec<u8>> {
    if may_stay(raw, version) {
        return None;
    }
    edit::array(raw, |message| {
        edit::object(message, b"", |key, value| match key {
            "content" => block(value, version).into(),
            _ => Edit::Keep,
        })
    })
}

/// One block; `None` if it may stay as it is, as unknown ones do: those are between the server and
/// its clients.
pub(super) fn block(raw: &[u8], version: Version) -> Option<Vec<u8>> {
    let text = |key| member(raw, key).and_then(as_str);
    let words = match &*text("type")? {
        "resource_link" if version < Version::V2025_06_18 => {
            let uri = text("uri").unwrap_or_default();
            let name = text("title").or_else(|| text("name"));
            let mut words = match name.filter(|name| !name.is_empty()) {
                Some(name) => format!("Resource \"{name}\": {uri}"),
                None => format!("Resource: {uri}"),
            };
            if let Some(description) = text("description") {
                words.push_str(&format!("\n{description}"));
            }
            words
        }
        "resource_link" if version < Version::V2025_11_25 => {
            return edit::object(raw, b"", |key, _| match key {
                "icons" => Edit::Drop,
                _ => Edit::Keep,
            });
        }
        "audio" if version < Version::V2025_03_26 => {
            let kind = text("mimeType").unwrap_or_else(|| "unknown type".into());
            format!("[Audio ({kind}) is left out: this client's protocol version has none]")
        }
        _ => return None,
    };
    Some(text_block(&words, member(raw, "annotations")))
}

/// A block of text; `annotations` as written.
pub(super) fn text_block(text: &str, annotations: Option<&[u8]>) -> Vec<u8> {
    let mut out = b"{\"type\":\"text\",\"text\":".to_vec();
    write_str(&mut out, text);
    if let Some(annotations) = annotations {
        out.extend_from_slice(b",\"annotations\":");
        out.extend_from_slice(annotations);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_text(raw: &str, version: Version) -> Option<String> {
        let out = blocks(raw.as_bytes(), version)?;
        Some(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_link_is_named_to_clients_that_have_no_links() {
        let raw = r#"[{"type":"text","text":"see"}, {"type":"resource_link","uri":"file:///a","name":"a","annotations":{"priority":1},"description":"d"}]"#;
        assert_eq!(
            as_text(raw, Version::V2025_03_26).as_deref(),
            Some(
                r#"[{"type":"text","text":"see"}, {"type":"text","text":"Resource \"a\": file:///a\nd","annotations":{"priority":1}}]"#
            )
        );
        assert_eq!(as_text(raw, Version::V2025_06_18), None);
    }

    #[test]
    fn a_link_has_icons_where_its_client_knows_of_them() {
        let raw =
            r#"[{"type":"resource_link","uri":"a:b","icons":[{"sizes":["1x1"]}],"name":"n"}]"#;
        assert_eq!(
            as_text(raw, Version::V2025_06_18).as_deref(),
            Some(r#"[{"type":"resource_link","uri":"a:b","name":"n"}]"#)
        );
        assert_eq!(as_text(raw, Version::V2025_11_25), None);
    }

    #[test]
    fn audio_is_told_of_to_clients_that_have_none() {
        let raw = r#"[{"type":"audio","data":"AAAA","mimeType":"audio/wav"},{"type":"other"},3]"#;
        let out = as_text(raw, Version::V2024_11_05).expect("changed");
        assert!(out.starts_with(r#"[{"type":"text","text":"[Audio (audio/wav) is left out"#));
        assert!(out.ends_with(r#",{"type":"other"},3]"#));
        assert_eq!(as_text(raw, Version::V2025_03_26), None);
    }

    #[test]
    fn blocks_of_a_prompt_are_in_its_messages() {
        let raw = br#"[{"role":"user","content":{"type":"resource_link","uri":"u","name":""}}]"#;
        let out = messages(raw, Version::V2024_11_05).expect("changed");
        assert_eq!(
            String::from_utf8_lossy(&out),
            r#"[{"role":"user","content":{"type":"text","text":"Resource: u"}}]"#
        );
    }
}
