//! Modern clients before modern servers: where a task leads, who may know of it, and who hears of it.

use serde_json::{Value, json};
use switchboard_testkit::client::message;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

use super::{Tasks, front};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_leads_home_and_shows_no_identifier_of_its_server() {
    let (one, two) = (
        FakeTasks::start(Era::Modern, "one").await,
        FakeTasks::start(Era::Modern, "two").await,
    );
    let front = front(json!({ "one": remote(one.url()), "two": remote(two.url()) })).await;
    let client = Tasks::of(&front);
    let discover = client.request("server/discover", json!({})).await;
    let extensions = &discover.result()["capabilities"]["extensions"];
    assert_eq!(extensions[TASKS], json!({}), "{}", discover.raw);
    assert!(extensions.get("dev.example/unknown").is_none());

    // Both servers call their first task by a name of the same form.
    let held = json!({ "hold": true });
    let of_one = client.start("one__later", held.clone()).await;
    let of_two = client.start("two__later", held).await;
    for id in [&of_one, &of_two] {
        assert!(!id.contains("task"), "{id}");
        assert_eq!(client.get(id).await["status"], "working");
    }
    two.server().release();
    let ended = client.until(&of_two, "completed").await;
    assert_eq!(ended["result"]["structuredContent"]["server"], "two");
    assert_eq!(client.get(&of_one).await["status"], "working");
    assert_eq!(
        two.requests_of("tasks/get")[0]["params"]["taskId"],
        "two-task-1"
    );

    // Declared extensions that the gateway does not know stay here.
    let capabilities = json!({ "extensions": { TASKS: {}, "dev.example/unknown": {} } });
    let params = json!({ "taskId": of_one });
    client.request_with(capabilities, "tasks/get", params).await;
    let seen = one.requests_of("tasks/get");
    let seen = &seen.last().expect("a request")["params"]["_meta"];
    assert_eq!(
        seen["io.modelcontextprotocol/clientCapabilities"]["extensions"],
        json!({ TASKS: {} })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_ask_fail_and_be_cancelled() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let front = front(json!({ "t": remote(server.url()) })).await;
    let client = Tasks::of(&front);

    let id = client.start("t__asks", json!({})).await;
    let waiting = client.get(&id).await;
    assert_eq!(waiting["status"], "input_required", "{waiting}");
    assert_eq!(
        waiting["inputRequests"]["name"]["method"],
        "elicitation/create"
    );
    // What a client did not declare it is not asked.
    let undeclared = json!({ "extensions": { TASKS: {} } });
    let refused = client
        .request_with(undeclared, "tasks/get", json!({ "taskId": id }))
        .await;
    assert_eq!(refused.error_code(), Some(-32021), "{}", refused.raw);
    let answers = json!({ "name": { "action": "accept", "content": { "name": "Ada" } } });
    let params = json!({ "taskId": id, "inputResponses": answers });
    let updated = client.request("tasks/update", params).await;
    assert_eq!(
        updated.result()["resultType"],
        "complete",
        "{}",
        updated.raw
    );
    let ended = client.until(&id, "completed").await;
    assert_eq!(ended["result"]["content"][0]["text"], "Hello, Ada");

    let id = client.start("t__breaks", json!({})).await;
    let broken = client.until(&id, "failed").await;
    assert_eq!(broken["error"]["code"], -32050);
    let id = client.start("t__fails", json!({})).await;
    let failed = client.until(&id, "completed").await;
    assert_eq!(failed["result"]["isError"], true);

    let id = client.start("t__later", json!({ "hold": true })).await;
    let cancelled = client
        .request("tasks/cancel", json!({ "taskId": id }))
        .await;
    assert_eq!(cancelled.result()["resultType"], "complete");
    client.until(&id, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_of_no_tasks_gets_none() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let front = front(json!({ "t": remote(server.url()) })).await;
    let client = Tasks::of(&front);
    let plainly = front.client.call("t__maybe", json!({})).await;
    assert_eq!(plainly.result()["content"][0]["text"], "maybe of t");
    let needed = front.client.call("t__later", json!({})).await;
    assert_eq!(needed.status, 400);
    assert_eq!(needed.error_code(), Some(-32021), "{}", needed.raw);
    // A server that makes a task all the same answers with nothing that the client could read.
    let rude = front.client.call("t__rude", json!({})).await;
    assert_eq!(rude.fault()["reason"], "invalid_answer", "{}", rude.raw);

    let id = client.start("t__later", json!({ "hold": true })).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let params = json!({ "taskId": id, "inputResponses": {} });
        let refused = front.client.request(method, params).await;
        assert_eq!(refused.status, 400, "{method}");
        assert_eq!(refused.error_code(), Some(-32021), "{}", refused.raw);
        let required = &refused.response["error"]["data"]["requiredCapabilities"];
        assert_eq!(required["extensions"][TASKS], json!({}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_task_of_the_caller_is_an_unknown_task() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let front = Front::start(json!({
        "backends": { "t": remote(server.url()) },
        "auth": { "api_keys": [
            entry_of("ada", "ada-key"),
            entry_of("bob", "bob-key"),
        ] },
    }))
    .await;
    let ask = async |key: &str, method: &str, mut params: Value| {
        let declared = json!({ "extensions": { TASKS: {} } });
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": declared });
        let draft = front.client.draft(&message(method, params));
        let draft = draft.with_header("authorization", &format!("Bearer {key}"));
        front.client.send(draft).await.finish().await
    };
    let params = json!({ "name": "t__later", "arguments": { "hold": true } });
    let id = until("the server", async || {
        let answer = ask("ada-key", "tools/call", params.clone()).await;
        answer.result()["taskId"].as_str().map(str::to_owned)
    })
    .await;
    let of = |id: &str| json!({ "taskId": id });
    assert_eq!(
        ask("ada-key", "tasks/get", of(&id)).await.result()["status"],
        "working"
    );
    let mut forged = id.clone();
    forged.replace_range(20..21, if &id[20..21] == "A" { "B" } else { "A" });
    let before = server.requests_of("tasks/get").len();
    for (key, id) in [
        ("bob-key", &*id),
        ("ada-key", &*forged),
        ("ada-key", "t-task-1"),
    ] {
        let answer = ask(key, "tasks/get", of(id)).await;
        assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    }
    assert_eq!(server.requests_of("tasks/get").len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_nobody_has_are_not_found() {
    let front = front(json!({ "plain": switchboard_tests::front::faulty(&[]) })).await;
    let client = Tasks::of(&front);
    for method in [
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "skills/list",
        "no/such",
    ] {
        let answer = client.request(method, json!({ "taskId": "x" })).await;
        assert_eq!(answer.status, 404, "{method}");
        assert_eq!(
            answer.error_code(),
            Some(-32601),
            "{method}: {}",
            answer.raw
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_header_is_the_tasks() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let front = front(json!({ "t": remote(server.url()) })).await;
    let client = Tasks::of(&front);
    let id = client.start("t__later", json!({ "hold": true })).await;
    let declared = json!({ "extensions": { TASKS: {} } });
    let request = message(
        "tasks/get",
        json!({
            "taskId": id,
            "_meta": { "io.modelcontextprotocol/clientCapabilities": declared },
        }),
    );
    let draft = front.client.draft(&request);
    for draft in [
        draft.clone().without_header("mcp-name"),
        draft.with_header("mcp-name", "other"),
    ] {
        let refused = front.client.send(draft).await.finish().await;
        assert_eq!(refused.status, 400);
        assert_eq!(refused.error_code(), Some(-32020), "{}", refused.raw);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_its_own_tasks() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let quiet = json!(switchboard_tests::front::faulty(&[]));
    let front = front(json!({ "t": remote(server.url()), "quiet": quiet })).await;
    let client = Tasks::of(&front);
    let id = client.start("t__later", json!({ "hold": true })).await;
    let others = client.start("t__later", json!({ "hold": true })).await;

    let undeclared = front.client.listen(json!({ "taskIds": [id] })).await;
    let refused = undeclared.finish().await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.error_code(), Some(-32021), "{}", refused.raw);

    let capabilities = json!({ "extensions": { TASKS: {} } });
    let params = json!({
        "notifications": { "taskIds": [id, "t-task-2"], "toolsListChanged": true },
        "_meta": { "io.modelcontextprotocol/clientCapabilities": capabilities },
    });
    let draft = front.client.draft(&message("subscriptions/listen", params));
    let mut stream = front.client.send(draft).await;
    let acknowledged = stream.next().await.expect("an acknowledgement");
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({ "toolsListChanged": true, "taskIds": [id] })
    );
    let first = stream.next().await.expect("the first state");
    assert_eq!(first["method"], "notifications/tasks", "{first}");
    assert_eq!(first["params"]["taskId"], id);
    assert_eq!(first["params"]["status"], "working");
    let tag = &first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(*tag, 1);
    server.server().release();
    let last = stream.next().await.expect("the last state");
    assert_eq!(last["params"]["taskId"], id, "{last}");
    assert_eq!(last["params"]["status"], "completed", "{last}");
    assert_eq!(last["params"]["result"]["structuredContent"]["server"], "t");
    assert_eq!(client.get(&others).await["status"], "completed");
    // Without its listener a stream is of no use.
    drop(stream);
    until("the end of the stream", async || {
        let listens = server.requests_of("subscriptions/listen");
        let of_tasks = |message: &&Value| message["params"]["notifications"]["taskIds"].is_array();
        assert_eq!(listens.iter().filter(of_tasks).count(), 1);
        (server.streams() == 0).then_some(())
    })
    .await;
}
