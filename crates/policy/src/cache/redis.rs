//! Results in a Redis that all replicas share: under keyed digests, sealed, so that whoever reads the
//! Redis learns nothing of calls and results, and whoever writes to it cannot put words into a
//! server's mouth.

use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bytes::Bytes;
use redis::Client;
use switchboard_protocol::millis;
use switchboard_protocol::result_cache::{CacheKey, CacheUsage, CachedResult, Lookup, ResultCache};
use switchboard_protocol::token::{derive_secret, digest};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::limits::config::StoreConfig;
use crate::store::redis::RETRY;
use crate::store::redis::link::{Failure, Link};

mod sealed;
#[cfg(test)]
mod tests;

use self::sealed::Plain;

/// What is said when it is away.
const LOSS: &str = "the store of the result cache is away; nothing is found in it meanwhile";

/// How often it is seen whether it answers, while nobody asks.
const PROBE_EVERY: Duration = Duration::from_secs(3);

/// How many results may be under way to Redis at once. More are not cached.
const MAX_PUTS: usize = 64;

/// A Redis that results are cached in.
pub struct RedisCache {
    link: Link,
    prefix: String,
    /// Without it nobody can tell which call a key is of.
    names: [u8; 32],
    seal: RandomizedNonceKey,
    puts: Arc<Semaphore>,
    this: Weak<Self>,
}

impl RedisCache {
    /// That of the section `store`, if it names one; `key` is the material that names and seals.
    pub async fn start(config: &StoreConfig, key: &[u8]) -> Option<Arc<Self>> {
        let url = config.redis.as_ref()?;
        // The address was checked when the configuration was read.
        let client = Client::open(url.expose()).ok()?;
        let seal = derive_secret(key, "switchboard result cache 1 seal");
        let seal = RandomizedNonceKey::new(&AES_256_GCM, &*seal).ok()?;
        let redis = Arc::new_cyclic(|this| Self {
            link: Link::new(client, config.timeout, &config.prefix, None, LOSS),
            prefix: format!("{}result:", config.prefix),
            names: *derive_secret(key, "switchboard result cache 1 names"),
            seal,
            puts: Arc::new(Semaphore::new(MAX_PUTS)),
            this: Weak::clone(this),
        });
        if let Err(failure) = redis.link.connect(&[]).await {
            redis.link.warn_of(failure);
        }
        tokio::spawn(keep(Arc::downgrade(&redis)));
        Some(redis)
    }

    fn name(&self, key: &CacheKey) -> String {
        let mut name = String::with_capacity(self.prefix.len() + 64);
        name.push_str(&self.prefix);
        for byte in digest(&[&self.names, key.as_bytes()]) {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    async fn find(&self, key: &CacheKey) -> Option<CachedResult> {
        let up = self.link.up()?;
        // Before it is asked, so that nothing seems younger than it is.
        let (now, since_1970) = (Instant::now(), since_1970());
        let name = self.name(key);
        let command = |word: &str| {
            let mut command = redis::cmd(word);
            command.arg(&name);
            command
        };
        // In this order, so that of two values the older one's time counts for the newer one.
        let (left_ms, value) = tokio::join!(
            self.link.ask::<i64>(&up, command("PTTL")),
            self.link.ask::<Option<Vec<u8>>>(&up, command("GET")),
        );
        let plain = self.open(key, value.ok()??)?;
        let left = Duration::from_millis(u64::try_from(left_ms.ok()?).ok()?);
        plain.into_result(now, since_1970, left)
    }

    /// `nonce ‖ AES-256-GCM of the plain text`, which opens under its own key alone.
    fn sealed(&self, key: &CacheKey, mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let aad = Aad::from(key.as_bytes());
        let nonce = self.seal.seal_in_place_append_tag(aad, &mut plain).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut plain);
        Some(sealed)
    }

    fn open(&self, key: &CacheKey, sealed: Vec<u8>) -> Option<Plain> {
        let (nonce, _) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let nonce = Nonce::from(nonce);
        let mut text = sealed;
        let text = {
            let aad = Aad::from(key.as_bytes());
            let opened = self.seal.open_in_place(nonce, aad, &mut text[NONCE_LEN..]);
            let len = opened.ok()?.len();
            Bytes::from(text).slice(NONCE_LEN..NONCE_LEN + len)
        };
        Plain::read(text)
    }
}

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

impl ResultCache for RedisCache {
    fn get(&self, key: &CacheKey) -> Lookup {
        let Some(redis) = self
            .this
            .upgrade()
            .filter(|redis| redis.link.up().is_some())
        else {
            return Lookup::Known(None);
        };
        let key = *key;
        Lookup::Pending(Box::pin(async move { redis.find(&key).await }))
    }

    /// The request is written before this returns, if there is room, so that it comes before the next
    /// question.
    fn put(&self, key: &CacheKey, result: CachedResult) {
        let Some(up) = self.link.up() else { return };
        let (Some(redis), Ok(room)) = (
            self.this.upgrade(),
            Arc::clone(&self.puts).try_acquire_owned(),
        ) else {
            return;
        };
        let age = result.age(Instant::now());
        let left = result.usable_for.saturating_sub(age);
        let plain = Plain::of(&result, since_1970().saturating_sub(age)).write();
        let Some(sealed) = self.sealed(key, plain).filter(|_| !left.is_zero()) else {
            return;
        };
        let name = self.name(key);
        let mut storing = Box::pin(async move {
            let mut command = redis::cmd("SET");
            command.arg(name).arg(sealed);
            command.arg("PX").arg(millis(left).max(1));
            // What went wrong is not cached, and nobody waits for it.
            let _ = redis.link.ask::<()>(&up, command).await;
            drop(room);
        });
        let runtime = self.link.runtime.clone();
        let _entered = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        if storing.as_mut().poll(&mut context).is_pending() {
            runtime.spawn(storing);
        }
    }

    fn usage(&self) -> Option<CacheUsage> {
        None
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisCache").field(&self.link).finish()
    }
}

/// Looks for Redis while it is away; ends with its last user.
async fn keep(redis: Weak<RedisCache>) {
    let mut pause = RETRY.0;
    loop {
        let Some(there) = redis.upgrade() else { return };
        if let Some(up) = there.link.up() {
            pause = RETRY.0;
            let _: Result<(), Failure> = there.link.probe(&up).await;
            let lost = Arc::clone(&there.link.lost);
            let is_up = there.link.up().is_some();
            drop(there);
            if is_up {
                let _ = timeout(PROBE_EVERY, lost.notified()).await;
            }
            continue;
        }
        if there.link.connect(&[]).await.is_ok() {
            tracing::info!(address = %there.link.address(), "the store of the result cache answers again");
            continue;
        }
        drop(there);
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}
