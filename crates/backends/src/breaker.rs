//! The circuit breaker of an endpoint: it refuses calls for a while once too many have failed, and
//! lets one through now and then to see whether the endpoint is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::BreakerConfig;
use crate::pause::doubled;
use crate::window::{Counts, Window};

/// What a call that comes while the probe is out is told to wait at most: it may end any time.
const WHILE_PROBING: Duration = Duration::from_secs(1);

/// The breaker of one endpoint.
///
/// Its generation changes whenever it opens or closes, and it is closed while that is even. A
/// verdict of a call that was admitted in another generation changes nothing: the call says how the
/// endpoint did before.
///
/// A probe is out for `open_for` at most: a server that lets it hang until its call's deadline, or
/// answers it slowly, must not keep all others away for so long. The next probe joins it then, and
/// the first that ends decides.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    generation: AtomicU64,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    /// The calls, of which those are marked that failed.
    recent: Window,
    consecutive_failures: usize,
    /// How often it has opened since it was last closed.
    openings: usize,
    /// When it admits the next probe; `None` while it is closed.
    probe_from: Option<Instant>,
    /// Until when the latest probe keeps others away; `None` if there is none out.
    probing_until: Option<Instant>,
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It admits all.
    Closed,
    /// It refuses all.
    Open,
    /// It admits one, to see whether the endpoint is back.
    HalfOpen,
}

impl BreakerState {
    /// The word in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker did not admit a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How long it makes sense to wait before the next try.
    pub(crate) retry_after: Duration,
}

/// A call that was admitted and owes a verdict. Dropped without one, as when the call is cancelled,
/// it counts as if it had never been.
#[derive(Debug)]
#[must_use = "dropping it means that the call was cancelled"]
pub(crate) struct Admission<'a> {
    breaker: &'a Breaker,
    generation: u64,
    /// What the record has as `probing_until` as long as this is its latest probe.
    probing_until: Option<Instant>,
    is_judged: bool,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(config: &BreakerConfig) -> Self {
        Self {
            config: *config,
            generation: AtomicU64::new(0),
            record: Mutex::new(Record {
                recent: Window::new(config.window),
                consecutive_failures: 0,
                openings: 0,
                probe_from: None,
                probing_until: None,
            }),
        }
    }

    /// Admits a call, or not. While the breaker is closed, this is one atomic load.
    ///
    /// # Errors
    ///
    /// If the breaker is open, or half-open while a probe is out.
    pub(crate) fn admit(&self, now: Instant) -> Result<Admission<'_>, Refused> {
        match self.admit_if_closed() {
            Some(admission) => Ok(admission),
            None => self.admit_probe(now),
        }
    }

    /// Admits a call that is to be no probe.
    pub(crate) fn admit_if_closed(&self) -> Option<Admission<'_>> {
        let generation = self.generation.load(Ordering::Acquire);
        is_closed(generation).then(|| self.admission(generation, None))
    }

    /// Whether it would refuse a call now, and what the call would be told. While the breaker is
    /// closed, this is one atomic load.
    pub(crate) fn refuses(&self, now: Instant) -> Option<Refused> {
        if is_closed(self.generation.load(Ordering::Acquire)) {
            return None;
        }
        self.record.lock().refuses(now)
    }

    /// What it would do with a call now.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match self.record.lock().probe_from {
            None => BreakerState::Closed,
            Some(probe_from) if now < probe_from => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    fn admission(&self, generation: u64, probing_until: Option<Instant>) -> Admission<'_> {
        Admission {
            breaker: self,
            generation,
            probing_until,
            is_judged: false,
        }
    }

    fn admit_probe(&self, now: Instant) -> Result<Admission<'_>, Refused> {
        let mut record = self.record.lock();
        let generation = self.generation.load(Ordering::Relaxed);
        if record.probe_from.is_none() {
            return Ok(self.admission(generation, None));
        }
        if let Some(refused) = record.refuses(now) {
            return Err(refused);
        }
        record.probing_until = Some(now + self.config.open_for);
        Ok(self.admission(generation, record.probing_until))
    }

    /// Closes it if it has been half-open for `open_for` and no call has said anything: the endpoint
    /// was seen to be back in another way, and perhaps nobody calls it before it is known to be. As
    /// long as there are calls, they decide: a server may be well and fail at what it is for.
    /// Answers the new state, if this changed it.
    pub(crate) fn recovered(&self, now: Instant) -> Option<BreakerState> {
        let mut record = self.record.lock();
        let calls_decide_until = match (record.probe_from, record.probing_until) {
            (None, _) => return None,
            (Some(_), Some(probing_until)) => probing_until,
            (Some(probe_from), None) => probe_from + self.config.open_for,
        };
        (now >= calls_decide_until).then(|| self.close(&mut record))
    }

    /// Admits the next probe at once, if it is open: what failed is another now, of which nothing is
    /// known.
    pub(crate) fn is_renewed(&self, now: Instant) {
        let mut record = self.record.lock();
        record.probe_from = record.probe_from.map(|probe_from| probe_from.min(now));
    }

    /// Forgets all that calls have shown, as if the endpoint were new. Answers the new state, if this
    /// changed it.
    pub(crate) fn reset(&self) -> Option<BreakerState> {
        let mut record = self.record.lock();
        if record.probe_from.is_some() {
            return Some(self.close(&mut record));
        }
        record.close();
        None
    }

    fn count(&self, generation: u64, has_failed: bool, now: Instant) -> Option<BreakerState> {
        let mut record = self.record.lock();
        if self.generation.load(Ordering::Relaxed) != generation {
            return None;
        }
        record.recent.add(now);
        if !has_failed {
            record.consecutive_failures = 0;
            return None;
        }
        record.recent.mark(now);
        record.consecutive_failures += 1;
        if !record.is_too_much(&self.config, now) {
            return None;
        }
        record.open(&self.config, now);
        self.generation.store(generation + 1, Ordering::Release);
        Some(BreakerState::Open)
    }

    fn end_probe(&self, generation: u64, has_failed: bool, now: Instant) -> Option<BreakerState> {
        let mut record = self.record.lock();
        if self.generation.load(Ordering::Relaxed) != generation {
            return None;
        }
        if !has_failed {
            return Some(self.close(&mut record));
        }
        record.open(&self.config, now);
        // It stays odd: what another probe says from now on is of the past.
        self.generation.store(generation + 2, Ordering::Release);
        Some(BreakerState::Open)
    }

    fn close(&self, record: &mut Record) -> BreakerState {
        record.close();
        self.generation.fetch_add(1, Ordering::Release);
        BreakerState::Closed
    }
}

