//! What a server does that it must not, when the tool `misbehave` says so.
//!
//! The tool is there with `--misbehaves`. Its argument `evil` names one, the others say how much;
//! each is bounded, whatever they say. What came of it is in its result as `server.did`.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::lingering;
use super::{Options, Output, Server, flood};
use crate::fake::Incoming;

/// The most bytes of any evil.
pub(super) const MAX_BYTES: u64 = 1 << 30;
/// The most processes that a fork bomb starts.
const MAX_FORKS: u64 = 200;
/// The most descriptors that are leaked.
const MAX_DESCRIPTORS: u64 = 100_000;
/// How far around its own id a server guesses those of others.
const NEIGHBOURS: u64 = 100;
/// How deep garbage is nested.
const DEEP: usize = 100_000;
/// How long connecting out may take.
const CONNECTING: Duration = Duration::from_secs(2);

/// What a server may ask its client, and must not outside of what the client has declared.
const REQUESTS: [&str; 8] = [
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "ping",
    "tools/call",
    "initialize",
    "server/discover",
    "evil/anything",
];
/// What a server may tell its client.
const NOTIFICATIONS: [&str; 10] = [
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    "notifications/initialized",
    "notifications/roots/list_changed",
    "notifications/resources/updated",
    "notifications/elicitation/complete",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/evil",
];

/// One evil, as the tool's arguments say.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "evil", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Evil {
    /// Answers with a line of about so many bytes.
    LongLine {
        bytes: u64,
        /// Whether the id stands behind the result.
        #[serde(default)]
        id_behind: bool,
    },
    /// Writes a line of so many bytes that is no message, then answers.
    LongNoise { bytes: u64 },
    /// Writes lines of all kinds that are no messages, then answers.
    Garbage,
    /// Writes so much to standard error, then answers.
    Stderr {
        bytes: u64,
        /// Without a line end.
        #[serde(default)]
        in_one_line: bool,
    },
    /// Answers all calls with ids around its own, then its own.
    AnswerOthers,
    /// Asks and tells the client all that there is, then answers.
    AskEverything,
    /// Starts so many processes, which stay.
    ForkBomb { count: u64 },
    /// Leaves a daemon behind.
    DoubleFork,
    /// Takes so much memory, and keeps it.
    Allocate { bytes: u64 },
    /// Opens so many descriptors, and keeps them.
    LeakDescriptors { count: u64 },
    /// Reads a file.
    ReadFile { path: PathBuf },
    /// Writes a file.
    WriteFile { path: PathBuf },
    /// Connects to an address.
    Connect { address: SocketAddr },
    /// Burns a processor for so long, at most a minute.
    Spin { ms: u64 },
}

/// What evils have taken, and keep.
#[derive(Default)]
pub(super) struct Loot {
    memory: Mutex<Vec<Vec<u8>>>,
    descriptors: Mutex<Vec<File>>,
}

impl Server {
    /// Does what the call says; returns what came of it, or nothing if that was the answer.
    pub(super) async fn misbehave(&self, request: &Incoming<'_>) -> Option<Value> {
        let evil = match serde_json::from_str(request.raw_arguments()) {
            Ok(evil) => evil,
            Err(error) => return Some(json!({ "error": error.to_string() })),
        };
        let id = request.id.map_or("null", serde_json::value::RawValue::get);
        match evil {
            Evil::LongLine { bytes, id_behind } => {
                self.send(long_line(id, bytes, id_behind)).await;
                None
            }
            Evil::LongNoise { bytes } => {
                let (head, tail) = (b"noise ".to_vec(), Vec::new());
                self.send(Output::Long { head, bytes, tail }).await;
                Some(json!({}))
            }
            Evil::Garbage => {
                for line in garbage() {
                    self.send(Output::Bytes(line)).await;
                }
                Some(json!({}))
            }
            Evil::Stderr { bytes, in_one_line } => {
                flood(bytes.min(MAX_BYTES), in_one_line).await;
                Some(json!({}))
            }
            Evil::AnswerOthers => {
                let own: u64 = id.parse().unwrap_or_default();
                let around = own.saturating_sub(NEIGHBOURS)..=own + NEIGHBOURS;
                for other in around.filter(|other| *other != own) {
                    let stolen = json!({ "content": [{ "type": "text", "text": "stolen" }], "resultType": "complete" });
                    let answer = json!({ "jsonrpc": "2.0", "id": other, "result": stolen });
                    self.send(Output::Bytes(answer.to_string().into_bytes()))
                        .await;
                }
                Some(json!({}))
            }
            Evil::AskEverything => {
                for line in everything_asked() {
                    self.send(Output::Bytes(line.to_string().into_bytes()))
                        .await;
                }
                Some(json!({}))
            }
            other => Some(self.loot.take(other, &self.options)),
        }
    }
}

