//! Clients of 2025-11-25 and older, without an SDK: what they may send, and what becomes of it.
//! The servers behind the gateway are modern.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::{Client, all_capabilities};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup, Wire};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::waiting::until;

mod handshake;
mod news;
mod older;
mod questions;
mod roots;
mod sessions;
mod streams;

/// The revisions with a handshake, newest first.
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// A gateway in front of one modern server, `srv`.
struct Scene {
    front: Front,
    server: HttpServer,
}

impl Scene {
    async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With this `server` section.
    async fn with(section: Value) -> Self {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
        let front = Front::start(json!({
            "server": section,
            "names": { "max_length": 64 },
            "backends": { "srv": remote(&server.url()) },
        }))
        .await;
        front.wait_until("srv", true).await;
        Self { front, server }
    }

    fn url(&self) -> &str {
        self.front.gateway.url()
    }

    /// A path beside the endpoint.
    fn beside(&self, path: &str) -> String {
        self.url().replace("/mcp", path)
    }

    /// Checks that modern clients are served.
    async fn works(&self) {
        let answer = self.front.client.call("srv__echo", json!({ "a": 1 })).await;
        assert_eq!(
            answer.result()["structuredContent"]["a"],
            1,
            "{}",
            answer.raw
        );
    }

    /// A client of this version that can be asked anything.
    async fn client(&self, version: &'static str) -> LegacyClient {
        LegacyClient::connect(self.url(), setup(version)).await
    }
}

fn setup(version: &'static str) -> Setup {
    Setup {
        version,
        capabilities: all_capabilities(),
        replies: Arc::new(reply),
        ..Setup::default()
    }
}

/// Fills in every text of a form with "Ada".
fn reply(question: &Value) -> Reply {
    let properties = question["params"]["requestedSchema"]["properties"].as_object();
    let Some(properties) = properties else {
        return Reply::accept(question);
    };
    let filled = |schema: &Value| match schema["type"].as_str() {
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(1),
        _ => json!("Ada"),
    };
    let content: Value = properties
        .iter()
        .map(|(key, schema)| (key.clone(), filled(schema)))
        .collect();
    Reply::Result(json!({ "action": "accept", "content": content }))
}
