//! A gateway that is configured by an example of the manual.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use tempfile::TempDir;

use crate::commands::{ended, switchboard};
use crate::front::metrics;
use crate::process::Server;
use crate::waiting::until;

/// A gateway that was started with an example as its page has it.
#[derive(Debug)]
pub struct Example {
    /// Its process.
    pub server: Server,
    /// A client of it.
    pub client: Client,
    // Holds the files for as long as the gateway may read them again.
    _folder: TempDir,
}

impl Example {
    /// Checks the example, and starts a gateway with it and with `over` laid over it: what a page cannot
    /// know, such as the addresses of the servers that are there.
    ///
    /// # Panics
    ///
    /// If the example is not valid, or the gateway does not start to listen.
    pub async fn start(yaml: &str, mut over: Value, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [page, here] = ["page.yaml", "here.json"].map(|name| folder.path().join(name));
        std::fs::write(&page, yaml).expect("the folder is ours");
        let mut check = switchboard(&["check", "-c"]);
        check.arg(&page).envs(variables.iter().copied());
        ended(check).await.assert_code(0);
        over["server"]["listen"] = json!("127.0.0.1:0");
        over["server"]["ops_listen"] = json!("127.0.0.1:0");
        over["server"]["watch_config"] = json!(false);
        std::fs::write(&here, over.to_string()).expect("the folder is ours");
        let mut serve = switchboard(&["serve"]);
        for file in [&page, &here] {
            serve.arg("-c").arg(file);
        }
        serve.envs(variables.iter().copied());
        let server = Server::start(serve).await;
        Self {
            client: Client::new(server.url()),
            server,
            _folder: folder,
        }
    }

    /// The samples of its metrics whose names begin with `prefix`, by name and labels.
    ///
    /// # Panics
    ///
    /// If there are no metrics.
    pub async fn metrics(&self, prefix: &str) -> BTreeMap<String, f64> {
        metrics(&self.server.address_of("ops").await, prefix).await
    }

    /// Waits until these tools are there, beside others.
    ///
    /// # Panics
    ///
    /// If they are not within a minute.
    pub async fn wait_for(&self, client: &Client, tools: &[&str]) {
        until(&format!("{tools:?} are there"), async || {
            let listed = client.request("tools/list", json!({})).await;
            let listed = listed.result()["tools"].as_array()?.clone();
            let is_there = |name: &&str| listed.iter().any(|tool| tool["name"] == **name);
            tools.iter().all(is_there).then_some(())
        })
        .await;
    }
}
