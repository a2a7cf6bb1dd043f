//! A backend as the admin API shows it. The names are a contract: members are added, never changed.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use switchboard_backends::inspect::{BackendReport, EndpointReport, ProcessReport};
use switchboard_backends::status::Status;
use switchboard_orchestrator::rfc3339;

#[derive(Serialize, JsonSchema)]
pub(super) struct BackendsView {
    pub(super) backends: Vec<BackendView>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct BackendView {
    name: Arc<str>,
    /// `stdio`, `HTTP` or `HTTP+SSE`.
    transport: &'static str,
    /// `modern` or `legacy`, once that is known.
    era: Option<&'static str>,
    version: Option<&'static str>,
    #[serde(flatten)]
    status: StatusView,
    /// Calls that are in it, and those that wait until they may be.
    in_flight: usize,
    queued: usize,
    /// How often a process was started again since the gateway started.
    restarts: u64,
    /// Whether a restart is under way while calls go to what it is to replace.
    restarting: bool,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize, JsonSchema)]
struct StatusView {
    state: &'static str,
    /// The cause included; empty where nothing is wrong.
    reason: String,
    since: String,
}

#[derive(Serialize, JsonSchema)]
struct EndpointView {
    label: Option<Arc<str>>,
    #[serde(flatten)]
    status: StatusView,
    breaker: &'static str,
    in_flight: usize,
    processes: Vec<ProcessView>,
    /// How the last process ended that was not told to.
    last_end: Option<EndView>,
}

#[derive(Serialize, JsonSchema)]
struct ProcessView {
    pid: u32,
    /// `main` or `session`.
    kind: &'static str,
    started: String,
    uptime_seconds: f64,
    /// Messages that wait to be written to it.
    write_queue: usize,
    /// Of it and all that it started; absent where the system does not tell.
    #[serde(flatten)]
    usage: Option<UsageView>,
}

#[derive(Serialize, JsonSchema)]
struct UsageView {
    processes: usize,
    resident_memory_bytes: u64,
    cpu_seconds: f64,
}

#[derive(Serialize, JsonSchema)]
struct EndView {
    at: String,
    reason: String,
}

impl BackendView {
    pub(super) fn of(report: &BackendReport) -> Self {
        Self {
            name: Arc::clone(&report.name),
            transport: report.transport,
            era: report.version.map(|version| version.era().as_str()),
            version: report.version.map(|version| version.as_str()),
            status: StatusView::of(&report.status),
            in_flight: report.in_flight,
            queued: report.queued,
            restarts: report.restarts,
            restarting: report
                .endpoints
                .iter()
                .any(|endpoint| endpoint.is_replacing),
            endpoints: report.endpoints.iter().map(EndpointView::of).collect(),
        }
    }
}

impl StatusView {
    fn of(status: &Status) -> Self {
        Self {
            state: status.state.as_str(),
            reason: status.told_operators(),
            since: rfc3339(status.since),
        }
    }
}

impl EndpointView {
    fn of(report: &EndpointReport) -> Self {
        let last_end = report.last_end.as_ref();
        Self {
            label: report.label.clone(),
            status: StatusView::of(&report.status),
            breaker: report.breaker.as_str(),
            in_flight: report.in_flight,
            processes: report.processes.iter().map(ProcessView::of).collect(),
            last_end: last_end.map(|end| EndView {
                at: rfc3339(end.at),
                reason: end.told_operators(),
            }),
        }
    }
}

impl ProcessView {
    fn of(report: &ProcessReport) -> Self {
        Self {
            pid: report.pid,
            kind: report.kind.as_str(),
            started: rfc3339(report.started),
            uptime_seconds: report.uptime.as_secs_f64(),
            write_queue: report.write_queue,
            usage: report.usage.map(|usage| UsageView {
                processes: usage.processes,
                resident_memory_bytes: usage.resident_bytes,
                cpu_seconds: usage.cpu.as_secs_f64(),
            }),
        }
    }
}
