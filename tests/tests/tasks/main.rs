//! Tasks: calls that are answered later, of every era with every era.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, message};
use switchboard_testkit::fake_tasks::TASKS;
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup};
use switchboard_tests::front::Front;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;

mod legacy_clients;
mod legacy_servers;
mod modern;
mod policy;

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

/// The server of tasks of this era, as a process.
fn process(era: &str, label: &str) -> Value {
    json!({ "command": tools::program("task-server"), "args": ["--era", era, "--label", label] })
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
