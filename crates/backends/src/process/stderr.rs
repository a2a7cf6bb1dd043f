//! The standard error of a process: always read, logged at a bounded rate, its end remembered.

use std::sync::Arc;
use std::time::Duration;

use memchr::{memchr, memchr_iter, memrchr};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use tracing::Level;

use super::Program;
use super::level::level;
use super::summary::{Redactor, summary};

/// How much of a line is logged.
const MAX_LINE: usize = 8 * 1024;
/// How many lines are logged in one period.
const LINES: u32 = 50;
/// How long such a period is. At its end is told how much was left out.
const PERIOD: Duration = Duration::from_secs(1);
/// How much of what came last is remembered.
const TAIL: usize = 8 * 1024;
/// How much is read at a time.
const PIECE: usize = 16 * 1024;
/// How long what a process wrote last is waited for once it has ended: another one may hold its
/// standard error open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What reads the standard error of one process.
pub(crate) struct Stderr {
    backend: Arc<str>,
    redactor: Arc<Redactor>,
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
        let redactor = Arc::new(Redactor::new(program.env));
        let tail = Arc::new(Mutex::new(Tail::new(&redactor)));
        let log = Log::new(Arc::clone(backend), Arc::clone(&redactor));
        Self {
            backend: Arc::clone(backend),
            redactor,
            reading: tasks.spawn(read(stderr, log, Arc::clone(&tail))),
            tail,
        }
    }

    /// Logs something of its process, which goes on.
    pub(crate) fn tell(&self, text: &str) {
        let backend = &self.backend;
        tracing::warn!(%backend, "{text}");
    }

    /// Logs what came last, now that the process has ended and was not to. Returns what of it a
    /// caller may be told.
    pub(crate) async fn tell_end(self, reason: &str) -> Option<String> {
        let backend = Arc::clone(&self.backend);
        let stderr = self.all_of_tail().await;
        tracing::warn!(%backend, stderr, "{reason}");
        summary(stderr.lines())
    }

    /// What a caller may be told of what came last.
    pub(crate) async fn last_words(self) -> Option<String> {
        summary(self.all_of_tail().await.lines())
    }

    /// What came last, once all of it has or nothing more is waited for.
    async fn all_of_tail(self) -> String {
        let _ = timeout(LAST_WORDS, self.reading).await;
        self.tail.lock().redacted(&self.redactor)
    }
}

/// Keeps the pipe empty, whatever comes.
async fn read(mut stderr: ChildStderr, mut log: Log, tail: Arc<Mutex<Tail>>) {
    let mut piece = vec![0; PIECE];
    loop {
        tokio::select! {
            read = stderr.read(&mut piece) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    tail.lock().push(&piece[..length]);
                    log.take(&piece[..length]);
                }
            },
            () = sleep_until(log.period_ends), if log.has_left_out() => log.next_period(),
        }
    }
    log.end();
}

/// What came last, as it came: where it was cut, a secret may be as well.
pub(super) struct Tail {
    bytes: Vec<u8>,
    room: usize,
    is_cut: bool,
}

impl Tail {
    pub(super) fn new(redactor: &Redactor) -> Self {
        Self {
            bytes: Vec::new(),
            room: TAIL + redactor.longest(),
            is_cut: false,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(self.room)..];
        let extra = (self.bytes.len() + piece.len()).saturating_sub(self.room);
        self.bytes.drain(..extra);
        self.bytes.extend_from_slice(piece);
        self.is_cut |= self.bytes.len() == self.room;
    }

    /// The lines that came last, as they may be logged.
    pub(super) fn redacted(&self, redactor: &Redactor) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<String> = text
            .lines()
            .enumerate()
            .map(|(at, line)| match self.is_cut && at == 0 {
                true => redactor.end_of_line(line),
                false => redactor.line(line),
            })
            .collect();
        let text = lines.join("\n");
        let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL));
        text[start..].to_owned()
    }
}

/// Logs lines, so many in a period and so much of each, and says how much it left out. What is not
/// logged costs no more than to look for line ends.
struct Log {
    backend: Arc<str>,
    redactor: Arc<Redactor>,
    /// What has come of a line.
    line: Vec<u8>,
    /// Whether the line was logged already, as far as lines are.
    is_logged: bool,
    period_ends: Instant,
    logged: u32,
    lines_left_out: u64,
    /// Of lines that were logged in part.
    bytes_left_out: u64,
}

impl Log {
    fn new(backend: Arc<str>, redactor: Arc<Redactor>) -> Self {
        Self {
            backend,
            redactor,
            line: Vec::new(),
            is_logged: false,
            period_ends: Instant::now() + PERIOD,
            logged: 0,
            lines_left_out: 0,
            bytes_left_out: 0,
        }
    }

    fn take(&mut self, mut piece: &[u8]) {
        if self.period_ends <= Instant::now() {
            self.next_period();
        }
        while let Some(end) = memchr(b'\n', piece) {
            if self.logged >= LINES {
                let last = memrchr(b'\n', piece).unwrap_or(end);
                let lines = memchr_iter(b'\n', &piece[..=last]).count() as u64;
                self.lines_left_out += lines - u64::from(self.is_logged);
                self.begin_line();
                piece = &piece[last + 1..];
                break;
            }
            self.extend(&piece[..end]);
            self.end_line();
            piece = &piece[end + 1..];
        }
        self.extend(piece);
    }

