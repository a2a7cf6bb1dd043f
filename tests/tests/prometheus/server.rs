//! A real Prometheus with the rules of the repository, on a port and in a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use serde_json::Value;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A running Prometheus; it is killed with this.
pub(crate) struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these addresses each second.
    ///
    /// # Panics
    /// If it is not installed, or does not become ready.
    pub(crate) async fn start(targets: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rules = tools::repository().join("deploy/prometheus/rules/*.yml");
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": "switchboard",
                "static_configs": [{ "targets": targets }],
            }],
        });
        // JSON is YAML.
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).expect("the folder is ours");
        // Held until just before the start, so that nobody else is given it meanwhile.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let child = Command::new(tools::prometheus("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Prometheus starts");
        let this = Self {
            child,
            url: format!("http://{address}"),
            http: reqwest::Client::new(),
            _folder: folder,
        };
        until("Prometheus is ready", async || {
            let answer = this.http.get(format!("{}/-/ready", this.url)).send().await;
            answer.ok().filter(|answer| answer.status().is_success())
        })
        .await;
        this
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.url);
        let url = reqwest::Url::parse_with_params(&url, query).expect("a URL");
        let answer = self.http.get(url).send().await.expect("an answer");
        let answer = answer.text().await.expect("a whole answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// What a query gives now, without what is no number.
    ///
    /// # Panics
    /// If it is no query.
    pub(crate) async fn query(&self, query: &str) -> Vec<Value> {
        let data = self.get("query", &[("query", query)]).await;
        let mut found = data["result"].as_array().cloned().unwrap_or_default();
        found.retain(|sample| sample["value"][1] != "NaN");
        found
    }

    /// All rules.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let data = self.get("rules", &[]).await;
        let groups = data["groups"].as_array().expect("groups");
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }

    /// The values of a label, as variables of dashboards ask for them.
    pub(crate) async fn label_values(&self, label: &str) -> Vec<Value> {
        let of = [("match[]", "switchboard_backend_state")];
        let data = self.get(&format!("label/{label}/values"), &of).await;
        data.as_array().cloned().unwrap_or_default()
    }

    /// Ends it, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.child.kill().await.expect("it can be ended");
    }
}
