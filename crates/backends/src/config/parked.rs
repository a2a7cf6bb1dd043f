//! Calls that wait for their client: the `parked_calls` section of the configuration.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{count, duration};

/// The longest that [`ParkedCallsConfig::timeout`] may be: what a client comes back with is valid
/// as long.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Bounds of the calls that wait, in a legacy server, for an answer of their client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ParkedCallsConfig {
    /// How long a call waits for its client to come back, and then what came of it for a client
    /// that asks once more: a duration, from 1 ms to 1 hour. A call that nobody came back for is
    /// cancelled.
    #[serde(
        deserialize_with = "deserialize_timeout",
        serialize_with = "duration::serialize"
    )]
    #[schemars(schema_with = "timeout_schema", extend("default" = "10m"))]
    pub timeout: Duration,
    /// The most calls that wait at once, at least 1. Beyond it a server's question is refused at
    /// once.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max: usize,
    /// The most calls of one principal that wait at once, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_per_principal: usize,
}

impl Default for ParkedCallsConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10 * 60),
            max: 1000,
            max_per_principal: 100,
        }
    }
}

fn deserialize_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let timeout = duration::deserialize_positive(deserializer)?;
    check_timeout(timeout).map_err(de::Error::custom)?;
    Ok(timeout)
}

/// Checks that [`ParkedCallsConfig::timeout`] is from 1 ms to [`LONGEST`].
///
/// # Errors
///
/// Says that it is shorter or longer.
pub fn check_timeout(timeout: Duration) -> Result<(), String> {
    if timeout > LONGEST {
        return Err("is longer than an hour".to_owned());
    }
    duration::check_positive(timeout)
}

fn timeout_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "duration-to-an-hour", "minimum": 0.001, "maximum": 3600 })
}
