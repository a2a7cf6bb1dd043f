use serde_json::json;

use super::*;

fn said(profiles: Value) -> Vec<String> {
    let profiles = serde_json::from_value(profiles).expect("of the type");
    let problems = problems(&profiles, &NamesConfig::default());
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_whole_profile_is_valid() {
    let all = said(json!({ "coding": {
        "tools": ["files__*", "gh__*"],
        "exclude": ["*delete*"],
        "prompts": ["gh__*"],
        "resources": ["file:///*"],
        "tool_limit": 40,
        "instructions": "Read first.",
        "rename": { "gh__search_code": "search_code", "files__a": "files__b", "files__b": "files__a" },
        "describe": { "gh__search_code": "Search code" },
        "arguments": { "gh__search_code": { "fixed": { "org": "acme" }, "default": { "n": 20 } } },
    } }));
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn each_mistake_is_said_with_its_key() {
    for (profile, expected) in [
        (json!({ "tools": [""] }), "profiles.p.tools[0]: is empty"),
        (json!({ "tool_limit": 0 }), "profiles.p.tool_limit: is 0"),
        (
            json!({ "tools": ["a__x"], "describe": { "a__y": "z" } }),
            "profiles.p.describe.a__y: names `a__y`, which `tools` and `exclude` leave out of the \
             profile; expected a tool in it; did you mean `a__x`?",
        ),
        (
            json!({ "rename": { "a__x": "with space" } }),
            "profiles.p.rename.a__x: gives the name `with space`; expected 1 to 46",
        ),
        (
            json!({ "rename": { "a__x": "x", "b__x": "x" } }),
            "profiles.p.rename.b__x: gives the name `x`, which `a__x` gets too",
        ),
        (
            json!({ "tools": ["a__x", "b__x"], "rename": { "a__x": "b__x" } }),
            "profiles.p.rename.a__x: gives the name `b__x`, which is that of another tool",
        ),
        (
            json!({ "arguments": { "a__x": { "fixed": { "n": 1 }, "default": { "n": 2 } } } }),
            "profiles.p.arguments.a__x.default.n: `n` is in `fixed` too",
        ),
        (
            json!({ "instructions": "x".repeat(MAX_TEXT + 1) }),
            "profiles.p.instructions: has 16385 bytes",
        ),
    ] {
        let said = said(json!({ "p": profile }));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(expected), "{said:?}");
    }
    let names = said(json!({ "a/b": {} }));
    assert!(
        names[0].starts_with("profiles.a/b: is not the name of a profile"),
        "{names:?}"
    );
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("p{n}"), json!({}))).collect();
    assert_eq!(
        said(many.into()),
        ["profiles: has 65 profiles; expected at most 64"]
    );
}
