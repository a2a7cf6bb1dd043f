//! The sessions of legacy clients, as operators see and end them.

use schemars::JsonSchema;
use serde::Serialize;

/// The most sessions that are told of.
pub(super) const MAX_SESSIONS: usize = 1000;

/// The sessions that are open.
pub(crate) trait OpenSessions: Send + Sync {
    /// So many of them, the oldest first, and how many there are.
    fn list(&self, most: usize) -> (Vec<SessionReport>, usize);

    /// Ends one; whether it was there.
    fn end(&self, digest: &str) -> bool;
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SessionView")]
pub(crate) struct SessionReport {
    /// Tells it from others, as records of the audit do; it opens nothing.
    pub(crate) digest: String,
    pub(crate) principal: String,
    /// What the client says that it is.
    pub(crate) client: Option<String>,
    /// The revision of MCP that was agreed on.
    pub(crate) protocol: &'static str,
    /// `streamable_http` or `http_sse`.
    pub(crate) transport: &'static str,
    pub(crate) age_seconds: u64,
}

/// At most 1,000 sessions.
#[derive(Serialize, JsonSchema)]
pub(super) struct SessionsView {
    pub(super) sessions: Vec<SessionReport>,
    /// How many there are.
    pub(super) total: usize,
}
