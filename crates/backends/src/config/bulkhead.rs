//! How many calls may be in a backend at once: the `bulkhead` of a backend.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{count, duration};

/// Bounds of the calls that are in one backend at once, so that a slow one does not hold up what
/// belongs to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkheadConfig {
    /// The most calls that are sent and not yet answered to the last byte, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_concurrent: usize,
    /// The most calls that wait for their turn; 0 lets none wait. Beyond it calls are refused at
    /// once.
    pub max_queue: usize,
    /// How long a call waits for its turn before it is refused: a duration, up to 1 day.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema", extend("default" = "3s"))]
    pub queue_timeout: Duration,
}

impl Default for BulkheadConfig {
    fn default() -> Self {
        Self {
            max_concurrent: 1024,
            max_queue: 1024,
            queue_timeout: Duration::from_secs(3),
        }
    }
}
