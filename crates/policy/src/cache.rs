//! Where results are cached that answer equal calls: in memory, or in a Redis that all replicas share.

use std::sync::Arc;

use switchboard_protocol::result_cache::ResultCache;

use crate::limits::config::StoreConfig;

pub mod config;
pub mod memory;
pub mod redis;

use self::config::{CacheConfig, CacheStore};

/// The store of a configuration. Looks once, for a second at most, whether a Redis answers. `key` is
/// the material that seals what is cached in a Redis.
pub async fn start(
    config: &CacheConfig,
    store: &StoreConfig,
    key: Option<&[u8]>,
) -> Arc<dyn ResultCache> {
    if let (CacheStore::Redis, Some(key)) = (config.store, key)
        && let Some(redis) = redis::RedisCache::start(store, key).await
    {
        return redis;
    }
    Arc::new(memory::MemoryCache::new(config.max_total))
}
