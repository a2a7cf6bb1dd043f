//! What a client does with a fixture, and what must come of it.

use std::sync::LazyLock;

use serde_json::{Value, json};
use switchboard_tests::clients::Client;
use switchboard_tests::fixture::WATCHED;

use crate::features::Feature;
use crate::{Cell, Seen, is_modern};

static FIXTURE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../real/fixture/fixture.json")).expect("valid JSON")
});

/// Whether the client calls a tool as a task: it can, and was told that the tool is one. To others
/// the gateway makes one call of it.
pub(crate) fn knows_tasks(cell: &Cell) -> bool {
    match cell.client {
        Client::Rmcp => true,
        Client::TypeScriptLegacy | Client::PythonLegacy => !cell.backend.is_modern(),
        Client::TypeScript | Client::Python | Client::RmcpLegacy => false,
    }
}

/// The name of the thing that a feature is tried with.
fn subject(feature: Feature) -> &'static str {
    match feature {
        Feature::Plain => "echo",
        Feature::Progress => "progress",
        Feature::Logs => "logs",
        Feature::Cancellation => "hang",
        Feature::FormAccept | Feature::FormDecline | Feature::FormCancel => "form",
        Feature::UrlAccept | Feature::UrlDecline | Feature::UrlCancel => "url",
        Feature::UrlError => "url_error",
        Feature::Sampling => "sampling",
        Feature::SamplingWithTools => "sampling_with_tools",
        Feature::Roots => "roots",
        Feature::Two => "two",
        Feature::Three => "three",
        Feature::Prompt => "asking",
        Feature::Resource => "asking://question",
        Feature::ListChanges => "add_tool",
        Feature::ResourceUpdates => "touch",
        Feature::Task => "task",
        Feature::AskingTask => "asking_task",
    }
}

/// The URI of a resource that all fixtures list, so that each has an address of its own.
fn address(cell: &Cell, uri: &str) -> String {
    let escaped = uri.replace(':', "%3A").replace('/', "%2F");
    format!("switchboard://{}/{escaped}", cell.backend.name())
}

pub(crate) fn steps(cell: &Cell) -> Vec<Value> {
    let label = cell.label();
    let name = format!("{}__{}", cell.backend.name(), subject(cell.feature));
    let call = |label: &str, arguments: Value| json!({ "step": label, "do": "call", "name": name, "arguments": arguments });
    let step = match cell.feature {
        Feature::Plain => call(&label, json!({ "text": "Grüße" })),
        Feature::Progress => {
            let mut step = call(&label, json!({}));
            step["awaits"] = json!({ "progress": 3 });
            step
        }
        Feature::Logs => {
            let mut step = call(&label, json!({}));
            step["log_level"] = json!("info");
            step["awaits"] = json!({ "logs": 2 });
            step
        }
        Feature::Cancellation => {
            let arguments = json!({ "tag": cell.tag() });
            json!({ "step": label, "do": "cancel", "name": name, "arguments": arguments })
        }
        Feature::UrlError => {
            let arguments = json!({ "tag": cell.tag() });
            let mut steps = vec![call(&label, arguments.clone())];
            if !is_modern(cell.client) {
                // Such a client opens the page and calls again, of itself.
                steps.push(call(&format!("{label} again"), arguments));
            }
            return steps;
        }
        Feature::Prompt => json!({ "step": label, "do": "prompt", "name": name, "arguments": {} }),
        Feature::Resource => {
            let uri = address(cell, subject(cell.feature));
            json!({ "step": label, "do": "read", "uri": uri })
        }
        Feature::ListChanges => {
            let tool = format!("new-{}", cell.tag());
            json!({
                "step": label, "do": "listen",
                "filter": { "toolsListChanged": true },
                "steps": [call(&format!("{label} made"), json!({ "name": tool }))],
                "until": [{ "change": "tools/list_changed" }],
            })
        }
        Feature::ResourceUpdates => {
            let uri = address(cell, WATCHED);
            json!({
                "step": label, "do": "listen",
                "filter": { "resourceSubscriptions": [uri] },
                "steps": [call(&format!("{label} made"), json!({}))],
                "until": [{ "change": "resources/updated", "uri": uri }],
            })
        }
        Feature::Task | Feature::AskingTask => {
            let mut step = call(&label, json!({}));
            if knows_tasks(cell) {
                step["do"] = json!("task");
            }
            step
        }
        feature => {
            let mut step = call(&label, json!({}));
            step["elicitation"] = json!(feature.answer());
            // rmcp's server is the only one that tells so on the stream of the session, which
            // names nobody.
            step["completes"] = json!(feature == Feature::UrlAccept && !is_modern(cell.client));
            step
        }
    };
    vec![step]
}

