//! A fake server over standard input and output, with every fault that a local process may have.
//!
//! Faults combine. Each is one that has been seen in the wild or that the transport forbids.

use std::collections::HashMap;
use std::future::pending;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::fake::{Content, End, Era, Incoming};

mod evils;
pub mod lingering;
#[cfg(test)]
mod tests;

/// How many messages wait to be written.
const OUTBOX: usize = 1024;
/// The longest extra pause of `--shuffle`, in milliseconds.
const MAX_SHUFFLE_MS: u64 = 30;
/// How many replies to its own requests the server remembers.
const MAX_REPLIES: usize = 1000;
/// The one request that a client of both eras makes before `initialize`.
const DISCOVER: &str = "server/discover";
/// What the server asks of its client with `--asks`.
const QUESTIONS: [&str; 3] = ["sampling/createMessage", "roots/list", "ping"];

/// What the server is and which faults it has.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Which era to speak.
    #[arg(long, default_value = "modern")]
    pub era: Era,
    /// A name that every tool result repeats.
    #[arg(long, default_value = "faulty")]
    pub label: String,
    /// Have the faults only as long as this file exists.
    #[arg(long, value_name = "FILE")]
    pub while_exists: Option<PathBuf>,
    /// Pause a random time of up to 30 ms before everything that is sent.
    #[arg(long, value_name = "SEED")]
    pub shuffle: Option<u64>,
    /// Print a banner on standard output first.
    #[arg(long)]
    pub banner: bool,
    /// Write the first half of every tool result as a line of its own, then the whole one. With
    /// `--exit-on-call`, the half without a line end is the last that is written.
    #[arg(long)]
    pub half_message: bool,
    /// Write a line that is not UTF-8 before every tool result.
    #[arg(long)]
    pub invalid_utf8: bool,
    /// Answer the tool `hang` with a line that never ends.
    #[arg(long)]
    pub endless_line: bool,
    /// Answer ids that nobody asked before every tool result.
    #[arg(long)]
    pub unknown_ids: bool,
    /// Write every tool result twice.
    #[arg(long)]
    pub duplicate_answers: bool,
    /// Ask the client for sampling, roots and a ping during every tool call. A legacy server waits
    /// for the replies and puts them in its result as `server.replies`; a modern one, whose client
    /// may not reply, puts there what came until then.
    #[arg(long)]
    pub asks: bool,
    /// As a legacy server: end with exit code 6 on any request before `initialize`.
    #[arg(long)]
    pub exit_before_initialize: bool,
    /// Have a tool `misbehave` that does what its argument `evil` says.
    #[arg(long)]
    pub misbehaves: bool,
    /// Answer so many tool calls, and end with exit code 5 instead of answering the next.
    #[arg(long, value_name = "CALLS")]
    pub exit_after: Option<u64>,
    /// End with this exit code instead of answering a tool call.
    #[arg(long, value_name = "CODE")]
    pub exit_on_call: Option<u8>,
    /// End with exit code 3 before anything is read.
    #[arg(long)]
    pub exit_at_start: bool,
    /// End with exit code 4 this long after the start.
    #[arg(long, value_name = "MS")]
    pub crash_loop: Option<u64>,
    /// Read everything and never answer anything.
    #[arg(long)]
    pub never_answers: bool,
    /// Go on with calls that the client has cancelled, as servers may.
    #[arg(long)]
    pub ignore_cancelling: bool,
    /// Write this much to standard error before every tool result.
    #[arg(long, value_name = "BYTES")]
    pub stderr_flood: Option<u64>,
    /// Start a child that sleeps, in the same process group, and leave it behind.
    #[arg(long)]
    pub grandchild: bool,
    /// Start a process that begins a session of its own, starts another one and ends, as daemons
    /// do.
    #[arg(long)]
    pub daemon: bool,
    /// Start a chain of so many processes, each of which starts the next and stays.
    #[arg(long, value_name = "LENGTH")]
    pub tree: Option<u8>,
    /// Go on when standard input is closed.
    #[arg(long)]
    pub ignore_stdin_close: bool,
    /// Ignore SIGTERM.
    #[arg(long)]
    pub ignore_sigterm: bool,
    /// Read nothing any more after the first tool call, and never answer it.
    #[arg(long)]
    pub stop_reading: bool,
}

