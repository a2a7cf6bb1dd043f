//! Logs, traces and metrics of Switchboard: their set-up, and the name of every span and metric.
//!
//! Nothing here makes a call wait: log lines and spans leave through bounded queues, each with a
//! thread of its own, and what does not fit is dropped and counted in
//! `switchboard_telemetry_dropped_total`.

mod config;
mod context;
mod export;
mod init;
mod labels;
mod logs;
mod metrics;
mod redaction;
mod span;

pub use config::{LogConfig, LogFormat, TelemetryConfig, TracesConfig, check_filter};
pub use context::{Sampler, TraceContext, TraceParent};
pub use init::{Guard, InitError, init};
pub use labels::{
    AuditDrop, AuthOutcome, BackendState, BreakerTurn, CacheOutcome, ErrorType, ForwardOutcome,
    IgnoredMessage, LimitDecision, MethodLabel, PolicyDecision, Refusal, ReloadResult, Retry,
    ShedReason, StoreFailure,
};
pub use metrics::{
    BUCKETS, BackendMetrics, GaugeGuard, GaugeShare, LimitMetrics, Metrics, ProcessMetrics,
    StoreMetrics, reference,
};
pub use redaction::{Outlet, Redactor, redact_with, redacted};
pub use span::{Attempt, CallSpan, IncomingCall, Network, Target};

/// The target of every span of a call. The trace layer takes these and nothing else, the log takes
/// everything else.
pub const CALL_TARGET: &str = "switchboard::call";
