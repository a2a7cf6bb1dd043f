//! What starts and owns processes, and knows all that run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_telemetry::BackendMetrics;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::roster::{ProcessKind, Roster, RosterInner, Totals};
use super::usage::Processes;

/// What was read of `/proc` counts for this long, however many ask.
const FRESH: Duration = Duration::from_secs(1);

/// The program that owns processes: `switchboard` itself, but in tests. Clones know the same
/// processes.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(super) program: Arc<Path>,
    known: Arc<Known>,
    /// Where what is started is entered; `None` before there is an endpoint.
    pub(super) roster: Option<Roster>,
    pub(super) kind: ProcessKind,
}

#[derive(Debug, Default)]
struct Known {
    /// One for each endpoint of a local backend.
    rosters: Mutex<Vec<Weak<RosterInner>>>,
    /// When they were measured last. Held while that is done again, so that it is done once for all
    /// who ask meanwhile.
    measured: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Supervisor {
    /// This program: its owner is started from the same file, even if another one has taken its
    /// name since.
    #[must_use]
    pub fn this_program() -> Self {
        Self::at(Path::new("/proc/self/exe"))
    }

    /// The `switchboard` at this path.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            program: path.into(),
            known: Arc::default(),
            roster: None,
            kind: ProcessKind::Main,
        }
    }

    /// The one of an endpoint, with a roster of its own.
    pub(crate) fn of_endpoint(&self, backend: &Arc<str>, metrics: &BackendMetrics) -> Self {
        let roster = Roster::new(Arc::clone(backend), metrics.processes());
        let mut rosters = self.known.rosters.lock();
        rosters.retain(|known| known.strong_count() > 0);
        rosters.push(roster.downgrade());
        Self {
            roster: Some(roster),
            ..self.clone()
        }
    }

    /// The same, for processes of another kind.
    pub(crate) fn of_kind(&self, kind: ProcessKind) -> Self {
        Self {
            kind,
            ..self.clone()
        }
    }

    pub(crate) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// Looks at what all processes use and shows it in the metrics, unless that was done within the
    /// last second. Reads `/proc` once, on a thread of its own.
    pub async fn measure(&self) {
        let mut measured = Arc::clone(&self.known.measured).lock_owned().await;
        if measured.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let rosters: Vec<Arc<RosterInner>> = {
            let rosters = self.known.rosters.lock();
            rosters.iter().filter_map(Weak::upgrade).collect()
        };
        if !rosters.is_empty() {
            let (done, is_done) = oneshot::channel();
            // Not one of the runtime's: whoever asks every second would keep all of those alive
            // that idle there.
            let thread = thread::Builder::new().name("usage".to_owned());
            // It holds the right to measure, whatever becomes of who asked.
            let started = thread.spawn(move || {
                measure(&rosters);
                *measured = Some(Instant::now());
                drop(measured);
                let _ = done.send(());
            });
            match started {
                Ok(_) => drop(is_done.await),
                Err(error) => tracing::debug!(%error, "what processes use is not known"),
            }
        }
    }
}

fn measure(rosters: &[Arc<RosterInner>]) {
    let all = Processes::read();
    // A backend that a reload replaced may have the same name as its successor, whose metrics are
    // the ones in force: rosters are in the order in which they were begun.
    let mut by_backend: BTreeMap<&str, (&RosterInner, Totals)> = BTreeMap::new();
    for roster in rosters {
        let totals = roster.measure(&all);
        let sum = by_backend
            .get(&*roster.backend)
            .map_or(totals, |(_, before)| before.and(totals));
        by_backend.insert(&roster.backend, (roster, sum));
    }
    for (roster, totals) in by_backend.values() {
        let Totals {
            processes,
            resident_bytes,
            write_queue,
            started,
        } = *totals;
        roster
            .metrics
            .show(processes, resident_bytes, write_queue, started);
    }
}
