use std::sync::Arc;

use serde_json::json;
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Target, TargetKind};

use super::{Condition, Facts, Failure, MAX_LENGTH, Needs};
use crate::access::arguments::Arguments;

fn holds_of(text: &str, arguments: &str) -> Result<bool, Failure> {
    let principal = Principal {
        groups: vec!["eng".into(), "ops".into()],
        claims: json!({"department": "eng", "level": 3, "roles": ["a", "b"]})
            .as_object()
            .cloned()
            .map(Arc::new),
        ..Principal::new("key:ci")
    };
    let arguments = Arguments::read(arguments.as_bytes()).unwrap();
    let target = Target {
        kind: TargetKind::Tool,
        backend: "files",
        name: "files__read",
    };
    let facts = Facts {
        principal: &principal,
        profile: Some("coding"),
        target: Some(&target),
        arguments: Some(&arguments),
    };
    Condition::compile(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .holds(&facts)
}

fn error_of(text: &str) -> String {
    Condition::compile(text).unwrap_err().to_string()
}

#[test]
fn everything_that_is_known_of_a_call_can_be_asked_for() {
    let arguments = r#"{"path":"/srv/a","n":3,"f":0.5,"items":[1,2,3],"o":{"x":null}}"#;
    for text in [
        "args.path.startsWith('/srv/')",
        "args['path'] == '/srv/a' && args.n == 3 && args.n + 1 == 4",
        "args.f < 1 && args.n > 2.5",
        "args.items.all(i, i > 0) && args.items.exists(i, i == 2)",
        "args.items.filter(i, i > 1).size() == 2",
        "!has(args.other) && has(args.o.x) && args.o.x == null",
        "args.path.matches('^/srv/[a-z]$')",
        "principal.id == 'key:ci' && 'eng' in principal.groups && principal.client == ''",
        "claims.department == 'eng' && claims.level >= 2 && 'a' in claims.roles",
        "tool == 'files__read' && name == tool && backend == 'files' && profile == 'coding'",
        "args.items.all(x, args.items.exists(y, x == y))",
        "[args].all(args, args.n == 3)",
        "type(args.n) == int && string(args.n) == '3'",
        "args.missing == 1 || true",
    ] {
        assert_eq!(holds_of(text, arguments), Ok(true), "{text}");
    }
}

#[test]
fn what_fails_or_is_no_boolean_is_not_true() {
    for text in [
        "args.missing == 1",
        "args.path > 1",
        "1 / 0 == 1",
        "args.path",
        "size(args.path)",
        "claims.missing == 'x'",
        "args.path + 1 == ''",
        "{'a': 1, 'a': 2} == {}",
    ] {
        assert!(holds_of(text, r#"{"path":"x"}"#).is_err(), "{text}");
    }
    assert_eq!(holds_of("'yes'", "{}"), Err(Failure::NotBoolean));
}

#[test]
fn mistakes_are_told_with_their_place_and_what_is_expected() {
    for (text, told) in [
        ("args.path ==", "line 1, column 13: it ends too early"),
        (
            "args.path\n  == foo",
            "line 2, column 6: there is no variable `foo`; expected one of `args`",
        ),
        (
            "startswith(args.path)",
            "there is no function `startswith`; expected one of",
        ),
        (
            "args.path.matches(args.pattern)",
            "takes a regular expression in quotes",
        ),
        ("args.path.matches('(')", "has no regular expression"),
        ("args.path.matches('a{1000}{1000}')", "too large"),
        ("a.b.C{x: 1} == 1", "there are no such types"),
        ("", "is empty"),
        (
            "[1].all(a, [1].all(b, [1].all(c, true)))",
            "stand in each other",
        ),
        ("args.?path == 1", "expected an expression in CEL"),
    ] {
        let error = error_of(text);
        assert!(error.contains(told), "{text}: {error}");
    }
    let long = format!("true{}", " && true".repeat(MAX_LENGTH));
    assert!(error_of(&long).contains("expected at most 2048"));
}

#[test]
fn no_expression_takes_the_stack() {
    let brackets = format!("{}true{}", "(".repeat(900), ")".repeat(900));
    let lists = format!("{}1{} == 1", "[".repeat(900), "]".repeat(900));
    let nots = format!("{}true", "!".repeat(2000));
    let minus = format!("{}1 == 1", "-".repeat(2000));
    let selects = format!("args{} == 1", ".a".repeat(900));
    let sums = format!("{}1 == 1", "1+".repeat(900));
    let conditionals = format!("{}true", "true?true:".repeat(190));
    let indices = format!("args{} == 1", "[0]".repeat(600));
    for text in [
        brackets,
        lists,
        nots,
        minus,
        selects,
        sums,
        conditionals,
        indices,
    ] {
        if let Ok(condition) = Condition::compile(&text) {
            assert!(!condition.needs.arguments, "{}", &text[..20]);
        }
    }
}

#[test]
fn a_condition_knows_what_it_looks_at() {
    let needs = |text: &str| Condition::compile(text).unwrap().needs;
    let none = Needs::default();
    let arguments = Needs {
        arguments: true,
        ..none
    };
    assert_eq!(needs("true"), none);
    for text in [
        "args.a == 1",
        ".args.a == 1",
        "[1].all(args, .args.a == args)",
        "[1].all(x, [args].exists(y, y == x))",
        "[args].all(args, args.n == 3)",
        "{'k': args} == {}",
        "has(args.x)",
        "'x'.contains(args.y)",
    ] {
        assert_eq!(needs(text), arguments, "{text}");
    }
    assert_eq!(needs("[1].all(args, args == 1)"), none);
    assert_eq!(
        needs("tool == '' || principal.id == '' || claims == {} || profile == ''"),
        Needs {
            arguments: false,
            target: true,
            principal: true,
            claims: true,
            profile: true
        }
    );
}

#[test]
fn loops_over_much_are_given_up_before_they_begin() {
    let many = |count: usize| {
        let items: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        format!("{{\"a\":[{}]}}", items.join(","))
    };
    let once = "args.a.all(x, x >= 0)";
    let twice = "args.a.all(x, args.a.exists(y, x == y))";
    assert_eq!(holds_of(once, &many(1000)), Ok(true));
    assert_eq!(holds_of(once, &many(2000)), Err(Failure::TooMuchWork));
    assert_eq!(holds_of(twice, &many(100)), Ok(true));
    assert_eq!(holds_of(twice, &many(200)), Err(Failure::TooMuchWork));
    assert_eq!(holds_of("size(args.a) == 5000", &many(5000)), Ok(true));
}

/// The conditions of `config/team.yaml`, in which a backslash is written as here.
#[test]
fn whole_parts_of_a_path_can_be_asked_for() {
    let kept = r"matches('(?i)(^|[/\\\\])(\\.git|\\.env(\\.[^/\\\\]*)?)([/\\\\]|$)')";
    let written = format!("args.path.{kept}");
    let moved = format!("[args.source, args.destination].exists(path, path.{kept})");
    for (path, is_kept) in [
        (".git", true),
        ("/srv/work/.git/config", true),
        ("/srv/work/.GIT/hooks/pre-commit", true),
        (r"a\.git\config", true),
        ("/srv/work/.env", true),
        (".env.local", true),
        (".gitignore", false),
        ("/srv/work/.github/ci.yaml", false),
        ("/srv/work/site.git", false),
        ("/srv/work/.envrc", false),
        ("/srv/work/environment", false),
    ] {
        let of_path = json!({ "path": path }).to_string();
        assert_eq!(holds_of(&written, &of_path), Ok(is_kept), "{path}");
        for (source, destination) in [(path, "a"), ("a", path)] {
            let of_move = json!({ "source": source, "destination": destination }).to_string();
            assert_eq!(holds_of(&moved, &of_move), Ok(is_kept), "{path}");
        }
    }
}
