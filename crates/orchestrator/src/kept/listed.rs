//! How clients learn that they can read on in large results: a tool and a template of the gateway's
//! own, in every list of these kinds.

use serde_json::json;

use super::SCHEME;
use crate::config::NamesConfig;
use crate::names::Namespaces;

/// What the gateway's own names begin with, as if it were a backend.
pub(crate) const OWN_PREFIX: &str = "switchboard";
const TOOL: &str = "read_result";

/// The name of the tool, made as names of backends' tools are.
#[must_use]
pub fn tool_name(names: &NamesConfig) -> String {
    let own = Namespaces::new(names, [(OWN_PREFIX, None)]);
    own.qualify(0, TOOL).text
}

/// The tool, as it is listed under this name.
pub(crate) fn tool(name: &str) -> Vec<u8> {
    let number = |description: &str, least: u64| json!({ "type": "integer", "minimum": least, "description": description });
    let tool = json!({
        "name": name,
        "title": "Read on in a large result",
        "description": format!(
            "Reads on in a result of another tool that was too large to be sent as a whole. Such a \
             result says so and names its URI, {SCHEME}…. Without `search` it returns the text from \
             byte `offset` on, one page at a time, and says which offset comes next. With `search` it \
             lists where that text is (any case), with line, byte offset and surroundings: search first, \
             then read around what was found. A result is kept for a limited time only."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "uri": { "type": "string", "description": format!("The URI of the result, {SCHEME}ID, or its ID alone.") },
                "id": { "type": "string", "description": "The ID of the result, in the place of `uri`." },
                "offset": number("The byte to read or search from; 0 is the beginning.", 0),
                "length": number("The most bytes to read; a page is 32 KiB otherwise.", 1),
                "search": { "type": "string", "minLength": 1, "maxLength": 256, "description": "A text to look for, upper and lower case alike; no pattern." },
                "context": number("How many bytes to show on both sides of each match; 100 otherwise.", 0),
                "max_matches": number("The most matches to list; 20 otherwise, 100 at most.", 1),
            },
            "additionalProperties": false,
        },
        "annotations": {
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": true,
            "openWorldHint": false,
        },
    });
    tool.to_string().into_bytes()
}

/// The template of the URIs, as it is listed.
pub(crate) fn template() -> Vec<u8> {
    let template = json!({
        "uriTemplate": format!("{SCHEME}{{id}}{{?offset,length,search,context,after,max_matches}}"),
        "name": "large-result",
        "title": "A large result",
        "description": "A result that was too large to be sent as a whole: from byte `offset` on at most \
                        `length` bytes, or where the text `search` is from byte `after` on. `_meta` says \
                        where to go on.",
        "mimeType": "text/plain",
    });
    template.to_string().into_bytes()
}
