//! Chains, checked against what the servers have.

use super::*;
use crate::chains::check::problems;
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
    problems(&config, &snapshot())
}

#[test]
fn names_that_do_not_exist_are_reported_but_for_those_not_learned_yet() {
    let fallbacks = json!([
        { "tool": "search__web", "try": ["brave__wb", "later__anything"] },
        { "tool": "nobody__*", "try": ["later__anything"] },
    ]);
    assert_eq!(
        said(fallbacks, json!([])),
        [
            "fallbacks[0]: no backend has a tool `brave__wb`; did you mean `brave__web`?",
            "fallbacks[1]: no tool fits `nobody__*`",
        ]
    );
}

#[test]
fn arguments_that_are_missing_or_not_taken_are_reported() {
    let fallback = |map: Value| json!([{ "tool": "search__*", "try": ["brave__web"], "map": { "brave__web": map } }]);
    assert_eq!(
        said(fallback(json!({})), json!([])),
        [
            "fallbacks[0]: `brave__web` requires `q`, which neither `search__web` nor `map` gives",
            "fallbacks[0]: `brave__web` does not take `n`, which `search__web` or `map` gives",
            "fallbacks[0]: `brave__web` does not take `query`, which `search__web` or `map` gives",
        ]
    );
    let fitting = json!({ "query": "q", "n": "lang" });
    assert_eq!(said(fallback(fitting), json!([])), Vec::<String>::new());
    let constant = json!({ "q": { "const": "x" }, "query": "lang", "n": "limit" });
    assert_eq!(
        said(fallback(constant), json!([])),
        ["fallbacks[0]: `brave__web` does not take `limit`, which `search__web` or `map` gives"]
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
