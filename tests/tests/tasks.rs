//! Tasks: calls that are answered later, of every era with every era.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, message};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup};
use switchboard_tests::front::{Front, remote, until};
use switchboard_tests::{servers, tools};

/// The digests of the keys `ada-key` and `bob-key`.
const ADA_SHA256: &str = "15b5f344504549a217d5e34c7ae9b0af03c413536b0d0c0fc48822ac8922d3c8";
const BOB_SHA256: &str = "9b94dc1a51a38769f135edf04033ad7f2f487b6c25929be7a861cfc1ab10cf98";

/// A modern client that knows of tasks and can be asked by form.
struct Tasks {
    client: Client,
}

impl Tasks {
    fn of(front: &Front) -> Self {
        Self {
            client: front.client.clone(),
        }
    }

    /// Makes a request that declares this.
    async fn request_with(&self, capabilities: Value, method: &str, mut params: Value) -> Answer {
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
        self.client.ask(&message(method, params)).await
    }

    async fn request(&self, method: &str, params: Value) -> Answer {
        let capabilities = json!({ "elicitation": {}, "extensions": { TASKS: {} } });
        self.request_with(capabilities, method, params).await
    }

    async fn call(&self, tool: &str, arguments: Value) -> Answer {
        let params = json!({ "name": tool, "arguments": arguments });
        self.request("tools/call", params).await
    }

    /// Calls a tool that is a task, and answers with the task's id.
    async fn start(&self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        assert_eq!(answer.result()["resultType"], "task", "{}", answer.raw);
        let id = answer.result()["taskId"].as_str().expect("a task's id");
        id.to_owned()
    }

    async fn get(&self, id: &str) -> Value {
        let answer = self.request("tasks/get", json!({ "taskId": id })).await;
        let task = answer.result();
        assert_eq!(task["resultType"], "complete", "{}", answer.raw);
        assert_eq!(task["taskId"], id, "{}", answer.raw);
        task.clone()
    }

    /// Waits until the task has this status.
    async fn until(&self, id: &str, status: &str) -> Value {
        until(status, async || {
            let task = self.get(id).await;
            (task["status"] == status).then_some(task)
        })
        .await
    }
}

async fn front(backends: Value) -> Front {
    let front = Front::of(backends).await;
    front.gateway.wait_for_backends().await;
    front
}

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
            { "name": "ada", "key_sha256": ADA_SHA256 },
            { "name": "bob", "key_sha256": BOB_SHA256 },
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

/// The server of tasks of this era, as a process.
fn process(era: &str, label: &str) -> Value {
    json!({ "command": tools::program("task-server"), "args": ["--era", era, "--label", label] })
}

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

async fn legacy_client(front: &Front, version: &'static str) -> LegacyClient {
    let setup = Setup {
        version,
        capabilities: json!({ "elicitation": {} }),
        replies: Arc::new(|question| {
            assert_eq!(question["params"]["message"], "What is your name?");
            Reply::Result(json!({ "action": "accept", "content": { "name": "Ada" } }))
        }),
        ..Setup::default()
    };
    LegacyClient::connect(front.gateway.url(), setup).await
}

/// What a tool says of how it can be called as a task.
async fn support(client: &LegacyClient, tool: &str) -> Value {
    let list = client.request("tools/list", json!({})).await;
    let tools = list.result()["tools"].as_array().expect("a list").clone();
    let found = tools.iter().find(|found| found["name"] == tool);
    found.expect("the tool")["execution"]["taskSupport"].clone()
}

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

/// A gateway with this server, whose callers are told apart, and may do what these sections say.
fn decided(url: &str, sections: &Value) -> Value {
    let mut config = json!({
        "backends": { "t": remote(url) },
        "auth": { "api_keys": [{ "name": "ada", "key_sha256": ADA_SHA256 }] },
    });
    let members = sections.as_object().expect("sections").clone();
    config.as_object_mut().expect("an object").extend(members);
    config
}

/// Ada: a client of either era.
enum Ada {
    Modern(Box<Client>),
    Legacy(Box<LegacyClient>),
}

