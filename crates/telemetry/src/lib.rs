//! Logs, traces and metrics of Switchboard: their set-up, and the name of every span and metric.
//!
//! Nothing here makes a call wait: log lines and spans leave through bounded queues, each with a
//! thread of its own, and what does not fit is dropped and counted in
//! `switchboard_telemetry_dropped_total`.

mod config;
mod context;
mod current;
mod event;
mod export;
mod init;
mod labels;
mod late;
mod log_control;
mod logs;
mod metrics;
mod redaction;
mod sampler;
mod span;

pub use config::{
    LogConfig, LogFormat, TelemetryConfig, TracesConfig, TracesProtocol, check_filter,
};
pub use context::{Incoming, TraceContext, TraceParent};
pub use current::InTrace;
pub use event::CallEvent;
pub use export::ExportError;
pub use init::{Guard, InitError, init};
pub use labels::{
    AttemptOutcome, AuditDrop, AuthOutcome, BackendState, BreakerShown, BreakerTurn, CacheOutcome,
    ClientVersion, ErrorType, FallbackOutcome, ForwardOutcome, IgnoredMessage, LimitDecision,
    ListKind, MethodLabel, PolicyDecision, Refusal, ReloadResult, Retry, ShedReason, StoreFailure,
    ToolOutcome,
};
pub use late::{EndedCall, LateSpans};
pub use log_control::{LogControl, LogControlError, LogLevels};
pub use metrics::{
    AttemptCounts, AttemptTotals, BUCKETS, BackendLoad, BackendMetrics, EndpointObserved,
    GaugeGuard, GaugeShare, LimitLevel, LimitMetrics, ListSize, Metrics, Observed, ProcessMetrics,
    StoreMetrics, ToolCalls, ToolTable, reference,
};
pub use opentelemetry::trace::TraceId;
pub use redaction::{Outlet, OutletRedactors, Redactor, redact_with, redacted};
pub use sampler::Sampler;
pub use span::{Attempt, CallSpan, IncomingCall, Network, Target, Wait, Waiting};

/// The target of every span of a call. The trace layer takes these and nothing else, the log takes
/// everything else.
pub const CALL_TARGET: &str = "switchboard::call";
