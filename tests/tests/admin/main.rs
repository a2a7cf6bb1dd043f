//! The admin API and `switchboard backends`: who may use it, what it says of what runs, and that a
//! restart is one.

use serde_json::{Value, json};
use switchboard_tests::commands::switchboard;
use switchboard_tests::front::Front;
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::{PATIENCE, until};
use tokio::process::Command;

mod access;
mod answers;
mod command;
mod restarts;
mod secrets;

const OPS: &str = "the-key-of-ops-51b2";
const AGENT: &str = "the-key-of-an-agent-77aa";

fn keys(names: &[(&str, &str)]) -> Value {
    let keys = names.iter().map(|(name, key)| entry_of(name, key));
    json!({ "api_keys": keys.collect::<Vec<_>>() })
}

fn config(backends: &Value) -> Value {
    json!({
        "server": { "watch_config": false },
        "admin": keys(&[("ops", OPS)]),
        "backends": backends,
    })
}

/// A gateway with an admin API.
struct Administered {
    front: Front,
    url: String,
    http: reqwest::Client,
}

/// A status and a body.
type Answer = (u16, Value);

impl Administered {
    async fn start(config: Value) -> Self {
        let front = Front::start(config).await;
        Self {
            url: front.admin_url().await,
            front,
            http: reqwest::Client::new(),
        }
    }

    async fn of(backends: Value) -> Self {
        Self::start(config(&backends)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a whole answer");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method, path).bearer_auth(OPS)).await
    }

    async fn backend(&self, name: &str) -> Value {
        let (status, backend) = self.ask("GET", &format!("/api/v1/backends/{name}")).await;
        assert_eq!(status, 200, "{backend}");
        backend
    }

    /// The program of a local backend that its lists come from.
    async fn pid(&self, name: &str) -> Option<u32> {
        let backend = self.backend(name).await;
        let pid = backend["endpoints"][0]["processes"][0]["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Waits until it is ready with another program than this.
    async fn another_than(&self, name: &str, before: Option<u32>) -> u32 {
        until("another process", async || {
            let pid = self.pid(name).await?;
            let is_ready = self.backend(name).await["state"] == "ready";
            (is_ready && Some(pid) != before).then_some(pid)
        })
        .await
    }

    async fn restart(&self, name: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/backends/{name}/restart"))
            .await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = switchboard(&["backends"]);
        command
            .args(arguments)
            .env("SWITCHBOARD_ADMIN_URL", &self.url)
            .env("SWITCHBOARD_ADMIN_KEY", OPS);
        command
    }
}

const LIST: &str = "/api/v1/backends";
