//! Local processes: newline-delimited JSON over their pipes (specification:
//! `basic/transports/stdio`).

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};

/// What of the gateway's own environment a process gets besides what its configuration names: what
/// programs need to start, and nothing that could be a secret.
const SAFE_ENV: [&str; 12] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
];
/// How long a process may take to end by itself once its input is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// How long after SIGTERM before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// How much of an oversize line is kept at either end.
const KEPT: usize = 4096;
/// A line of more than this many times the limit has no end: the process is given up.
const ENDLESS: usize = 64;
/// The longest line of standard error that is logged.
const STDERR_LINE: u64 = 8 * 1024;
/// How many lines of standard error are logged in one second.
const STDERR_LINES_PER_SECOND: u32 = 50;

/// How a process is started.
pub(crate) struct Program<'a> {
    pub(crate) command: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) env: &'a BTreeMap<String, SecretString>,
    pub(crate) cwd: Option<&'a Path>,
    pub(crate) max_line: usize,
}

/// Starts the program in a process group of its own.
///
/// # Errors
/// A sentence for the caller; the program's name is the operator's own word, paths and arguments
/// are left out.
pub(crate) fn spawn(
    backend: &Arc<str>,
    program: &Program<'_>,
    inbox: Arc<Inbox>,
) -> Result<Mux, String> {
    let mut command = Command::new(program.command);
    command
        .args(program.args)
        .env_clear()
        .envs(
            SAFE_ENV
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(
            program
                .env
                .iter()
                .map(|(name, value)| (name, value.expose_secret())),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(cwd) = program.cwd {
        command.current_dir(cwd);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "its program, or the folder to start it in, was not found".to_owned()
        }
        other => format!("its program could not be started: {other}"),
    })?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("its program has no pipes".to_owned());
    };
    inbox.tasks.spawn(drain_stderr(Arc::clone(backend), stderr));
    let reader = LineReader::new(stdout, program.max_line);
    Ok(Mux::start(
        reader,
        LineWriter(BufWriter::new(stdin)),
        inbox,
        move |stop| supervise(child, stop),
    ))
}

/// Waits for the process to end, or ends it: input closed (by the writer), then SIGTERM, then
/// SIGKILL for the whole group.
///
/// Signals go to the group only while its leader is not reaped, so that the number cannot have
/// become a stranger's.
async fn supervise(mut child: Child, stop: CancellationToken) -> Option<String> {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let changes = signal(SignalKind::child());
    if let (Some(pid), Ok(mut changes)) = (pid, changes) {
        tokio::select! {
            () = exited(pid, &mut changes) => {}
            () = stop.cancelled() => {}
        }
        if timeout(CLOSE_GRACE, exited(pid, &mut changes))
            .await
            .is_err()
        {
            let _ = kill_process_group(pid, Signal::TERM);
            let _ = timeout(TERM_GRACE, exited(pid, &mut changes)).await;
        }
        let _ = kill_process_group(pid, Signal::KILL);
    } else {
        stop.cancelled().await;
        let _ = child.start_kill();
    }
    let status = child.wait().await.ok()?;
    Some(
        match (
            status.code(),
            std::os::unix::process::ExitStatusExt::signal(&status),
        ) {
            (Some(code), _) => format!("its process ended with exit code {code}"),
            (None, Some(signal)) => format!("its process was ended by signal {signal}"),
            (None, None) => "its process ended".to_owned(),
        },
    )
}

/// Resolves when the process has ended, and leaves it to be reaped.
async fn exited(pid: Pid, changes: &mut tokio::signal::unix::Signal) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // Anything but "not yet" is the end: whoever has no process has none to wait for.
    while matches!(waitid(WaitId::Pid(pid), options), Ok(None)) {
        changes.recv().await;
    }
}

/// Buffered, so that a message and its line end are one write.
struct LineWriter(BufWriter<ChildStdin>);

