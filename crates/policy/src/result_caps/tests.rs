use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Target, TargetKind};
use switchboard_protocol::version::Version;

use super::config::{ResultCapConfig, problems};
use super::{ResultCaps, unmatched};

fn rules(value: Value) -> Vec<ResultCapConfig> {
    serde_json::from_value(value).expect("rules")
}

fn call(profile: Option<&str>) -> Call {
    let request = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
    let request = Envelope::parse(request.to_vec().into()).expect("a request");
    let principal = Arc::new(Principal::anonymous());
    let mut call = Call::new(request, Method::ToolsCall, principal, Version::LATEST);
    call.profile = profile.map(Arc::from);
    call
}

#[test]
fn the_first_rule_that_concerns_a_call_counts() {
    let config = rules(json!([
        { "tools": ["docs__*"], "profiles": ["small*"], "max_tokens": 1000, "over": "refuse" },
        { "backends": ["docs"], "max_bytes": "64KiB" },
        { "tools": ["*__dump"], "max_bytes": 2048, "over": "handle" },
    ]));
    assert_eq!(problems(&config), []);
    let backends = ["docs".to_owned(), "logs".to_owned()];
    let caps = ResultCaps::new(&config, &backends);
    let cap = |profile, kind, backend, name| {
        let target = Target {
            kind,
            backend,
            name,
        };
        let cap = caps.of(&call(profile), &target);
        cap.map(|cap| (cap.bytes, cap.tokens, cap.over.as_str()))
    };
    let tool = TargetKind::Tool;
    let small = Some((None, Some(1000), "refuse"));
    let docs = Some((Some(65536), None, "truncate"));
    let dump = Some((Some(2048), None, "handle"));
    assert_eq!(cap(Some("smaller"), tool, "docs", "docs__find"), small);
    assert_eq!(cap(Some("large"), tool, "docs", "docs__find"), docs);
    assert_eq!(cap(None, tool, "docs", "docs__dump"), docs);
    assert_eq!(cap(None, tool, "logs", "logs__dump"), dump);
    assert_eq!(cap(None, tool, "logs", "logs__find"), None);
    assert_eq!(cap(None, TargetKind::Resource, "docs", "a:b"), docs);
    assert_eq!(cap(None, TargetKind::Resource, "logs", "x__dump"), None);
}

#[test]
fn caps_that_are_too_small_or_none_are_wrong() {
    let config = rules(json!([
        { "max_bytes": 1023 },
        { "max_tokens": 255 },
        { "over": "refuse" },
        { "max_bytes": "1KiB", "max_tokens": 256 },
    ]));
    let keys: Vec<String> = problems(&config)
        .into_iter()
        .map(|(path, _)| path.join("."))
        .collect();
    assert_eq!(
        keys,
        [
            "result_caps.[0].max_bytes",
            "result_caps.[1].max_tokens",
            "result_caps.[2].max_bytes"
        ]
    );
}

#[test]
fn rules_that_concern_nothing_are_found() {
    let config = rules(json!([
        { "backends": ["doc", "docs"], "profiles": ["x*"], "max_bytes": 4096 },
        { "max_bytes": 8192 },
        { "tools": ["docs__a"], "max_bytes": 8192 },
    ]));
    let found = unmatched(
        &config,
        &BTreeSet::from(["docs"]),
        &BTreeSet::from(["small"]),
    );
    let found: Vec<String> = found
        .into_iter()
        .map(|(path, message)| format!("{}: {message}", path.join(".")))
        .collect();
    assert_eq!(
        found,
        [
            "result_caps.[0].backends.[0]: `doc` fits no backend",
            "result_caps.[0].profiles.[0]: `x*` fits no profile",
            "result_caps.[2]: concerns nothing, since `result_caps[1]` comes before it and concerns everything",
        ]
    );
}
