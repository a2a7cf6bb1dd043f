//! Results in the memory of this process.

use std::fmt;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;
use switchboard_protocol::result_cache::{CacheKey, CacheUsage, CachedResult, Lookup, ResultCache};

/// What a result needs beside its text: key, places in maps and queues, counters.
const OVERHEAD: u64 = 512;

/// Caches results up to a number of bytes; those that are asked for least go first.
pub struct MemoryCache {
    cache: Cache<CacheKey, CachedResult, foldhash::fast::RandomState>,
    max_total: u64,
}

impl MemoryCache {
    /// One of this many bytes, with what each result needs beside its text.
    #[must_use]
    pub fn new(max_total: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_total)
            .weigher(|_, result: &CachedResult| weight(result))
            .expire_after(UntilUnusable)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { cache, max_total }
    }
}

/// How many bytes a result needs.
fn weight(result: &CachedResult) -> u32 {
    let bytes = OVERHEAD.saturating_add(result.text.len() as u64);
    u32::try_from(bytes).unwrap_or(u32::MAX)
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
        Lookup::Known(self.cache.get(key))
    }

    fn put(&self, key: &CacheKey, result: CachedResult) {
        if u64::from(weight(&result)) > self.max_total {
            return;
        }
        self.cache.insert(*key, result);
        // What has to go for it would stay for up to 64 more results or 300 ms otherwise.
        self.cache.run_pending_tasks();
    }

    fn usage(&self) -> Option<CacheUsage> {
        // What was put and dropped since is counted now.
        self.cache.run_pending_tasks();
        Some(CacheUsage {
            entries: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
        })
    }
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCache")
            .field("entries", &self.cache.entry_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use switchboard_protocol::result_cache::Places;

    const KIB: usize = 1024;

    fn key(number: u8) -> CacheKey {
        CacheKey::new([number; 32])
    }

    /// One that needs so many bytes in all.
    fn result(bytes: usize) -> CachedResult {
        let around = r#"{"a":""}"#.len() + usize::try_from(OVERHEAD).unwrap();
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - around));
        let (places, _) = Places::find(text.as_bytes(), false).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        CachedResult {
            text: Bytes::from(text),
            asked_at: Instant::now(),
            fresh_for: day,
            usable_for: day,
            places,
            may_name_resources: false,
        }
    }

    fn is_there(cache: &MemoryCache, number: u8) -> bool {
        matches!(cache.get(&key(number)), Lookup::Known(Some(_)))
    }

    /// Also between two looks at the metrics, which clean up.
    #[test]
    fn there_is_never_more_than_the_total() {
        let cache = MemoryCache::new(64 * KIB as u64);
        for number in 0..200 {
            cache.put(&key(number), result(8 * KIB));
            let entries = cache.cache.iter().count();
            assert!(entries <= 8, "{entries} of 8 KiB each");
        }
        let usage = cache.usage().unwrap();
        assert_eq!((usage.entries, usage.bytes), (8, 64 * KIB as u64));
    }

    #[test]
    fn what_is_larger_than_the_total_is_not_cached_and_drops_nothing() {
        let cache = MemoryCache::new(64 * KIB as u64);
        cache.put(&key(1), result(64 * KIB));
        assert!(is_there(&cache, 1));
        cache.put(&key(2), result(64 * KIB + 1));
        assert!(is_there(&cache, 1) && !is_there(&cache, 2));
    }

    #[test]
    fn what_is_asked_for_often_stays() {
        let cache = MemoryCache::new(64 * KIB as u64);
        cache.put(&key(0), result(8 * KIB));
        for number in 1..100 {
            assert!(is_there(&cache, 0), "after {number}");
            cache.put(&key(number), result(8 * KIB));
        }
    }
}
