//! Prometheus metrics.
//!
//! Labels are looked up by name once: a call counts through an index into handles, and takes no
//! lock after the first call of its kind.

mod families;
mod limits;
mod processes;
mod readings;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::labels::{
    AuditDrop, AuthOutcome, BackendState, BreakerTurn, CacheOutcome, ErrorType, ForwardOutcome,
    IgnoredMessage, LimitDecision, MethodLabel, PolicyDecision, Refusal, ReloadResult, Retry,
    ShedReason, StoreFailure,
};
use families::Family;
use processes::ProcessFamilies;
use readings::Reading;

pub use families::reference;
pub use limits::{LimitMetrics, StoreMetrics};
pub use processes::ProcessMetrics;

/// Upper bounds of the histograms in seconds, from the OpenTelemetry conventions for MCP.
pub const BUCKETS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Statuses below 100 and above 599 do not occur; they share the cell of 500.
const STATUSES: std::ops::Range<u16> = 100..600;

/// The `policy` that the rules of who may do what are.
const ACCESS: &str = "access";

/// What the process counts. Made once, shared by `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    server: Operations,
    client_duration: HistogramVec,
    backend_state: IntGaugeVec,
    backend_restarts: IntCounterVec,
    backend_recycles: IntCounterVec,
    backend_tools: IntGaugeVec,
    backend_sessions: IntGaugeVec,
    backend_ignored: IntCounterVec,
    backend_refused: IntCounterVec,
    backend_retries: IntCounterVec,
    backend_breaker: IntCounterVec,
    cache: IntCounterVec,
    processes: ProcessFamilies,
    config_reloads: IntCounterVec,
    config_reloaded: IntGauge,
    connections: IntGauge,
    listen_streams: IntGauge,
    legacy_sessions: IntGauge,
    legacy_streams: IntGauge,
    calls_in_flight: IntGauge,
    shed: Box<[IntCounter]>,
    forwarded: Box<[IntCounter]>,
    /// By policy, and by decision in each.
    access_decisions: Box<[IntCounter]>,
    results_capped: IntCounterVec,
    limits: limits::LimitFamilies,
    redactions: IntCounterVec,
    audit_dropped: Box<[IntCounter]>,
    authentications: Box<[IntCounter]>,
    health_round: IntGauge,
    http_requests: IntCounterVec,
    http_handles: Box<[OnceLock<IntCounter>]>,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Errors
    /// Only if the table of metrics contradicts itself, which a test rules out.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let server_duration = histogram(&registry, &families::SERVER_DURATION)?;
        let build = gauges(&registry, &families::BUILD_INFO)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let shed = counters(&registry, &families::SHED)?;
        let forwarded = counters(&registry, &families::FORWARDED)?;
        let policy_decisions = counters(&registry, &families::POLICY_DECISIONS)?;
        let audit_dropped = counters(&registry, &families::AUDIT_DROPPED)?;
        let authentications = counters(&registry, &families::AUTHENTICATIONS)?;
        let config_reloads = counters(&registry, &families::CONFIG_RELOADS)?;
        for result in ReloadResult::ALL {
            config_reloads.with_label_values(&[result.as_str()]);
        }
        let config_reloaded = gauge(&registry, &families::CONFIG_RELOADED)?;
        config_reloaded.set(1);
        for collector in readings::process()? {
            registry.register(collector)?;
        }
        Ok(Self {
            server: Operations::new(server_duration, None),
            client_duration: histogram(&registry, &families::CLIENT_DURATION)?,
            backend_state: gauges(&registry, &families::BACKEND_STATE)?,
            backend_restarts: counters(&registry, &families::BACKEND_RESTARTS)?,
            backend_recycles: counters(&registry, &families::BACKEND_RECYCLES)?,
            backend_tools: gauges(&registry, &families::BACKEND_TOOLS)?,
            backend_sessions: gauges(&registry, &families::BACKEND_SESSIONS)?,
            backend_ignored: counters(&registry, &families::BACKEND_IGNORED)?,
            backend_refused: counters(&registry, &families::BACKEND_REFUSED)?,
            backend_retries: counters(&registry, &families::BACKEND_RETRIES)?,
            backend_breaker: counters(&registry, &families::BACKEND_BREAKER)?,
            cache: counters(&registry, &families::CACHE)?,
            processes: ProcessFamilies::new(&registry)?,
            config_reloads,
            config_reloaded,
            connections: gauge(&registry, &families::CONNECTIONS)?,
            listen_streams: gauge(&registry, &families::LISTEN_STREAMS)?,
            legacy_sessions: gauge(&registry, &families::LEGACY_SESSIONS)?,
            legacy_streams: gauge(&registry, &families::LEGACY_STREAMS)?,
            calls_in_flight: gauge(&registry, &families::CALLS_IN_FLIGHT)?,
            shed: ShedReason::ALL
                .iter()
                .map(|reason| shed.with_label_values(&[reason.as_str()]))
                .collect(),
            forwarded: ForwardOutcome::ALL
                .iter()
                .map(|outcome| forwarded.with_label_values(&[outcome.as_str()]))
                .collect(),
            access_decisions: PolicyDecision::ALL
                .iter()
                .map(|said| policy_decisions.with_label_values(&[ACCESS, said.as_str()]))
                .collect(),
            results_capped: counters(&registry, &families::RESULTS_CAPPED)?,
            limits: limits::LimitFamilies::new(&registry)?,
            redactions: counters(&registry, &families::REDACTIONS)?,
            audit_dropped: AuditDrop::ALL
                .iter()
                .map(|reason| audit_dropped.with_label_values(&[reason.as_str()]))
                .collect(),
            authentications: AuthOutcome::ALL
                .iter()
                .map(|outcome| authentications.with_label_values(&[outcome.as_str()]))
                .collect(),
            health_round: gauge(&registry, &families::HEALTH_ROUND)?,
            http_requests: counters(&registry, &families::HTTP_REQUESTS)?,
            http_handles: STATUSES.map(|_| OnceLock::new()).collect(),
            registry,
        })
    }

    /// Counts one finished call of a client, in `mcp_server_operation_duration_seconds`. An error
    /// that [is the caller's](ErrorType::is_the_callers) counts as no error, as the conventions
    /// say.
    pub fn server_operation(
        &self,
        method: MethodLabel,
        error: Option<ErrorType>,
        elapsed: Duration,
    ) {
        let error = error.filter(|error| !error.is_the_callers());
        self.server.observe(method, error, elapsed);
    }

    /// The handles of one backend. Asked for again under the same name it gives the same series.
    pub fn backend(&self, name: &str) -> BackendMetrics {
        BackendMetrics(Arc::new(BackendHandles {
            name: name.to_owned(),
            processes: self.processes.clone(),
            client: Operations::new(self.client_duration.clone(), Some(name.to_owned())),
            state: BackendState::ALL
                .iter()
                .map(|state| {
                    self.backend_state
                        .with_label_values(&[name, state.as_str()])
                })
                .collect(),
            restarts: self.backend_restarts.with_label_values(&[name]),
            recycles: self.backend_recycles.with_label_values(&[name]),
            tools: self.backend_tools.with_label_values(&[name]),
            sessions: self.backend_sessions.with_label_values(&[name]),
            refused: Refusal::ALL
                .iter()
                .map(|reason| {
                    self.backend_refused
                        .with_label_values(&[name, reason.as_str()])
                })
                .collect(),
            retries: Retry::ALL
                .iter()
                .map(|result| {
                    self.backend_retries
                        .with_label_values(&[name, result.as_str()])
                })
                .collect(),
            breaker: BreakerTurn::ALL
                .iter()
                .map(|turn| {
                    self.backend_breaker
                        .with_label_values(&[name, turn.as_str()])
                })
                .collect(),
            cache: CacheOutcome::ALL.iter().map(|_| OnceLock::new()).collect(),
            cache_family: self.cache.clone(),
            ignored: IgnoredMessage::ALL
                .iter()
                .map(|kind| {
                    self.backend_ignored
                        .with_label_values(&[name, kind.as_str()])
                })
                .collect(),
        }))
    }

    /// Takes away what is shown of a backend that is no longer configured; what was counted stays.
    pub fn forget_backend(&self, name: &str) {
        for state in BackendState::ALL {
            // The only error is that there is none.
            let _ = self
                .backend_state
                .remove_label_values(&[name, state.as_str()]);
        }
        for gauges in [&self.backend_tools, &self.backend_sessions] {
            let _ = gauges.remove_label_values(&[name]);
        }
        self.processes.forget(name);
    }

    /// Counts how a reload of the configuration ended.
    pub fn config_reloaded(&self, result: ReloadResult) {
        // In this order, so that who has seen the count finds its outcome.
        self.config_reloaded
            .set(i64::from(result != ReloadResult::Failed));
        self.config_reloads
            .with_label_values(&[result.as_str()])
            .inc();
    }

    /// Counts an open client connection until the guard is dropped.
    pub fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(&self.connections)
    }

    /// Counts an open `subscriptions/listen` stream until the guard is dropped.
    pub fn listen_stream(&self) -> GaugeGuard {
        GaugeGuard::new(&self.listen_streams)
    }

    /// Counts a legacy client's session until the guard is dropped.
    pub fn legacy_session(&self) -> GaugeGuard {
        GaugeGuard::new(&self.legacy_sessions)
    }

    /// Counts an open stream of a legacy client's session, for what is said outside of calls, until
    /// the guard is dropped.
    pub fn legacy_stream(&self) -> GaugeGuard {
        GaugeGuard::new(&self.legacy_streams)
    }

    /// Counts a call in flight until the guard is dropped.
    pub fn call_in_flight(&self) -> GaugeGuard {
        GaugeGuard::new(&self.calls_in_flight)
    }

    /// Counts a call, or a request before it became one, that the gateway did not take on.
    pub fn shed(&self, reason: ShedReason) {
        self.shed[reason as usize].inc();
    }

    /// Counts a request that was to be passed on to another replica.
    pub fn forwarded(&self, outcome: ForwardOutcome) {
        self.forwarded[outcome as usize].inc();
    }

    /// Counts what the rules of who may do what said of a call.
    pub fn access_decided(&self, decision: PolicyDecision) {
        self.access_decisions[decision as usize].inc();
    }

    /// Counts a result that was larger than it may be; `over` says what became of it.
    pub fn result_capped(&self, over: &'static str, backend: &str) {
        self.results_capped
            .with_label_values(&[over, backend])
            .inc();
    }

    /// The handles of a limit or budget: `policy` says which, `name` is from the configuration.
    pub fn limit(&self, policy: &'static str, name: &str) -> LimitMetrics {
        self.limits.of(policy, name)
    }

    /// The handles of the store of limits and budgets, which is shown from now on.
    pub fn store(&self) -> StoreMetrics {
        self.limits.store()
    }

    /// Counts a secret that was taken out: what it was, and of what; both from the configuration or known
    /// beforehand.
    pub fn redacted(&self, kind: &str, place: &str) {
        self.redactions.with_label_values(&[kind, place]).inc();
    }

    /// Counts records of the audit that are lost.
    pub fn audit_dropped(&self, reason: AuditDrop, count: u64) {
        self.audit_dropped[reason as usize].inc_by(count);
    }

    /// Counts a request whose credential was looked at.
    pub fn authentication(&self, outcome: AuthOutcome) {
        self.authentications[outcome as usize].inc();
    }

    /// Notes that a health round was completed just now.
    pub fn health_round_completed(&self) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since_1970.unwrap_or_default().as_secs();
        self.health_round
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Counts one answered HTTP request.
    pub fn http_request(&self, status: u16) {
        let status = if STATUSES.contains(&status) {
            status
        } else {
            500
        };
        self.http_handles[usize::from(status - STATUSES.start)]
            .get_or_init(|| {
                self.http_requests
                    .with_label_values(&[status.to_string().as_str()])
            })
            .inc();
    }

    /// Says where `switchboard_tasks` comes from: the number of tasks alive in the runtime. The
    /// first source stays.
    pub fn count_tasks_with(&self, tasks: impl Fn() -> usize + Send + Sync + 'static) {
        self.read_with(&families::TASKS, &[], move || Some(tasks() as f64));
    }

    /// Says where `switchboard_parked_calls` comes from. The first source stays.
    pub fn count_parked_calls_with(&self, calls: impl Fn() -> usize + Send + Sync + 'static) {
        self.read_with(&families::PARKED_CALLS, &[], move || Some(calls() as f64));
    }

    /// Says where `switchboard_cache_entries` and `switchboard_cache_bytes` come from. The first source
    /// stays.
    pub fn count_cache_with(
        &self,
        read: impl Fn() -> Option<(u64, u64)> + Clone + Send + Sync + 'static,
    ) {
        let entries = read.clone();
        self.read_with(&families::CACHE_ENTRIES, &[], move || {
            entries().map(|(entries, _)| entries as f64)
        });
        self.read_with(&families::CACHE_BYTES, &[], move || {
            read().map(|(_, bytes)| bytes as f64)
        });
    }

    /// Says where `switchboard_telemetry_dropped_total` of a signal comes from. The first source
    /// stays.
    pub(crate) fn count_dropped_with(
        &self,
        signal: &str,
        dropped: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.read_with(&families::TELEMETRY_DROPPED, &[signal], move || {
            Some(dropped() as f64)
        });
    }

    fn read_with(
        &self,
        family: &Family,
        values: &[&str],
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        // The only error left is a reading that is there already, and the first one stays.
        let _ = Reading::new(family, values, read)
            .and_then(|reading| self.registry.register(Box::new(reading)));
    }

    /// Every metric in the Prometheus text format, version 0.0.4. Reads a few files of procfs;
    /// takes no other time.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only on a family without a child, and those are not gathered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The handles of one backend; cheap to clone.
