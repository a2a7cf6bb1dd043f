//! Which results of a backend are cached to answer equal calls with.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::duration;
use crate::effects::Effects;
use switchboard_protocol::pattern;

/// Which results of a server are cached to answer equal calls with, and for how long. Without this
/// section none are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackendCacheConfig {
    /// Patterns of tools, by the server's own names, of which you say that they only read; `*` stands
    /// for any characters. One whose name or hints say that it changes something is not cached all
    /// the same, and a warning says so.
    pub tools: Vec<String>,
    /// Whether results of tools are cached of which the server says that they only read
    /// (`readOnlyHint: true`): only with `trust_annotations: true`. `idempotentHint` alone is not
    /// enough: what may be written twice is written all the same.
    pub hints: bool,
    /// Whether results of `resources/read` are cached, as long as the server says in each (`ttlMs`), and
    /// at most for `ttl`.
    pub resources: bool,
    /// How long a result answers calls: a duration, from 1 ms to 1 day; by default `cache.ttl`.
    #[serde(deserialize_with = "optional_positive")]
    #[schemars(schema_with = "duration::positive_schema")]
    pub ttl: Option<Duration>,
    /// Whether one principal is answered with what another's call of a tool got. Not where each has
    /// credentials or sessions of its own at the server.
    pub shared: bool,
    /// How long past its time a result still answers while the server fails, marked as stale: a
    /// duration, from 1 ms to 1 day; by default it does not.
    #[serde(deserialize_with = "optional_positive")]
    #[schemars(schema_with = "duration::positive_schema")]
    pub stale_if_error: Option<Duration>,
}

impl Default for BackendCacheConfig {
    fn default() -> Self {
        Self {
            tools: Vec::new(),
            hints: true,
            resources: true,
            ttl: None,
            shared: false,
            stale_if_error: None,
        }
    }
}

impl BackendCacheConfig {
    /// By which of `tools` the operator says that this tool, by the server's own name, only reads.
    #[must_use]
    pub fn marked_by(&self, tool: &str) -> Option<usize> {
        let mut patterns = self.tools.iter();
        patterns.position(|pattern| pattern::matches(pattern, tool))
    }

    /// Whether results of this tool are cached. `trusts_hints`: whether the server's word counts.
    #[must_use]
    pub fn caches(&self, tool: &str, effects: Effects, trusts_hints: bool) -> bool {
        let is_hinted = self.hints && trusts_hints && effects.says_read_only;
        !effects.changes && (is_hinted || self.marked_by(tool).is_some())
    }
}

fn optional_positive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Positive(#[serde(deserialize_with = "duration::deserialize_positive")] Duration);

    Ok(Option::<Positive>::deserialize(deserializer)?.map(|positive| positive.0))
}
