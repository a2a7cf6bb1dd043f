//! Items of lists. One item that a client's version forbids makes some clients refuse the whole
//! list, so what would is rewritten, and what is only unknown to them stays: every revision lets
//! items have members that it does not define.

use switchboard_protocol::version::Version;

use super::edit::{self, Edit};
use super::schema;

/// The items of a list; `None` if all may stay as they are.
pub(super) fn list(
    raw: &[u8],
    version: Version,
    item: fn(&[u8], Version) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    edit::array(raw, |raw| item(raw, version))
}

/// A tool.
pub(super) fn tool(raw: &[u8], version: Version) -> Option<Vec<u8>> {
    edit::object(raw, b"", |key, value| match key {
        "inputSchema" => schema::input(value).into(),
        "outputSchema" if version < Version::V2025_06_18 => Edit::Drop,
        "outputSchema" => schema::output(value),
        // What only 2025-11-25 defines; offered by no server of another version.
        "execution" if version < Version::V2025_11_25 => Edit::Drop,
        _ => common(key, version),
    })
}

/// A prompt, resource or resource template.
pub(super) fn other(raw: &[u8], version: Version) -> Option<Vec<u8>> {
    edit::object(raw, b"", |key, _| common(key, version))
}

fn common<'a>(key: &str, version: Version) -> Edit<'a> {
    match key {
        // Clients of 2025-06-18 with a draft of icons read `sizes` as a string and refuse a list.
        "icons" if version < Version::V2025_11_25 => Edit::Drop,
        _ => Edit::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: Option<Vec<u8>>) -> Option<String> {
        out.map(|out| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_tool_loses_what_its_client_would_stumble_over() {
        let raw = br#"{"name":"a","title":"A","icons":[{"src":"x","sizes":["1x1"]}],"execution":{},"inputSchema":{"type":"object"},"outputSchema":{"type":"object"},"x":1}"#;
        let common = r#"{"name":"a","title":"A","inputSchema":{"type":"object"}"#;
        assert_eq!(
            text(tool(raw, Version::V2025_03_26)),
            Some(format!("{common},\"x\":1}}"))
        );
        assert_eq!(
            text(tool(raw, Version::V2025_06_18)),
            Some(format!(
                "{common},\"outputSchema\":{{\"type\":\"object\"}},\"x\":1}}"
            ))
        );
    }

    #[test]
    fn the_newest_legacy_version_gets_items_as_they_are() {
        let raw = br#"{"name":"a","icons":[{"src":"x"}],"execution":{},"inputSchema":{"type":"object","$defs":{}},"annotations":{"readOnlyHint":true},"_meta":{"ui":{}}}"#;
        assert_eq!(tool(raw, Version::V2025_11_25), None);
        assert_eq!(other(raw, Version::V2025_11_25), None);
    }
}