#[derive(Clone, Debug)]
pub struct BackendMetrics(Arc<BackendHandles>);

#[derive(Debug)]
struct BackendHandles {
    name: String,
    processes: ProcessFamilies,
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
    cache_family: IntCounterVec,
}

impl BackendMetrics {
    /// Counts one finished attempt in `mcp_client_operation_duration_seconds`.
    pub fn operation(&self, method: MethodLabel, error: Option<ErrorType>, elapsed: Duration) {
        self.0.client.observe(method, error, elapsed);
    }

    /// Shows the state that the backend is in now. One owner at a time may call this, or two states
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
        self.0.processes.of(&self.0.name)
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

    /// Counts what was found for a call where results are kept.
    pub fn looked_up(&self, outcome: CacheOutcome) {
        self.0.cache[outcome as usize]
            .get_or_init(|| {
                self.0
                    .cache_family
                    .with_label_values(&[self.0.name.as_str(), outcome.as_str()])
            })
            .inc();
    }

    /// Counts a message that was not passed on.
    pub fn ignored(&self, kind: IgnoredMessage) {
        self.0.ignored[kind as usize].inc();
    }
}

/// Holds a gauge one higher for as long as it lives.
#[derive(Debug)]
#[must_use = "the gauge falls again when this is dropped"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

