//! Which `requestState` has come back already: the first retry with it is the call that it was made
//! for, and costs nothing more; another one with the same is a call of its own.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

/// How many are remembered at least. Whoever makes more that are to be forgotten has paid for the
/// calls that they are of.
const LEAST: usize = 65_536;

/// The `requestState`s that came back to this process lately.
#[derive(Debug, Default)]
pub(crate) struct SpentStates {
    key: RandomState,
    /// Those of now and of before: when the first are as many as may be, they become the second.
    seen: Mutex<[HashSet<u64>; 2]>,
}

impl SpentStates {
    /// Takes note of one. Answers whether it came for the first time.
    pub(crate) fn is_first_use(&self, state: &str) -> bool {
        let state = self.key.hash_one(state);
        let mut seen = self.seen.lock();
        let [now, before] = &mut *seen;
        if before.contains(&state) || !now.insert(state) {
            return false;
        }
        if now.len() >= LEAST {
            *before = std::mem::take(now);
        }
        true
    }

    /// What it came with has done nothing, for certain: it may come again as if for the first time.
    pub(crate) fn forget(&self, state: &str) {
        let state = self.key.hash_one(state);
        for seen in &mut *self.seen.lock() {
            seen.remove(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_nothing_comes_again_as_if_for_the_first_time() {
        let spent = SpentStates::default();
        assert!(spent.is_first_use("a"));
        spent.forget("a");
        assert!(spent.is_first_use("a") && !spent.is_first_use("a"));
    }

    #[test]
    fn each_counts_once_and_the_oldest_are_forgotten() {
        let spent = SpentStates::default();
        assert!(spent.is_first_use("a") && !spent.is_first_use("a"));
        for number in 0..LEAST {
            assert!(spent.is_first_use(&format!("b{number}")));
        }
        assert!(!spent.is_first_use("a") && !spent.is_first_use("b0"));
        for number in 0..LEAST {
            assert!(spent.is_first_use(&format!("c{number}")));
        }
        assert!(spent.is_first_use("a"));
    }
}
