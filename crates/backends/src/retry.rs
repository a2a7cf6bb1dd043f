//! How often a backend is asked again: a budget for all of its calls, and the pauses of one call.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::RetryConfig;
use crate::pause::doubled;
use crate::window::{Counts, Window};

/// How far the budget looks back.
const SPAN: Duration = Duration::from_secs(10);

/// A server that asks for more time than this is not waited for: the call would keep its place in the
/// bulkhead from others. Its caller is told how long to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How many further attempts a backend may see: within any ten seconds a share of the calls, and a
/// few a second. So a backend that fails wholly is not buried under retries.
///
/// Like `tower::retry::budget::TpsBudget`, which reads the clock itself and knows only shares that
/// divide one.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    ratio: f64,
    floor: f64,
    /// The calls, with a mark for each further attempt.
    recent: Mutex<Window>,
}

impl RetryBudget {
    /// A budget for a backend that saw no calls.
    pub(crate) fn new(config: &RetryConfig) -> Self {
        Self {
            ratio: config.budget_ratio,
            floor: f64::from(config.budget_floor) * SPAN.as_secs_f64(),
            recent: Mutex::new(Window::new(SPAN)),
        }
    }

    /// Counts a call, once however often it is tried.
    pub(crate) fn count_call(&self, now: Instant) {
        self.recent.lock().add(now);
    }

    /// Takes one further attempt out of the budget, if there is one.
    pub(crate) fn try_take(&self, now: Instant) -> bool {
        let mut recent = self.recent.lock();
        let Counts { calls, marked } = recent.sums(now);
        let is_allowed = (marked + 1) as f64 <= calls as f64 * self.ratio + self.floor;
        if is_allowed {
            recent.mark(now);
        }
        is_allowed
    }
}

/// The pauses between the attempts of one call: exponential, with full jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    max_attempts: usize,
    attempts: usize,
}

impl Backoff {
    /// The pauses of a call that is now made for the first time.
    pub(crate) fn new(config: &RetryConfig) -> Self {
        Self {
            base: config.base,
            cap: config.cap,
            max_attempts: config.max_attempts,
            attempts: 1,
        }
    }

    /// How long to wait before the next attempt, and no shorter than the server asked for. `None`
    /// if there were enough attempts, or the next would not begin before the deadline.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        retry_after: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let is_too_long = retry_after.is_some_and(|after| after > LONGEST_WAIT);
        if self.attempts >= self.max_attempts || is_too_long {
            return None;
        }
        let longest = doubled(self.base, self.attempts - 1, self.cap);
        // Added to what the server asked for, which it asks of everybody in the same moment.
        let pause = longest
            .mul_f64(fastrand::f64())
            .saturating_add(retry_after.unwrap_or_default());
        if deadline.is_some_and(|deadline| pause >= deadline.saturating_duration_since(now)) {
            return None;
        }
        self.attempts += 1;
        Some(pause)
    }
}

#[cfg(test)]
mod tests;
