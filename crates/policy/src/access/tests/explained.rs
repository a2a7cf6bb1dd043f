//! What is explained to operators: why something is decided, and what is wrong with rules.

use serde_json::json;

use super::{config, gatekeeper, tool, user};
use crate::access::{AccessConfig, Said};

#[test]
fn an_explanation_names_the_rule_that_decides_and_why_others_do_not() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "srv", "effect": "allow", "tools": ["read"], "when": "args.path.startsWith('/srv/')"},
        {"name": "ops", "effect": "allow", "groups": ["ops"]},
        {"name": "no", "effect": "deny", "tools": ["no*"]},
    ]}));
    let access = policy.access().unwrap();
    let anyone = user("key:a", &[]);
    let told = |name: &str, arguments: Option<&str>| {
        access.explain(
            &anyone,
            None,
            &tool("f", name),
            arguments.map(str::as_bytes),
        )
    };
    let explanation = told("read", None);
    assert_eq!(
        (explanation.said, explanation.rules[0].fits),
        (Said::DependsOnArguments, None)
    );
    assert_eq!(explanation.rules[1].why, "`groups` does not fit");
    let explanation = told("read", Some(r#"{"path":"/srv/x"}"#));
    assert_eq!((explanation.said, &*explanation.by), (Said::Allowed, "srv"));
    let explanation = told("read", Some("{}"));
    assert_eq!(
        (explanation.said, &*explanation.by),
        (Said::Denied, "default")
    );
    assert!(
        explanation.rules[0].why.contains("No such key"),
        "{}",
        explanation.rules[0].why
    );
    let explanation = told("now", None);
    assert_eq!((explanation.said, &*explanation.by), (Said::Denied, "no"));
    let explanation = told("read", Some(r#"{"path":1,"path":2}"#));
    assert!(!explanation.is_allowed() && explanation.refused.unwrap().contains("more than once"));
    assert!(!told("read", Some("no json")).is_allowed());
}

#[test]
fn mistakes_are_told_by_key() {
    let problems = config(json!({"rules": [
        {"name": "a", "effect": "allow", "users": []},
        {"name": "a", "effect": "deny", "tools": ["!x"], "claims": {"c": []}},
        {"name": "c", "effect": "allow", "mode": "shadow", "profiles": ["*"], "when": "args.x =="},
        {"name": " ", "effect": "deny", "claims": {}, "backends": ["a b "]},
        {"name": "d", "effect": "deny", "claims": {"c": [[1]]}},
    ]}))
    .problems();
    let told: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
        .collect();
    for (at, (path, words)) in [
        (
            "rules.[0].users",
            "matches nobody and nothing; leave it out",
        ),
        ("rules.[1].tools.[0]", "is a negation"),
        ("rules.[1].claims.c", "leave it out"),
        ("rules.[1].name", "is the name of rules[0] too"),
        ("rules.[2].mode", "is for a rule that denies"),
        ("rules.[2].profiles.[0]", "is a pattern"),
        (
            "rules.[2].when",
            "of the rule `c` is wrong at line 1, column 10",
        ),
        ("rules.[3].name", "is empty"),
        ("rules.[3].backends.[0]", "begins or ends with a space"),
        ("rules.[3].claims", "leave it out"),
        ("rules.[4].claims.c", "is no text, number"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            told[at].starts_with(path) && told[at].contains(words),
            "{at}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 11, "{told:#?}");
    for wrong in [
        json!({"rules": [{"name": "a", "effect": "allow", "user": ["x"]}]}),
        json!({"rules": [{"name": "a"}]}),
        json!({"rule": []}),
    ] {
        assert!(serde_json::from_value::<AccessConfig>(wrong).is_err());
    }
}
