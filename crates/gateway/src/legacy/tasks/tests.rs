use serde_json::{Value, json};

use super::*;

fn envelope(message: &Value) -> Envelope {
    Envelope::parse(message.to_string().into()).expect("a request")
}

fn value(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(raw)))
}

fn request_of(method: &str, params: &Value) -> Envelope {
    envelope(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }))
}

#[test]
fn only_2025_11_25_has_tasks() {
    let call = request_of("tools/call", &json!({ "name": "a", "task": {} }));
    let plain = request_of("tools/call", &json!({ "name": "a" }));
    let get = request_of("tasks/get", &json!({ "taskId": "t" }));
    let of = |request| About::of(Version::V2025_11_25, request, true);
    assert_eq!(of(&call), Some(About::Create));
    assert_eq!(of(&plain), None);
    assert_eq!(of(&get), Some(About::Get));
    assert_eq!(of(&request_of("tasks/list", &json!({}))), None);
    assert_eq!(About::of(Version::V2025_06_18, &call, true), None);
    assert_eq!(About::of(Version::V2025_06_18, &get, true), None);
}

#[test]
fn a_request_about_a_task_is_one_of_a_client_that_knows_tasks() {
    let client = ClientIdentity::new(
        Version::V2025_11_25,
        None,
        br#"{"roots":{},"extensions":{"a/b":{"c":1}}}"#,
    );
    let snapshot = Snapshot::build(
        &switchboard_orchestrator::config::NamesConfig::default(),
        &[],
        &switchboard_orchestrator::catalogue::SnapshotSettings::new("1"),
    );
    let made = |about, message: &Envelope| {
        request(about, message, &client, Some(LogLevel::Info), |name| {
            snapshot.tool(name)
        })
    };
    let get = request_of("tasks/get", &json!({ "taskId": "t", "_meta": { "x": 1 } }));
    let (method, modern) = made(About::Get, &get).expect("valid");
    assert_eq!((method, &*modern.method()), (Method::TasksGet, "tasks/get"));
    let params = value(modern.slice(modern.keys.params.expect("parameters")));
    assert_eq!(params["taskId"], "t");
    assert_eq!(
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json!({ "roots": {}, "extensions": { "a/b": { "c": 1 }, extension::TASKS: {} } })
    );

    let call = request_of(
        "tools/call",
        &json!({ "name": "a", "arguments": { "b": 1 }, "task": { "ttl": 5 } }),
    );
    let (method, modern) = made(About::Create, &call).expect("valid");
    assert_eq!(method, Method::ToolsCall);
    let params = value(modern.slice(modern.keys.params.expect("parameters")));
    assert_eq!(params["_meta"][TASK_KEY], json!({ "ttl": 5 }));
    assert_eq!(params["arguments"], json!({ "b": 1 }));
    assert!(params.get("task").is_none(), "{params}");

    for (about, message) in [
        (About::Get, request_of("tasks/get", &json!({}))),
        (
            About::Cancel,
            request_of("tasks/cancel", &json!({ "taskId": 1 })),
        ),
        (
            About::Create,
            request_of("tools/call", &json!({ "name": "a", "task": 1 })),
        ),
    ] {
        let refused = made(about, &message).expect_err("not valid");
        assert_eq!(refused.code, code::INVALID_PARAMS, "{message:?}");
    }
}

#[test]
fn a_task_is_written_as_its_time_writes_it() {
    let task = json!({
        "resultType": "complete", "taskId": "t", "status": "completed", "createdAt": "then",
        "ttlMs": null, "pollIntervalMs": 5, "result": { "isError": true }, "_meta": {},
    });
    assert_eq!(
        value(&shown(task.to_string().as_bytes())),
        json!({
            "taskId": "t", "status": "failed", "createdAt": "then", "ttl": null, "pollInterval": 5,
        })
    );
}

#[test]
fn a_question_is_put_once_and_names_its_task() {
    let question = |message: &str| json!({ "method": "m", "params": { "message": message } });
    let mut task = json!({ "taskId": "t", "inputRequests": { "a": question("1") } });
    let mut asked = HashSet::new();
    let first = unasked(task.to_string().as_bytes(), &mut asked).expect("a question");
    let related = json!({ RELATED_TASK: { "taskId": "t" } });
    assert_eq!(
        value(&first)["inputRequests"],
        json!({ "a": { "method": "m", "params": { "message": "1", "_meta": related } } })
    );
    assert_eq!(unasked(task.to_string().as_bytes(), &mut asked), None);
    task["inputRequests"]["b"] = question("2");
    let second = unasked(task.to_string().as_bytes(), &mut asked).expect("one more");
    let second = value(&second)["inputRequests"].as_object().cloned();
    assert_eq!(second.expect("questions").keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_result_names_its_task_only_to_who_knows_it() {
    let task = json!({ "taskId": "t", "result": { "content": [], "_meta": { "x": 1 } } });
    let named = related(task.to_string().as_bytes());
    assert_eq!(
        value(&named),
        json!({ "content": [], "_meta": { "x": 1, RELATED_TASK: { "taskId": "t" } } })
    );
    assert_eq!(
        value(&without_relation(&named)),
        json!({ "content": [], "_meta": { "x": 1 } })
    );
}

#[test]
fn a_servers_need_of_tasks_is_told_from_other_needs() {
    let failed = |required: Value| {
        let error =
            json!({ "code": -32021, "message": "", "data": { "requiredCapabilities": required } });
        Outcome::Failed(CallError::Backend {
            code: code::MISSING_CLIENT_CAPABILITY,
            error: error.to_string().into(),
            is_failure: false,
        })
    };
    assert!(needs_tasks(&failed(
        json!({ "extensions": { extension::TASKS: {} } })
    )));
    assert!(!needs_tasks(&failed(json!({ "sampling": {} }))));
}