/// A part of a gauge that several add to; taken out when this is dropped.
#[derive(Debug)]
pub struct GaugeShare {
    gauge: IntGauge,
    share: AtomicI64,
}

impl GaugeShare {
    /// Sets this part.
    pub fn set(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let before = self.share.swap(count, Ordering::Relaxed);
        self.gauge.add(count - before);
    }
}

impl Drop for GaugeShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The histograms of one side, a cell for each method and error.
///
/// A cell is filled at its first use: a family with every possible child would be thousands of
/// lines a scrape.
#[derive(Debug)]
struct Operations {
    family: HistogramVec,
    backend: Option<String>,
    cells: Box<[OnceLock<Histogram>]>,
}

impl Operations {
    fn new(family: HistogramVec, backend: Option<String>) -> Self {
        let cells = MethodLabel::ALL.len() * (ErrorType::ALL.len() + 1);
        Self {
            family,
            backend,
            cells: (0..cells).map(|_| OnceLock::new()).collect(),
        }
    }

    fn observe(&self, method: MethodLabel, error: Option<ErrorType>, elapsed: Duration) {
        let column = error.map_or(0, |error| error as usize + 1);
        self.cells[method as usize * (ErrorType::ALL.len() + 1) + column]
            .get_or_init(|| {
                let (method, error) = (method.as_str(), error.map_or("", ErrorType::as_str));
                match &self.backend {
                    Some(backend) => self.family.with_label_values(&[method, backend, error]),
                    None => self.family.with_label_values(&[method, error]),
                }
            })
            .observe(elapsed.as_secs_f64());
    }
}

