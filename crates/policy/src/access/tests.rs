use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Admission, Policy, Target, TargetKind};
use switchboard_protocol::trail::{Decision, Step, Trail};
use switchboard_protocol::version::Version;

use super::AccessConfig;
use crate::gatekeeper::Gatekeeper;

mod explained;
mod properties;

pub(super) fn config(section: Value) -> AccessConfig {
    serde_json::from_value(section).unwrap()
}

pub(super) fn gatekeeper(section: Value) -> Gatekeeper {
    let config = config(section);
    assert_eq!(config.problems(), []);
    Gatekeeper::new().with_access(Some(&config))
}

pub(super) fn user(id: &str, groups: &[&str]) -> Arc<Principal> {
    Arc::new(Principal {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..Principal::new(id)
    })
}

pub(super) fn tool<'t>(backend: &'t str, name: &'t str) -> Target<'t> {
    Target {
        kind: TargetKind::Tool,
        backend,
        name,
    }
}

pub(super) fn call(principal: &Arc<Principal>, arguments: &str) -> Call {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
    );
    let request = Envelope::parse(Bytes::from(text)).unwrap();
    Call::new(
        request,
        Method::ToolsCall,
        Arc::clone(principal),
        Version::LATEST,
    )
}

pub(super) fn verdict(policy: &Gatekeeper, call: &Call, target: &Target<'_>) -> Result<(), Fault> {
    match policy.admit(call, target, false) {
        Admission::Decided(verdict) => verdict.map(drop).map_err(|fault| *fault),
        Admission::Pending(_) => panic!("nobody has to be asked"),
    }
}

fn steps(trail: &Trail) -> Vec<(String, Decision)> {
    let steps = trail.steps().steps.into_iter().map(|step| match step {
        Step::Decision {
            policy: "access",
            rule,
            decision,
        } => (rule.to_string(), decision),
        other => panic!("{other:?}"),
    });
    steps.collect()
}

#[test]
fn without_the_section_everybody_sees_everything() {
    let policy = Gatekeeper::new();
    let anyone = user("key:a", &[]);
    assert!(policy.shows(&anyone, None, &tool("b", "b__x")));
    assert_eq!(policy.audience(&anyone, None), None);
    assert!(verdict(&policy, &call(&anyone, "{}"), &tool("b", "b__x")).is_ok());
}

#[test]
fn every_matcher_of_a_rule_has_to_fit() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "users", "effect": "allow", "users": ["key:ci", "https://issuer.example|*"], "tools": ["a"]},
        {"name": "groups", "effect": "allow", "groups": ["eng", "ops-*"], "tools": ["b"]},
        {"name": "claims", "effect": "allow", "claims": {"department": ["eng", "ops"], "level": [3]}, "tools": ["c"]},
        {"name": "clients", "effect": "allow", "clients": ["cli-*"], "tools": ["d"]},
        {"name": "profiles", "effect": "allow", "profiles": ["coding"], "tools": ["e"]},
        {"name": "backends", "effect": "allow", "backends": ["files*"], "tools": ["f"]},
        {"name": "both", "effect": "allow", "users": ["key:ci"], "groups": ["eng"], "tools": ["g"]},
    ]}));
    let ci = user("key:ci", &[]);
    let ops = user("key:x", &["other", "ops-1"]);
    let eng = user("key:ci", &["eng"]);
    let token = |claims: Value, client: Option<&str>| {
        Arc::new(Principal {
            claims: claims.as_object().cloned().map(Arc::new),
            client: client.map(str::to_owned),
            ..Principal::new("https://issuer.example|42")
        })
    };
    let sees = |who: &Principal, profile: Option<&str>, backend: &str, name: &str| {
        policy.shows(who, profile, &tool(backend, name))
    };
    assert!(sees(&ci, None, "b", "a") && !sees(&ops, None, "b", "a"));
    assert!(sees(&ops, None, "b", "b") && !sees(&ci, None, "b", "b"));
    assert!(sees(&token(json!({}), None), None, "b", "a"));
    for (claims, fits) in [
        (json!({"department": "eng", "level": 3}), true),
        (json!({"department": ["x", "ops"], "level": 3}), true),
        (json!({"department": "eng"}), false),
        (json!({"department": "Eng", "level": 3}), false),
        (json!({"department": "eng", "level": "3"}), false),
    ] {
        assert_eq!(
            sees(&token(claims.clone(), None), None, "b", "c"),
            fits,
            "{claims}"
        );
    }
    assert!(!sees(&ci, None, "b", "c"));
    assert!(sees(&token(json!({}), Some("cli-1")), None, "b", "d"));
    assert!(!sees(&token(json!({}), Some("web")), None, "b", "d") && !sees(&ci, None, "b", "d"));
    assert!(sees(&ci, Some("coding"), "b", "e"));
    assert!(!sees(&ci, Some("other"), "b", "e") && !sees(&ci, None, "b", "e"));
    assert!(sees(&ci, None, "files-1", "f") && !sees(&ci, None, "b", "f"));
    assert!(sees(&eng, None, "b", "g") && !sees(&ci, None, "b", "g"));
}

