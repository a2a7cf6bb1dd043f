//! Several gateways of one cluster behind a plain round-robin nginx.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::front::Front;
use crate::waiting::until;

/// What replicas know each other by in the tests.
pub const SECRET: &str = "kX9vQ2mT7pL4wR8zB1cN6yH3jF5dS0gAkX9vQ2mT7pL=";
/// What all of them seal with.
pub const SEALING_KEY: &str = "o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=";

/// Gateways of one cluster, and what stands before them.
#[derive(Debug)]
pub struct Replicas {
    /// Each of them; `None` once it was killed.
    pub fronts: Vec<Option<Front>>,
    /// Where each takes in what the others pass on.
    pub addresses: Vec<String>,
    nginx: Nginx,
    /// A client that comes to another one with each request.
    pub client: Client,
}

impl Replicas {
    /// Starts so many with this configuration, and waits until all their backends are there.
    ///
    /// # Panics
    ///
    /// If they do not start.
    pub async fn start(count: usize, config: Value) -> Self {
        let ports: Vec<u16> = free_ports(count + 1);
        let mut fronts = Vec::new();
        for port in &ports[1..] {
            let config = of_replica(config.clone(), *port, ports[0]);
            fronts.push(Some(Front::start(config).await));
        }
        let addresses = ports[1..].iter().map(|port| address(*port)).collect();
        let upstreams = fronts.iter().flatten().map(|front| {
            let authority = front.client.endpoint().authority();
            authority.expect("an address").to_string()
        });
        let nginx = Nginx::start(ports[0], &upstreams.collect::<Vec<_>>()).await;
        Self {
            client: Client::new(&nginx.url()),
            fronts,
            addresses,
            nginx,
        }
    }

    /// The endpoint at which another replica answers each time.
    pub fn url(&self) -> String {
        self.nginx.url()
    }

    /// A path beside it.
    pub fn beside(&self, path: &str) -> String {
        self.url().replace("/mcp", path)
    }

    /// One that was not killed.
    ///
    /// # Panics
    ///
    /// If it was.
    pub fn front(&self, at: usize) -> &Front {
        self.fronts[at].as_ref().expect("a running replica")
    }

    /// The configuration that one was started with, changed like this.
    pub fn config(&self, at: usize, config: Value) -> Value {
        let (_, port) = self.addresses[at].rsplit_once(':').expect("a port");
        of_replica(config, port.parse().expect("a port"), self.nginx.port)
    }

    /// Kills one, and waits until there is nothing left of its process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub async fn kill(&mut self, at: usize) {
        let front = self.fronts[at].take().expect("a running replica");
        let id = front.gateway.server().id().expect("a running gateway");
        let pid = Pid::from_raw(id.cast_signed()).expect("an id");
        kill_process(pid, Signal::KILL).expect("it runs");
        let authority = front.client.endpoint().authority().cloned();
        let authority = authority.expect("an address").to_string();
        until("nobody listens", async || {
            let refused = TcpStream::connect(&authority).await.is_err();
            refused.then_some(())
        })
        .await;
    }

    /// The sum of a metric of all replicas, its labels as they are written.
    pub async fn sum(&self, metric: &str) -> f64 {
        let mut sum = 0.0;
        for front in self.fronts.iter().flatten() {
            let samples = front.metrics(metric).await;
            sum += samples.get(metric).copied().unwrap_or(0.0);
        }
        sum
    }

    /// How many requests were passed on, and answered there.
    pub async fn forwarded(&self) -> f64 {
        let metric = "switchboard_forwarded_total{outcome=\"answered\"}";
        self.sum(metric).await
    }

    /// Stops all of them, as a service manager does.
    ///
    /// # Panics
    ///
    /// If one does not stop well.
    pub async fn stop(self) {
        for front in self.fronts.into_iter().flatten() {
            front.gateway.stop().await;
        }
    }
}

/// Where a replica of this port takes in what others pass on.
fn address(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn of_replica(mut config: Value, port: u16, public: u16) -> Value {
    let server = &mut config["server"];
    server["public_url"] = json!(format!("http://127.0.0.1:{public}"));
    server["sealing_keys"] = json!([SEALING_KEY]);
    server["cluster"] = json!({ "advertise": address(port), "secret": SECRET });
    config
}

/// Ports that nobody uses now, below those that the system gives to whoever asks for any: tests that
/// run at the same time would take them.
fn free_ports(count: usize) -> Vec<u16> {
    let mut found = Vec::new();
    while found.len() < count {
        let port = 10_000 + RandomState::new().hash_one(found.len()) % 22_000;
        let port = u16::try_from(port).expect("a small number");
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free && !found.contains(&port) {
            found.push(port);
        }
    }
    found
}

/// nginx that sends each request to the next of several servers; it is killed with this.
#[derive(Debug)]
struct Nginx {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

impl Nginx {
    async fn start(port: u16, upstreams: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().display().to_string();
        let servers: String = upstreams
            .iter()
            .map(|authority| format!("server {authority} max_fails=1 fail_timeout=1s;\n"))
            .collect();
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
            .collect();
        let config = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             access_log off;\n{temp}\
             upstream replicas {{\n{servers}}}\n\
             server {{\n\
             listen 127.0.0.1:{port};\n\
             location / {{\n\
             proxy_pass http://replicas;\n\
             proxy_http_version 1.1;\n\
             proxy_set_header Host $http_host;\n\
             proxy_buffering off;\n\
             proxy_request_buffering off;\n\
             proxy_read_timeout 1h;\n\
             }}\n}}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).expect("the folder is ours");
        let mut command = Command::new("nginx");
        // Debian has it where not everybody looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.path().join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.kill_on_drop(true).spawn();
        let child = child.expect("nginx is installed: scripts/install-test-tools");
        until("nginx listens", async || {
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            connected.is_ok().then_some(())
        })
        .await;
        Self {
            port,
            _child: child,
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}
