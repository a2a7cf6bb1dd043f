//! Where limits and budgets are counted: in memory, or in a Redis that all replicas share.

use std::sync::Arc;

use switchboard_telemetry::Metrics;

use crate::limits::config::StoreConfig;

pub mod memory;
pub mod redis;

/// Where limits and budgets are counted. An enum rather than a trait: memory decides at once and under
/// locks, Redis later and by scripts, and there is nothing that both could be asked.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this process alone.
    Memory,
    /// In a Redis.
    Redis(Arc<redis::Redis>),
}

impl Store {
    /// The store of a configuration. Looks once, for a second at most, whether a Redis answers; if it
    /// does not it is looked for again until it does.
    pub async fn start(config: &StoreConfig, metrics: &Metrics) -> Self {
        match redis::Redis::start(config, metrics).await {
            Some(redis) => Self::Redis(redis),
            None => Self::Memory,
        }
    }
}