/// What the fixture must have been told by the client.
fn expected_answers(feature: Feature) -> Value {
    let person = json!({ "name": "name", "size": "large", "age": 36, "news": true });
    let person = json!({ "action": "accept", "content": person });
    let filled = |name: &str| json!({ "action": "accept", "content": { name: name } });
    match feature {
        Feature::FormAccept | Feature::Prompt | Feature::Resource | Feature::AskingTask => {
            json!({ "person": person })
        }
        Feature::FormDecline | Feature::FormCancel => {
            json!({ "person": { "action": feature.answer() } })
        }
        Feature::UrlAccept | Feature::UrlDecline | Feature::UrlCancel => {
            json!({ "consent": { "action": feature.answer() } })
        }
        Feature::Sampling => json!({ "words": "you said hello" }),
        Feature::SamplingWithTools => json!({
            "weather": { "uses": "weather", "input": { "city": "Oslo" } },
            "summary": "you said sunny",
        }),
        Feature::Roots => json!({ "folders": ["file:///project"] }),
        Feature::Two => json!({ "person": person, "words": "you said hello" }),
        Feature::Three => json!({
            "first": filled("first"),
            "second": filled("second"),
            "third": filled("third"),
        }),
        other => panic!("{other:?} asks nothing"),
    }
}

pub(crate) fn check(cell: &Cell, seen: &Seen) -> Result<(), String> {
    let label = cell.label();
    let told = seen.get(&label).ok_or("the client never came to it")?;
    let holds = |what: bool| if what { Ok(()) } else { Err(told.to_string()) };
    if cell.feature == Feature::UrlError && !is_modern(cell.client) {
        let page = &told["error"]["data"]["elicitations"][0];
        holds(told["error"]["code"] == -32042 && is_known_by_id(page))?;
        let again = &seen[&format!("{label} again")];
        return holds(again["result"]["content"][0]["text"] == "done");
    }
    holds(told["error"].is_null())?;
    let text = || {
        let result = &told["result"];
        let text = match cell.feature {
            Feature::Prompt => &result["messages"][0]["content"]["text"],
            Feature::Resource => &result["contents"][0]["text"],
            _ => &result["content"][0]["text"],
        };
        text.as_str().unwrap_or_default()
    };
    match cell.feature {
        Feature::Plain => holds(text() == "Grüße"),
        Feature::Progress => {
            let reports = told["progress"].as_array();
            let done = reports.into_iter().flatten();
            let done: Vec<_> = done
                .map(|report| (report["progress"].as_f64(), report["total"].as_f64()))
                .collect();
            holds(done == [1.0, 2.0, 3.0].map(|step| (Some(step), Some(3.0))))
        }
        Feature::Logs => {
            let logs = told["logs"].as_array();
            let mut words: Vec<_> = logs.into_iter().flatten().map(|log| &log["data"]).collect();
            // rmcp's client hands them over in tasks of their own.
            words.sort_by_key(|word| word.to_string());
            holds(words == ["one", "two"])
        }
        Feature::UrlError => holds(text() == "done" && told["questions"][0]["mode"] == "url"),
        Feature::Cancellation => holds(told["cancelled"] == true),
        Feature::Task => {
            holds(text() == "done" && told["statuses"].is_array() == knows_tasks(cell))
        }
        Feature::ListChanges | Feature::ResourceUpdates => {
            let made = &seen[&format!("{label} made")];
            holds(made["error"].is_null() && told["changes"][0].is_object())
        }
        feature => {
            let answers: Value = serde_json::from_str(text()).unwrap_or_default();
            holds(answers == expected_answers(feature))?;
            questions_were_asked(cell, told)
        }
    }
}

/// Whether the client was asked what the fixture asks, and nothing else.
fn questions_were_asked(cell: &Cell, told: &Value) -> Result<(), String> {
    let rounds = FIXTURE["asks"][subject(cell.feature)].as_array();
    let keys = rounds.into_iter().flatten().filter_map(Value::as_array);
    let keys: Vec<&str> = keys.flatten().filter_map(Value::as_str).collect();
    let asked = told["questions"].as_array().ok_or("no questions")?;
    if asked.len() != keys.len() {
        return Err(format!("asked {asked:?}"));
    }
    for key in keys {
        let question = &FIXTURE["questions"][key];
        let heard = |asked: &&Value| {
            let params = question["params"].as_object().into_iter().flatten();
            asked["method"] == question["method"]
                && params
                    .filter(|(name, _)| ["message", "messages", "url"].contains(&name.as_str()))
                    .all(|(name, value)| same(&asked[name], value))
        };
        let Some(asked) = asked.iter().find(heard) else {
            return Err(format!("{key} is not among {asked:?}"));
        };
        let fields = &question["params"]["requestedSchema"]["properties"];
        if asked["requestedSchema"]["properties"] != *fields {
            return Err(format!("another form: {asked}"));
        }
        // Only clients of the legacy era know pages by ids.
        let page = asked["mode"] == "url" && !is_modern(cell.client);
        if is_known_by_id(asked) != page {
            return Err(format!("another id: {asked}"));
        }
    }
    Ok(())
}

/// Whether a page to open has an id. rmcp's server writes an empty one where there is none.
pub(crate) fn is_known_by_id(question: &Value) -> bool {
    question["elicitationId"]
        .as_str()
        .is_some_and(|id| !id.is_empty())
}

/// Whether two messages say the same; one block may stand alone or in a list.
fn same(a: &Value, b: &Value) -> bool {
    fn plain(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let alone = name == "content" && value.is_object();
                    let value = if alone { json!([value]) } else { value.clone() };
                    (name.clone(), plain(&value))
                })
                .collect(),
            other => other.clone(),
        }
    }
    plain(a) == plain(b)
}
