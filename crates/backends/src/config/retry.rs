//! When a failed call is tried again: the `retry` of a backend.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{count, duration, share};

/// How often a call that failed, and that may safely be made again, is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// How often a call is sent at most, at least 1; 1 means that nothing is tried again.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_attempts: usize,
    /// The longest pause before the second attempt: a duration, from 1 ms to 1 day. It doubles
    /// with every attempt; each pause is taken at random from nothing to that. What the server asks
    /// for (`Retry-After`) is added.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "25ms"))]
    pub base: Duration,
    /// The longest pause before any attempt, but for what the server asks for: a duration, from 1
    /// ms to 1 day.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "1s"))]
    pub cap: Duration,
    /// How many further attempts there may be in ten seconds, as a share of the calls of these ten
    /// seconds, from 0 to 1.
    #[serde(deserialize_with = "share::deserialize")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget_ratio: f64,
    /// How many further attempts a second there may be beside these, whatever the number of calls.
    pub budget_floor: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base: Duration::from_millis(25),
            cap: Duration::from_secs(1),
            budget_ratio: 0.2,
            budget_floor: 10,
        }
    }
}
