//! The sessions of a legacy server: who shares one with whom, and how many there may be.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the calls to a legacy server share sessions. No part of it concerns modern servers, which
/// have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsConfig {
    /// Who shares a session with whom.
    pub scope: SessionScope,
    /// The most sessions for calls at once, at least 1. The session for lists is beside them.
    pub max: usize,
    /// The most sessions of one principal at once, at least 1.
    pub max_per_principal: usize,
    /// How long a session may be idle before it is closed.
    pub idle_timeout: Duration,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            scope: SessionScope::Shared,
            max: 64,
            max_per_principal: 16,
            idle_timeout: Duration::from_secs(5 * 60),
        }
    }
}

/// Who shares a legacy session with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionScope {
    /// Everybody whose client can be asked nothing shares one; the others get sessions of their
    /// own for each call.
    #[default]
    Shared,
    /// Each principal has a session, which keeps its state.
    PerPrincipal,
    /// Each session of a legacy client has a session, which keeps its state; modern clients have
    /// one for each principal.
    PerClient,
}
