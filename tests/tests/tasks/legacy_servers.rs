//! Tasks of legacy servers: as tasks for who knows of them, as calls for who does not.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::FakeTasks;
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup};
use switchboard_tests::front::remote;
use switchboard_tests::servers;
use switchboard_tests::waiting::until;

use super::{Tasks, front, process, support};

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_has_tasks_of_legacy_servers() {
    let http = FakeTasks::start(Era::Legacy, "http").await;
    let front = front(json!({
        "http": remote(http.url()),
        "pipe": process("legacy", "pipe"),
    }))
    .await;
    let client = Tasks::of(&front);
    for backend in ["http", "pipe"] {
        let tool = |name: &str| format!("{backend}__{name}");
        let id = client.start(&tool("later"), json!({ "ms": 30 })).await;
        let ended = client.until(&id, "completed").await;
        assert_eq!(ended["result"]["structuredContent"]["server"], backend);
        assert!(ended["result"].get("_meta").is_none(), "{ended}");
        assert_eq!(ended["ttlMs"], 60_000, "{ended}");

        let id = client.start(&tool("asks"), json!({})).await;
        let waiting = client.until(&id, "input_required").await;
        assert_eq!(client.get(&id).await, waiting, "it asks the same again");
        let requests = waiting["inputRequests"].as_object().expect("requests");
        let (key, request) = requests.iter().next().expect("a request");
        assert_eq!(request["params"]["message"], "What is your name?");
        let answers = |answer: Value| json!({ "taskId": id, "inputResponses": { key: answer } });
        let bad = client.request("tasks/update", answers(json!(17))).await;
        assert_eq!(bad.error_code(), Some(-32602), "{}", bad.raw);
        let good = json!({ "action": "accept", "content": { "name": "Ada" } });
        let good = client.request("tasks/update", answers(good)).await;
        assert_eq!(good.result()["resultType"], "complete", "{}", good.raw);
        let ended = client.until(&id, "completed").await;
        assert_eq!(ended["result"]["content"][0]["text"], "Hello, Ada");

        let id = client.start(&tool("breaks"), json!({})).await;
        let broken = client.until(&id, "failed").await;
        assert_eq!(broken["error"]["code"], -32050, "{broken}");
        let id = client.start(&tool("fails"), json!({})).await;
        let failed = client.until(&id, "completed").await;
        assert_eq!(failed["result"]["isError"], true);

        let id = client.start(&tool("later"), json!({ "hold": true })).await;
        assert_eq!(client.get(&id).await["status"], "working");
        let cancelled = client
            .request("tasks/cancel", json!({ "taskId": id }))
            .await;
        assert_eq!(cancelled.result()["resultType"], "complete");
        client.until(&id, "cancelled").await;

        // A tool that may be a task is one where its client says so, and a modern one cannot.
        let plain = client.call(&tool("maybe"), json!({})).await;
        assert_eq!(plain.result()["resultType"], "complete", "{}", plain.raw);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_has_to_be_a_task_just_works_for_who_knows_of_none() {
    let http = FakeTasks::start(Era::Legacy, "http").await;
    let front = front(json!({
        "http": remote(http.url()),
        "pipe": process("legacy", "pipe"),
    }))
    .await;
    for backend in ["http", "pipe"] {
        let tool = |name: &str| format!("{backend}__{name}");
        let later = front.client.call(&tool("later"), json!({ "ms": 30 })).await;
        assert_eq!(later.result()["resultType"], "complete", "{}", later.raw);
        assert_eq!(later.result()["structuredContent"]["server"], backend);
        assert!(later.result().get("_meta").is_none(), "{}", later.raw);
        let broken = front.client.call(&tool("breaks"), json!({})).await;
        assert_eq!(broken.error_code(), Some(-32050), "{}", broken.raw);

        // What the server asks meanwhile is asked as in any other call.
        let declared = json!({ "elicitation": {} });
        let params = json!({ "name": tool("asks"), "arguments": {} });
        let client = Tasks::of(&front);
        let asked = client
            .request_with(declared.clone(), "tools/call", params.clone())
            .await;
        let result = asked.result();
        assert_eq!(result["resultType"], "input_required", "{}", asked.raw);
        let requests = result["inputRequests"].as_object().expect("requests");
        let key = requests.keys().next().expect("a request");
        let mut retry = params;
        retry["requestState"] = result["requestState"].clone();
        retry["inputResponses"] =
            json!({ key: { "action": "accept", "content": { "name": "Ada" } } });
        let answered = client.request_with(declared, "tools/call", retry).await;
        let text = &answered.result()["content"][0]["text"];
        assert_eq!(*text, "Hello, Ada", "{}", answered.raw);
    }
}

/// The published server of 2025-11-25 that does everything once, tasks included.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_legacy_server_has_tasks_for_every_client() {
    const TOOL: &str = "everything__simulate-research-query";
    let front = front(json!({ "everything": servers::everything() })).await;
    let arguments = |ambiguous: bool| json!({ "topic": "python", "ambiguous": ambiguous });
    let says = |result: &Value, word: &str| {
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        assert!(text.contains(word), "{result}");
    };

    let knows_nothing = async {
        let answer = front.client.call(TOOL, arguments(true)).await;
        says(answer.result(), "Research Report: python");
    };
    let modern = async {
        let client = Tasks::of(&front);
        let id = client.start(TOOL, arguments(true)).await;
        let waiting = client.until(&id, "input_required").await;
        let requests = waiting["inputRequests"].as_object().expect("requests");
        let key = requests.keys().next().expect("a request");
        let answer = json!({ "action": "accept", "content": { "interpretation": "snake" } });
        let params = json!({ "taskId": id, "inputResponses": { key: answer } });
        let told = client.request("tasks/update", params).await;
        assert_eq!(told.result()["resultType"], "complete", "{}", told.raw);
        let ended = client.until(&id, "completed").await;
        says(&ended["result"], "python (snake)");
    };
    let legacy = async {
        let setup = Setup {
            capabilities: json!({ "elicitation": {} }),
            replies: Arc::new(|_| {
                let content = json!({ "interpretation": "comedy" });
                Reply::Result(json!({ "action": "accept", "content": content }))
            }),
            ..Setup::default()
        };
        let client = LegacyClient::connect(front.gateway.url(), setup).await;
        assert_eq!(support(&client, TOOL).await, "required");
        let params = json!({ "name": TOOL, "arguments": arguments(true), "task": {} });
        let made = client.request("tools/call", params).await;
        let id = &made.result()["task"]["taskId"];
        let ended = client
            .request("tasks/result", json!({ "taskId": id }))
            .await;
        assert_eq!(ended.questions.len(), 1, "{ended:?}");
        says(ended.result(), "python (comedy)");
    };
    tokio::join!(knows_nothing, modern, legacy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_session_that_is_gone_has_failed() {
    let server = FakeTasks::start(Era::Legacy, "t").await;
    let front =
        front(json!({ "t": remote(server.url()), "pipe": process("legacy", "pipe") })).await;
    let client = Tasks::of(&front);
    let id = client.start("t__later", json!({ "hold": true })).await;
    assert_eq!(client.get(&id).await["status"], "working");
    server.expire_sessions();
    let failed = client.until(&id, "failed").await;
    let message = failed["error"]["message"].as_str().expect("a message");
    assert!(message.contains("check before you call again"), "{failed}");
    // Others go on, in a new session.
    until("a new session", async || {
        let answer = client.call("t__later", json!({ "ms": 1 })).await;
        answer.result()["taskId"].as_str().map(str::to_owned)
    })
    .await;
}
