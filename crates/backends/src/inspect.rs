//! What an operator may see of a backend. None of it is for callers.

use std::sync::Arc;

use switchboard_protocol::version::Version;

pub use crate::breaker::BreakerState;
pub use crate::process::{ProcessEnd, ProcessKind, ProcessReport, Usage};
use crate::status::Status;

/// A backend at one moment.
#[derive(Clone, Debug)]
pub struct BackendReport {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it is reached: `stdio`, `HTTP` or `HTTP+SSE`.
    pub transport: &'static str,
    /// What was agreed with it, once it was learned.
    pub version: Option<Version>,
    /// What the states of its endpoints come to.
    pub status: Status,
    /// Calls that are in it.
    pub in_flight: usize,
    /// Calls that wait until they may be.
    pub queued: usize,
    /// How often a process was started again since the gateway started.
    pub restarts: u64,
    /// Each place where it runs.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint of a backend at one moment.
#[derive(Clone, Debug)]
pub struct EndpointReport {
    /// What a person calls it; `None` where there is but one.
    pub label: Option<Arc<str>>,
    /// How it is doing.
    pub status: Status,
    /// Whether another connection is made for an operator, while calls go to the one it has.
    pub is_replacing: bool,
    /// What its breaker does with calls.
    pub breaker: BreakerState,
    /// Attempts that have not ended.
    pub in_flight: usize,
    /// Its processes, the one of the lists first; none if it is remote.
    pub processes: Vec<ProcessReport>,
    /// How the last of them ended that was not told to.
    pub last_end: Option<ProcessEnd>,
}
