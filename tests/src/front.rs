//! A gateway in front of fake servers, with the raw client, and what it owns right now.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use tokio::time::{Instant, sleep};

use crate::gateway::Gateway;
use crate::tools;
use crate::waiting::{PATIENCE, until};

/// The metric that counts the gateway's tasks.
const TASKS: &str = "switchboard_tasks";

/// A gateway and a client of it.
#[derive(Debug)]
pub struct Front {
    /// The gateway.
    pub gateway: Gateway,
    /// The client.
    pub client: Client,
    metrics_url: String,
}

/// What a gateway owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Processes below it.
    pub processes: usize,
    /// Its tasks.
    pub tasks: usize,
    /// Its threads.
    pub threads: usize,
    /// Its open file descriptors.
    pub files: usize,
}

/// The memory of a gateway, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, since it was started.
    pub peak: u64,
}

impl Census {
    /// Whether none of the counts is higher than that of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.processes <= other.processes
            && self.tasks <= other.tasks
            && self.threads <= other.threads
            && self.files <= other.files
    }
}

/// A `faulty-server` as an entry of the `backends` section.
pub fn faulty(flags: &[&str]) -> Value {
    json!({ "command": tools::program("faulty-server"), "args": flags })
}

/// A remote server as an entry of the `backends` section.
pub fn remote(url: &str) -> Value {
    json!({ "url": url })
}

impl Front {
    /// Starts a gateway in front of these backends.
    ///
    /// # Panics
    ///
    /// If it does not start to listen.
    pub async fn of(backends: Value) -> Self {
        Self::start(json!({ "backends": backends })).await
    }

    /// Starts a gateway with this configuration.
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
    pub async fn start_with(mut config: Value, variables: &[(&str, &str)]) -> Self {
        // The thread that reads files comes and goes, and threads are counted.
        if config["server"]["watch_config"].is_null() {
            config["server"]["watch_config"] = json!(false);
        }
        let gateway = Gateway::start_with(config, variables).await;
        let metrics_url = gateway.server().address_of("ops").await;
        Self {
            client: Client::new(gateway.url()),
            gateway,
            metrics_url,
        }
    }

    /// Starts a gateway with this configuration, and waits until none of its backends is starting any
    /// more: each is there, or known to be away.
    ///
    /// # Panics
    ///
    /// If it does not start to listen, or a backend is still starting after [`PATIENCE`].
    pub async fn started(config: Value) -> Self {
        let front = Self::start(config).await;
        until("nobody is starting any more", async || {
            let missing = front.missing().await;
            let mut entries = missing.values();
            entries
                .all(|entry| entry["state"] != "starting")
                .then_some(())
        })
        .await;
        front
    }

