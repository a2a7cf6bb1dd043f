//! What a server says about itself.

use bytes::Bytes;
use switchboard_protocol::extension;
use switchboard_protocol::json::as_str;
use switchboard_protocol::splice::{for_each_member, member};
use switchboard_protocol::version::Version;

use crate::lists::{Features, Found, Server};

/// The longest name and settings of an extension together that are kept, in bytes: every session
/// has them.
const MAX_EXTENSION: usize = 16 * 1024;
/// How much of a server's `instructions` is kept, in bytes.
const MAX_INSTRUCTIONS: usize = 16 * 1024;
/// How many of a server's extensions are kept.
const MAX_EXTENSIONS: usize = 64;

/// Reads capabilities and instructions, which discover and initialize results share.
pub(crate) fn describe(result: &[u8], version: Version, found: Found) -> Server {
    let mut features = Features::default();
    let mut extensions = Vec::new();
    let is_true = |object: &[u8], key: &str| member(object, key) == Some(b"true");
    for_each_member(
        member(result, "capabilities").unwrap_or_default(),
        |key, _, value| match key {
            "tools" => {
                features.tools = true;
                features.tools_changed = is_true(value, "listChanged");
            }
            "prompts" => {
                features.prompts = true;
                features.prompts_changed = is_true(value, "listChanged");
            }
            "resources" => {
                features.resources = true;
                features.resources_changed = is_true(value, "listChanged");
                features.subscribe = is_true(value, "subscribe");
            }
            "completions" => features.completions = true,
            "logging" => features.logging = true,
            "tasks" if version == Version::V2025_11_25 => {
                features.tasks = member(value, "requests")
                    .and_then(|requests| member(requests, "tools"))
                    .is_some_and(|tools| member(tools, "call").is_some());
            }
            "extensions" => for_each_member(value, |name, _, settings| {
                // Legacy servers have tasks in another form.
                let is_other = name != extension::TASKS || version.is_modern();
                let is_short = name.len() + settings.len() <= MAX_EXTENSION;
                if extensions.len() < MAX_EXTENSIONS && is_short && is_other {
                    extensions.push((name.to_owned(), Bytes::copy_from_slice(settings)));
                }
            }),
            _ => {}
        },
    );
    if features.tasks {
        extensions.push((extension::TASKS.to_owned(), Bytes::from_static(b"{}")));
    }
    // Completions were not a capability before 2025-03-26.
    features.completions |= version < Version::V2025_03_26;
    let instructions = member(result, "instructions").and_then(as_str).map(|text| {
        let mut end = text.len().min(MAX_INSTRUCTIONS);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    });
    Server {
        version,
        instructions,
        extensions,
        features,
        found,
    }
}
