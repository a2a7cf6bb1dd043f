//! Questions and answers that are not as they should be, from either side.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, all_capabilities};
use switchboard_testkit::legacy_client::{LegacyClient, Replies, Setup};
use switchboard_tests::asking::{AskingServer, asking_call, content, only_question};
use switchboard_tests::front::Front;

mod answers;
mod clients;
mod servers;

/// A gateway in front of one asking server, `a`, that is there.
struct Stage {
    server: AskingServer,
    front: Front,
}

impl Stage {
    /// With these settings of the backend, and these other sections of the configuration.
    async fn with(server: AskingServer, settings: Value, mut config: Value) -> Self {
        let mut backend = server.backend();
        for (key, value) in settings.as_object().into_iter().flatten() {
            backend[key] = value.clone();
        }
        config["backends"] = json!({ "a": backend });
        let front = Front::start(config).await;
        front.wait_until("a", true).await;
        Self { server, front }
    }

    /// Makes a call of a modern client.
    async fn call(&self, tool: &str, arguments: &Value) -> Answer {
        let message = asking_call(&format!("a__{tool}"), arguments);
        self.front.client.ask(&message).await
    }

    /// A legacy client that may be asked anything.
    async fn legacy(&self, replies: Replies) -> LegacyClient {
        let setup = Setup {
            capabilities: all_capabilities(),
            replies,
            ..Setup::default()
        };
        LegacyClient::connect(self.front.gateway.url(), setup).await
    }

    /// Checks that calls are answered, and asked about nothing but themselves.
    async fn works(&self) {
        let echo = self.call("echo", &json!({ "mark": "fine" })).await;
        assert_eq!(content(&echo)["mark"], "fine");
        let asked = self.call("ask_form", &json!({ "mark": "fine" })).await;
        let (_, question) = only_question(&asked);
        let text = question["params"]["message"].as_str().unwrap_or_default();
        assert!(text.starts_with("ask_form fine 1 of"), "{}", asked.raw);
    }
}