/// What goes to the writer.
enum Output {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A line that never ends, beginning with these bytes.
    Endless(Vec<u8>),
    /// A line of these bytes, of so many between them.
    Long {
        head: Vec<u8>,
        bytes: u64,
        tail: Vec<u8>,
    },
    /// The end, once everything before is written.
    Exit(u8),
}

struct Server {
    options: Options,
    content: Content,
    out: mpsc::Sender<Output>,
    grandchild: Option<u32>,
    session_logs: AtomicBool,
    random: Mutex<fastrand::Rng>,
    next_question: AtomicU64,
    /// How many tool calls have come.
    calls: AtomicU64,
    loot: evils::Loot,
    /// The replies to the server's own requests, as they came.
    replies: watch::Sender<Vec<String>>,
}

/// Serves `input` and `output` until the input is closed, or a fault ends it; returns the exit
/// code.
pub async fn serve<R, W>(options: Options, input: R, output: W) -> u8
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (out, queue) = mpsc::channel(OUTBOX);
    let writing = tokio::spawn(write(queue, output));
    // Held, so that nothing but the group's own end takes it.
    let grandchild = options.grandchild.then(start_grandchild);
    lingering::start(&options);
    let server = Arc::new(Server {
        content: Content {
            era: options.era,
            misbehaves: options.misbehaves,
        },
        out,
        grandchild: grandchild.as_ref().and_then(Child::id),
        session_logs: AtomicBool::new(false),
        random: Mutex::new(fastrand::Rng::with_seed(
            options.shuffle.unwrap_or_default(),
        )),
        next_question: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        loot: evils::Loot::default(),
        replies: watch::Sender::default(),
        options,
    });
    let options = &server.options;
    if server.is_faulty() && options.exit_at_start {
        return 3;
    }
    if server.is_faulty() && options.banner {
        let banner = b"\nWelcome to the faulty server!\n{\"level\":\"info\",\"ready\":true}\n";
        server.send(Output::Bytes(banner.to_vec())).await;
    }
    let crash = async {
        match options.crash_loop {
            Some(after) if server.is_faulty() => sleep(Duration::from_millis(after)).await,
            _ => pending().await,
        }
    };
    tokio::select! {
        () = read(&server, input) => 0,
        () = crash => 4,
        code = writing => code.unwrap_or(1),
    }
}

async fn read<R: AsyncRead + Unpin>(server: &Arc<Server>, input: R) {
    let mut lines = BufReader::new(input).lines();
    let mut calls = JoinSet::new();
    let mut by_id: HashMap<String, AbortHandle> = HashMap::new();
    while let Ok(Some(line)) = lines.next_line().await {
        while calls.try_join_next().is_some() {}
        by_id.retain(|_, call| !call.is_finished());
        let Ok(message) = serde_json::from_str::<Incoming<'_>>(&line) else {
            continue;
        };
        match (message.method.as_deref(), message.id) {
            (None, _) => server.replied(&line),
            (Some("notifications/cancelled"), None) => {
                let id = message.params.request_id.map_or("", RawValue::get);
                let ignored = server.is_faulty() && server.options.ignore_cancelling;
                if let Some(call) = by_id.remove(id).filter(|_| !ignored) {
                    call.abort();
                }
            }
            (Some(_), None) => {}
            (Some(method), Some(id)) => {
                let is_call = method == "tools/call";
                if server.is_faulty() && server.options.stop_reading && is_call {
                    return pending().await;
                }
                let id = id.get().to_owned();
                by_id.insert(id, calls.spawn(answer(Arc::clone(server), line)));
            }
        }
    }
    if server.is_faulty() && server.options.ignore_stdin_close {
        pending().await
    }
}

