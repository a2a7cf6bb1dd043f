//! Chains, checked against what the servers have.

use super::*;
use crate::chains::check::{hardly_followed, problems};
use crate::config::chains::ChainsConfig;

fn tool(name: &str, schema: &Value) -> Item {
    item_of(&json!({ "name": name, "inputSchema": schema }), "name")
}

fn snapshot() -> Snapshot {
    let closed = json!({
        "type": "object",
        "properties": { "q": {}, "lang": {} },
        "required": ["q"],
        "additionalProperties": false,
    });
    let open = json!({ "type": "object", "properties": { "query": {}, "n": {} } });
    build(&[
        backend("brave").with(|lists| lists.tools.push(tool("web", &closed))),
        backend("search").with(|lists| lists.tools.push(tool("web", &open))),
        backend("later").unlearned(State::Unavailable),
    ])
}

fn said(fallbacks: Value, equivalents: Value) -> Vec<String> {
    let config = ChainsConfig {
        fallbacks: serde_json::from_value(fallbacks).unwrap(),
        equivalents: serde_json::from_value(equivalents).unwrap(),
    };
    let problems = problems(&config, &snapshot());
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn names_that_do_not_exist_are_reported_but_for_those_not_learned_yet() {
    let fallbacks = json!([
        { "tool": "search__web", "try": ["brave__wb", "later__anything"] },
        { "tool": "nobody__*", "try": ["later__anything"] },
        { "tool": "later__*", "try": ["brave__web"] },
    ]);
    assert_eq!(
        said(fallbacks, json!([])),
        [
            "fallbacks[0].try[0]: no backend has a tool `brave__wb`; did you mean `brave__web`?",
            "fallbacks[1].tool: no tool fits `nobody__*`",
        ]
    );
}

#[test]
fn arguments_that_are_missing_or_not_taken_are_reported() {
    let fallback = |map: Value| json!([{ "tool": "search__*", "try": ["brave__web"], "map": { "brave__web": map } }]);
    assert_eq!(
        said(fallback(json!({})), json!([])),
        [
            "fallbacks[0].map.brave__web: `brave__web` requires `q`, which neither `search__web` nor `map` gives",
            "fallbacks[0].map.brave__web: `brave__web` does not take `n`, which `search__web` or `map` gives",
            "fallbacks[0].map.brave__web: `brave__web` does not take `query`, which `search__web` or `map` gives",
        ]
    );
    let fitting = json!({ "query": "q", "n": "lang" });
    assert_eq!(said(fallback(fitting), json!([])), Vec::<String>::new());
    let constant = json!({ "q": { "const": "x" }, "query": "lang", "n": "limit" });
    assert_eq!(
        said(fallback(constant), json!([])),
        [
            "fallbacks[0].map.brave__web: `brave__web` does not take `limit`, which `search__web` or `map` gives"
        ]
    );
}

#[test]
fn arguments_of_another_type_or_value_are_reported() {
    let from = json!({ "properties": {
        "query": { "type": ["string", "null"] }, "n": { "type": "integer" }, "free": {},
    } });
    let to = json!({ "properties": {
        "q": { "type": "string" }, "max": { "type": "string" }, "lang": { "enum": ["en", "de"] },
        "deep": { "type": "boolean" }, "free": { "type": "array" },
    } });
    let snapshot = build(&[
        backend("one").with(|lists| lists.tools.push(tool("web", &from))),
        backend("two").with(|lists| lists.tools.push(tool("web", &to))),
    ]);
    let said = |map: Value| {
        let fallbacks =
            json!([{ "tool": "one__web", "try": ["two__web"], "map": { "two__web": map } }]);
        let config = ChainsConfig {
            fallbacks: serde_json::from_value(fallbacks).unwrap(),
            ..ChainsConfig::default()
        };
        let problems = problems(&config, &snapshot);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let fitting = json!({ "query": "q", "lang": { "const": "en" }, "deep": { "const": true } });
    assert_eq!(said(fitting), Vec::<String>::new());
    let wrong = json!({
        "query": "q", "n": "max", "lang": { "const": "fr" }, "deep": { "const": "yes" },
    });
    assert_eq!(
        said(wrong),
        [
            "fallbacks[0].map.two__web: `two__web` takes boolean for `deep`, which `map` gives and is \"yes\"",
            "fallbacks[0].map.two__web: `two__web` takes \"en\" or \"de\" for `lang`, which `map` gives and is \"fr\"",
            "fallbacks[0].map.two__web: `two__web` takes string for `max`, which `one__web` gives as `n` and is integer",
        ]
    );
}

#[test]
fn equivalent_tools_are_checked_both_ways() {
    let group = json!([{
        "tools": ["search__web", "brave__web"],
        "map": { "brave__web": { "query": "q", "n": "lang" } },
    }]);
    assert_eq!(said(json!([]), group), Vec::<String>::new());
}

#[test]
fn a_fallback_of_a_tool_that_is_not_safe_is_told() {
    let config = ChainsConfig {
        fallbacks: serde_json::from_value(json!([
            { "tool": "search__*", "try": ["brave__web"] },
            { "tool": "search__web", "try": ["brave__web"] },
            { "tool": "brave__web", "try": ["search__web"], "only_safe": false },
        ]))
        .unwrap(),
        ..ChainsConfig::default()
    };
    let snapshot = snapshot();
    assert!(hardly_followed(&config, &snapshot, |_| true).is_empty());
    let told = hardly_followed(&config, &snapshot, |_| false);
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("fallbacks[0].tool: `search__web` is not known to be safe"),
        "{told:?}"
    );
}

#[test]
fn a_hidden_tool_stays_listed_while_another_answers_for_it() {
    let group = json!([{ "tools": ["search__web", "brave__web"] }]);
    let chains = Arc::new(ChainsConfig {
        equivalents: serde_json::from_value(group).unwrap(),
        ..ChainsConfig::default()
    });
    let open = json!({ "type": "object" });
    let listed = |brave: State, chains: &Arc<ChainsConfig>| {
        let mut search = backend("search").with(|lists| {
            lists.tools.push(tool("web", &open));
            lists.tools.push(tool("alone", &open));
        });
        search.hidden = true;
        let mut other = backend("brave").with(|lists| lists.tools.push(tool("web", &open)));
        other.status = status(brave);
        let shared = SnapshotSettings {
            chains: Arc::clone(chains),
            ..SnapshotSettings::new("1")
        };
        let snapshot = Snapshot::build(&NamesConfig::default(), &[search, other], &shared);
        let page = snapshot.page(List::Tools, None).unwrap();
        let page: Value = serde_json::from_slice(page).unwrap();
        let tools = page["tools"].as_array().unwrap().clone();
        let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(State::Ready, &chains), ["brave__web", "search__web"]);
    assert_eq!(listed(State::Unavailable, &chains), ["brave__web"]);
    assert_eq!(listed(State::Ready, &Arc::default()), ["brave__web"]);
}
