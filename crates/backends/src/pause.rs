//! Pauses between tries.

use std::time::Duration;

/// What lasted this long was good: the pauses after it start anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// The first pause is no longer than this.
const SHORTEST: Duration = Duration::from_millis(500);
/// No pause is longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential pauses with jitter, half a second to half a minute.
#[derive(Default)]
pub(crate) struct Pause {
    tries: u32,
}

impl Pause {
    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let full = SHORTEST.saturating_mul(1 << self.tries.min(6)).min(LONGEST);
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
