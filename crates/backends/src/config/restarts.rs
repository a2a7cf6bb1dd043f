//! When a process that keeps failing is left alone: the `restarts` of a backend.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{count, duration};

/// How often a local server that fails is started again before it is left alone for 5 minutes, or
/// until the configuration is loaded again. Between two starts there are pauses of half a second,
/// doubling to half a minute. The processes of sessions for calls count by themselves, those of each
/// caller that does not share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestartsConfig {
    /// So often within `within`, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max: usize,
    /// How far is looked back: a duration, from 1 ms to 1 day.
    #[serde(
        deserialize_with = "duration::deserialize_positive",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "1m"))]
    pub within: Duration,
}

impl Default for RestartsConfig {
    fn default() -> Self {
        Self {
            max: 5,
            within: Duration::from_secs(60),
        }
    }
}
