//! The standard error of a process: always read, logged at a bounded rate, its end remembered.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::Level;

use super::Program;
use super::level::level;
use super::summary::{Redactor, summary};

/// The longest line that is logged; a longer one is several.
const MAX_LINE: u64 = 8 * 1024;
/// How many lines are logged in one second.
const LINES_PER_SECOND: u32 = 50;
/// How much of what came last is remembered.
const TAIL: usize = 8 * 1024;
/// How long what a process wrote last is waited for once it has ended: another one may hold its
/// standard error open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What reads the standard error of one process.
pub(crate) struct Stderr {
    backend: Arc<str>,
    tail: Arc<Mutex<Tail>>,
    reading: JoinHandle<()>,
}

impl Stderr {
    /// Reads it until it is closed.
    pub(crate) fn follow(
        backend: &Arc<str>,
        program: &Program<'_>,
        stderr: ChildStderr,
        tasks: &TaskTracker,
    ) -> Self {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let redactor = Redactor::new(program.env);
        let reading = read(Arc::clone(backend), stderr, redactor, Arc::clone(&tail));
        Self {
            backend: Arc::clone(backend),
            tail,
            reading: tasks.spawn(reading),
        }
    }

    /// Logs what came last, now that the process has ended and was not to. Returns what of it a
    /// caller may be told.
    pub(crate) async fn tell_end(self, reason: &str) -> Option<String> {
        let Self {
            backend,
            tail,
            reading,
        } = self;
        let _ = timeout(LAST_WORDS, reading).await;
        let tail = tail.lock();
        tracing::warn!(%backend, stderr = tail.0, "{reason}");
        summary(tail.0.lines())
    }
}

/// The lines that came last, redacted.
#[derive(Debug, Default)]
struct Tail(String);

impl Tail {
    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        let extra = self.0.len().saturating_sub(TAIL);
        if extra > 0 {
            let cut = self.0.ceil_char_boundary(extra);
            self.0.drain(..cut);
        }
    }
}

/// Keeps the pipe empty, whatever comes.
async fn read(backend: Arc<str>, stderr: ChildStderr, redactor: Redactor, tail: Arc<Mutex<Tail>>) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut second = Instant::now();
    let mut logged = 0;
    let mut suppressed = 0_u64;
    loop {
        line.clear();
        match (&mut input)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = redactor.line(&String::from_utf8_lossy(&line));
        tail.lock().push(&text);
        if second.elapsed() >= Duration::from_secs(1) {
            tell_suppressed(&backend, suppressed);
            (second, logged, suppressed) = (Instant::now(), 0, 0);
        }
        if logged < LINES_PER_SECOND {
            logged += 1;
            log(&backend, &text);
        } else {
            suppressed += 1;
        }
    }
    tell_suppressed(&backend, suppressed);
}

fn tell_suppressed(backend: &str, suppressed: u64) {
    if suppressed > 0 {
        tracing::warn!(%backend, suppressed, "the server writes more to its standard error than is logged");
    }
}

/// Logs a line in the level that it says.
fn log(backend: &str, text: &str) {
    // The level of an event is part of its place in the code.
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(target: "switchboard::backend", Level::$level, %backend, "{text}")
        };
    }
    match level(text) {
        Level::ERROR => at!(ERROR),
        Level::WARN => at!(WARN),
        Level::INFO => at!(INFO),
        Level::DEBUG => at!(DEBUG),
        Level::TRACE => at!(TRACE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_what_came_last_and_stays_bounded() {
        let mut tail = Tail::default();
        for at in 0..10_000 {
            tail.push(&format!("line {at} é"));
            assert!(tail.0.len() <= TAIL);
        }
        assert!(tail.0.ends_with("line 9999 é\n"));
        assert!(tail.0.lines().count() > 100);
        tail.push(&"é".repeat(TAIL));
        assert!(tail.0.len() <= TAIL && tail.0.ends_with("é\n"));
    }
}