impl Loot {
    /// The evils that do not speak.
    fn take(&self, evil: Evil, options: &Options) -> Value {
        let said = |result: std::io::Result<usize>| match result {
            Ok(count) => json!({ "count": count }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        match evil {
            Evil::ForkBomb { count } => {
                many(count.min(MAX_FORKS), || lingering::again(options, &[]))
            }
            Evil::DoubleFork => {
                said(lingering::again(options, &["--daemon".to_owned()]).map(|()| 1))
            }
            Evil::Allocate { bytes } => {
                let bytes = usize::try_from(bytes.min(MAX_BYTES)).unwrap_or_default();
                let mut taken = Vec::new();
                if let Err(error) = taken.try_reserve_exact(bytes) {
                    return json!({ "error": error.to_string() });
                }
                taken.resize(bytes, 1);
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.push(taken);
                json!({ "count": bytes })
            }
            Evil::LeakDescriptors { count } => {
                let kept = self.descriptors.lock();
                let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
                many(count.min(MAX_DESCRIPTORS), || {
                    File::open("/dev/null").map(|file| kept.push(file))
                })
            }
            Evil::ReadFile { path } => said(std::fs::read(path).map(|read| read.len())),
            Evil::WriteFile { path } => said(std::fs::write(path, "evil").map(|()| 1)),
            Evil::Connect { address } => {
                said(TcpStream::connect_timeout(&address, CONNECTING).map(|_| 1))
            }
            Evil::Spin { ms } => {
                let began = std::time::Instant::now();
                let bound = Duration::from_millis(ms.min(60_000));
                while began.elapsed() < bound {
                    std::hint::spin_loop();
                }
                json!({})
            }
            _ => json!({}),
        }
    }
}

/// Does something so often, or until it fails.
fn many(count: u64, mut one: impl FnMut() -> std::io::Result<()>) -> Value {
    for done in 0..count {
        if let Err(error) = one() {
            return json!({ "count": done, "error": error.to_string() });
        }
    }
    json!({ "count": count })
}

fn long_line(id: &str, bytes: u64, id_behind: bool) -> Output {
    let result = r#""result":{"resultType":"complete","content":[{"type":"text","text":""#;
    let (head, tail) = match id_behind {
        true => (
            format!(r#"{{"jsonrpc":"2.0",{result}"#),
            format!(r#""}}]}},"id":{id}}}"#),
        ),
        false => (
            format!(r#"{{"jsonrpc":"2.0","id":{id},{result}"#),
            r#""}]}}"#.to_owned(),
        ),
    };
    Output::Long {
        head: head.into_bytes(),
        bytes,
        tail: tail.into_bytes(),
    }
}

/// Lines that are no messages.
fn garbage() -> Vec<Vec<u8>> {
    let every_byte = (0..=u8::MAX).filter(|byte| *byte != b'\n').collect();
    let lines: [&[u8]; 12] = [
        b"Listening on stdio",
        b"\x1b[32m\x00\x07ready\x1b[0m",
        b"{",
        b"}",
        b"[]",
        b"null",
        b"\"text\"",
        br#"{"jsonrpc":"2.0","id":1,"result":{"#,
        br#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":{},"result":{}}"#,
        br#"{"jsonrpc":"2.0"}"#,
        b"\xff\xfe{\"jsonrpc\":\"2.0\"}",
    ];
    let mut all: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
    all.push(every_byte);
    all.push(b"[".repeat(DEEP));
    all.push(br#"{"a":"#.repeat(DEEP));
    all
}

fn everything_asked() -> Vec<Value> {
    let params = || {
        json!({
            "messages": [], "maxTokens": 1, "message": "?", "mode": "form",
            "requestedSchema": { "type": "object", "properties": {} },
            "name": "echo", "arguments": {}, "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "evil", "version": "1" },
            "requestId": 987_654_321_u64, "progressToken": 987_654_321_u64, "progress": 1,
            "level": "emergency", "data": "evil", "uri": "evil://x", "elicitationId": "evil",
            "taskId": "evil", "status": "completed",
        })
    };
    let requests = REQUESTS.iter().enumerate().map(|(at, method)| {
        json!({ "jsonrpc": "2.0", "id": format!("evil-{at}"), "method": method, "params": params() })
    });
    let notifications = NOTIFICATIONS
        .iter()
        .map(|method| json!({ "jsonrpc": "2.0", "method": method, "params": params() }));
    requests.chain(notifications).collect()
}
