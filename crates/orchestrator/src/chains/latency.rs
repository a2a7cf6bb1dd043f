//! How fast a tool answered of late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use switchboard_protocol::millis;
use tokio::time::Instant;

/// The weight of the latest call.
const WEIGHT: f64 = 0.3;
/// A call that failed counts as slow as this, or as slow as it was.
const FAILED: Duration = Duration::from_secs(10);
/// What was measured counts half after this time, so that a tool that is not called for being slow
/// is measured again one day.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// An exponentially weighted moving average of a tool's latency, which fades while nobody calls it.
/// Of two calls that end at the same moment one may be lost: it is an estimate.
#[derive(Debug)]
pub(crate) struct Latency {
    began: Instant,
    /// In microseconds; 0: never measured.
    average: AtomicU64,
    /// When it was measured last, in milliseconds since `began`.
    measured: AtomicU64,
}

impl Latency {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            average: AtomicU64::new(0),
            measured: AtomicU64::new(0),
        }
    }

    /// Takes note of a call that took this long.
    pub(crate) fn measure(&self, now: Instant, took: Duration, failed: bool) {
        let took = if failed { took.max(FAILED) } else { took };
        let latest = took.as_secs_f64() * 1e6;
        let average = match self.average.load(Ordering::Relaxed) {
            0 => latest,
            before => before as f64 * (1.0 - WEIGHT) + latest * WEIGHT,
        };
        self.average
            .store((average as u64).max(1), Ordering::Relaxed);
        let since = millis(now.saturating_duration_since(self.began));
        self.measured.store(since, Ordering::Relaxed);
    }

    /// The estimate, in microseconds; 0 if it was never measured.
    pub(crate) fn estimate(&self, now: Instant) -> f64 {
        let measured = Duration::from_millis(self.measured.load(Ordering::Relaxed));
        let age = now
            .saturating_duration_since(self.began)
            .saturating_sub(measured);
        let halvings = age.as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.average.load(Ordering::Relaxed) as f64 * 0.5_f64.powf(halvings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_estimate_follows_what_is_measured_and_fades() {
        let start = Instant::now();
        let latency = Latency::new(start);
        assert_eq!(latency.estimate(start), 0.0);
        for _ in 0..50 {
            latency.measure(start, Duration::from_millis(20), false);
        }
        assert!((latency.estimate(start) - 20_000.0).abs() < 1_000.0);
        let later = start + HALF_LIFE;
        assert!((latency.estimate(later) - 10_000.0).abs() < 1_000.0);
        latency.measure(later, Duration::from_millis(1), true);
        assert!(latency.estimate(later) > 1_000_000.0, "a failure is slow");
    }
}
