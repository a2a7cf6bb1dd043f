//! How many sessions older clients may have, and how long they last.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_backends::config::{count, duration};

/// Clients that speak 2025-11-25 or older hold a session. These are its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LegacyClientsConfig {
    /// Whether the paths `/sse` and `/messages` serve clients of 2024-11-05, which know only
    /// HTTP+SSE.
    pub http_sse: bool,
    /// The most sessions that are open at once, at least 1. Beyond it a client that begins one is
    /// told 503.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_sessions: usize,
    /// The most sessions of one principal that are open at once, at least 1. Where nobody needs a
    /// credential, all callers are one principal.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_sessions_per_principal: usize,
    /// How long a session without a request and without an open stream lasts: a duration, from
    /// 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "30m"))]
    pub session_idle_timeout: Duration,
    /// How long any session lasts, in use or not: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "1d"))]
    pub session_lifetime: Duration,
    /// How long a call runs on, and an answer is kept, after the client lost its connection: a
    /// duration such as `30s` or a number of seconds, at most 1 day.
    #[serde(deserialize_with = "duration::deserialize")]
    #[schemars(schema_with = "duration::schema", extend("default" = "30s"))]
    pub resume_grace: Duration,
}

impl Default for LegacyClientsConfig {
    fn default() -> Self {
        Self {
            http_sse: true,
            max_sessions: 10_000,
            max_sessions_per_principal: 1_000,
            session_idle_timeout: Duration::from_secs(30 * 60),
            session_lifetime: Duration::from_secs(24 * 60 * 60),
            resume_grace: Duration::from_secs(30),
        }
    }
}
