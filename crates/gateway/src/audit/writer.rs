//! The thread that makes records and writes them.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use switchboard_protocol::millis;
use switchboard_protocol::token::digest;
use switchboard_telemetry::{AuditDrop, Metrics, Outlet, redacted};

use super::config::AuditConfig;
use super::event::Event;
use super::jsonl::JsonLines;
use super::queue::AuditLog;
use super::record::Record;
use super::sqlite::{Store, StoreError};

/// For how long records are gathered before they are written together.
const GATHER: Duration = Duration::from_millis(20);
/// How often old records are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of the gateway waits for what is still to be written.
const FLUSH: Duration = Duration::from_secs(3);

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be written.
    #[error("file: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database cannot be written.
    #[error("sqlite: {}: {source}", path.display())]
    Sqlite {
        /// Which.
        path: PathBuf,
        /// What was said.
        source: StoreError,
    },
    /// There is no standard output, or no thread.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The writer, as whoever ends the gateway sees it.
pub(crate) struct AuditWriter {
    log: AuditLog,
    done: mpsc::Receiver<()>,
}

impl AuditWriter {
    /// Has everything written that was left, for which it waits at most 3 s. Blocks.
    pub(crate) fn finish(self) {
        self.log.close();
        if self.done.recv_timeout(FLUSH).is_err() {
            tracing::warn!("the last records of the audit were not written in time");
        }
    }
}

/// Opens what is written to and starts the thread.
///
/// # Errors
/// If one of them cannot be opened.
pub(crate) fn start(
    config: &AuditConfig,
    metrics: &Arc<Metrics>,
) -> Result<(AuditLog, AuditWriter), AuditError> {
    let sinks = Sinks::open(config)?;
    let log = AuditLog::new(config.queue, &config.include, Arc::clone(metrics));
    let (ended, done) = mpsc::sync_channel(1);
    let (values, of_thread) = (config.values.clone(), log.clone());
    thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || {
            run(&of_thread, sinks, &values);
            // Nobody may wait any more.
            let _ = ended.send(());
        })?;
    let writer = AuditWriter {
        log: log.clone(),
        done,
    };
    Ok((log, writer))
}

fn run(log: &AuditLog, mut sinks: Sinks, values: &[String]) {
    let mut taken = Vec::new();
    let mut swept: Option<Instant> = None;
    loop {
        let is_open = log.take(&mut taken, SWEEP_INTERVAL);
        if !taken.is_empty() {
            let records: Vec<_> = taken.drain(..).map(|event| made(&event, values)).collect();
            sinks.write(log, &records);
        }
        if swept.is_none_or(|swept| swept.elapsed() >= SWEEP_INTERVAL) {
            // Many are taken out in several turns, between which what is new is written.
            swept = (!sinks.sweep(log)).then(Instant::now);
        }
        if !is_open {
            return;
        }
        thread::park_timeout(GATHER);
    }
}

/// When, what, and as a line.
type Made = (u64, Record, String);

fn made(event: &Event, values: &[String]) -> Made {
    let at = match event {
        Event::Call(call) => call.at,
        Event::Subscription(subscription) => subscription.at,
        Event::Refusal(refusal) => refusal.at,
        Event::Admin(change) => change.at,
    };
    let at = millis(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut record = Record::of(event, values);
    let line = redacted(Outlet::Audit, &record.line(), true).into_owned();
    (at, record, line)
}

/// What is written to.
struct Sinks {
    /// A handle of its own: whoever else writes there must not wait for a reader of ours.
    stdout: Option<File>,
    file: Option<JsonLines>,
    sqlite: Option<Store>,
}

impl Sinks {
    fn open(config: &AuditConfig) -> Result<Self, AuditError> {
        let stdout = match config.stdout {
            true => Some(File::from(std::io::stdout().as_fd().try_clone_to_owned()?)),
            false => None,
        };
        let file = match &config.file {
            Some(file) => Some(JsonLines::open(file).map_err(|source| AuditError::File {
                path: file.path.clone(),
                source,
            })?),
            None => None,
        };
        let sqlite = match &config.sqlite {
            Some(sqlite) => Some(Store::open(sqlite).map_err(|source| AuditError::Sqlite {
                path: sqlite.path.clone(),
                source,
            })?),
            None => None,
        };
        Ok(Self {
            stdout,
            file,
            sqlite,
        })
    }

    fn write(&mut self, log: &AuditLog, records: &[Made]) {
        let lost = |count: usize, sink: &str, why: &dyn std::fmt::Display| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            log.dropped(AuditDrop::WriteFailed, count, &format!("{sink}: {why}"));
        };
        if let Some(store) = &mut self.sqlite
            && let Err(error) = store.write(records)
        {
            lost(records.len(), "audit.sqlite", &error);
        }
        if self.file.is_none() && self.stdout.is_none() {
            return;
        }
        let lines: Vec<String> = records.iter().map(|(_, _, line)| line.clone()).collect();
        if let Some(file) = &mut self.file
            && let Err((error, count)) = file.write(&lines)
        {
            lost(count, "audit.file", &error);
        }
        if let Some(stdout) = &mut self.stdout {
            let text = lines.join("\n") + "\n";
            if let Err(error) = stdout.write_all(text.as_bytes()) {
                lost(records.len(), "audit.stdout", &error);
            }
        }
    }

    /// Whether there may be more to take out.
    fn sweep(&mut self, log: &AuditLog) -> bool {
        let Some(store) = &mut self.sqlite else {
            return false;
        };
        store.sweep(SystemTime::now()).unwrap_or_else(|error| {
            log.dropped(
                AuditDrop::WriteFailed,
                0,
                &format!("audit.sqlite: old records stay: {error}"),
            );
            false
        })
    }
}

/// Tells a session from others, where its name must not be told.
#[must_use]
pub fn session_digest(name: &str) -> String {
    let digest = digest(&[b"session digest", name.as_bytes()]);
    let digest = digest.iter().take(8);
    digest.map(|byte| format!("{byte:02x}")).collect()
}
