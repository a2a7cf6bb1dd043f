//! What a client does with `server-everything`, and what must come of it.

use serde_json::{Value, json};

use crate::features::Feature;
use crate::fixture::{is_known_by_id, knows_tasks};
use crate::{Cell, Seen, is_modern};

pub(crate) fn steps(cell: &Cell) -> Vec<Value> {
    let (tool, arguments) = match cell.feature {
        Feature::Plain => ("echo", json!({ "message": "hello" })),
        Feature::Progress => (
            "trigger-long-running-operation",
            json!({ "duration": 0.3, "steps": 3 }),
        ),
        Feature::FormAccept | Feature::FormDecline | Feature::FormCancel => {
            ("trigger-elicitation-request", json!({}))
        }
        Feature::UrlAccept | Feature::UrlDecline | Feature::UrlCancel => (
            "trigger-url-elicitation",
            json!({ "url": "https://example.com/consent" }),
        ),
        Feature::Sampling => (
            "trigger-sampling-request",
            json!({ "prompt": "hello", "maxTokens": 100 }),
        ),
        Feature::Roots => ("get-roots-list", json!({})),
        Feature::AskingTask => (
            "simulate-research-query",
            json!({ "topic": "python", "ambiguous": true }),
        ),
        other => panic!("{other:?} is not asked of this server"),
    };
    let awaited = if cell.feature == Feature::Progress {
        3
    } else {
        0
    };
    let as_task = cell.feature == Feature::AskingTask && knows_tasks(cell);
    vec![json!({
        "step": cell.label(), "do": if as_task { "task" } else { "call" },
        "name": format!("{}__{tool}", cell.backend.name()),
        "arguments": arguments,
        "awaits": { "progress": awaited },
        "elicitation": cell.feature.answer(),
    })]
}

pub(crate) fn check(cell: &Cell, seen: &Seen) -> Result<(), String> {
    let told = seen
        .get(&cell.label())
        .ok_or("the client never came to it")?;
    let holds = |what: bool| if what { Ok(()) } else { Err(told.to_string()) };
    holds(told["error"].is_null())?;
    let content = told["result"]["content"].to_string();
    holds(match cell.feature {
        Feature::Plain => content.contains("hello"),
        Feature::Progress => {
            // Some clients report their own answers as progress of the call.
            let reports = told["progress"].as_array().into_iter().flatten();
            reports.filter(|report| report["total"] == 3.0).count() == 3
        }
        Feature::FormAccept => content.contains("- Favorite Integer: 42"),
        Feature::UrlAccept => content.contains("accept"),
        Feature::FormDecline | Feature::UrlDecline => content.contains("declined"),
        Feature::FormCancel | Feature::UrlCancel => content.contains("cancelled"),
        Feature::Sampling => content.contains("you said Resource"),
        Feature::Roots => content.contains("file:///project"),
        Feature::AskingTask => content.contains("Research Report: python (interpretation)"),
        _ => false,
    })?;
    let pages = told["questions"].as_array();
    let mut pages = pages.into_iter().flatten().filter(|q| q["mode"] == "url");
    holds(pages.all(|page| is_known_by_id(page) != is_modern(cell.client)))
}
