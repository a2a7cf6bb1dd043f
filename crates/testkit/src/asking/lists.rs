//! What the server offers.

use serde_json::{Value, json};

/// The URI of the resource that asks.
pub const RESOURCE_URI: &str = "asking://form";

/// Tools by the capability that they need of the client, if any.
const TOOLS: [(&str, Option<&str>); 19] = [
    ("echo", None),
    ("hang", None),
    ("who_am_i", None),
    ("seen", None),
    ("ask_form", Some("elicitation")),
    ("ask_url", Some("elicitation")),
    ("sample", Some("sampling")),
    ("sample_with_tools", Some("sampling")),
    ("roots", Some("roots")),
    ("ask_two", None),
    ("ask_rounds", Some("elicitation")),
    ("ask_forever", Some("elicitation")),
    ("progress_and_logs", Some("elicitation")),
    ("needs_url_42", None),
    ("ask_and_withdraw", Some("elicitation")),
    ("ask_and_give_up", Some("elicitation")),
    ("ask_after_answer", None),
    ("ask_outside", None),
    ("answer_never_sent", None),
];

/// The result of a list; `None` if the method lists nothing. With `declared`, only tools that do
/// not need more of the client.
pub(super) fn list(method: &str, declared: Option<&Value>) -> Option<Value> {
    Some(match method {
        "tools/list" => {
            let tools: Vec<Value> = TOOLS
                .iter()
                .filter(|(_, needs)| match (needs, declared) {
                    (Some(needs), Some(declared)) => declared.get(needs).is_some(),
                    _ => true,
                })
                .map(|(name, _)| json!({ "name": name, "inputSchema": { "type": "object" } }))
                .collect();
            json!({ "tools": tools })
        }
        "prompts/list" => {
            let argument = json!({ "name": "mark", "required": false });
            json!({ "prompts": [{ "name": "asking", "arguments": [argument] }] })
        }
        "resources/list" => json!({ "resources": [{ "uri": RESOURCE_URI, "name": "asking" }] }),
        "resources/templates/list" => json!({ "resourceTemplates": [] }),
        _ => return None,
    })
}

/// The server's capabilities.
pub(super) fn capabilities() -> Value {
    json!({ "tools": {}, "prompts": {}, "resources": {}, "logging": {} })
}

/// The server's name and version.
pub(super) fn info() -> Value {
    json!({ "name": "asking", "version": "1" })
}