impl Ada {
    async fn of(front: &Front, era: Era) -> Self {
        let url = front.gateway.url();
        match era {
            Era::Modern => Self::Modern(Box::new(front.client.clone())),
            Era::Legacy => {
                let setup = Setup {
                    version: "2025-11-25",
                    key: Some("ada-key".to_owned()),
                    ..Setup::default()
                };
                Self::Legacy(Box::new(LegacyClient::connect(url, setup).await))
            }
        }
    }

    async fn ask(&self, method: &str, mut params: Value) -> Value {
        match self {
            Self::Modern(client) => {
                let declared = json!({ "extensions": { TASKS: {} } });
                params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": declared });
                let draft = client.draft(&message(method, params));
                let draft = draft.with_header("authorization", "Bearer ada-key");
                client.send(draft).await.finish().await.response
            }
            Self::Legacy(client) => client.request(method, params).await.response,
        }
    }

    /// Begins a task.
    async fn start(&self, tool: &str, arguments: Value) -> String {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if matches!(self, Self::Legacy(_)) {
            params["task"] = json!({});
        }
        until("a task", async || {
            let made = self.ask("tools/call", params.clone()).await;
            let result = &made["result"];
            let id = result["taskId"].as_str();
            id.or(result["task"]["taskId"].as_str()).map(str::to_owned)
        })
        .await
    }

    async fn status(&self, id: &str) -> Value {
        let task = self.ask("tasks/get", json!({ "taskId": id })).await;
        task["result"]["status"].clone()
    }

    async fn until_completed(&self, id: &str) {
        until("the end", async || {
            (self.status(id).await == "completed").then_some(())
        })
        .await;
    }
}

