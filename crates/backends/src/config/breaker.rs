//! When an endpoint that fails is left alone: the `breaker` of a backend.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{count, duration, share};

/// When the breaker of an endpoint opens, and for how long. Connection faults, timeouts and HTTP
/// 5xx count as failures; errors of JSON-RPC, `isError` and HTTP 4xx do not.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// It opens after so many failures in a row, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub consecutive_failures: usize,
    /// It opens when this share of the calls within `window` failed, from 0 to 1.
    #[serde(deserialize_with = "share::deserialize")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_rate: f64,
    /// The share is not judged with fewer calls than this within `window`, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub min_calls: usize,
    /// How far the share looks back, in steps of a tenth: a duration, from 1 ms to 1 day.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "10s"))]
    pub window: Duration,
    /// How long it stays open before one call may probe the endpoint, and how long that call keeps
    /// others away: a duration, from 1 ms to 1 day. How long it stays open doubles with every probe
    /// that fails; each time up to a fifth is taken off at random.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "5s"))]
    pub open_for: Duration,
    /// The longest that it stays open between two probes: a duration, from 1 ms to 1 day. One that
    /// is shorter than `open_for` means `open_for`.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "1m"))]
    pub max_open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: 0.5,
            min_calls: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            max_open_for: Duration::from_secs(60),
        }
    }
}