    /// More of a line. One that grows too long is logged at once: its end may never come.
    fn extend(&mut self, piece: &[u8]) {
        // So much more that a secret at the cut is recognised.
        let room = MAX_LINE + self.redactor.longest() - self.line.len();
        if piece.len() <= room && !self.is_logged {
            self.line.extend_from_slice(piece);
            return;
        }
        let taken = if self.is_logged { 0 } else { room };
        self.line.extend_from_slice(&piece[..taken]);
        self.bytes_left_out += (piece.len() - taken) as u64;
        if !self.is_logged {
            let text = String::from_utf8_lossy(&self.line);
            let text = self.redactor.beginning_of_line(&text, MAX_LINE);
            self.log(&text);
            self.is_logged = true;
        }
    }

    fn end_line(&mut self) {
        if !self.is_logged {
            let text = self.redactor.line(&String::from_utf8_lossy(&self.line));
            match text.len() > MAX_LINE {
                true => self.log(&(text[..text.floor_char_boundary(MAX_LINE)].to_owned() + "…")),
                false => self.log(&text),
            }
        }
        self.begin_line();
    }

    fn begin_line(&mut self) {
        self.line.clear();
        self.is_logged = false;
    }

    fn log(&mut self, text: &str) {
        if self.logged < LINES {
            self.logged += 1;
            log(&self.backend, text);
        } else {
            self.lines_left_out += 1;
        }
    }

    fn has_left_out(&self) -> bool {
        self.lines_left_out > 0 || self.bytes_left_out > 0
    }

    fn next_period(&mut self) {
        if self.has_left_out() {
            tracing::warn!(
                backend = %self.backend,
                lines_left_out = self.lines_left_out,
                bytes_left_out = self.bytes_left_out,
                "the server writes more to its standard error than is logged"
            );
        }
        (self.lines_left_out, self.bytes_left_out) = (0, 0);
        self.logged = 0;
        self.period_ends = Instant::now() + PERIOD;
    }

    /// Nothing more will come.
    fn end(mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.next_period();
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
    use std::collections::BTreeMap;

    use super::*;

    fn redactor(secret: &str) -> Arc<Redactor> {
        let env = BTreeMap::from([("KEY".to_owned(), secret.into())]);
        Arc::new(Redactor::new(&env))
    }

    #[test]
    fn the_tail_keeps_what_came_last_and_stays_bounded() {
        let redactor = redactor("0123456789");
        let mut tail = Tail::new(&redactor);
        for at in 0..10_000 {
            tail.push(format!("line {at} é\n").as_bytes());
            assert!(tail.bytes.len() <= tail.room);
        }
        let text = tail.redacted(&redactor);
        assert!(text.len() <= TAIL && text.ends_with("line 9999 é"));
        assert!(text.lines().count() > 100);
        tail.push("é".repeat(TAIL).as_bytes());
        let text = tail.redacted(&redactor);
        assert!(text.len() <= TAIL && text.ends_with('é') && text.len() > TAIL - 16);
    }

    #[test]
    fn the_tail_has_nothing_of_a_secret_that_it_cuts() {
        let secret = "0123456789";
        let redactor = redactor(secret);
        for after in TAIL - 20..TAIL + 20 {
            let mut tail = Tail::new(&redactor);
            tail.push(format!("{}{secret}{}", "x".repeat(100), "x".repeat(after)).as_bytes());
            let text = tail.redacted(&redactor);
            assert!(
                !text.contains(|c: char| c.is_ascii_digit()),
                "{after}: {text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_lines_are_logged_in_a_period_and_the_others_counted() {
        let mut log = Log::new("b".into(), redactor("0123456789"));
        let lines = "x\n".repeat(LINES as usize - 1);
        log.take(lines.as_bytes());
        assert_eq!((log.logged, log.lines_left_out), (LINES - 1, 0));
        log.take(b"a\nb\nc\nbegun");
        assert_eq!((log.logged, log.lines_left_out), (LINES, 2));
        log.take(b" and ended\n");
        assert_eq!((log.logged, log.lines_left_out), (LINES, 3));
        assert!(log.line.is_empty());
        tokio::time::advance(PERIOD).await;
        log.take(b"a\nbegun");
        assert_eq!((log.logged, log.lines_left_out), (1, 0));
        assert_eq!(log.line, b"begun");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_long_line_the_beginning_is_logged_and_the_rest_counted() {
        let mut log = Log::new("b".into(), redactor("0123456789"));
        let room = MAX_LINE + 10;
        for _ in 0..room {
            log.take(b"x");
        }
        assert_eq!((log.logged, log.bytes_left_out), (0, 0));
        log.take(&[b'x'; 100]);
        assert_eq!((log.logged, log.bytes_left_out), (1, 100));
        log.take("x".repeat(1_000_000).as_bytes());
        assert_eq!((log.logged, log.bytes_left_out), (1, 1_000_100));
        assert_eq!(log.line.len(), room);
        log.take(b"x\nnext\n");
        assert_eq!((log.logged, log.bytes_left_out), (2, 1_000_101));
        assert!(log.line.is_empty());
    }
}
