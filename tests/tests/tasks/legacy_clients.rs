//! Legacy clients: their own form of tasks, and calls that wait for those of others.

use serde_json::{Value, json};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::FakeTasks;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::remote;
use switchboard_tests::waiting::until;

use super::{front, legacy_client, process, support};

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_has_tasks_of_legacy_servers() {
    let http = FakeTasks::start(Era::Legacy, "http").await;
    let front = front(json!({
        "http": remote(http.url()),
        "pipe": process("legacy", "pipe"),
    }))
    .await;
    let client = legacy_client(&front, "2025-11-25").await;
    let again = client.message(
        "initialize",
        json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {},
        }),
    );
    let fresh = LegacyClient::new(front.gateway.url(), Setup::default());
    let agreed = fresh.ask(&again).await;
    assert_eq!(
        agreed.result()["capabilities"]["tasks"],
        json!({ "cancel": {}, "requests": { "tools": { "call": {} } } }),
        "{agreed:?}"
    );
    for backend in ["http", "pipe"] {
        let tool = |name: &str| format!("{backend}__{name}");
        assert_eq!(support(&client, &tool("later")).await, "required");
        assert_eq!(support(&client, &tool("maybe")).await, "optional");
        assert_eq!(support(&client, &tool("quick")).await, Value::Null);
        let start = async |name: &str, arguments: Value| {
            let params =
                json!({ "name": tool(name), "arguments": arguments, "task": { "ttl": 5000 } });
            let made = client.request("tools/call", params).await;
            let task = made.result()["task"].clone();
            assert_eq!(task["status"], "working", "{made:?}");
            assert_eq!(task["ttl"], 60_000, "{made:?}");
            task["taskId"].as_str().expect("an id").to_owned()
        };
        let of = |id: &str| json!({ "taskId": id });
        let id = start("maybe", json!({ "ms": 30 })).await;
        let ended = client.request("tasks/result", of(&id)).await;
        assert_eq!(ended.result()["structuredContent"]["server"], backend);
        let related = &ended.result()["_meta"]["io.modelcontextprotocol/related-task"];
        assert_eq!(*related, json!({ "taskId": id }), "{ended:?}");
        let task = client.request("tasks/get", of(&id)).await;
        assert_eq!(task.result()["status"], "completed", "{task:?}");
        assert!(task.result().get("ttlMs").is_none(), "{task:?}");

        let id = start("asks", json!({})).await;
        until("the question", async || {
            let task = client.request("tasks/get", of(&id)).await;
            (task.result()["status"] == "input_required").then_some(())
        })
        .await;
        let ended = client.request("tasks/result", of(&id)).await;
        assert_eq!(ended.questions.len(), 1, "{ended:?}");
        let related = &ended.questions[0]["params"]["_meta"];
        assert_eq!(
            related["io.modelcontextprotocol/related-task"]["taskId"], id,
            "{ended:?}"
        );
        assert_eq!(
            ended.result()["content"][0]["text"],
            "Hello, Ada",
            "{ended:?}"
        );

        let id = start("breaks", json!({})).await;
        let ended = client.request("tasks/result", of(&id)).await;
        assert_eq!(ended.error_code(), Some(-32050), "{ended:?}");
        let id = start("fails", json!({})).await;
        let ended = client.request("tasks/result", of(&id)).await;
        assert_eq!(ended.result()["isError"], true, "{ended:?}");
        let task = client.request("tasks/get", of(&id)).await;
        assert_eq!(task.result()["status"], "failed", "{task:?}");

        let id = start("later", json!({ "hold": true })).await;
        let cancelled = client.request("tasks/cancel", of(&id)).await;
        assert_eq!(cancelled.result()["status"], "cancelled", "{cancelled:?}");
        let again = client.request("tasks/cancel", of(&id)).await;
        assert_eq!(again.error_code(), Some(-32602), "{again:?}");

        // What is no task cannot be made one, and what has to be one need not be asked for as one.
        let params = json!({ "name": tool("quick"), "arguments": {}, "task": {} });
        let refused = client.request("tools/call", params).await;
        assert_eq!(refused.error_code(), Some(-32601), "{refused:?}");
        let later = client.call(&tool("later"), json!({ "ms": 30 })).await;
        assert_eq!(later.result()["structuredContent"]["server"], backend);
        let greeted = client.call(&tool("asks"), json!({})).await;
        let text = &greeted.result()["content"][0]["text"];
        assert_eq!(*text, "Hello, Ada", "{greeted:?}");
    }
    let unknown = client.request("tasks/get", json!({ "taskId": "x" })).await;
    assert_eq!(unknown.error_code(), Some(-32602), "{unknown:?}");
    let list = client.request("tasks/list", json!({})).await;
    assert_eq!(list.error_code(), Some(-32601), "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_client_knows_nothing_of_tasks_and_needs_not() {
    let legacy = FakeTasks::start(Era::Legacy, "legacy").await;
    let modern = FakeTasks::start(Era::Modern, "modern").await;
    let front = front(json!({
        "legacy": remote(legacy.url()),
        "modern": remote(modern.url()),
    }))
    .await;
    let client = legacy_client(&front, "2025-06-18").await;
    assert_eq!(support(&client, "legacy__later").await, Value::Null);
    for backend in ["legacy", "modern"] {
        let later = client
            .call(&format!("{backend}__later"), json!({ "ms": 30 }))
            .await;
        assert_eq!(
            later.result()["structuredContent"]["server"],
            backend,
            "{later:?}"
        );
        let greeted = client.call(&format!("{backend}__asks"), json!({})).await;
        let text = &greeted.result()["content"][0]["text"];
        assert_eq!(*text, "Hello, Ada", "{greeted:?}");
        let broken = client.call(&format!("{backend}__breaks"), json!({})).await;
        assert_eq!(broken.error_code(), Some(-32050), "{broken:?}");
    }
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let refused = client.request(method, json!({ "taskId": "x" })).await;
        assert_eq!(refused.error_code(), Some(-32601), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_waits_in_its_call_for_the_tasks_of_modern_servers() {
    let http = FakeTasks::start(Era::Modern, "http").await;
    let front = front(json!({
        "http": remote(http.url()),
        "pipe": process("modern", "pipe"),
    }))
    .await;
    let client = legacy_client(&front, "2025-11-25").await;
    for backend in ["http", "pipe"] {
        let tool = |name: &str| format!("{backend}__{name}");
        let later = client.call(&tool("later"), json!({ "ms": 30 })).await;
        let result = later.result();
        assert_eq!(result["structuredContent"]["server"], backend, "{later:?}");
        assert!(result.get("resultType").is_none(), "{later:?}");
        let greeted = client.call(&tool("asks"), json!({})).await;
        assert_eq!(greeted.questions.len(), 1, "{greeted:?}");
        let text = &greeted.result()["content"][0]["text"];
        assert_eq!(*text, "Hello, Ada", "{greeted:?}");
        // It is the server that makes tasks, so no tool of its says that it can be one.
        let params = json!({ "name": tool("later"), "arguments": {}, "task": {} });
        let refused = client.request("tools/call", params).await;
        assert_eq!(refused.error_code(), Some(-32601), "{refused:?}");
    }

    // A call that is cancelled cancels the task behind it.
    let held = client.call_message("http__later", json!({ "hold": true }));
    let before = http.server().created();
    let cancel = async {
        until("the task", async || {
            (http.server().created() > before).then_some(())
        })
        .await;
        let params = json!({ "requestId": held["id"] });
        client.notify("notifications/cancelled", Some(params)).await;
    };
    // The answer has no head before there is something to say, or the call is over.
    let (_exchange, ()) = tokio::join!(client.start(&held), cancel);
    until("its end", async || {
        (!http.requests_of("tasks/cancel").is_empty()).then_some(())
    })
    .await;
}