/// Clients and servers of each era.
const ERAS: [(Era, Era); 3] = [
    (Era::Modern, Era::Modern),
    (Era::Modern, Era::Legacy),
    (Era::Legacy, Era::Legacy),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_tool_is_hidden_by_now_is_an_unknown_task() {
    for (client, server) in ERAS {
        let server = FakeTasks::start(server, "t").await;
        // What a rule says of arguments it says when the task begins.
        let rules = |tools: Value| {
            json!({ "access": { "rules": [{
                "name": "some", "effect": "allow", "tools": tools, "when": "args.hold == true",
            }] } })
        };
        let both = rules(json!(["t__later", "t__slow_compute"]));
        let front = Front::start(decided(server.url(), &both)).await;
        let ada = Ada::of(&front, client).await;
        let held = json!({ "hold": true });
        let later = ada.start("t__later", held.clone()).await;
        let maybe = ada.start("t__slow_compute", held).await;
        for id in [&later, &maybe] {
            assert_eq!(ada.status(id).await, "working");
        }

        let fewer = rules(json!(["t__slow_compute"]));
        front.gateway.rewrite(decided(server.url(), &fewer));
        front.gateway.hang_up();
        let unknown = ada.ask("tasks/get", json!({ "taskId": "t-task-1" })).await;
        let unknown = &unknown["error"];
        until("the reload", async || {
            let answer = ada.ask("tasks/get", json!({ "taskId": later })).await;
            (answer["error"] == *unknown).then_some(())
        })
        .await;
        server.server().release();
        ada.until_completed(&maybe).await;
        let methods: &[&str] = match client {
            Era::Modern => &["tasks/get", "tasks/update", "tasks/cancel"],
            Era::Legacy => &["tasks/get", "tasks/result", "tasks/cancel"],
        };
        for method in methods {
            let params = json!({ "taskId": later, "inputResponses": {} });
            let answer = ada.ask(method, params).await;
            assert_eq!(answer["error"], *unknown, "{method}: {answer}");
        }
        assert!(server.requests_of("tasks/update").is_empty());
        assert!(server.requests_of("tasks/cancel").is_empty());
        front.gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_told_of_a_task_whose_tool_is_hidden_by_now() {
    let server = FakeTasks::start(Era::Modern, "t").await;
    let rules = |tools: Value| json!({ "access": { "rules": [{ "name": "some", "effect": "allow", "tools": tools }] } });
    let both = rules(json!(["t__later", "t__slow_compute"]));
    let front = Front::start(decided(server.url(), &both)).await;
    let ada = Ada::of(&front, Era::Modern).await;
    let later = ada.start("t__later", json!({ "hold": true })).await;
    let maybe = ada.start("t__slow_compute", json!({ "hold": true })).await;
    let listen = async |ids: Value| {
        let params = json!({
            "notifications": { "taskIds": ids },
            "_meta": { "io.modelcontextprotocol/clientCapabilities": { "extensions": { TASKS: {} } } },
        });
        let draft = front.client.draft(&message("subscriptions/listen", params));
        let draft = draft.with_header("authorization", "Bearer ada-key");
        let mut stream = front.client.send(draft).await;
        let acknowledged = stream.next().await.expect("an acknowledgement");
        let agreed = acknowledged["params"]["notifications"]["taskIds"].clone();
        (stream, agreed)
    };
    let (mut stream, agreed) = listen(json!([later, maybe])).await;
    assert_eq!(agreed.as_array().expect("tasks").len(), 2, "{agreed}");
    for _ in 0..2 {
        let state = stream.next().await.expect("a state");
        assert_eq!(state["params"]["status"], "working", "{state}");
    }
    let fewer = rules(json!(["t__slow_compute"]));
    front.gateway.rewrite(decided(server.url(), &fewer));
    front.gateway.hang_up();
    until("the reload", async || {
        (ada.status(&later).await == Value::Null).then_some(())
    })
    .await;
    let (_stream, agreed) = listen(json!([later, maybe])).await;
    assert_eq!(agreed, json!([maybe]));
    server.server().release();
    let told = stream.next().await.expect("a state");
    assert_eq!(told["params"]["taskId"], maybe, "{told}");
    assert_eq!(told["params"]["status"], "completed", "{told}");
    front.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_task_counts_once_in_bytes_and_looking_counts_nothing() {
    // A task is told of in some 300 bytes, with its result in some 400; the small call takes 130.
    let sections = json!({
        "budgets": [{ "name": "bytes", "per": ["principal"], "bytes": 1200, "window": "1d" }],
        "limits": [{ "name": "calls", "per": ["principal"], "rate": "4/1h" }],
    });
    for (client, server) in ERAS {
        let server = FakeTasks::start(server, "t").await;
        let front = Front::start(decided(server.url(), &sections)).await;
        let ada = Ada::of(&front, client).await;
        let first = ada.start("t__later", json!({ "hold": true })).await;
        for _ in 0..10 {
            assert_eq!(ada.status(&first).await, "working");
        }
        server.server().release();
        ada.until_completed(&first).await;
        for _ in 0..10 {
            assert_eq!(ada.status(&first).await, "completed");
        }
        let call = async || {
            let params = json!({ "name": "t__quick", "arguments": {} });
            ada.ask("tools/call", params).await
        };
        let quick = call().await;
        assert!(quick["result"].is_object(), "{quick}");
        assert!(!quick.to_string().contains("over_budget"), "{quick}");
        let second = ada.start("t__later", json!({ "ms": 1 })).await;
        ada.until_completed(&second).await;
        let refused = call().await;
        assert!(refused.to_string().contains("over_budget"), "{refused}");
        // What is there already can be looked at.
        assert_eq!(ada.status(&first).await, "completed");
        front.gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_told_counts_as_one_that_is_asked_for() {
    let sections = json!({
        "budgets": [{ "name": "bytes", "per": ["principal"], "bytes": 600, "window": "1d" }],
    });
    let server = FakeTasks::start(Era::Modern, "t").await;
    let front = Front::start(decided(server.url(), &sections)).await;
    let ada = Ada::of(&front, Era::Modern).await;
    let id = ada.start("t__later", json!({ "hold": true })).await;
    let quick = json!({ "name": "t__quick", "arguments": {} });
    let made = ada.ask("tools/call", quick.clone()).await;
    assert!(!made.to_string().contains("over_budget"), "{made}");
    let params = json!({
        "notifications": { "taskIds": [id] },
        "_meta": { "io.modelcontextprotocol/clientCapabilities": { "extensions": { TASKS: {} } } },
    });
    let draft = front.client.draft(&message("subscriptions/listen", params));
    let draft = draft.with_header("authorization", "Bearer ada-key");
    let mut stream = front.client.send(draft).await;
    stream.next().await.expect("an acknowledgement");
    server.server().release();
    until("the result", async || {
        let told = stream.next().await.expect("a state");
        (told["params"]["status"] == "completed").then_some(())
    })
    .await;
    let refused = ada.ask("tools/call", quick).await;
    assert!(refused.to_string().contains("over_budget"), "{refused}");
    front.gateway.stop().await;
}
