//! A real `redis-server`, on a port of its own, that keeps nothing.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long it may take to start, or to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `redis-server`; it is killed with this.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If there is no `redis-server`, or it does not answer.
    pub async fn start() -> Self {
        // Another process may take the port between the look and the start.
        for _ in 0..10 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            if let Some(server) = Self::start_at(port).await {
                return server;
            }
        }
        panic!("redis-server does not start")
    }

    async fn start_at(port: u16) -> Option<Self> {
        let mut command = Command::new("redis-server");
        let port_text = port.to_string();
        command.args(["--port", &port_text, "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
        command.current_dir(std::env::temp_dir());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn();
        let child = child.expect("redis-server is installed: scripts/install-test-tools");
        let mut server = Self { child, port };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if server.child.try_wait().expect("its state").is_some() {
                return None;
            }
            if server.try_command(&["PING"]).await.as_deref() == Some("+PONG") {
                return Some(server);
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command, and returns the first line of the answer with its type in front.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn command(&self, words: &[&str]) -> String {
        let answer = self.try_command(words).await;
        answer.unwrap_or_else(|| panic!("no answer to {words:?}"))
    }

    async fn try_command(&self, words: &[&str]) -> Option<String> {
        let asking = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .ok()?;
            let mut request = format!("*{}\r\n", words.len());
            for word in words {
                request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
            }
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n") {
                if stream.read_buf(&mut answer).await.ok()? == 0 {
                    return None;
                }
            }
            let answer = String::from_utf8_lossy(&answer).into_owned();
            answer.lines().next().map(str::to_owned)
        };
        timeout(PATIENCE, asking).await.ok().flatten()
    }

    /// Has it stand still: it takes connections and answers nobody.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Has it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ends");
    }

    /// Starts another in its place, that knows nothing.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn replace(&mut self) {
        self.kill().await;
        *self = Self::start_at(self.port)
            .await
            .expect("the port is still free");
    }

    fn signal(&self, signal: Signal) {
        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        // It may have been killed already.
        let _ = id.map(|id| kill_process(id, signal));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // One that stands still is killed all the same, and waited for by the runtime.
        self.resume();
    }
}