async fn answer(server: Arc<Server>, line: String) {
    let Ok(request) = serde_json::from_str::<Incoming<'_>>(&line) else {
        return;
    };
    let options = &server.options;
    let faulty = server.is_faulty();
    if faulty && options.never_answers {
        return;
    }
    if faulty && options.exit_before_initialize && request.method.as_deref() == Some(DISCOVER) {
        return server.exit(&request, 6).await;
    }
    if request.method.as_deref() == Some("logging/setLevel") {
        server.session_logs.store(true, Ordering::Relaxed);
    }
    let is_call = request.method.as_deref() == Some("tools/call");
    if is_call && faulty {
        if let Some(code) = options.exit_on_call {
            return server.exit(&request, code).await;
        }
        let before = server.calls.fetch_add(1, Ordering::Relaxed);
        if options.exit_after.is_some_and(|calls| before >= calls) {
            return server.exit(&request, 5).await;
        }
        if options.asks {
            server.ask().await;
        }
        if let Some(bytes) = options.stderr_flood {
            flood(bytes, false).await;
        }
    }
    let mut facts = server.facts();
    let misbehaves = is_call && options.misbehaves;
    if misbehaves && request.params.name.as_deref() == Some("misbehave") {
        let Some(did) = server.misbehave(&request).await else {
            return;
        };
        facts["did"] = did;
    }
    let logs = server.session_logs.load(Ordering::Relaxed);
    let script = server.content.script(&request, &facts.to_string(), logs);
    for (pause, message) in script.steps {
        sleep(pause + server.extra_pause()).await;
        server.send(Output::Bytes(message.into_bytes())).await;
    }
    match script.end {
        End::Answer(pause, message) => {
            sleep(pause + server.extra_pause()).await;
            let noise = is_call && faulty;
            server.finish(&request, message, noise).await;
        }
        End::Never if faulty && options.endless_line => {
            let id = request.id.map_or("null", RawValue::get);
            let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"padding":""#);
            server.send(Output::Endless(head.into_bytes())).await;
        }
        End::Never => {}
        End::Exit(code) => server.send(Output::Exit(code)).await,
    }
}

impl Server {
    fn is_faulty(&self) -> bool {
        self.options
            .while_exists
            .as_ref()
            .is_none_or(|file| file.exists())
    }

