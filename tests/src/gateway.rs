//! `switchboard serve` as a process.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::process::Server;
use crate::tools;
use crate::waiting::PATIENCE;

/// The revision that the tests speak to the gateway.
pub const MODERN: &str = "2026-07-28";

/// The name of the configuration file.
const FILE: &str = "switchboard.json";

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    http: reqwest::Client,
    // Holds the configuration file for as long as the gateway may read it again.
    folder: TempDir,
}

impl Gateway {
    /// Starts a gateway with this configuration, on free ports, and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start to listen.
    pub async fn start(config: Value) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same, with these variables in its environment.
    ///
    /// # Panics
    ///
    /// If it does not start to listen.
    pub async fn start_with(config: Value, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(&folder, config);
        let mut command = serve(&folder.path().join(FILE));
        command.envs(variables.iter().copied());
        Self {
            server: Server::start(command).await,
            http: reqwest::Client::new(),
            folder,
        }
    }

    /// Puts another configuration in the place of the one that the gateway was started with.
    pub fn rewrite(&self, config: Value) {
        write(&self.folder, config);
    }

    /// Asks the gateway to read its configuration again.
    pub fn hang_up(&self) {
        self.server.hang_up();
    }

    /// The gateway's MCP endpoint.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The gateway's process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes one request, without an SDK in between, and returns the whole response message.
    ///
    /// # Panics
    ///
    /// If there is no JSON-RPC response.
    pub async fn request(&self, method: &str, mut params: Value) -> Value {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": { "name": "switchboard-tests", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut request = self
            .http
            .post(self.url())
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        if let Some(name) = params
            .get("name")
            .or(params.get("uri"))
            .and_then(Value::as_str)
        {
            request = request.header("mcp-name", name);
        }
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = request.json(&message).send().await.expect("a response");
        let body = response.text().await.expect("a whole response");
        // An event stream ends with the response; what came before it is not asked for here.
        let last = body
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("data:"))
            .unwrap_or(&body);
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {body}"))
    }

    /// Waits until every backend is there: no list says any longer that something is missing.
    ///
    /// # Panics
    ///
    /// If one is still missing after a minute.
    pub async fn wait_for_backends(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.request("tools/list", json!({})).await;
            let missing = &answer["result"]["_meta"]["dev.switchboard/backends"];
            let complete = missing.as_array().is_none_or(Vec::is_empty);
            if complete && answer["result"]["tools"].is_array() {
                return;
            }
            assert!(Instant::now() < deadline, "still missing: {answer}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the gateway as a service manager does.
    ///
    /// # Panics
    ///
    /// If it does not stop, or not with exit code 0.
    pub async fn stop(self) {
        let status = self.server.stop().await;
        assert!(status.success(), "the gateway ended with {status}");
    }
}

/// Writes a configuration with free ports: beside the old one, whose place it takes as a whole.
fn write(folder: &TempDir, mut config: Value) {
    config["server"]["listen"] = json!("127.0.0.1:0");
    config["server"]["ops_listen"] = json!("127.0.0.1:0");
    if !config["admin"].is_null() {
        config["server"]["admin_listen"] = json!("127.0.0.1:0");
    }
    let new = folder.path().join("new.json");
    std::fs::write(&new, config.to_string()).expect("the folder is ours");
    std::fs::rename(new, folder.path().join(FILE)).expect("the folder is ours");
}

fn serve(config: &Path) -> Command {
    let mut command = Command::new(tools::program("switchboard"));
    command.arg("serve").arg("-c").arg(config);
    command
}
