use serde_json::json;

use super::*;

fn profile(config: serde_json::Value) -> Profile {
    Profile::new("p", &serde_json::from_value(config).expect("valid"))
}

#[test]
fn a_backend_is_in_a_profile_if_some_name_of_its_tools_can_be() {
    for (config, claim, expected) in [
        (json!({}), "files__", true),
        (json!({ "tools": ["files__*"] }), "files__", true),
        (json!({ "tools": ["files__read"] }), "files__", true),
        (json!({ "tools": ["fi*"] }), "files__", true),
        (json!({ "tools": ["*delete*"] }), "files__", true),
        (json!({ "tools": ["gh__*"] }), "files__", false),
        (json!({ "tools": ["file"] }), "files__", false),
        (json!({ "tools": [] }), "files__", false),
        (json!({ "exclude": ["files__*"] }), "files__", false),
        (json!({ "exclude": ["*"] }), "files__", false),
        (
            json!({ "exclude": ["files__r*", "*read"] }),
            "files__",
            true,
        ),
    ] {
        let profile = profile(config.clone());
        assert_eq!(profile.may_have_tools_of(claim), expected, "{config}");
    }
}

#[test]
fn what_is_not_named_comes_with_the_tools_of_its_backend() {
    let has = |config: serde_json::Value, has_tools| {
        let profile = profile(config);
        let kinds = [TargetKind::Prompt, TargetKind::Resource];
        kinds.map(|kind| profile.has(kind, &["a:b"], has_tools))
    };
    assert_eq!(has(json!({}), true), [true, true]);
    assert_eq!(has(json!({}), false), [false, false]);
    assert_eq!(has(json!({ "prompts": ["a*"] }), false), [true, false]);
    assert_eq!(has(json!({ "resources": ["a:*"] }), false), [false, true]);
    assert_eq!(
        has(json!({ "prompts": [], "resources": [] }), true),
        [false, false]
    );
    assert_eq!(has(json!({ "exclude": ["*b"] }), true), [false, false]);
}

#[test]
fn a_name_that_a_tool_is_given_is_no_other_tools() {
    let profile = profile(json!({ "rename": { "a__x": "b__x", "c__x": "d__x", "d__x": "c__x" } }));
    let has = |name| profile.has(TargetKind::Tool, &[name], true);
    assert!(has("a__x"));
    assert!(!has("b__x"));
    assert!(has("c__x") && has("d__x"));
    assert_eq!(profile.base("b__x"), Some("a__x"));
    assert_eq!(profile.base("a__x"), None);
    assert_eq!(profile.base("c__x"), Some("d__x"));
    assert_eq!(profile.base("e__x"), Some("e__x"));
}
