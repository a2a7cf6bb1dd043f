//! What an operator writes about results that answer equal calls: the section `cache` of the
//! configuration.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits::config::units;

/// How results are cached to answer equal calls; which are says `cache` of each backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// How long a result answers calls, where its backend says nothing else: a duration from 1 ms to 1
    /// day.
    #[serde(deserialize_with = "units::deserialize_ttl")]
    #[schemars(schema_with = "units::ttl_schema", extend("default" = "5m"))]
    pub ttl: Duration,
    /// The largest result that is cached: a size such as `1MiB`, or a number of bytes, from 1 to 64 MiB,
    /// and with `store: memory` no more than `max_total`.
    #[serde(deserialize_with = "units::deserialize_entry_size")]
    #[schemars(schema_with = "units::entry_size_schema", extend("default" = "1MiB"))]
    pub max_entry: u64,
    /// How much is cached in memory in all: a size, or a number of bytes. A Redis has a bound of its own
    /// (`maxmemory`, with an eviction policy).
    #[serde(deserialize_with = "units::deserialize_whole_size")]
    #[schemars(schema_with = "units::whole_size_schema", extend("default" = "64MiB"))]
    pub max_total: u64,
    /// Where they are cached.
    pub store: CacheStore,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5 * 60),
            max_entry: 1024 * 1024,
            max_total: 64 * 1024 * 1024,
            store: CacheStore::Memory,
        }
    }
}

/// Where results are cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheStore {
    /// In this process alone.
    #[default]
    Memory,
    /// In the Redis of the section `store`, sealed with the first of `server.sealing_keys`: all
    /// replicas share them. While it does not answer, nothing is found.
    Redis,
}