/// The labels with a closed set of values, for the reference: each with the metric that it belongs
/// to, where others have one of the same name.
fn closed_labels() -> Vec<(&'static str, Option<&'static Family>, Vec<&'static str>)> {
    fn values<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Vec<&'static str> {
        all.iter().copied().map(as_str).collect()
    }
    vec![
        (
            "mcp_method_name",
            None,
            values(MethodLabel::ALL, MethodLabel::as_str),
        ),
        (
            "error_type",
            None,
            values(ErrorType::ALL, ErrorType::as_str),
        ),
        (
            "outcome",
            Some(&families::CACHE),
            values(CacheOutcome::ALL, CacheOutcome::as_str),
        ),
        (
            "outcome",
            Some(&families::FORWARDED),
            values(ForwardOutcome::ALL, ForwardOutcome::as_str),
        ),
        (
            "state",
            None,
            values(BackendState::ALL, BackendState::as_str),
        ),
        (
            "kind",
            None,
            values(IgnoredMessage::ALL, IgnoredMessage::as_str),
        ),
        (
            "reason",
            Some(&families::AUDIT_DROPPED),
            values(AuditDrop::ALL, AuditDrop::as_str),
        ),
        (
            "reason",
            Some(&families::BACKEND_REFUSED),
            values(Refusal::ALL, Refusal::as_str),
        ),
        (
            "reason",
            Some(&families::SHED),
            values(ShedReason::ALL, ShedReason::as_str),
        ),
        ("policy", None, vec![ACCESS]),
        (
            "decision",
            None,
            values(PolicyDecision::ALL, PolicyDecision::as_str),
        ),
        (
            "reason",
            Some(&families::STORE_FAILURES),
            values(StoreFailure::ALL, StoreFailure::as_str),
        ),
        ("policy", None, vec!["limit", "budget"]),
        (
            "decision",
            None,
            values(LimitDecision::ALL, LimitDecision::as_str),
        ),
        (
            "outcome",
            None,
            values(AuthOutcome::ALL, AuthOutcome::as_str),
        ),
        (
            "result",
            Some(&families::BACKEND_RETRIES),
            values(Retry::ALL, Retry::as_str),
        ),
        (
            "result",
            Some(&families::CONFIG_RELOADS),
            values(ReloadResult::ALL, ReloadResult::as_str),
        ),
        ("to", None, values(BreakerTurn::ALL, BreakerTurn::as_str)),
        ("signal", None, vec!["logs", "spans"]),
    ]
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn gauge(registry: &Registry, family: &Family) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(family.name, family.help)?)
}

fn gauges(registry: &Registry, family: &Family) -> prometheus::Result<IntGaugeVec> {
    let options = Opts::new(family.name, family.help);
    register(registry, IntGaugeVec::new(options, family.labels)?)
}

fn counters(registry: &Registry, family: &Family) -> prometheus::Result<IntCounterVec> {
    let options = Opts::new(family.name, family.help);
    register(registry, IntCounterVec::new(options, family.labels)?)
}

fn histogram(registry: &Registry, family: &Family) -> prometheus::Result<HistogramVec> {
    let options = HistogramOpts::new(family.name, family.help).buckets(BUCKETS.to_vec());
    register(registry, HistogramVec::new(options, family.labels)?)
}
