//! Calls that a legacy server interrupts with questions, and modern clients that come back with the
//! answers, or do not.

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_tests::asking::{AskingServer, Way, asking_call};
use switchboard_tests::front::Front;

mod capabilities;
mod crowd;
mod state;
mod urls;
mod waiting;

/// A gateway in front of one asking server, `a`, that is there.
struct Stage {
    server: AskingServer,
    front: Front,
}

impl Stage {
    async fn of(way: Way) -> Self {
        Self::with(AskingServer::start(way).await, json!({})).await
    }

    /// With these other sections of the configuration.
    async fn with(server: AskingServer, mut config: Value) -> Self {
        config["backends"] = json!({ "a": server.backend() });
        let front = Front::start(config).await;
        front.wait_until("a", true).await;
        Self { server, front }
    }

    /// Makes a call that is asked something, and returns it with what is asked.
    async fn park(&self, tool: &str, arguments: &Value) -> (Value, Answer) {
        let message = asking_call(&format!("a__{tool}"), arguments);
        let asked = self.front.client.ask(&message).await;
        assert!(asked.is_input_required(), "{tool}: {}", asked.raw);
        (message, asked)
    }
}
