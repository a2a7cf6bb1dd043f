//! The fixtures that are plain data: what the server lists, and what it answers without thinking.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rmcp::model::{
    ContentBlock, InputRequests, JsonObject, Prompt, PromptMessage, Resource, ResourceContents,
    ResourceTemplate, Tool,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The fixtures of `fixtures.json`, read once.
///
/// # Panics
///
/// On first use, if the file, which is part of the program, does not have the shape of
/// [`Fixtures`].
pub(super) static FIXTURES: LazyLock<Fixtures> = LazyLock::new(|| {
    serde_json::from_str(include_str!("fixtures.json")).expect("fixtures.json is well formed")
});

/// Everything in `fixtures.json`.
#[derive(Deserialize)]
pub(super) struct Fixtures {
    /// Tools that are not [`Question`]s.
    pub(super) tools: Vec<Tool>,
    /// The content of tools that always answer alike, by tool.
    pub(super) answers: BTreeMap<String, Vec<ContentBlock>>,
    /// Tools that ask first, by name.
    pub(super) questions: BTreeMap<String, Question>,
    /// Prompts that ask first, by name.
    pub(super) prompt_questions: BTreeMap<String, Question>,
    /// Prompts that answer at once.
    pub(super) prompts: Vec<PromptFixture>,
    /// Resources with a fixed content.
    pub(super) resources: Vec<ResourceFixture>,
    /// Resource templates.
    pub(super) templates: Vec<ResourceTemplate>,
    /// Values to complete arguments with.
    pub(super) completions: Completions,
}

/// A tool or a prompt that needs input from the client before it can answer. A modern client is
/// asked by the result `input_required` (2026-07-28 basic/utilities/mrtr), a legacy one by requests
/// in the middle of the call.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    /// Shown in the list.
    pub(super) description: String,
    /// The arguments of a tool.
    #[serde(default = "any_object")]
    pub(super) input_schema: JsonObject,
    /// What each round asks for at once; never empty. Strings are templates for [`fill`] over the
    /// arguments.
    rounds: Vec<Value>,
    /// The answer, a template for [`fill`] over the input responses of the last round.
    pub(super) answer: String,
    /// Whether a modern client carries the progress in an integrity-protected `requestState`. A
    /// question of more than one round needs it.
    #[serde(default)]
    pub(super) sealed: bool,
    /// Whether to ask only for what the client declared, in place of refusing clients that did not
    /// declare all of it.
    #[serde(default)]
    pub(super) only_declared: bool,
}

impl Question {
    /// What a round asks for, with `arguments` filled in; none after the last round.
    ///
    /// # Errors
    ///
    /// When these are no requests to a client, which only a wrong fixture brings about.
    pub(super) fn round(
        &self,
        round: usize,
        arguments: &Value,
    ) -> serde_json::Result<Option<InputRequests>> {
        let requests = self.rounds.get(round);
        requests
            .map(|requests| serde_json::from_value(fill_all(requests, arguments)))
            .transpose()
    }
}

fn any_object() -> JsonObject {
    JsonObject::from_iter([("type".to_owned(), json!("object"))])
}

/// A prompt and its messages.
#[derive(Deserialize)]
pub(super) struct PromptFixture {
    /// As listed.
    pub(super) definition: Prompt,
    /// The messages, whose strings are templates for [`fill`] over the prompt's arguments.
    messages: Value,
}

impl PromptFixture {
    /// The messages with `arguments` filled in.
    ///
    /// # Errors
    ///
    /// When the filled messages are no prompt messages, which only a wrong fixture brings about.
    pub(super) fn messages(&self, arguments: &Value) -> serde_json::Result<Vec<PromptMessage>> {
        serde_json::from_value(fill_all(&self.messages, arguments))
    }
}

/// A resource and its content: either `text` or `blob` (base64).
#[derive(Deserialize)]
pub(super) struct ResourceFixture {
    /// As listed.
    pub(super) definition: Resource,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    blob: Option<String>,
}

impl ResourceFixture {
    /// What `resources/read` answers.
    pub(super) fn contents(&self) -> ResourceContents {
        let uri = self.definition.uri.clone();
        let contents = match &self.blob {
            Some(blob) => ResourceContents::blob(blob, uri),
            None => ResourceContents::text(self.text.clone().unwrap_or_default(), uri),
        };
        match &self.definition.mime_type {
            Some(mime_type) => contents.with_mime_type(mime_type),
            None => contents,
        }
    }
}

/// Values per argument, per prompt or resource template.
#[derive(Deserialize)]
pub(super) struct Completions {
    /// By prompt and argument.
    pub(super) prompt: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By URI template and variable.
    pub(super) resource: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

/// Replaces each `{/json/pointer}` in `template` by what it points at in `values`; a string without
/// its quotes, and nothing where it points nowhere.
pub(super) fn fill(template: &str, values: &Value) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{/") {
        let Some((pointer, tail)) = after.split_once('}') else {
            break;
        };
        filled.push_str(before);
        match values.pointer(&format!("/{pointer}")) {
            Some(Value::String(text)) => filled.push_str(text),
            Some(value) => filled.push_str(&value.to_string()),
            None => {}
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

fn fill_all(template: &Value, values: &Value) -> Value {
    match template {
        Value::String(text) => Value::String(fill(text, values)),
        Value::Array(items) => items.iter().map(|item| fill_all(item, values)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), fill_all(member, values)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_shape_of_fixtures() {
        assert!(FIXTURES.tools.iter().any(|tool| tool.name == "echo"));
        let questions = FIXTURES.questions.values();
        for question in questions.chain(FIXTURES.prompt_questions.values()) {
            let rounds = question.rounds.len();
            assert!(rounds == 1 || (rounds > 1 && question.sealed));
            for round in 0..rounds {
                assert!(question.round(round, &json!({})).unwrap().is_some());
            }
        }
    }

    #[test]
    fn templates_are_filled_by_pointer() {
        let values = json!({"a": {"b": "text"}, "n": 3});
        assert_eq!(fill("<{/a/b}|{/n}|{/none}>", &values), "<text|3|>");
        assert_eq!(fill("{no} {/open", &values), "{no} {/open");
    }

    #[test]
    fn arguments_reach_every_string_of_a_prompt() {
        let prompt = FIXTURES
            .prompts
            .iter()
            .find(|prompt| prompt.definition.name == "test_prompt_with_embedded_resource")
            .expect("the fixture exists");
        let messages = prompt
            .messages(&json!({"resourceUri": "test://x"}))
            .unwrap();
        let wire = serde_json::to_value(&messages).unwrap();
        assert_eq!(wire[0]["content"]["resource"]["uri"], "test://x");
    }
}
