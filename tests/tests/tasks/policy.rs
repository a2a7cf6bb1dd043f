//! What the policy says of a task: whether it is there at all, and what it counts.

use serde_json::{Value, json};
use switchboard_testkit::client::{Client, message};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

/// A gateway with this server, whose callers are told apart, and may do what these sections say.
fn decided(url: &str, sections: &Value) -> Value {
    let mut config = json!({
        "backends": { "t": remote(url) },
        "auth": { "api_keys": [entry_of("ada", "ada-key")] },
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
