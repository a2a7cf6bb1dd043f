//! Which endpoint a call goes to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::BalancePolicy;

/// The least share that an endpoint has after it recovered: with none it would not get warm.
const LEAST_SHARE: f32 = 0.1;
/// How many endpoints that are not there any more the turns of `weighted` are remembered of.
const MAX_ABSENT: usize = 256;
/// The golden ratio, as a fraction of 2^64: its multiples fill a circle evenly however many there
/// are (Knuth, The Art of Computer Programming, 6.4).
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// An endpoint that may be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Which endpoint it is, the same as long as the endpoint exists.
    pub(crate) key: u64,
    /// How much it can do, compared with the others. One with 0 is asked only if all have 0.
    pub(crate) weight: u32,
    /// How many calls it is at work on.
    pub(crate) in_flight: usize,
    /// Which part of its weight counts, above 0 and up to 1: see [`slow_start`].
    pub(crate) share: f32,
}

/// Spreads the calls of one backend over its endpoints.
#[derive(Debug)]
pub(crate) struct Balancer {
    policy: BalancePolicy,
    calls: AtomicU64,
    turns: Mutex<HashMap<u64, f64>>,
}

impl Balancer {
    /// One that has seen no calls.
    pub(crate) fn new(policy: BalancePolicy) -> Self {
        Self {
            policy,
            calls: AtomicU64::new(0),
            turns: Mutex::default(),
        }
    }

    /// The index of the endpoint to ask; `None` only if there is none. The candidates may be others
    /// each time.
    pub(crate) fn pick(&self, candidates: &[Candidate]) -> Option<usize> {
        if candidates.len() < 2 {
            return candidates.len().checked_sub(1);
        }
        match self.policy {
            BalancePolicy::RoundRobin => self.round_robin(candidates),
            BalancePolicy::LeastRequests => self.least_requests(candidates),
            BalancePolicy::Weighted => self.weighted(candidates),
            BalancePolicy::RandomTwo => random_two(candidates),
        }
    }

    fn round_robin(&self, candidates: &[Candidate]) -> Option<usize> {
        let capacity = capacities(candidates);
        let able = (0..candidates.len()).filter(|index| capacity(*index) > 0.0);
        let count = able.clone().count();
        let turn = self.count_call() % count.max(1) as u64;
        let mut in_turn = able.cycle().skip(turn as usize).take(count).peekable();
        let first = in_turn.peek().copied();
        // One that warms up leaves most of its turns to those behind it.
        in_turn
            .find(|index| fastrand::f32() < candidates[*index].share)
            .or(first)
    }

    fn least_requests(&self, candidates: &[Candidate]) -> Option<usize> {
        let capacity = capacities(candidates);
        let load = |index: usize| load(&candidates[index], capacity(index));
        let least = (0..candidates.len()).map(load).min_by(f64::total_cmp)?;
        let turn = self.count_call().wrapping_mul(GOLDEN_RATIO);
        choose(turn as f64 / u64::MAX as f64, candidates.len(), |index| {
            if load(index) <= least {
                capacity(index)
            } else {
                0.0
            }
        })
    }

    /// Smooth weighted round robin, as nginx does it: each gains its weight with every call, and
    /// the one that is asked, which has the most, pays what all have gained.
    fn weighted(&self, candidates: &[Candidate]) -> Option<usize> {
        let capacity_of = capacities(candidates);
        let mut turns = self.turns.lock();
        if turns.len() > candidates.len() + MAX_ABSENT {
            turns.retain(|key, _| candidates.iter().any(|candidate| candidate.key == *key));
        }
        let mut gained = 0.0;
        let mut best = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let capacity = capacity_of(index);
            if capacity <= 0.0 {
                continue;
            }
            gained += capacity;
            let turn = turns.entry(candidate.key).or_default();
            *turn += capacity;
            if best.is_none_or(|(_, most)| *turn > most) {
                best = Some((index, *turn));
            }
        }
        let (index, _) = best?;
        *turns.entry(candidates[index].key).or_default() -= gained;
        Some(index)
    }

    fn count_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }
}

fn random_two(candidates: &[Candidate]) -> Option<usize> {
    let capacity = capacities(candidates);
    let count = candidates.len();
    let first = choose(fastrand::f64(), count, &capacity)?;
    let second = choose(fastrand::f64(), count, |index| {
        if index == first { 0.0 } else { capacity(index) }
    });
    let load = |index: usize| load(&candidates[index], capacity(index));
    Some(match second {
        Some(second) if load(second) < load(first) => second,
        _ => first,
    })
}

/// The index of the endpoint that calls with this hash go to, as long as it is a candidate; `None`
/// only if there is none. An endpoint that goes moves its own calls alone, over all others by
/// weight; one that comes takes its part from all of them (weighted rendezvous hashing).
pub(crate) fn sticky(hash: u64, candidates: &[Candidate]) -> Option<usize> {
    let is_weightless = is_weightless(candidates);
    let score = |candidate: &Candidate| {
        let weight = if is_weightless { 1 } else { candidate.weight };
        // Above 0 and below 1, and so the logarithm below 0.
        let point = ((mix(hash, candidate.key) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        f64::from(weight) / -point.ln()
    };
    let scores = candidates.iter().map(score).enumerate();
    let best = scores.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.map(|(index, _)| index)
}

/// Which part of its weight counts for an endpoint that recovered so long ago and warms up over so
/// long: from a tenth, steadily, to all.
pub(crate) fn slow_start(since_recovery: Duration, over: Duration) -> f32 {
    if since_recovery >= over {
        return 1.0;
    }
    since_recovery.div_duration_f32(over).max(LEAST_SHARE)
}

fn is_weightless(candidates: &[Candidate]) -> bool {
    candidates.iter().all(|candidate| candidate.weight == 0)
}

/// How much each candidate can do for now. Where none has a weight, all have the same.
fn capacities(candidates: &[Candidate]) -> impl Fn(usize) -> f64 {
    let is_weightless = is_weightless(candidates);
    move |index| {
        let candidate = &candidates[index];
        let weight = if is_weightless { 1 } else { candidate.weight };
        f64::from(weight) * f64::from(candidate.share)
    }
}

fn load(candidate: &Candidate, capacity: f64) -> f64 {
    if capacity > 0.0 {
        candidate.in_flight as f64 / capacity
    } else {
        f64::INFINITY
    }
}

/// The index at a point from 0 to 1 of a line on which each has its weight as length; `None` if
/// the line has no length.
fn choose(point: f64, count: usize, weight: impl Fn(usize) -> f64) -> Option<usize> {
    let total: f64 = (0..count).map(&weight).sum();
    let mut left = point * total;
    let mut chosen = None;
    for index in (0..count).filter(|index| weight(*index) > 0.0) {
        chosen = Some(index);
        left -= weight(index);
        if left < 0.0 {
            break;
        }
    }
    chosen
}

/// A hash of two hashes: the finalizer of SplitMix64.
fn mix(one: u64, other: u64) -> u64 {
    let mut hash = one.wrapping_add(other.wrapping_mul(GOLDEN_RATIO));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
