//! Prometheus metrics.
//!
//! Labels are looked up by name once: a call counts through an index into handles, and takes no
//! lock after the first call of its kind.

mod backends;
mod families;
mod limits;
mod observed;
mod operations;
mod processes;
mod readings;
mod reference;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::HashMap;
use std::slice;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::labels::{
    AuditDrop, AuthOutcome, ClientVersion, ErrorType, ForwardOutcome, MethodLabel, PolicyDecision,
    ReloadResult, ShedReason,
};
use backends::BackendFamilies;
use families::Family;
use operations::Operations;
use readings::Reading;

pub use backends::BackendMetrics;
pub use limits::{LimitMetrics, StoreMetrics};
pub use observed::{
    AttemptCounts, AttemptTotals, BackendLoad, EndpointObserved, LimitLevel, ListSize, Observed,
};
pub use processes::ProcessMetrics;
pub use reference::reference;
pub use tools::{ToolCalls, ToolTable};

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
    backends: BackendFamilies,
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
    /// By version.
    client_calls: Box<[IntCounter]>,
    tools: ToolTable,
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
        let client_calls = counters(&registry, &families::CLIENT_CALLS)?;
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
            backends: BackendFamilies::new(&registry)?,
            config_reloads,
            config_reloaded,
            connections: gauge(&registry, &families::CONNECTIONS)?,
            listen_streams: gauge(&registry, &families::LISTEN_STREAMS)?,
            legacy_sessions: gauge(&registry, &families::LEGACY_SESSIONS)?,
            legacy_streams: gauge(&registry, &families::LEGACY_STREAMS)?,
            calls_in_flight: gauge(&registry, &families::CALLS_IN_FLIGHT)?,
            shed: handles(&shed, &[], &ShedReason::NAMES),
            forwarded: handles(&forwarded, &[], &ForwardOutcome::NAMES),
            access_decisions: handles(&policy_decisions, &[ACCESS], &PolicyDecision::NAMES),
            results_capped: counters(&registry, &families::RESULTS_CAPPED)?,
            limits: limits::LimitFamilies::new(&registry)?,
            redactions: counters(&registry, &families::REDACTIONS)?,
            audit_dropped: handles(&audit_dropped, &[], &AuditDrop::NAMES),
            authentications: handles(&authentications, &[], &AuthOutcome::NAMES),
            client_calls: ClientVersion::ALL
                .iter()
                .map(|it| client_calls.with_label_values(&[it.era(), it.as_str()]))
                .collect(),
            tools: ToolTable::default(),
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

    /// Counts a call of a client that speaks this version.
    pub fn client_call(&self, version: ClientVersion) {
        self.client_calls[version as usize].inc();
    }

    /// The tools that are listed, whose calls are counted.
    pub fn tools(&self) -> &ToolTable {
        &self.tools
    }

    /// Shows how often there is a health round.
    pub fn set_health_round_interval(&self, interval: Duration) {
        self.read_with(&families::HEALTH_ROUND_INTERVAL, &[], move || {
            Some(interval.as_secs_f64())
        });
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

    /// Takes away the series of limits and budgets that are configured no longer.
    pub fn retain_limits(&self, is_configured: impl Fn(&str, &str) -> bool) {
        self.limits.retain(is_configured);
    }

    /// Every metric in the Prometheus text format, version 0.0.4, but for what is [`Observed`].
    #[must_use]
    pub fn render(&self) -> String {
        self.render_with(Observed::default())
    }

    /// Every metric in the Prometheus text format, version 0.0.4, with what was observed for this.
    /// Reads a few files of procfs; takes no other time.
    #[must_use]
    pub fn render_with(&self, observed: Observed) -> String {
        let mut text = Vec::new();
        // Writing to memory fails only on a family without a child, and there is none.
        let _ = TextEncoder::new().encode(&self.gather(observed), &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn gather(&self, mut observed: Observed) -> Vec<MetricFamily> {
        self.tools.observe(&mut observed);
        let mut all = self.registry.gather();
        all.extend(observed.into_families());
        all
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

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Takes away the series whose `label` has this value.
fn forget_series<B: MetricVecBuilder>(family: &MetricVec<B>, label: &str, value: &str) {
    retain_series(family, |labels| labels.get(label) != Some(&value));
}

/// Takes away the series whose labels are not among those that stay.
fn retain_series<B: MetricVecBuilder>(
    family: &MetricVec<B>,
    stays: impl Fn(&HashMap<&str, &str>) -> bool,
) {
    for shown in family.collect() {
        for metric in shown.get_metric() {
            let labels = metric.get_label().iter();
            let labels: HashMap<&str, &str> =
                labels.map(|pair| (pair.name(), pair.value())).collect();
            if !stays(&labels) {
                // The only error is that it is gone already.
                let _ = family.remove(&labels);
            }
        }
    }
}

/// The handles of a family with these values of its last label, in this order; `others` are the values
/// of its other labels.
fn handles<B: MetricVecBuilder>(
    family: &MetricVec<B>,
    others: &[&str],
    values: &[&str],
) -> Box<[B::M]> {
    let values = values.iter();
    let handles =
        values.map(|value| family.with_label_values(&[others, slice::from_ref(value)].concat()));
    handles.collect()
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