#[test]
fn a_rule_is_about_the_kinds_it_names_or_about_everything() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "all of a", "effect": "allow", "backends": ["a"]},
        {"name": "tools of b", "effect": "allow", "backends": ["b"], "tools": ["*"]},
        {"name": "some of c", "effect": "allow", "backends": ["c"], "prompts": ["p*"], "resources": ["file:///srv/*"]},
        {"name": "nothing of d", "effect": "deny", "backends": ["d"]},
    ]}));
    let anyone = user("key:a", &[]);
    let sees = |backend, kind, name| {
        policy.shows(
            &anyone,
            None,
            &Target {
                kind,
                backend,
                name,
            },
        )
    };
    use TargetKind::{Prompt, Resource, Tool};
    for kind in [Tool, Prompt, Resource] {
        assert!(sees("a", kind, "x:y"));
        assert_eq!(sees("b", kind, "x:y"), kind == Tool);
        assert!(!sees("d", kind, "x:y"));
    }
    assert!(sees("c", Prompt, "pp") && !sees("c", Prompt, "q") && !sees("c", Tool, "pp"));
    assert!(sees("c", Resource, "file:///srv/a"));
    for hidden in [
        "file:///srv",
        "file:///srv-evil/a",
        "file:///srv/../etc/passwd",
        "file:///srv/%2e%2e/x",
    ] {
        assert!(!sees("c", Resource, hidden), "{hidden}");
    }
    let backend = |name| policy.shows_backend(&anyone, None, name);
    assert!(backend("a") && backend("b") && backend("c") && !backend("d") && !backend("e"));
}

#[test]
fn what_is_denied_is_denied_however_it_is_spelled() {
    let policy = gatekeeper(json!({"default": "allow", "rules": [
        {"name": "etc", "effect": "deny", "resources": ["file:///etc/*"]},
    ]}));
    let anyone = user("key:a", &[]);
    let sees = |name| {
        policy.shows(
            &anyone,
            None,
            &Target {
                kind: TargetKind::Resource,
                backend: "f",
                name,
            },
        )
    };
    assert!(sees("file:///srv/a"));
    for denied in [
        "file:///etc/passwd",
        "file:///srv/../etc/passwd",
        "file:////etc/passwd",
        "file:///%65tc/passwd",
        "FILE:///etc/passwd",
    ] {
        assert!(!sees(denied), "{denied}");
    }
}

