//! What is counted of each backend, and the end of it when the backend is gone.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::operations::Operations;
use super::processes::{ProcessFamilies, ProcessMetrics};
use super::{GaugeShare, Metrics, counters, families, forget_series, gauges, handles, histogram};
use crate::labels::{
    BackendState, BreakerTurn, CacheOutcome, ErrorType, FallbackOutcome, IgnoredMessage,
    MethodLabel, Refusal, Retry,
};

/// The families of which each backend has series.
#[derive(Clone, Debug)]
pub(super) struct BackendFamilies {
    client_duration: HistogramVec,
    state: IntGaugeVec,
    restarts: IntCounterVec,
    recycles: IntCounterVec,
    tools: IntGaugeVec,
    sessions: IntGaugeVec,
    ignored: IntCounterVec,
    refused: IntCounterVec,
    retries: IntCounterVec,
    breaker: IntCounterVec,
    fallbacks: IntCounterVec,
    cache: IntCounterVec,
    processes: ProcessFamilies,
    /// The handles that are in use, by the backend's name.
    in_use: Arc<Mutex<HashMap<String, Weak<BackendHandles>>>>,
}

impl BackendFamilies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            client_duration: histogram(registry, &families::CLIENT_DURATION)?,
            state: gauges(registry, &families::BACKEND_STATE)?,
            restarts: counters(registry, &families::BACKEND_RESTARTS)?,
            recycles: counters(registry, &families::BACKEND_RECYCLES)?,
            tools: gauges(registry, &families::BACKEND_TOOLS)?,
            sessions: gauges(registry, &families::BACKEND_SESSIONS)?,
            ignored: counters(registry, &families::BACKEND_IGNORED)?,
            refused: counters(registry, &families::BACKEND_REFUSED)?,
            retries: counters(registry, &families::BACKEND_RETRIES)?,
            breaker: counters(registry, &families::BACKEND_BREAKER)?,
            fallbacks: counters(registry, &families::FALLBACKS)?,
            cache: counters(registry, &families::CACHE)?,
            processes: ProcessFamilies::new(registry)?,
            in_use: Arc::default(),
        })
    }

    fn handles(&self, name: &str) -> BackendHandles {
        BackendHandles {
            name: name.to_owned(),
            client: Operations::new(self.client_duration.clone(), Some(name.to_owned())),
            state: handles(&self.state, &[name], &BackendState::NAMES),
            restarts: self.restarts.with_label_values(&[name]),
            recycles: self.recycles.with_label_values(&[name]),
            tools: self.tools.with_label_values(&[name]),
            sessions: self.sessions.with_label_values(&[name]),
            refused: handles(&self.refused, &[name], &Refusal::NAMES),
            retries: handles(&self.retries, &[name], &Retry::NAMES),
            breaker: handles(&self.breaker, &[name], &BreakerTurn::NAMES),
            cache: CacheOutcome::ALL.iter().map(|_| OnceLock::new()).collect(),
            ignored: handles(&self.ignored, &[name], &IgnoredMessage::NAMES),
            families: self.clone(),
        }
    }

    fn forget(&self, name: &str) {
        let plain = [&self.restarts, &self.recycles, &self.ignored, &self.refused];
        let others = [&self.retries, &self.breaker, &self.fallbacks, &self.cache];
        for counters in plain.into_iter().chain(others) {
            forget_series(counters, "backend", name);
        }
        forget_series(&self.fallbacks, "to", name);
        forget_series(&self.client_duration, "switchboard_backend", name);
        for gauges in [&self.state, &self.tools, &self.sessions] {
            forget_series(gauges, "backend", name);
        }
        self.processes.forget(name);
    }
}

impl Metrics {
    /// The handles of one backend. Asked for again under the same name it gives the same series.
    pub fn backend(&self, name: &str) -> BackendMetrics {
        let mut in_use = self.backends.in_use.lock();
        if let Some(handles) = in_use.get(name).and_then(Weak::upgrade) {
            return BackendMetrics(handles);
        }
        let handles = Arc::new(self.backends.handles(name));
        in_use.insert(name.to_owned(), Arc::downgrade(&handles));
        BackendMetrics(handles)
    }

