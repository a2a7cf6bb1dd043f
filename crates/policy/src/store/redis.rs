//! The counts of all limits and budgets in a Redis: one script for each call takes from all of them
//! or none, by the clock of the server, so that any number of replicas count exactly.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use redis::{Client, Script};
use switchboard_protocol::call::Call;
use switchboard_protocol::policy::Admission;
use switchboard_telemetry::{Metrics, StoreFailure};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::Limits;
use crate::limits::concerns::Parts;
use crate::limits::config::StoreConfig;
use crate::limits::terms::{Measure, Price, Shortage};

mod cause;
mod counts;
mod hold;
mod leases;
pub(crate) mod link;

use self::counts::{Count, counts_of};
use self::hold::{Asked, How, RedisHold};
use self::leases::{BATCH, LEASE, Leases, RENEW_EVERY};
use self::link::{Failure, Link};

/// How long it takes until a Redis that is away is looked for again, at first and at most.
pub(crate) const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What is said when it is away.
const LOSS: &str = "the store of limits and budgets is away; calls pass or are refused as each says in `if_store_is_away`";

/// How many ends of calls may be under way to Redis at once. More are not told: leases expire, and what
/// would be given back or charged is not.
const MAX_ENDS: usize = 4096;

/// A Redis that counts.
pub struct Redis {
    link: Link,
    prefix: String,
    leases: Leases,
    take: Script,
    end: Script,
    renew: Script,
    ends: Arc<Semaphore>,
}

impl Redis {
    /// That of a configuration, if it names one. Looks once whether it answers.
    pub(super) async fn start(config: &StoreConfig, metrics: &Metrics) -> Option<Arc<Self>> {
        let url = config.redis.as_ref()?;
        // The address was checked when the configuration was read.
        let client = Client::open(url.expose()).ok()?;
        let redis = Arc::new(Self {
            link: Link::new(
                client,
                config.timeout,
                &config.prefix,
                Some(metrics.store()),
                LOSS,
            ),
            prefix: config.prefix.clone(),
            leases: Leases::new(),
            take: Script::new(include_str!("redis/take.lua")),
            end: Script::new(include_str!("redis/end.lua")),
            renew: Script::new(include_str!("redis/renew.lua")),
            ends: Arc::new(Semaphore::new(MAX_ENDS)),
        });
        let looked = redis.connect().await;
        if let Err(failure) = looked {
            redis.link.warn_of(failure);
        }
        tokio::spawn(keep(Arc::downgrade(&redis)));
        Some(redis)
    }

    /// Whether it answers, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.up().is_some()
    }

    async fn connect(&self) -> Result<(), Failure> {
        self.link
            .connect(&[&self.take, &self.end, &self.renew])
            .await
    }

    /// As [`Limits::admit`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        limits: &Arc<Limits>,
        call: &Call,
        parts: &Parts<'_>,
        concerned: &[u16],
        price: Price,
    ) -> Admission {
        let trail = call.trail.clone();
        let Some(up) = self.link.up() else {
            return Admission::Decided(limits.while_away(trail.as_ref(), concerned, price));
        };
        let number = self.leases.number();
        let counts = counts_of(
            limits,
            concerned,
            parts,
            &self.prefix,
            &self.leases.member(number),
        );
        let (redis, limits) = (Arc::clone(self), Arc::clone(limits));
        let concerned: Box<[u16]> = concerned.into();
        Admission::Pending(Box::pin(async move {
            let asked = Asked::new(&redis, counts, number);
            let mut script = redis.take.prepare_invoke();
            script.arg(u8::from(price.is_continuation));
            for count in asked.counts() {
                count.add_to_take(&mut script, price);
            }
            let answer = redis.link.run::<Vec<i64>>(&up, &script).await;
            let answer = answer.and_then(|answer| {
                Answer::of(&answer, asked.counts()).ok_or_else(|| {
                    redis
                        .link
                        .fail(&up, Failure::Away(StoreFailure::Answer, cause::ANSWER))
                })
            });
            let taken = match answer {
                Ok(Answer::Taken(taken)) => taken,
                Ok(Answer::Short(index, shortage)) => {
                    asked.forget();
                    return Err(limits.refuse(trail.as_ref(), index, shortage, limits.now()));
                }
                Err(_) => return limits.while_away(trail.as_ref(), &concerned, price),
            };
            limits.allow(trail.as_ref(), &concerned);
            let bill = limits.bill(trail.as_ref(), price);
            Ok(RedisHold::permit(asked.taken(), taken, price, bill))
        }))
    }

    /// Tells Redis how a call ended. The request is written before this returns, if there is room, so
    /// that it comes before that of the next call.
    fn ended(self: &Arc<Self>, counts: Vec<Count>, taken: Vec<u64>, how: How, price: Price) {
        let Some(up) = self.link.up() else { return };
        let Ok(room) = Arc::clone(&self.ends).try_acquire_owned() else {
            return;
        };
        let redis = Arc::clone(self);
        let mut telling = Box::pin(async move {
            let mut script = redis.end.prepare_invoke();
            script.arg(how.as_str()).arg(how.bytes());
            for (index, count) in counts.iter().enumerate() {
                let taken = taken.get(index).copied().unwrap_or(0);
                count.add_to_end(&mut script, taken, price);
            }
            // What went wrong is counted, and nobody waits for it.
            let _ = redis.link.run::<i64>(&up, &script).await;
            drop(room);
        });
        let runtime = self.link.runtime.clone();
        let _entered = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        if telling.as_mut().poll(&mut context).is_pending() {
            runtime.spawn(telling);
        }
    }

    /// Renews all leases, or sees whether Redis still answers.
    async fn renew(&self) {
        let Some(up) = self.link.up() else { return };
        let held = self.leases.held();
        if held.is_empty() {
            let _ = self.link.probe(&up).await;
            return;
        }
        for batch in held.chunks(BATCH) {
            let mut script = self.renew.prepare_invoke();
            script.arg(LEASE.as_millis() as u64);
            for (key, lease) in batch {
                script.key(key.as_str()).arg(lease.as_str());
            }
            let _ = self.link.run::<i64>(&up, &script).await;
        }
    }
}