    fn extra_pause(&self) -> Duration {
        if self.options.shuffle.is_none() {
            return Duration::ZERO;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(random.u64(..=MAX_SHUFFLE_MS))
    }

    /// Who answers.
    fn facts(&self) -> Value {
        let replies = self
            .replies
            .borrow()
            .iter()
            .map(|reply| parsed(reply))
            .collect();
        let mut facts = serde_json::json!({
            "label": self.options.label,
            "pid": std::process::id(),
            "grandchild": self.grandchild,
        });
        if self.options.asks {
            facts["replies"] = Value::Array(replies);
        }
        facts
    }

    /// Queues a message or whatever else is to be written. When nobody writes any more, the
    /// server is at its end.
    async fn send(&self, mut output: Output) {
        if let Output::Bytes(bytes) = &mut output
            && bytes.last() != Some(&b'\n')
        {
            bytes.push(b'\n');
        }
        let _ = self.out.send(output).await;
    }

    /// Writes an answer, with the noise that the faults add.
    async fn finish(&self, request: &Incoming<'_>, message: String, noise: bool) {
        let id = request.id.map_or("null", RawValue::get);
        let message = message.into_bytes();
        let options = &self.options;
        let mut outputs = Vec::new();
        if noise && options.half_message {
            outputs.push(message[..message.len() / 2].to_vec());
        }
        if noise && options.invalid_utf8 {
            let mut line =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"text":""#).into_bytes();
            line.extend_from_slice(b"\xff\xfe\"}}");
            outputs.push(line);
        }
        if noise && options.unknown_ids {
            for stranger in ["987654321987", r#""stranger""#, "null", "-1", "1.5"] {
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{stranger},"result":{{}}}}"#);
                outputs.push(answer.into_bytes());
            }
        }
        if noise && options.duplicate_answers {
            outputs.push(message.clone());
        }
        outputs.push(message);
        for output in outputs {
            self.send(Output::Bytes(output)).await;
        }
    }

    async fn exit(&self, request: &Incoming<'_>, code: u8) {
        if self.options.half_message {
            let id = request.id.map_or("null", RawValue::get);
            let half = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"cont"#);
            // Straight to the writer: no line end follows.
            let _ = self.out.send(Output::Bytes(half.into_bytes())).await;
        }
        self.send(Output::Exit(code)).await;
    }

    fn replied(&self, line: &str) {
        self.replies.send_modify(|replies| {
            if replies.len() < MAX_REPLIES {
                replies.push(line.to_owned());
            }
        });
    }

    async fn ask(&self) {
        let mut ids = Vec::new();
        for method in QUESTIONS {
            let number = self.next_question.fetch_add(1, Ordering::Relaxed);
            let id = format!("ask-{number}");
            let question = serde_json::json!({
                "jsonrpc": "2.0",
                "id": id,
                "method": method,
                "params": { "messages": [], "maxTokens": 1 },
            });
            self.send(Output::Bytes(question.to_string().into_bytes()))
                .await;
            ids.push(id);
        }
        if self.options.era == Era::Legacy {
            let mut replies = self.replies.subscribe();
            let all_replied = replies.wait_for(|replies| {
                let replied = |id: &String| {
                    replies
                        .iter()
                        .any(|reply| parsed(reply)["id"] == id.as_str())
                };
                ids.iter().all(replied)
            });
            // The sender lives as long as the server.
            let _ = all_replied.await;
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A child that knows nothing of its parent's end, and holds its output open.
fn start_grandchild() -> Child {
    Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .expect("`sleep` is everywhere")
}

async fn flood(mut bytes: u64, in_one_line: bool) {
    let line_end: &[u8] = if in_one_line { b"x" } else { b"\n" };
    let lines = [[b'x'; 255].as_slice(), line_end].concat().repeat(4096);
    let mut stderr = tokio::io::stderr();
    while bytes > 0 {
        let part = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(lines.len());
        if stderr.write_all(&lines[..part]).await.is_err() {
            return;
        }
        bytes -= part as u64;
    }
}

async fn write<W: AsyncWrite + Unpin>(mut queue: mpsc::Receiver<Output>, mut output: W) -> u8 {
    while let Some(next) = queue.recv().await {
        let written = match next {
            Output::Bytes(bytes) => output.write_all(&bytes).await,
            Output::Exit(code) => {
                let _ = output.flush().await;
                return code;
            }
            Output::Endless(head) => long(&mut output, &head, u64::MAX, b"").await,
            Output::Long { head, bytes, tail } => {
                let bytes = bytes.min(evils::MAX_BYTES);
                long(&mut output, &head, bytes, &tail).await
            }
        };
        if written.is_err() || output.flush().await.is_err() {
            break;
        }
    }
    // A server that cannot write is of no use.
    1
}

/// Writes a line with so many bytes between its head and its tail.
async fn long<W: AsyncWrite + Unpin>(
    output: &mut W,
    head: &[u8],
    mut bytes: u64,
    tail: &[u8],
) -> std::io::Result<()> {
    output.write_all(head).await?;
    let padding = vec![b'a'; 1 << 20];
    while bytes > 0 {
        let part = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(padding.len());
        output.write_all(&padding[..part]).await?;
        bytes -= part as u64;
    }
    output.write_all(tail).await?;
    output.write_all(b"\n").await
}
