//! Pauses between tries.

use std::time::Duration;

/// What lasted this long was good: the pauses after it start anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// The first pause is no longer than this.
const SHORTEST: Duration = Duration::from_millis(500);
/// No pause is longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// `base`, doubled so many times, and no longer than `longest`.
pub(crate) fn doubled(base: Duration, times: usize, longest: Duration) -> Duration {
    let factor = u32::try_from(times)
        .ok()
        .and_then(|times| 1u32.checked_shl(times))
        .unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(longest)
}

/// A period, up to a tenth shorter or longer by chance, so that what is done in many places is not
/// done everywhere in the same moment.
pub(crate) fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.9 + fastrand::f64() / 5.0)
}

/// Exponential pauses with jitter, half a second to half a minute.
#[derive(Default)]
pub(crate) struct Pause {
    tries: usize,
}

impl Pause {
    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let full = doubled(SHORTEST, self.tries, LONGEST);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The pause after something that lasted this long before it failed.
    pub(crate) fn after(&mut self, lasted: Duration) -> Duration {
        if lasted > GOOD_AFTER {
            *self = Self::default();
        }
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..20).map(|_| pause.next()).collect();
        assert!(pauses[0] <= SHORTEST && pauses[0] >= SHORTEST / 2);
        assert!(pauses[19] >= LONGEST / 2);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
    }

    #[test]
    fn what_lasted_starts_them_anew() {
        let mut pause = Pause::default();
        for _ in 0..20 {
            pause.next();
        }
        assert!(pause.after(Duration::ZERO) >= LONGEST / 2);
        assert!(pause.after(GOOD_AFTER * 2) <= SHORTEST);
    }
}