    /// Takes away all series of a backend that is no longer configured. Its calls that have not ended
    /// may bring some back: see [`Metrics::forget_ended_backend`].
    pub fn forget_backend(&self, name: &str) {
        let mut in_use = self.backends.in_use.lock();
        in_use.remove(name);
        in_use.retain(|_, handles| handles.strong_count() > 0);
        self.forget_series_of(name);
    }

    /// Takes away what its last calls have brought back of a backend that was forgotten, once nothing of
    /// it is left; nothing if another has its name by now.
    pub fn forget_ended_backend(&self, name: &str) {
        let in_use = self.backends.in_use.lock();
        let is_back = in_use.get(name).is_some_and(|it| it.strong_count() > 0);
        if !is_back {
            self.forget_series_of(name);
        }
    }

    fn forget_series_of(&self, name: &str) {
        self.backends.forget(name);
        forget_series(&self.results_capped, "backend", name);
        forget_series(&self.redactions, "place", name);
    }
}

/// The handles of one backend; cheap to clone.
#[derive(Clone, Debug)]
pub struct BackendMetrics(Arc<BackendHandles>);

#[derive(Debug)]
pub(super) struct BackendHandles {
    name: String,
    families: BackendFamilies,
    client: Operations,
    state: Box<[IntGauge]>,
    restarts: IntCounter,
    recycles: IntCounter,
    tools: IntGauge,
    sessions: IntGauge,
    ignored: Box<[IntCounter]>,
    refused: Box<[IntCounter]>,
    retries: Box<[IntCounter]>,
    breaker: Box<[IntCounter]>,
    /// Made at the first use: most backends have no cache.
    cache: Box<[OnceLock<IntCounter>]>,
}

impl BackendMetrics {
    /// Counts one finished attempt in `mcp_client_operation_duration_seconds`.
    pub fn operation(&self, method: MethodLabel, error: Option<ErrorType>, elapsed: Duration) {
        self.0.client.observe(method, error, elapsed);
    }

    /// Shows the state that the backend is in now. One caller at a time may call this, or two states
    /// may show as current.
    pub fn set_state(&self, state: BackendState) {
        for (each, gauge) in BackendState::ALL.iter().zip(&self.0.state) {
            gauge.set(i64::from(*each == state));
        }
    }

    /// Counts a start or a connection after the first.
    pub fn restarted(&self) {
        self.0.restarts.inc();
    }

    /// Counts a process that took the place of one that was worn.
    pub fn recycled(&self) {
        self.0.recycles.inc();
    }

    /// How often that was counted.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0.restarts.get()
    }

    /// The handles for its processes, which are shown from now on.
    #[must_use]
    pub fn processes(&self) -> ProcessMetrics {
        self.0.families.processes.of(&self.0.name)
    }

    /// Shows how many tools the backend's last complete list had.
    pub fn set_tools(&self, count: usize) {
        self.0.tools.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// One endpoint's share in the number of sessions for calls that the backend has.
    pub fn sessions(&self) -> GaugeShare {
        GaugeShare {
            gauge: self.0.sessions.clone(),
            share: AtomicI64::new(0),
        }
    }

    /// Counts a call that was not let in.
    pub fn refused(&self, reason: Refusal) {
        self.0.refused[reason as usize].inc();
    }

    /// Counts a further attempt at a call, or that there was no budget for one.
    pub fn retried(&self, result: Retry) {
        self.0.retries[result as usize].inc();
    }

    /// Counts that the breaker of an endpoint opened or closed.
    pub fn breaker_turned(&self, turn: BreakerTurn) {
        self.0.breaker[turn as usize].inc();
    }

    /// Counts what was found for a call in the cache.
    pub fn looked_up(&self, outcome: CacheOutcome) {
        self.0.cache[outcome as usize]
            .get_or_init(|| {
                let cache = &self.0.families.cache;
                cache.with_label_values(&[self.0.name.as_str(), outcome.as_str()])
            })
            .inc();
    }

    /// Counts a message that was not passed on.
    pub fn ignored(&self, kind: IgnoredMessage) {
        self.0.ignored[kind as usize].inc();
    }

    /// Counts a call of another backend's tool that took the place of one of this backend's.
    pub fn fell_back(&self, to: &str, outcome: FallbackOutcome) {
        let labels = [self.0.name.as_str(), to, outcome.as_str()];
        self.0.families.fallbacks.with_label_values(&labels).inc();
    }
}
