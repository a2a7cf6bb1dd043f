//! Results in the memory of this process.

use std::fmt;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use switchboard_protocol::result_cache::{CacheKey, CacheUsage, CachedResult, Lookup, ResultCache};

/// What a result needs beside its text: key, places in maps and queues, counters.
const OVERHEAD: u64 = 512;

/// Caches results up to a number of bytes; those that are asked for least go first.
pub struct MemoryCache(Cache<CacheKey, CachedResult, foldhash::fast::RandomState>);

impl MemoryCache {
    /// One of this many bytes, with what each result needs beside its text.
    #[must_use]
    pub fn new(max_total: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_total)
            .weigher(|_, result: &CachedResult| {
                let bytes = OVERHEAD.saturating_add(result.text.len() as u64);
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(UntilUnusable)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self(cache)
    }
}

/// Each result stays for as long as it is usable.
struct UntilUnusable;

impl Expiry<CacheKey, CachedResult> for UntilUnusable {
    fn expire_after_create(
        &self,
        _: &CacheKey,
        result: &CachedResult,
        now: Instant,
    ) -> Option<Duration> {
        Some(result.usable_for.saturating_sub(result.age(now)))
    }

    fn expire_after_update(
        &self,
        key: &CacheKey,
        result: &CachedResult,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, result, now)
    }
}

impl ResultCache for MemoryCache {
    fn get(&self, key: &CacheKey) -> Lookup {
        Lookup::Known(self.0.get(key))
    }

    fn put(&self, key: &CacheKey, result: CachedResult) {
        self.0.insert(*key, result);
    }

    fn usage(&self) -> Option<CacheUsage> {
        // What was put and dropped since is counted now.
        self.0.run_pending_tasks();
        Some(CacheUsage {
            entries: self.0.entry_count(),
            bytes: self.0.weighted_size(),
        })
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("entries", &self.0.entry_count())
            .finish_non_exhaustive()
    }
}