#[test]
fn arguments_decide_where_a_rule_looks_at_them() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "srv", "effect": "allow", "tools": ["read"], "when": "args.path.startsWith('/srv/')"},
        {"name": "no secrets", "effect": "deny", "tools": ["read"], "when": "args.path.contains('secret')"},
        {"name": "list", "effect": "allow", "tools": ["list"]},
    ]}));
    let anyone = user("key:a", &[]);
    let read = tool("f", "read");
    assert!(policy.shows(&anyone, None, &read) && policy.shows_backend(&anyone, None, "f"));
    let says = |arguments: &str, target: &Target<'_>| {
        verdict(&policy, &call(&anyone, arguments), target)
            .map_err(|fault| (fault.code, fault.reason))
    };
    assert_eq!(says(r#"{"path":"/srv/a"}"#, &read), Ok(()));
    for denied in [
        r#"{"path":"/etc/a"}"#,
        r#"{"path":"/srv/secret"}"#,
        "{}",
        r#"{"path":1}"#,
    ] {
        assert_eq!(says(denied, &read), Err((403, Reason::Denied)), "{denied}");
    }
    let doubled = r#"{"path":"/srv/a","path":"/etc/a"}"#;
    for refused in [
        doubled,
        r#"{"path":"\ud800"}"#,
        r#"{"path":"/srv/a","n":[1e400]}"#,
    ] {
        assert_eq!(
            says(refused, &read),
            Err((422, Reason::ArgumentsRefused)),
            "{refused}"
        );
    }
    // Where no rule looks at them they are nobody's business.
    assert_eq!(says(doubled, &tool("f", "list")), Ok(()));
    let fault = verdict(&policy, &call(&anyone, r#"{"path":"/etc/a"}"#), &read).unwrap_err();
    assert!(!fault.message.contains("srv") && fault.detail.unwrap().contains("default"));
}

#[test]
fn a_completion_needs_no_arguments() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "p", "effect": "allow", "prompts": ["p"], "when": "args.a == 'x'"},
    ]}));
    let anyone = user("key:a", &[]);
    let target = Target {
        kind: TargetKind::Prompt,
        backend: "f",
        name: "p",
    };
    let mut call = call(&anyone, "{}");
    call.method = Method::Complete;
    assert!(verdict(&policy, &call, &target).is_ok());
    call.method = Method::PromptsGet;
    assert!(verdict(&policy, &call, &target).is_err());
}

#[test]
fn a_condition_that_fails_denies() {
    for (effect, when) in [
        ("allow", "claims.department == 'eng'"),
        ("deny", "claims.department == 'eng'"),
        ("allow", "'text'"),
        ("deny", "1"),
    ] {
        let default = if effect == "allow" { "deny" } else { "allow" };
        let policy = gatekeeper(json!({"default": default, "rules": [
            {"name": "r", "effect": effect, "when": when},
        ]}));
        let target = tool("b", "t");
        let anyone = user("key:a", &[]);
        assert!(!policy.shows(&anyone, None, &target), "{effect} {when}");
        assert!(
            verdict(&policy, &call(&anyone, "{}"), &target).is_err(),
            "{effect} {when}"
        );
    }
    // One that is not valid would be found at load; if it were not, it denies.
    for (effect, default) in [("allow", "deny"), ("deny", "allow")] {
        let config = config(json!({"default": default, "rules": [
            {"name": "r", "effect": effect, "when": "args.("},
        ]}));
        let policy = Gatekeeper::new().with_access(Some(&config));
        assert!(!policy.shows(&user("key:a", &[]), None, &tool("b", "t")));
    }
}

