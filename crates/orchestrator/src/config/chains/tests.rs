use super::*;
use serde_json::json;

fn said(fallbacks: serde_json::Value, equivalents: serde_json::Value) -> Vec<String> {
    let fallbacks: Vec<FallbackConfig> = serde_json::from_value(fallbacks).expect("of its form");
    let equivalents: Vec<EquivalentsConfig> =
        serde_json::from_value(equivalents).expect("of its form");
    let problems = problems(&fallbacks, &equivalents).into_iter();
    problems
        .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
        .collect()
}

#[test]
fn what_is_not_said_has_a_default() {
    let fallback: FallbackConfig =
        serde_json::from_value(json!({ "tool": "a__*", "try": ["b__c"] })).expect("of its form");
    assert_eq!(
        fallback.when,
        [When::Unavailable, When::Timeout, When::Limit]
    );
    assert!(fallback.only_safe);
    let group: EquivalentsConfig =
        serde_json::from_value(json!({ "tools": ["a", "b"] })).expect("of its form");
    assert_eq!(group.prefer, Prefer::Listed);
    assert!(group.only_safe);
}

#[test]
fn every_mistake_says_where_it_is_and_what_is_expected() {
    let fallbacks = json!([
        { "tool": "a", "try": [] },
        { "tool": "a", "try": ["a", "b", "b"], "when": [] },
        { "tool": "a", "try": ["brave"], "map": { "brav": { "q": "query" } } },
        { "tool": "a", "try": ["b"], "map": { "b": { "q": "x", "x": { "const": 1 } } } },
    ]);
    let equivalents = json!([
        { "tools": ["a"] },
        { "tools": ["a", "b"], "prefer": "cheapest", "costs": { "a": 1, "c": 2 } },
        { "tools": ["d", "e"], "map": { "d": { "q": "x" } } },
    ]);
    assert_eq!(
        said(fallbacks, equivalents),
        [
            "fallbacks.[0].try: has 0 tools; expected 1 to 16",
            "fallbacks.[1].try: has `b` twice; expected it once",
            "fallbacks.[1].try.[0]: is the tool itself; expected another",
            "fallbacks.[1].when: is empty, so nothing would ever be tried; expected at least one failure",
            "fallbacks.[2].map.brav: is not in `try`, which has `brave`; did you mean `brave`?",
            "fallbacks.[3].map.b: gives the tool two arguments called `x`; expected one",
            "equivalents.[0].tools: has 1 tools; expected 2 to 16",
            "equivalents.[1].tools.[0]: is `a`, which is in equivalents[0] too; expected each tool in one group",
            "equivalents.[1].costs.c: names `c`, which is none of `tools`",
            "equivalents.[1].costs: has no cost of `b`; expected one for each of `tools`",
            "equivalents.[2].map.d: is none of `tools` after the first: `e`; did you mean `e`?",
        ]
    );
    assert_eq!(said(json!([]), json!([])), Vec::<String>::new());
}

#[test]
fn a_rule_is_a_name_or_a_constant_of_any_kind() {
    for (rule, expected) in [
        (json!("q"), Some(ArgumentRule::Rename("q".to_owned()))),
        (
            json!({ "const": null }),
            Some(ArgumentRule::Constant(Constant { value: json!(null) })),
        ),
        (
            json!({ "const": { "a": [1] } }),
            Some(ArgumentRule::Constant(Constant {
                value: json!({ "a": [1] }),
            })),
        ),
        (json!({ "constant": 1 }), None),
        (json!(1), None),
    ] {
        let read: Result<ArgumentRule, _> = serde_json::from_value(rule.clone());
        assert_eq!(read.ok(), expected, "{rule}");
    }
}
