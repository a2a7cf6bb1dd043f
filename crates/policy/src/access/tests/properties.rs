//! For any rules and any principal: what is seen can be called, a denial wins, and order is nothing.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Policy, Target, TargetKind};

use super::{call, gatekeeper, verdict};
use crate::access::Said;

const NAMES: [&str; 5] = ["a", "ab", "b", "ba", "abc"];
const ARGUMENTS: [&str; 4] = ["{}", r#"{"x":1}"#, r#"{"x":2}"#, r#"{"x":1,"x":2}"#];

fn some_of(choices: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<String>>> {
    let list = proptest::sample::subsequence(choices.to_vec(), 1..=choices.len().min(2));
    proptest::option::weighted(
        0.4,
        list.prop_map(|l| l.into_iter().map(str::to_owned).collect()),
    )
}

fn rule(with_arguments: bool) -> impl Strategy<Value = Value> {
    let plain = [
        "principal.id == 'u'",
        "name.startsWith('a')",
        "backend == 'x' && name.endsWith(principal.id)",
        "claims.c == 'k'",
        "claims.c == name",
        "profile == 'p'",
        "profile == name",
        "'g' in principal.groups",
        "'no boolean'",
        "true",
    ];
    let on_arguments = [
        "args.x == 1",
        "args.x == 2 && principal.id == 'u'",
        "has(args.x)",
    ];
    let mut conditions = plain.to_vec();
    if with_arguments {
        conditions.extend(on_arguments);
    }
    let when = proptest::option::weighted(0.4, proptest::sample::select(conditions));
    let who = (
        some_of(&["u", "v", "u*"]),
        some_of(&["g", "h"]),
        some_of(&["p", "q"]),
    );
    let what = (
        some_of(&["x", "y", "*"]),
        some_of(&["a", "a*", "*b", "*a*"]),
        some_of(&["a", "*"]),
        some_of(&["b*", "ab"]),
    );
    let claims = proptest::option::weighted(0.2, Just(json!({"c": ["k", "a"]})));
    let kind = (any::<bool>(), proptest::bool::weighted(0.15), when, claims);
    (kind, who, what).prop_map(|((allow, shadow, when, claims), who, what)| {
        let mut rule = json!({
            "effect": if allow { "allow" } else { "deny" },
            "mode": if shadow && !allow { "shadow" } else { "enforce" },
        });
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                rule[key] = value;
            }
        };
        set("users", who.0.map(Value::from));
        set("groups", who.1.map(Value::from));
        set("profiles", who.2.map(Value::from));
        set("backends", what.0.map(Value::from));
        set("tools", what.1.map(Value::from));
        set("prompts", what.2.map(Value::from));
        set("resources", what.3.map(Value::from));
        set("when", when.map(Value::from));
        set("claims", claims);
        rule
    })
}

fn section(with_arguments: bool) -> impl Strategy<Value = Value> {
    let rules = proptest::collection::vec(rule(with_arguments), 0..7);
    (any::<bool>(), rules).prop_map(|(allow, mut rules)| {
        for (at, rule) in rules.iter_mut().enumerate() {
            rule["name"] = format!("r{at}").into();
        }
        json!({"default": if allow { "allow" } else { "deny" }, "rules": rules})
    })
}

fn principal() -> impl Strategy<Value = Arc<Principal>> {
    let groups = proptest::sample::subsequence(vec!["g", "h"], 0..=2);
    let claim = proptest::option::of(proptest::sample::select(vec![
        json!("k"),
        json!("a"),
        json!(["x", "k"]),
        json!(1),
    ]));
    (proptest::sample::select(vec!["u", "v", "a"]), groups, claim).prop_map(
        |(id, groups, claim)| {
            let claims =
                claim.map(|claim| json!({"c": claim}).as_object().cloned().unwrap_or_default());
            Arc::new(Principal {
                groups: groups.into_iter().map(str::to_owned).collect(),
                claims: claims.map(Arc::new),
                ..Principal::new(id)
            })
        },
    )
}

fn targets() -> impl Iterator<Item = Target<'static>> {
    let kinds = [TargetKind::Tool, TargetKind::Prompt, TargetKind::Resource];
    let of_kind = |kind| {
        ["x", "y"].into_iter().flat_map(move |backend| {
            NAMES.into_iter().map(move |name| Target {
                kind,
                backend,
                name,
            })
        })
    };
    kinds.into_iter().flat_map(of_kind)
}