    /// Where the gateway's admin API is, once it listens.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn admin_url(&self) -> String {
        self.gateway.server().address_of("admin").await
    }

    /// Where the gateway's metrics are.
    pub fn metrics_url(&self) -> &str {
        &self.metrics_url
    }

    /// The samples of the metrics whose names begin with `prefix`, by name and labels.
    ///
    /// # Panics
    ///
    /// If there are no metrics.
    pub async fn metrics(&self, prefix: &str) -> BTreeMap<String, f64> {
        metrics(&self.metrics_url, prefix).await
    }

    /// What the gateway owns right now.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub async fn census(&self) -> Census {
        let tasks = self.metrics(TASKS).await;
        let tasks = tasks.get(TASKS).expect("the metric of the tasks");
        let id = self.gateway.server().id().expect("a running gateway");
        let entries = |folder: &str| {
            let folder = format!("/proc/{id}/{folder}");
            std::fs::read_dir(folder).map_or(0, Iterator::count)
        };
        Census {
            processes: descendants(id).len(),
            tasks: *tasks as usize,
            threads: entries("task"),
            files: entries("fd"),
        }
    }

    /// Waits until the gateway owns no more than this.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`PATIENCE`].
    pub async fn wait_until_within(&self, bound: &Census) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.census().await;
            if now.is_within(bound) {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?} instead of {bound:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the list of tools says is not fully there, by the name of the backend.
    ///
    /// # Panics
    ///
    /// If the list is none.
    pub async fn missing(&self) -> BTreeMap<String, Value> {
        let answer = self.client.request("tools/list", json!({})).await;
        let missing = &answer.result()["_meta"]["dev.switchboard/backends"];
        let missing = missing.as_array().cloned().unwrap_or_default();
        missing
            .into_iter()
            .map(|entry| {
                let name = entry["name"].as_str().expect("a backend's name");
                (name.to_owned(), entry)
            })
            .collect()
    }

    /// Waits until the backend is there, or until it is not.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`PATIENCE`].
    pub async fn wait_until(&self, backend: &str, is_there: bool) {
        let what = format!("{backend} is there: {is_there}");
        until(&what, async || {
            (self.missing().await.contains_key(backend) != is_there).then_some(())
        })
        .await;
    }

    /// Does something while another backend is called all the time; each of its answers has to come
    /// within `prompt`.
    ///
    /// # Panics
    ///
    /// If one does not, or is wrong.
    pub async fn beside<T>(
        &self,
        backend: &str,
        prompt: Duration,
        doing: impl Future<Output = T>,
    ) -> T {
        let calls = async {
            loop {
                let began = Instant::now();
                self.works(backend).await;
                let took = began.elapsed();
                assert!(took < prompt, "a healthy backend took {took:?}");
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            done = doing => done,
            () = calls => unreachable!("the calls go on"),
        }
    }

    /// How much memory the gateway has now, and how much it has had at most, in KiB.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn memory(&self) -> Memory {
        let id = self.gateway.server().id().expect("a running gateway");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
                .expect("a number of KiB")
        };
        Memory {
            resident: value("VmRSS:"),
            peak: value("VmHWM:"),
        }
    }

    /// Calls `echo` of a backend and checks that the answer is its answer.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub async fn works(&self, backend: &str) {
        let arguments = json!({ "to": backend });
        let answer = self
            .client
            .call(&format!("{backend}__echo"), arguments.clone())
            .await;
        let echoed = &answer.result()["structuredContent"]["arguments"];
        assert_eq!(
            *echoed, arguments,
            "{backend} does not work: {}",
            answer.raw
        );
    }
}

/// The samples of the metrics at this address whose names begin with `prefix`, by name and labels.
///
/// # Panics
///
/// If there are no metrics.
pub async fn metrics(url: &str, prefix: &str) -> BTreeMap<String, f64> {
    let response = reqwest::get(url).await.expect("metrics");
    let text = response.text().await.expect("metrics");
    text.lines()
        .filter(|line| line.starts_with(prefix))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Checks that a tool call failed with a fault of the gateway's own, of this code.
///
/// # Panics
///
/// If it did not.
pub fn assert_fault(answer: &Answer, code: u64, backend: &str) {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
    let text = &answer.result()["content"][0]["text"];
    assert!(
        text.as_str().is_some_and(|text| !text.is_empty()),
        "{}",
        answer.raw
    );
    let fault = answer.fault();
    assert_eq!(fault["code"], code, "{}", answer.raw);
    assert_eq!(fault["backend"], backend, "{}", answer.raw);
    assert!(fault["reason"].is_string(), "{}", answer.raw);
    assert!(fault["retryable"].is_boolean(), "{}", answer.raw);
    assert!(fault["outcome"].is_string(), "{}", answer.raw);
}

/// The processes below a process, zombies included.
pub fn descendants(id: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let process = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((process, parent(process)?))
        })
        .collect();
    let mut found = vec![id];
    let mut at = 0;
    while let Some(&of) = found.get(at) {
        let children = parents.iter().filter(|(_, parent)| *parent == of);
        found.extend(children.map(|(process, _)| process));
        at += 1;
    }
    found.split_off(1)
}

/// Whether a process runs; one that only waits to be reaped does not.
pub fn is_running(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn parent(id: u32) -> Option<u32> {
    stat(id).map(|(_, parent)| parent)
}

/// The state and the parent of a process.
fn stat(id: u32) -> Option<(char, u32)> {
    let stat =
        std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