#[test]
fn decisions_are_noted_and_shadow_denies_nothing() {
    let rules = json!([
        {"name": "all", "effect": "allow", "users": ["key:a"]},
        {"name": "no b", "effect": "deny", "tools": ["b"]},
        {"name": "soon", "effect": "deny", "mode": "shadow", "tools": ["c"]},
        {"name": "soon too", "effect": "deny", "mode": "shadow", "tools": ["d"], "when": "args.x == 1"},
    ]);
    let noted = |mode: &str, name: &str, arguments: &str| {
        let policy = gatekeeper(json!({"mode": mode, "rules": rules}));
        let mut call = call(&user("key:a", &[]), arguments);
        let trail = Arc::new(Trail::default());
        call.trail = Some(Arc::clone(&trail));
        let allowed = verdict(&policy, &call, &tool("f", name)).is_ok();
        (allowed, steps(&trail))
    };
    let one = |rule: &str, decision| vec![(rule.to_owned(), decision)];
    assert_eq!(
        noted("enforce", "a", "{}"),
        (true, one("all", Decision::Allowed))
    );
    assert_eq!(
        noted("enforce", "b", "{}"),
        (false, one("no b", Decision::Denied))
    );
    assert_eq!(
        noted("shadow", "b", "{}"),
        (true, one("no b", Decision::WouldDeny))
    );
    assert_eq!(
        noted("enforce", "c", "{}"),
        (true, one("soon", Decision::WouldDeny))
    );
    assert_eq!(
        noted("enforce", "d", r#"{"x":1}"#),
        (true, one("soon too", Decision::WouldDeny))
    );
    assert_eq!(
        noted("enforce", "d", r#"{"x":2}"#),
        (true, one("all", Decision::Allowed))
    );
    let shadow = gatekeeper(json!({"mode": "shadow", "rules": rules}));
    assert!(shadow.shows(&user("key:z", &[]), None, &tool("f", "b")));
    assert_eq!(shadow.audience(&user("key:z", &[]), None), None);
}

#[test]
fn those_that_see_the_same_are_one_audience() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "eng", "effect": "allow", "groups": ["eng"], "tools": ["a*"]},
        {"name": "own", "effect": "allow", "groups": ["own"], "when": "name.startsWith(principal.id)"},
        {"name": "args", "effect": "allow", "groups": ["args"], "when": "args.user == principal.id"},
        {"name": "static", "effect": "allow", "groups": ["own", "args"], "when": "principal.id == 'x'"},
        {"name": "told", "effect": "deny", "mode": "shadow", "users": ["e"]},
    ]}));
    let audience = |id: &str, groups: &[&str]| policy.audience(&user(id, groups), None).unwrap();
    assert_eq!(audience("e", &["eng"]), audience("f", &["eng", "more"]));
    assert_ne!(audience("e", &["eng"]), audience("e", &[]));
    assert_ne!(audience("e", &["own"]), audience("f", &["own"]));
    assert_eq!(audience("e", &["args"]), audience("f", &["args"]));
    assert_ne!(audience("e", &["args"]), audience("x", &["args"]));
}

#[test]
fn what_is_remembered_of_a_target_is_what_is_decided() {
    let policy = gatekeeper(json!({"rules": [
        {"name": "own", "effect": "allow", "tools": ["own"], "when": "args.user == principal.id"},
        {"name": "named", "effect": "allow", "tools": ["t*"], "when": "name.endsWith(principal.id)"},
        {"name": "none", "effect": "deny", "tools": ["*secret*"]},
    ]}));
    // Twice: what was decided first is remembered for all that see the same.
    for _ in 0..2 {
        for id in ["a", "b"] {
            let who = user(id, &[]);
            let allowed = |name: &str, arguments: &str| {
                let (call, target) = (call(&who, arguments), tool("f", name));
                let is_allowed = verdict(&policy, &call, &target).is_ok();
                (policy.shows(&who, None, &target), is_allowed)
            };
            assert_eq!(
                allowed("own", &format!(r#"{{"user":"{id}"}}"#)),
                (true, true)
            );
            assert_eq!(allowed("own", r#"{"user":"c"}"#), (true, false));
            assert_eq!(allowed("t_a", "{}"), (id == "a", id == "a"));
            assert_eq!(allowed("t_b", "{}"), (id == "b", id == "b"));
            assert_eq!(allowed("t_secret_a", "{}"), (false, false));
        }
    }
}