impl MessageWriter for LineWriter {
    async fn write(&mut self, message: Bytes) -> Result<(), WriteError> {
        let stopped = |_| WriteError::Broken;
        // A message is one line: what a client formatted over several is folded. JSON strings hold
        // no raw line ends.
        if memchr::memchr2(b'\n', b'\r', &message).is_some() {
            let folded: Vec<u8> = message
                .iter()
                .map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        *byte
                    }
                })
                .collect();
            self.0.write_all(&folded).await.map_err(stopped)?;
        } else {
            self.0.write_all(&message).await.map_err(stopped)?;
        }
        self.0.write_all(b"\n").await.map_err(stopped)?;
        self.0.flush().await.map_err(stopped)
    }
}

/// Cuts a byte stream into lines of bounded length.
pub(crate) struct LineReader<R> {
    input: R,
    buffer: BytesMut,
    searched: usize,
    limit: usize,
    /// The head of the oversize line that is being thrown away.
    oversize: Option<Bytes>,
    /// How much of it was thrown away.
    thrown: usize,
}

impl<R: AsyncRead + Send + Unpin + 'static> LineReader<R> {
    pub(crate) fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            buffer: BytesMut::with_capacity(16 * 1024),
            searched: 0,
            limit,
            oversize: None,
            thrown: 0,
        }
    }

    /// The next thing in the buffer, if it is whole.
    fn take(&mut self) -> Option<Incoming> {
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            let line = line.freeze();
            self.thrown = 0;
            return Some(match self.oversize.take() {
                Some(head) => Incoming::Oversize {
                    head,
                    tail: Some(line),
                },
                None if line.len() > self.limit => Self::ends(&line),
                None => Incoming::Message(line),
            });
        }
        self.searched = self.buffer.len();
        if self.oversize.is_none() && self.buffer.len() > self.limit {
            self.oversize = Some(Bytes::copy_from_slice(
                &self.buffer[..KEPT.min(self.buffer.len())],
            ));
        }
        if self.oversize.is_some() && self.buffer.len() > KEPT {
            let extra = self.buffer.len() - KEPT;
            let _ = self.buffer.split_to(extra);
            self.thrown += extra;
            self.searched = self.buffer.len();
        }
        None
    }

    fn ends(line: &Bytes) -> Incoming {
        let cut = KEPT.min(line.len());
        Incoming::Oversize {
            head: line.slice(..cut),
            tail: Some(line.slice(line.len() - cut..)),
        }
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> MessageReader for LineReader<R> {
    async fn read(&mut self) -> Result<Option<Incoming>, String> {
        loop {
            let known_oversize = self.oversize.is_some();
            if let Some(incoming) = self.take() {
                match &incoming {
                    Incoming::Message(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                    _ => return Ok(Some(incoming)),
                }
            }
            // The caller of a line that may never end need not wait for it: its head is told at
            // once, and the rest of it is nobody's.
            if let (false, Some(head)) = (known_oversize, &self.oversize) {
                return Ok(Some(Incoming::Oversize {
                    head: head.clone(),
                    tail: None,
                }));
            }
            if self.thrown > self.limit.saturating_mul(ENDLESS) {
                return Err("the server writes a line without end".to_owned());
            }
            self.buffer.reserve(16 * 1024);
            match self.input.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(_) => return Err("the server's output broke".to_owned()),
            }
        }
    }
}

/// Keeps the pipe of standard error empty, whatever comes, and logs it at a bounded rate.
async fn drain_stderr(backend: Arc<str>, stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut second = tokio::time::Instant::now();
    let mut logged = 0;
    let mut suppressed = 0_u64;
    loop {
        line.clear();
        match (&mut lines)
            .take(STDERR_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if second.elapsed() >= Duration::from_secs(1) {
            if suppressed > 0 {
                tracing::warn!(%backend, suppressed, "the server writes more to its standard error than is logged");
            }
            (second, logged, suppressed) = (tokio::time::Instant::now(), 0, 0);
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if logged < STDERR_LINES_PER_SECOND {
            logged += 1;
            tracing::info!(target: "switchboard::backend", %backend, "{text}");
        } else {
            suppressed += 1;
        }
    }
}

#[cfg(test)]
mod tests;
