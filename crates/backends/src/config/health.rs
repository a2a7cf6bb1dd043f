//! How a server is asked whether it is well.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::duration;

/// How each endpoint of a server is asked whether it is well, beside what calls show.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// How often it is asked, give or take a tenth: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "30s"))]
    pub interval: Duration,
    /// How long the answer may take: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "5s"))]
    pub timeout: Duration,
    /// After this many failures in a row it counts as unavailable, at least 1; before, as degraded.
    #[serde(deserialize_with = "deserialize_count")]
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// A path of the server's, such as `/healthz`, that is asked by GET in the place of MCP: any
    /// status from 200 to 299 is well. Only of a remote server.
    #[serde(deserialize_with = "deserialize_path")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// For how long an endpoint that is well again gets less than its share of the calls, from
    /// little to all: a duration, at most 1 day.
    #[serde(deserialize_with = "duration::deserialize")]
    #[schemars(schema_with = "duration::schema", extend("default" = "10s"))]
    pub slow_start: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failures: 3,
            path: None,
            slow_start: Duration::from_secs(10),
        }
    }
}

fn deserialize_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(de::Error::custom("is less than 1")),
        count => Ok(count),
    }
}

fn deserialize_path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let path = Option::<String>::deserialize(deserializer)?;
    match path.as_deref().map_or(Ok(()), check_path) {
        Ok(()) => Ok(path),
        Err(problem) => Err(de::Error::custom(problem)),
    }
}

/// Checks the path that is asked.
///
/// # Errors
///
/// Says that it is none.
pub fn check_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok() {
        return Ok(());
    }
    Err("is not a path".to_owned())
}
