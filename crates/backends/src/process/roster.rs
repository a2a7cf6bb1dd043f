//! The processes that run for one endpoint, for whoever wants to look at them: nothing here is on the
//! way of a call.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use switchboard_telemetry::{Outlet, ProcessMetrics, redacted};

use super::usage::{Processes, Usage, cpu_at_end};

/// What a process is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessKind {
    /// The one that the lists come from, and all calls where its server is a modern one.
    #[default]
    Main,
    /// A session of a legacy server, for calls.
    Session,
}

impl ProcessKind {
    /// The word in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Session => "session",
        }
    }
}

/// A process that runs.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// The id of the program.
    pub pid: u32,
    /// What it is there for.
    pub kind: ProcessKind,
    /// When it was started.
    pub started: SystemTime,
    /// How long ago that was, whatever the clock was set to since.
    pub uptime: Duration,
    /// What it and all that it started use; `None` if that was not looked at yet.
    pub usage: Option<Usage>,
    /// Messages that wait to be written to it.
    pub write_queue: usize,
}

/// How a process ended that was not told to.
#[derive(Clone, Debug)]
pub struct ProcessEnd {
    /// When.
    pub at: SystemTime,
    /// How, and what it said last, without paths and values of its `env`.
    pub(crate) reason: String,
}

impl ProcessEnd {
    /// How, and what it said last, for operators, without the secrets that redaction knows.
    #[must_use]
    pub fn told_operators(&self) -> String {
        redacted(Outlet::Operators, &self.reason, false).into_owned()
    }
}

/// Which processes run for one endpoint. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Roster {
    pub(super) inner: Arc<RosterInner>,
}

pub(super) struct RosterInner {
    pub(super) backend: Arc<str>,
    pub(super) metrics: ProcessMetrics,
    running: Mutex<Vec<Arc<Record>>>,
    last_end: Mutex<Option<ProcessEnd>>,
}

/// What is known of one process.
struct Record {
    /// Its owner, the root of its tree.
    owner: u32,
    pid: u32,
    kind: ProcessKind,
    started: SystemTime,
    begun: std::time::Instant,
    write_queue: OnceLock<Box<dyn Fn() -> usize + Send + Sync>>,
    usage: Mutex<Option<Usage>>,
}

/// The entry of a process, which is struck out when this is dropped.
pub(crate) struct RosterEntry {
    roster: Roster,
    record: Arc<Record>,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for RosterInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RosterInner({})", self.backend)
    }
}

impl Roster {
    pub(super) fn new(backend: Arc<str>, metrics: ProcessMetrics) -> Self {
        Self {
            inner: Arc::new(RosterInner {
                backend,
                metrics,
                running: Mutex::default(),
                last_end: Mutex::default(),
            }),
        }
    }

    pub(super) fn downgrade(&self) -> Weak<RosterInner> {
        Arc::downgrade(&self.inner)
    }

    /// Enters a process that has begun.
    pub(super) fn enter(&self, owner: u32, pid: u32, kind: ProcessKind) -> RosterEntry {
        let record = Arc::new(Record {
            owner,
            pid,
            kind,
            started: SystemTime::now(),
            begun: std::time::Instant::now(),
            write_queue: OnceLock::new(),
            usage: Mutex::default(),
        });
        self.inner.running.lock().push(Arc::clone(&record));
        RosterEntry {
            roster: self.clone(),
            record,
        }
    }

    /// The processes that run, the one of the lists first.
    pub(crate) fn processes(&self) -> Vec<ProcessReport> {
        let running = self.inner.running.lock().clone();
        let mut reports: Vec<_> = running.iter().map(|record| record.report()).collect();
        reports.sort_by_key(|report| (report.kind != ProcessKind::Main, report.pid));
        reports
    }

    /// How the last process ended that was not told to.
    pub(crate) fn last_end(&self) -> Option<ProcessEnd> {
        self.inner.last_end.lock().clone()
    }
}

impl RosterInner {
    /// Takes note of what each process uses, and sums it up.
    pub(super) fn measure(&self, all: &Processes) -> Totals {
        let running = self.running.lock().clone();
        let mut totals = Totals::default();
        for record in &running {
            if let Some(usage) = all.below(record.owner) {
                record.note(usage, &self.metrics);
                totals.processes += usage.processes;
                totals.resident_bytes += usage.resident_bytes;
            }
            totals.write_queue += record.queued();
            if record.kind == ProcessKind::Main {
                totals.started = totals.started.max(Some(record.started));
            }
        }
        totals
    }
}

/// What the processes of a backend come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) processes: usize,
    pub(super) resident_bytes: u64,
    pub(super) write_queue: usize,
    /// When the process of the lists was started, of several the last.
    pub(super) started: Option<SystemTime>,
}

impl Totals {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            processes: self.processes + other.processes,
            resident_bytes: self.resident_bytes + other.resident_bytes,
            write_queue: self.write_queue + other.write_queue,
            started: self.started.max(other.started),
        }
    }
}

impl Record {
    fn report(&self) -> ProcessReport {
        ProcessReport {
            pid: self.pid,
            kind: self.kind,
            started: self.started,
            uptime: self.begun.elapsed(),
            usage: *self.usage.lock(),
            write_queue: self.queued(),
        }
    }

    fn queued(&self) -> usize {
        self.write_queue.get().map_or(0, |queued| queued())
    }

    /// Counts the CPU time that has come to what was known. It never goes back, whatever of the tree
    /// ended without being waited for.
    fn note(&self, usage: Usage, metrics: &ProcessMetrics) {
        let mut known = self.usage.lock();
        let before = known.map_or(Duration::ZERO, |usage| usage.cpu);
        let cpu = usage.cpu.max(before);
        metrics.used_cpu(cpu - before);
        *known = Some(Usage { cpu, ..usage });
    }
}

impl RosterEntry {
    /// For who knows how many messages wait to be written to it.
    pub(crate) fn queue_counter(&self) -> QueueCounter {
        QueueCounter(Arc::clone(&self.record))
    }

    /// Counts what the tree has used until now: it is about to end.
    pub(super) fn ends(&self) {
        let record = &self.record;
        let known = record.usage.lock().unwrap_or_default();
        let cpu = cpu_at_end(record.owner, record.pid);
        record.note(Usage { cpu, ..known }, &self.roster.inner.metrics);
    }

    /// Remembers how it ended, which nobody had asked for.
    pub(super) fn ended(&self, reason: &str) {
        *self.roster.inner.last_end.lock() = Some(ProcessEnd {
            at: SystemTime::now(),
            reason: reason.to_owned(),
        });
    }
}

/// See [`RosterEntry::queue_counter`].
pub(crate) struct QueueCounter(Arc<Record>);

impl QueueCounter {
    /// Says where the number of messages comes from that wait to be written to it. The first stays.
    pub(crate) fn set(&self, queued: impl Fn() -> usize + Send + Sync + 'static) {
        let _ = self.0.write_queue.set(Box::new(queued));
    }
}

impl Drop for RosterEntry {
    fn drop(&mut self) {
        let mut running = self.roster.inner.running.lock();
        running.retain(|record| !Arc::ptr_eq(record, &self.record));
    }
}
