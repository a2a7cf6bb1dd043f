use bytes::Bytes;
use serde_json::{Value, json};

use super::plan::parameters;
use super::said::Said;
use super::*;

fn value(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(raw)))
}

#[test]
fn a_call_becomes_a_task_by_one_member() {
    let out = Outgoing {
        body: Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"_meta":{},"name":"n"}}"#,
        ),
        ..about("tools/call", "unused")
    };
    let body = value(&as_task(out, br#"{"ttl":5}"#).body);
    assert_eq!(
        body["params"],
        json!({ "_meta": {}, "name": "n", "task": { "ttl": 5 } })
    );
    assert_eq!(parameters(br#"{"ttl":5,"x":1}"#), br#"{"ttl":5}"#);
}

#[test]
fn a_task_is_shown_in_the_form_of_the_extension() {
    let task = json!({
        "taskId": "own", "status": "working", "statusMessage": "at it", "createdAt": "then",
        "lastUpdatedAt": "now", "ttl": 5, "pollInterval": 6, "unknown": 7,
    });
    let said = Said::read(task.to_string().as_bytes());
    let shown = |status: &str, more: &[u8]| {
        let response = said.show("complete", "1.2", status, more).expect("valid");
        value(response.slice(response.result.expect("a result")))
    };
    assert_eq!(
        shown("working", b""),
        json!({
            "resultType": "complete", "taskId": "1.2", "status": "working",
            "statusMessage": "at it", "createdAt": "then", "lastUpdatedAt": "now",
            "ttlMs": 5, "pollIntervalMs": 6,
        })
    );
    // What was said of another status is not said of this one.
    let ended = shown("completed", b",\"result\":{}");
    assert!(ended.get("statusMessage").is_none(), "{ended}");
    assert_eq!(ended["result"], json!({}));
    let without = Said::read(br#"{"taskId":"own","status":"working"}"#);
    let response = without.show("task", "1.2", "working", b"").expect("valid");
    let shown = value(response.slice(response.result.expect("a result")));
    assert_eq!(shown["ttlMs"], Value::Null, "{shown}");
}

#[test]
fn a_result_does_not_name_the_servers_own_task() {
    let related = json!({ "content": [], "_meta": { RELATED_TASK: { "taskId": "own" } } });
    assert_eq!(
        value(&without_relation(related.to_string().as_bytes())),
        json!({ "content": [] })
    );
    let more = json!({ "_meta": { RELATED_TASK: {}, "x": 1 } });
    assert_eq!(
        value(&without_relation(more.to_string().as_bytes())),
        json!({ "_meta": { "x": 1 } })
    );
}

#[test]
fn what_a_server_says_of_a_task_is_bounded() {
    let long = "x".repeat(MAX_SAID);
    let task = json!({ "status": "working", "statusMessage": long, "createdAt": long, "ttl": 1 });
    let said = Said::read(task.to_string().as_bytes());
    assert_eq!(said.message, None);
    assert_eq!(said.members, b"\"ttlMs\":1");
}