const PROFILES: [Option<&str>; 4] = [None, Some("p"), Some("q"), Some("a")];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_seen_can_be_called_and_nothing_else(section in section(false), who in principal()) {
        let policy = gatekeeper(section);
        for profile in PROFILES {
            for target in targets() {
                let visible = policy.shows(&who, profile, &target);
                let mut call = call(&who, r#"{"x":1,"x":2}"#);
                call.profile = profile.map(Into::into);
                prop_assert_eq!(visible, verdict(&policy, &call, &target).is_ok());
                if visible {
                    prop_assert!(policy.shows_backend(&who, profile, target.backend));
                }
            }
        }
    }

    #[test]
    fn with_conditions_on_arguments_what_can_be_called_is_seen(
        section in section(true), who in principal(), arguments in 0..ARGUMENTS.len(),
    ) {
        let policy = gatekeeper(section);
        let call = call(&who, ARGUMENTS[arguments]);
        for target in targets() {
            if verdict(&policy, &call, &target).is_ok() {
                prop_assert!(policy.shows(&who, None, &target));
            }
        }
    }

    #[test]
    fn one_rule_that_denies_beats_all_that_allow(
        section in section(true), who in principal(), at in 0..8_usize,
    ) {
        let policy = gatekeeper(section.clone());
        let access = policy.access().unwrap();
        for target in targets() {
            let told = access.explain(&who, None, &target, Some(br#"{"x":1}"#));
            let denies = |rule: &crate::access::ExplainedRule| {
                let shadow = section["rules"][rule.name[1..].parse::<usize>().unwrap()]["mode"] == "shadow";
                rule.effect == crate::access::Effect::Deny && rule.fits == Some(true) && !shadow
            };
            let allows = |rule: &crate::access::ExplainedRule| {
                rule.effect == crate::access::Effect::Allow && rule.fits == Some(true)
            };
            let expected = !told.rules.iter().any(denies)
                && (section["default"] == "allow" || told.rules.iter().any(allows));
            prop_assert_eq!(told.said == Said::Allowed, expected);
        }
        let mut denied = section;
        let rules = denied["rules"].as_array_mut().unwrap();
        let at = at.min(rules.len());
        rules.insert(at, json!({"name": "nothing", "effect": "deny"}));
        let policy = gatekeeper(denied);
        for target in targets() {
            prop_assert!(!policy.shows(&who, None, &target));
        }
    }

    #[test]
    fn the_order_of_rules_is_nothing(section in section(true), who in principal(), turn in 0..7_usize) {
        let mut turned = section.clone();
        let rules = turned["rules"].as_array_mut().unwrap();
        let by = turn.min(rules.len());
        rules.rotate_left(by);
        rules.reverse();
        let (one, other) = (gatekeeper(section), gatekeeper(turned));
        for arguments in ARGUMENTS {
            let call = call(&who, arguments);
            for target in targets() {
                prop_assert_eq!(one.shows(&who, None, &target), other.shows(&who, None, &target));
                let verdicts = [&one, &other].map(|policy| verdict(policy, &call, &target).is_ok());
                prop_assert_eq!(verdicts[0], verdicts[1]);
            }
        }
    }

    #[test]
    fn one_audience_sees_the_same(section in section(true), who in principal(), other in principal()) {
        let policy = gatekeeper(section);
        for profile in PROFILES {
            if policy.audience(&who, profile) == policy.audience(&other, profile) {
                for target in targets() {
                    let sees = [&who, &other].map(|who| policy.shows(who, profile, &target));
                    prop_assert_eq!(sees[0], sees[1]);
                    let backend = target.backend;
                    prop_assert_eq!(
                        policy.shows_backend(&who, profile, backend),
                        policy.shows_backend(&other, profile, backend)
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_explained_is_what_is_decided(
        section in section(true), who in principal(), profile in proptest::sample::select(PROFILES.to_vec()),
    ) {
        let policy = gatekeeper(section);
        let access = policy.access().unwrap();
        for arguments in ARGUMENTS {
            let mut call = call(&who, arguments);
            call.profile = profile.map(Into::into);
            for target in targets().filter(|target| target.kind == TargetKind::Tool) {
                let told = access.explain(&who, profile, &target, Some(arguments.as_bytes()));
                let verdict = verdict(&policy, &call, &target);
                prop_assert_eq!(told.is_allowed(), verdict.is_ok(), "{:?}", told);
                let seen = access.explain(&who, profile, &target, None);
                prop_assert_eq!(seen.is_allowed(), policy.shows(&who, profile, &target));
            }
        }
    }
}