fn is_closed(generation: u64) -> bool {
    generation.is_multiple_of(2)
}

impl Record {
    fn refuses(&self, now: Instant) -> Option<Refused> {
        let retry_after = match (self.probe_from?, self.probing_until) {
            (probe_from, _) if now < probe_from => probe_from - now,
            (_, Some(until)) if now < until => WHILE_PROBING.min(until - now),
            _ => return None,
        };
        Some(Refused { retry_after })
    }

    fn is_too_much(&mut self, config: &BreakerConfig, now: Instant) -> bool {
        if self.consecutive_failures >= config.consecutive_failures {
            return true;
        }
        let Counts { calls, marked } = self.recent.sums(now);
        calls >= config.min_calls as u64 && marked as f64 >= config.failure_rate * calls as f64
    }

    fn open(&mut self, config: &BreakerConfig, now: Instant) {
        let longest = config.max_open_for.max(config.open_for);
        let full = doubled(config.open_for, self.openings, longest);
        // Without jitter, all gateways would probe the same server in the same moment.
        self.probe_from = Some(now + full.mul_f64(1.0 - fastrand::f64() / 5.0));
        self.openings = self.openings.saturating_add(1);
        self.probing_until = None;
    }

    fn close(&mut self) {
        self.recent.clear();
        self.consecutive_failures = 0;
        self.openings = 0;
        self.probe_from = None;
        self.probing_until = None;
    }
}

impl Admission<'_> {
    /// Whether this call decides if the breaker closes.
    pub(crate) fn is_probe(&self) -> bool {
        !is_closed(self.generation)
    }

    /// The endpoint did what it should. Answers the new state, if this changed it.
    pub(crate) fn succeeded(self, now: Instant) -> Option<BreakerState> {
        self.judge(false, now)
    }

    /// The endpoint failed. Answers the new state, if this changed it.
    pub(crate) fn failed(self, now: Instant) -> Option<BreakerState> {
        self.judge(true, now)
    }

    /// The endpoint answered something that says neither, such as HTTP 429. It counts for nothing,
    /// but a probe has shown that the endpoint is back. Answers the new state, if this changed it.
    pub(crate) fn ignored(mut self, now: Instant) -> Option<BreakerState> {
        self.is_judged = true;
        if self.is_probe() {
            return self.breaker.end_probe(self.generation, false, now);
        }
        None
    }

    fn judge(mut self, has_failed: bool, now: Instant) -> Option<BreakerState> {
        self.is_judged = true;
        if self.is_probe() {
            return self.breaker.end_probe(self.generation, has_failed, now);
        }
        self.breaker.count(self.generation, has_failed, now)
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_probe() || self.is_judged {
            return;
        }
        let mut record = self.breaker.record.lock();
        // Else another is out by now.
        if record.probing_until == self.probing_until {
            record.probing_until = None;
        }
    }
}

#[cfg(test)]
mod tests;