/// What Redis says to a call.
enum Answer {
    /// Taken then, or of these windows.
    Taken(Vec<u64>),
    /// Not taken, for the want of this.
    Short(u16, Shortage),
}

impl Answer {
    fn of(answer: &[i64], counts: &[Count]) -> Option<Self> {
        let (first, rest) = answer.split_first()?;
        if *first == 0 {
            let taken = rest.iter().map(|taken| u64::try_from(*taken).ok());
            let taken: Vec<u64> = taken.collect::<Option<_>>()?;
            return (taken.len() == counts.len()).then_some(Self::Taken(taken));
        }
        let count = counts.get(usize::try_from(*first).ok()?.checked_sub(1)?)?;
        let [measure, retry_ms] = rest else {
            return None;
        };
        let measure = match measure {
            1 => Measure::Rate,
            2 => Measure::Concurrency,
            3 => Measure::Calls,
            4 => Measure::Bytes,
            5 => Measure::Cost,
            _ => return None,
        };
        let retry_ms = u64::try_from(*retry_ms).ok()?.max(1);
        Some(Self::Short(count.rule, Shortage { measure, retry_ms }))
    }
}

impl Failure {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Away(reason, _) => reason.as_str(),
            Self::Request(_) => "a request that it does not take",
        }
    }

    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Away(_, cause) | Self::Request(cause) => cause,
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.link).finish()
    }
}

/// Renews what is held while Redis answers, and looks for it while it does not; ends with its last
/// user.
async fn keep(redis: Weak<Redis>) {
    let mut pause = RETRY.0;
    let mut up_since = None::<Instant>;
    loop {
        let Some(there) = redis.upgrade() else { return };
        if there.is_up() {
            up_since.get_or_insert_with(Instant::now);
            there.renew().await;
            let lost = Arc::clone(&there.link.lost);
            let is_up = there.is_up();
            drop(there);
            if is_up {
                let _ = timeout(RENEW_EVERY, lost.notified()).await;
            }
            continue;
        }
        let was_up_for = up_since.take().map(|since: Instant| since.elapsed());
        if was_up_for.is_some_and(|time| time >= RETRY.1) {
            pause = RETRY.0;
        }
        // One that answers, and then refuses what it is asked, is not asked in a circle.
        let is_refusing = was_up_for.is_some_and(|time| time < RETRY.1);
        let answers = !is_refusing && there.connect().await.is_ok();
        let address = there.link.address().to_string();
        drop(there);
        if answers {
            tracing::info!(%address, "the store of limits and budgets answers again");
            continue;
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

#[cfg(test)]
mod tests;
