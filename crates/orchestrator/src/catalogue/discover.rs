//! The result of `server/discover`.

use switchboard_protocol::json::write_str;

use super::page::Frame;
use super::{Extensions, SnapshotSettings, Source};
use crate::names::Namespaces;

/// The longest instructions of one backend that are passed on, in bytes.
const MAX_BACKEND_INSTRUCTIONS: usize = 2 * 1024;
/// The longest instructions of all backends together, headings included, in bytes.
const MAX_INSTRUCTIONS: usize = 16 * 1024;

/// The capabilities: constant but for the extensions, whoever is up.
pub(super) fn capabilities(extensions: &Extensions) -> Vec<u8> {
    let mut out = concat!(
        r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"#,
        r#""resources":{"listChanged":true,"subscribe":true},"completions":{},"logging":{}"#,
    )
    .as_bytes()
    .to_vec();
    for (index, (name, settings)) in extensions.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            br#","extensions":{"#
        } else {
            b","
        });
        write_str(&mut out, name);
        out.push(b':');
        out.extend_from_slice(settings);
    }
    out.extend_from_slice(if extensions.is_empty() { b"}" } else { b"}}" });
    out
}

/// What the sources at these places say of how to use them, each under a heading with its name.
pub(super) fn instructions(
    sources: &[Source],
    places: &[usize],
    namespaces: &Namespaces,
) -> Option<String> {
    let mut all = String::new();
    for &index in places {
        let source = &sources[index];
        let lists = source.lists.as_ref();
        let Some(text) = lists.and_then(|lists| lists.server.instructions.as_deref()) else {
            continue;
        };
        let text = cut(text.trim(), MAX_BACKEND_INSTRUCTIONS);
        if text.is_empty() {
            continue;
        }
        let gap = if all.is_empty() { "" } else { "\n\n" };
        let heading = if namespaces.is_plain(index) {
            format!("{gap}## {}\n\n", source.name)
        } else {
            let claim = namespaces.claim(index);
            format!(
                "{gap}## {} (its names begin with `{claim}`)\n\n",
                source.name
            )
        };
        let room = MAX_INSTRUCTIONS.saturating_sub(all.len() + heading.len());
        let text = cut(text, room);
        if text.is_empty() {
            break;
        }
        all.push_str(&heading);
        all.push_str(text);
    }
    (!all.is_empty()).then_some(all)
}

/// As much of the text as fits into this many bytes.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

pub(super) fn result(
    settings: &SnapshotSettings,
    capabilities: &[u8],
    instructions: Option<&str>,
    frame: &Frame,
) -> Vec<u8> {
    let versions: Vec<&str> = settings
        .supported_versions
        .iter()
        .map(|version| version.as_str())
        .collect();
    let mut out = br#"{"resultType":"complete","supportedVersions":"#.to_vec();
    out.extend_from_slice(serde_json::Value::from(versions).to_string().as_bytes());
    out.extend_from_slice(br#","capabilities":"#);
    out.extend_from_slice(capabilities);
    if let Some(instructions) = instructions {
        out.extend_from_slice(br#","instructions":"#);
        write_str(&mut out, instructions);
    }
    let rest = format!(",{},\"_meta\":{{{}}}}}", frame.caching, frame.server_meta);
    out.extend_from_slice(rest.as_bytes());
    out
}
