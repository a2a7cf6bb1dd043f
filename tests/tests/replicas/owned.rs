//! What clients of 2026-07-28 go on with at another replica than the one that has it.

use switchboard_testkit::asking::Options;
use switchboard_testkit::client::{Client, accept, message, retry};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call, content};
use switchboard_tests::front::remote;
use switchboard_tests::scripted::{Scripted, pieces};
use switchboard_tests::tools;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_call_is_answered_through_another_replica() {
    for way in Way::ALL {
        let server = AskingServer::start(way).await;
        let mut config = json!({ "backends": { "a": server.backend() } });
        config["profiles"] =
            json!({ "p": { "tools": ["a__*"], "rename": { "a__ask_rounds": "r" } } });
        let replicas = replicas(2, config).await;
        // Each round comes to another one.
        let call = asking_call("a__ask_rounds", &json!({ "mark": "m", "n": 3 }));
        let answer = replicas.client.converse(&call, accept).await;
        assert_eq!(content(&answer)["mark"], "m", "{way:?}: {}", answer.raw);
        assert_eq!(server.count("begin", "m"), 1, "{way:?}");
        // In a profile, under a name of its own.
        let of_profile = Client::new(&format!("{}/p", replicas.url()));
        let call = asking_call("r", &json!({ "mark": "p", "n": 3 }));
        let answer = of_profile.converse(&call, accept).await;
        assert_eq!(content(&answer)["mark"], "p", "{way:?}: {}", answer.raw);
        assert!(replicas.forwarded().await > 0.0, "{way:?}");

        // The outcome is fetched again from anywhere.
        let call = asking_call("a__ask_form", &json!({ "mark": "again" }));
        let asked = replicas.front(0).client.ask(&call).await;
        let again = retry(call, &asked, accepted(&asked, "x"));
        for at in [1, 0, 1] {
            let answer = replicas.front(at).client.ask(&again).await;
            assert_eq!(content(&answer)["mark"], "again", "{}", answer.raw);
        }
        assert_eq!(server.count("begin", "again"), 1, "{way:?}");
        replicas.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_substitute_asks_goes_home_as_well() {
    let (broken, server) = (
        FakeHttp::start(Transport::Modern, "near").await,
        AskingServer::start(Way::Post).await,
    );
    let config = json!({
        "backends": { "near": remote(broken.url()), "a": server.backend() },
        "fallbacks": [{ "tool": "near__echo", "try": ["a__ask_form"] }],
    });
    let replicas = replicas(2, config).await;
    drop(broken);
    let call = asking_call("near__echo", &json!({ "mark": "m" }));
    let asked = replicas.front(0).client.ask(&call).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    let again = retry(call, &asked, accepted(&asked, "x"));
    let answer = replicas.front(1).client.ask(&again).await;
    assert_eq!(content(&answer)["mark"], "m", "{}", answer.raw);
    assert_eq!(server.count("begin", "m"), 1);
    assert_eq!(replicas.forwarded().await, 1.0);
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_given_up_at_its_owner() {
    let server = AskingServer::start(Way::Post).await;
    let config = json!({ "backends": { "a": server.backend() } });
    let replicas = replicas(2, config).await;
    let call = asking_call("a__ask_form", &json!({ "mark": "m", "then_ms": 600_000 }));
    let asked = replicas.front(0).client.ask(&call).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    let again = retry(call, &asked, accepted(&asked, "x"));
    let client = replicas.front(1).client.clone();
    let waiting = tokio::spawn(async move { client.ask(&again).await });
    server.wait_for("answered", "m", 1).await;
    waiting.abort();
    server.wait_for("cancelled", "m", 1).await;
    replicas.stop().await;
}

/// A client that knows of tasks and can be asked by form.
async fn of_task(client: &Client, method: &str, mut params: Value) -> Answer {
    let capabilities = json!({ "elicitation": {}, "extensions": { TASKS: {} } });
    params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
    client.ask(&message(method, params)).await
}

async fn start(client: &Client, tool: &str, arguments: Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    let answer = of_task(client, "tools/call", params).await;
    let id = answer.result()["taskId"].as_str();
    id.unwrap_or_else(|| panic!("no task: {}", answer.raw))
        .to_owned()
}

async fn ended(client: &Client, id: &str) -> Value {
    until("the end of the task", async || {
        let answer = of_task(client, "tasks/get", json!({ "taskId": id })).await;
        let task = answer.result().clone();
        let status = task["status"].as_str();
        let status = status.unwrap_or_else(|| panic!("no task: {}", answer.raw));
        ["completed", "failed", "cancelled"]
            .contains(&status)
            .then_some(task)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_found_from_every_replica() {
    let (legacy, modern) = (
        FakeTasks::start(Era::Legacy, "http").await,
        FakeTasks::start(Era::Modern, "far").await,
    );
    let process = |era: &str| {
        json!({
            "command": tools::program("task-server"),
            "args": ["--era", era, "--label", era],
        })
    };
    let backends = json!({
        "http": remote(legacy.url()),
        "far": remote(modern.url()),
        "old": process("legacy"),
        "new": process("modern"),
    });
    let replicas = replicas(3, json!({ "backends": backends })).await;
    let client = &replicas.client;
    for backend in ["http", "far", "old", "new"] {
        let tool = |name: &str| format!("{backend}__{name}");
        let id = start(client, &tool("later"), json!({ "ms": 30 })).await;
        let task = ended(client, &id).await;
        assert_eq!(task["status"], "completed", "{backend}: {task}");

        let id = start(client, &tool("asks"), json!({})).await;
        let waiting = until("a question", async || {
            let answer = of_task(client, "tasks/get", json!({ "taskId": id })).await;
            let task = answer.result().clone();
            (task["status"] == "input_required").then_some(task)
        })
        .await;
        let requests = waiting["inputRequests"].as_object().expect("requests");
        let key = requests.keys().next().expect("a request");
        let name = json!({ "action": "accept", "content": { "name": "Ada" } });
        let params = json!({ "taskId": id, "inputResponses": { key: name } });
        let updated = of_task(client, "tasks/update", params).await;
        assert_eq!(
            updated.result()["resultType"],
            "complete",
            "{}",
            updated.raw
        );
        let task = ended(client, &id).await;
        assert_eq!(text(&task["result"]), "Hello, Ada", "{backend}: {task}");

        let id = start(client, &tool("later"), json!({ "hold": true })).await;
        let cancelled = of_task(client, "tasks/cancel", json!({ "taskId": id })).await;
        assert_eq!(
            cancelled.result()["resultType"],
            "complete",
            "{}",
            cancelled.raw
        );
        let task = ended(client, &id).await;
        assert_eq!(task["status"], "cancelled", "{backend}: {task}");
    }
    assert!(replicas.forwarded().await > 0.0);
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_of_a_task_come_from_its_owner() {
    let process = json!({
        "command": tools::program("task-server"),
        "args": ["--era", "modern", "--label", "new"],
    });
    let replicas = replicas(2, json!({ "backends": { "new": process } })).await;
    let (owner, other) = (&replicas.front(0).client, &replicas.front(1).client);
    let id = start(owner, "new__later", json!({ "hold": true })).await;
    let capabilities = json!({ "extensions": { TASKS: {} } });
    let params = json!({
        "notifications": { "taskIds": [id, "no-task"], "toolsListChanged": true },
        "_meta": { "io.modelcontextprotocol/clientCapabilities": capabilities },
    });
    let listen = message("subscriptions/listen", params);
    let mut stream = other.send(other.draft(&listen)).await;
    let acknowledged = stream.next().await.expect("an acknowledgement");
    let agreed = &acknowledged["params"]["notifications"];
    assert_eq!(agreed["taskIds"], json!([id]), "{acknowledged}");
    let cancelled = of_task(other, "tasks/cancel", json!({ "taskId": id })).await;
    assert_eq!(
        cancelled.result()["resultType"],
        "complete",
        "{}",
        cancelled.raw
    );
    loop {
        let news = stream.next().await.expect("news");
        assert_eq!(news["params"]["taskId"], id, "{news}");
        if news["params"]["status"] == "cancelled" {
            break;
        }
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_result_is_read_from_every_replica() {
    let long: String = (0..5_000)
        .map(|row| format!("row {row} of many\n"))
        .collect();
    let content = long.clone();
    let server = Scripted::start(move |id| {
        let result = json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": content }],
        });
        let response = json!({ "jsonrpc": "2.0", "id": 0, "result": result });
        let response = response.to_string();
        pieces(
            &response.replace("\"id\":0", &format!("\"id\":{id}")),
            10_007,
        )
    })
    .await;
    let config = json!({
        "backends": { "s": remote(server.url()) },
        "kept_results": { "ttl": "10m" },
        "result_caps": [{ "max_bytes": "8KiB", "over": "handle" }],
    });
    let replicas = replicas(3, config).await;
    let call = replicas.front(0).client.call("s__t", json!({})).await;
    let blocks = call.result()["content"].as_array().expect("blocks");
    let link = blocks.iter().find(|block| block["type"] == "resource_link");
    let uri = link.expect("a link")["uri"].as_str().expect("a URI");
    let at = long.find("row 4321 ").expect("it is there") as u64;
    for front in replicas.fronts.iter().flatten() {
        let client = &front.client;
        let params = json!({ "uri": format!("{uri}?offset={at}&length=17") });
        let read = client.request("resources/read", params).await;
        let text = &read.result()["contents"][0]["text"];
        assert_eq!(text, "row 4321 of many\n", "{}", read.raw);
        let arguments = json!({ "uri": uri, "search": "ROW 4321" });
        let found = client.call("switchboard__read_result", arguments).await;
        let content = found.result()["content"].to_string();
        assert!(content.contains("row 4321"), "{}", found.raw);
    }
    // What leads nowhere leads nowhere everywhere.
    let (id, _) = uri.split_at(uri.len() - 2);
    for front in replicas.fronts.iter().flatten() {
        let read = front
            .client
            .request("resources/read", json!({ "uri": id }))
            .await;
        assert_eq!(read.error_code(), Some(-32602), "{}", read.raw);
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_used_once_whichever_replica_it_comes_to() {
    let redis = RedisServer::start().await;
    let options = Options {
        era: Era::Modern,
        ..Options::default()
    };
    let server = AskingServer::with(Way::Post, options).await;
    let config = json!({
        "backends": { "a": server.backend() },
        "budgets": [{ "name": "b", "calls": 3, "window": "31d" }],
        "store": { "redis": redis.url(), "timeout": "5s" },
    });
    let mut replicas = replicas(3, config).await;
    let call = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = replicas.front(0).client.ask(&call).await;
    let again = retry(call, &asked, accepted(&asked, "x"));
    // The call itself, and two more with the same state: no replica takes one for the first.
    for at in [1, 2, 1] {
        let answer = replicas.front(at).client.ask(&again).await;
        assert_eq!(content(&answer)["mark"], "m", "{}", answer.raw);
    }
    assert_eq!(replicas.forwarded().await, 3.0);
    for at in [2, 0] {
        let answer = replicas.front(at).client.ask(&again).await;
        assert_eq!(answer.fault()["reason"], "over_budget", "{}", answer.raw);
    }
    // Where the one that remembers is gone, the state is good all the same.
    let call = asking_call("a__ask_form", &json!({ "mark": "n" }));
    redis.command(&["FLUSHALL"]).await;
    let asked = replicas.front(0).client.ask(&call).await;
    let again = retry(call, &asked, accepted(&asked, "x"));
    replicas.kill(0).await;
    let answer = replicas.front(1).client.ask(&again).await;
    assert_eq!(content(&answer)["mark"], "n", "{}", answer.raw);
    replicas.stop().await;
}
