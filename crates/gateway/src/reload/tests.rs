use super::*;

use serde_json::json;
use switchboard_telemetry::LogFormat;

#[test]
fn keys_that_need_a_restart_are_named_and_others_are_not() {
    let old = Config::default();
    let mut new = old.clone();
    new.server.allowed_hosts = vec!["mcp.example.com".to_owned()];
    new.server.watch_config = false;
    new.names.separator = "-".to_owned();
    let named = |new: &Config| differing_keys(&without_restart(&old, new, true), new);
    assert!(named(&new).is_empty());
    let fallback = r#"{ "tool": "a__x", "try": ["b__x"] }"#;
    new.fallbacks = vec![serde_json::from_str(fallback).unwrap()];
    let keys = [
        "server.allowed_hosts",
        "server.watch_config",
        "names",
        "fallbacks",
    ];
    assert_eq!(differing_keys(&old, &new), keys);
    new.server.listen.set_port(1);
    new.server.sealing_keys =
        serde_json::from_value(json!(["0123456789abcdefghijklmnopqrstuv"])).expect("a key");
    new.telemetry.log.format = LogFormat::Json;
    new.telemetry.traces.sample_ratio = 0.5;
    new.telemetry.log.level = "debug".to_owned();
    let keys = [
        "server.listen",
        "server.sealing_keys",
        "telemetry.traces",
        "telemetry.log.format",
    ];
    assert_eq!(named(&new), keys);
    let changed = differing_keys(&old, &without_restart(&old, &new, true));
    assert_eq!(changed.last(), Some(&"telemetry.log.level"));
}
