//! A program that serves until it is told to stop.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::waiting::{PATIENCE, until};

/// How many lines of a program's output are kept, the latest ones.
const KEPT_LINES: usize = 300;

/// A running program that has said at which address it serves MCP. Asked to stop when dropped, so
/// that it can end its own children; its latest output is shown if that happens in a test that
/// fails.
#[derive(Debug)]
pub struct Server {
    child: Child,
    name: String,
    url: String,
    output: Output,
}

type Output = Arc<Mutex<VecDeque<String>>>;

impl Server {
    /// Starts a program and waits until a line of its output contains an endpoint like
    /// `http://127.0.0.1:41234/mcp`.
    ///
    /// # Panics
    ///
    /// If it does not start, ends, or says nothing of the kind within a minute.
    pub async fn start(mut command: Command) -> Self {
        let name = program_name(command.as_std().get_program());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Output::default();
        let (found, mut endpoint) = watch::channel(None);
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        tokio::spawn(follow(stdout, Arc::clone(&output), found.clone()));
        tokio::spawn(follow(stderr, Arc::clone(&output), found));

        let mut server = Self {
            child,
            name,
            url: String::new(),
            output,
        };
        let said = timeout(PATIENCE, endpoint.wait_for(Option::is_some)).await;
        match said {
            Ok(Ok(url)) => server.url = url.clone().unwrap_or_default(),
            Ok(Err(_)) => panic!(
                "{} ended before it listened:\n{}",
                server.name,
                server.output()
            ),
            Err(_) => panic!("{} never listened:\n{}", server.name, server.output()),
        }
        server
    }

    /// The endpoint that the program named.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address that the gateway's first lines name behind this word: `ops` or `admin`.
    ///
    /// # Panics
    ///
    /// If they do not within a minute.
    pub async fn address_of(&self, word: &str) -> String {
        until(word, async || {
            let output = self.output();
            let mut lines = output.lines().map(str::split_whitespace);
            lines.find_map(|mut words| {
                let is_it = words.next() == Some(word);
                let address = words.next().filter(|next| next.starts_with("http"));
                address.filter(|_| is_it).map(str::to_owned)
            })
        })
        .await
    }

    /// The process id; none once the program has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The latest lines that the program wrote, at most 300, of both its streams.
    pub fn output(&self) -> String {
        let lines = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Asks the program to stop, as a service manager does, and waits until it has.
    ///
    /// # Panics
    ///
    /// If it has not stopped within a minute.
    pub async fn stop(mut self) -> ExitStatus {
        self.terminate();
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} does not stop:\n{}", self.name, self.output()),
        }
    }

    /// Asks the program to read its configuration again.
    pub fn hang_up(&self) {
        self.send(Signal::HUP);
    }

    /// Sends the signal to stop.
    fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Sends a signal, unless the program has been waited for.
    fn send(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(process) = id.and_then(Pid::from_raw) {
            // It may have ended a moment ago, of itself.
            let _ = kill_process(process, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
        if std::thread::panicking() {
            eprintln!("--- the output of {}:\n{}", self.name, self.output());
        }
    }
}

fn program_name(program: &OsStr) -> String {
    std::path::Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy()
        .into_owned()
}

/// Reads a stream to its end, so that the program never waits for us to read.
async fn follow(
    stream: impl AsyncRead + Unpin,
    output: Output,
    found: watch::Sender<Option<String>>,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = endpoint(&line) {
            found.send_if_modified(|known| {
                let first = known.is_none();
                if first {
                    *known = Some(url.to_owned());
                }
                first
            });
        }
        let mut kept = output.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The first loopback MCP endpoint that a line contains.
fn endpoint(line: &str) -> Option<&str> {
    ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint_of(line, scheme))
}

fn endpoint_of<'l>(line: &'l str, scheme: &str) -> Option<&'l str> {
    const PATH: &str = "/mcp";
    let mut rest = line;
    while let Some(start) = rest.find(&format!("{scheme}127.0.0.1:")) {
        rest = &rest[start..];
        let authority_end = rest[scheme.len()..].find('/')? + scheme.len();
        let end = authority_end + PATH.len();
        if rest[authority_end..].starts_with(PATH)
            && !rest[end..].starts_with(|next: char| next.is_alphanumeric() || next == '/')
        {
            return Some(&rest[..end]);
        }
        rest = &rest[authority_end..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn the_endpoint_is_found_in_any_line() {
        let url = Some("http://127.0.0.1:80/mcp");
        assert_eq!(endpoint("listening on http://127.0.0.1:80/mcp"), url);
        assert_eq!(endpoint(r#"{"url":"http://127.0.0.1:80/mcp","x":1}"#), url);
        assert_eq!(
            endpoint("http://127.0.0.1:81/metrics and http://127.0.0.1:80/mcp"),
            url
        );
        let secure = Some("https://127.0.0.1:80/mcp");
        assert_eq!(endpoint("listening on https://127.0.0.1:80/mcp"), secure);
        assert_eq!(endpoint("http://127.0.0.1:80/mcp/{profile}"), None);
        assert_eq!(endpoint("http://127.0.0.1:80"), None);
    }
}
