use super::*;

use proptest::prelude::*;

/// Idle endpoints with these weights.
fn idle(weights: &[u32]) -> Vec<Candidate> {
    let candidate = |(key, weight): (u64, &u32)| Candidate {
        key,
        weight: *weight,
        in_flight: 0,
        share: 1.0,
    };
    (0..).zip(weights).map(candidate).collect()
}

fn with_in_flight(weights: &[u32], in_flight: &[usize]) -> Vec<Candidate> {
    let mut candidates = idle(weights);
    for (candidate, in_flight) in candidates.iter_mut().zip(in_flight) {
        candidate.in_flight = *in_flight;
    }
    candidates
}

/// How many of so many calls each of them gets, if calls end at once.
fn spread(policy: BalancePolicy, candidates: &[Candidate], calls: usize) -> Vec<usize> {
    let balancer = Balancer::new(policy);
    let mut counts = vec![0; candidates.len()];
    for _ in 0..calls {
        counts[balancer.pick(candidates).unwrap()] += 1;
    }
    counts
}

const POLICIES: [BalancePolicy; 4] = [
    BalancePolicy::RoundRobin,
    BalancePolicy::LeastRequests,
    BalancePolicy::Weighted,
    BalancePolicy::RandomTwo,
];

#[test]
fn weighted_mixes_evenly() {
    let balancer = Balancer::new(BalancePolicy::Weighted);
    let candidates = idle(&[5, 1, 1]);
    let picks: Vec<_> = (0..7).filter_map(|_| balancer.pick(&candidates)).collect();
    assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn weighted_remembers_turns_of_a_bounded_number_of_absent_endpoints() {
    let balancer = Balancer::new(BalancePolicy::Weighted);
    for key in 0..10_000 {
        let mut candidates = idle(&[1, 1]);
        candidates[1].key = key;
        assert!(balancer.pick(&candidates).is_some());
    }
    assert!(balancer.turns.lock().len() <= MAX_ABSENT + 4);
}

#[test]
fn least_requests_goes_by_calls_in_flight_for_the_weight() {
    let balancer = Balancer::new(BalancePolicy::LeastRequests);
    let candidates = with_in_flight(&[1, 4, 1], &[2, 6, 3]);
    assert_eq!(balancer.pick(&candidates), Some(1));
    let candidates = with_in_flight(&[1, 4, 1], &[2, 9, 3]);
    assert_eq!(balancer.pick(&candidates), Some(0));
}

#[test]
fn least_requests_spreads_over_idle_endpoints_by_weight() {
    let counts = spread(BalancePolicy::LeastRequests, &idle(&[1, 2, 1]), 4_000);
    for (count, expected) in counts.iter().zip([1_000, 2_000, 1_000]) {
        assert!(count.abs_diff(expected) < 10, "{counts:?}");
    }
}

#[test]
fn random_two_takes_the_less_loaded() {
    fastrand::seed(7);
    let candidates = with_in_flight(&[1, 1], &[3, 2]);
    assert_eq!(spread(BalancePolicy::RandomTwo, &candidates, 100), [0, 100]);
}

#[test]
fn random_two_goes_by_weight_among_the_idle() {
    fastrand::seed(7);
    let counts = spread(BalancePolicy::RandomTwo, &idle(&[1, 2, 7]), 10_000);
    for (count, expected) in counts.iter().zip([1_000, 2_000, 7_000]) {
        assert!(count.abs_diff(expected) < 200, "{counts:?}");
    }
}

#[test]
fn an_endpoint_that_warms_up_gets_its_share_under_every_policy() {
    fastrand::seed(7);
    for policy in POLICIES {
        let mut candidates = idle(&[1, 1, 1]);
        candidates[1].share = 0.1;
        let counts = spread(policy, &candidates, 3_000);
        assert!((50..200).contains(&counts[1]), "{policy:?}: {counts:?}");
    }
}

#[test]
fn a_recovered_endpoint_warms_up_steadily() {
    let over = Duration::from_secs(30);
    assert_eq!(slow_start(Duration::ZERO, over), LEAST_SHARE);
    assert_eq!(slow_start(over / 2, over), 0.5);
    assert_eq!(slow_start(over, over), 1.0);
    assert_eq!(slow_start(Duration::ZERO, Duration::ZERO), 1.0);
}

#[test]
fn sticky_spreads_by_weight() {
    let candidates = idle(&[1, 0, 3]);
    let mut counts = [0usize; 3];
    for hash in 0..40_000u64 {
        counts[sticky(mix(hash, 0), &candidates).unwrap()] += 1;
    }
    assert!(counts[0].abs_diff(10_000) < 400, "{counts:?}");
    assert_eq!(counts[1], 0);
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let candidate = (any::<u64>(), 0..4u32, 0..5usize, 0.1..=1.0f32).prop_map(
        |(key, weight, in_flight, share)| Candidate {
            key,
            weight,
            in_flight,
            share,
        },
    );
    proptest::collection::vec(candidate, 0..8)
}

proptest! {
    #[test]
    fn every_pick_is_a_candidate_with_weight_if_any_has_one(
        sets in proptest::collection::vec(candidates(), 1..20),
    ) {
        for policy in POLICIES {
            let balancer = Balancer::new(policy);
            for set in &sets {
                for pick in [balancer.pick(set), sticky(7, set)] {
                    prop_assert_eq!(pick.is_some(), !set.is_empty());
                    let Some(pick) = pick else { continue };
                    let all_weightless = set.iter().all(|candidate| candidate.weight == 0);
                    prop_assert!(set[pick].weight > 0 || all_weightless, "{:?}", policy);
                }
            }
        }
    }

    #[test]
    fn round_robin_gives_equal_endpoints_the_same_number_of_calls(
        endpoints in 1..20usize,
        calls in 0..500usize,
    ) {
        let counts = spread(BalancePolicy::RoundRobin, &idle(&vec![1; endpoints]), calls);
        for count in counts {
            prop_assert!(count == calls / endpoints || count == calls.div_ceil(endpoints));
        }
    }

    #[test]
    fn weighted_is_exact_over_a_cycle_and_never_far_off_within_one(
        weights in proptest::collection::vec(0..10u32, 2..8)
            .prop_filter("one has a weight", |weights| weights.iter().any(|weight| *weight > 0)),
        cycles in 1..4u32,
    ) {
        let candidates = idle(&weights);
        let total: u32 = weights.iter().sum();
        let balancer = Balancer::new(BalancePolicy::Weighted);
        let mut counts = vec![0u32; weights.len()];
        for call in 1..=total * cycles {
            counts[balancer.pick(&candidates).unwrap()] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let due = f64::from(call * weight) / f64::from(total);
                prop_assert!((f64::from(*count) - due).abs() < weights.len() as f64);
            }
        }
        let expected: Vec<_> = weights.iter().map(|weight| weight * cycles).collect();
        prop_assert_eq!(counts, expected);
    }

    #[test]
    fn least_requests_keeps_equal_endpoints_equally_loaded(
        endpoints in 2..8usize,
        calls in 1..200usize,
    ) {
        let balancer = Balancer::new(BalancePolicy::LeastRequests);
        let mut candidates = idle(&vec![1; endpoints]);
        for _ in 0..calls {
            let pick = balancer.pick(&candidates).unwrap();
            candidates[pick].in_flight += 1;
        }
        for candidate in candidates {
            let in_flight = candidate.in_flight;
            prop_assert!(in_flight == calls / endpoints || in_flight == calls.div_ceil(endpoints));
        }
    }

    #[test]
    fn an_endpoint_that_goes_moves_only_its_own_sticky_calls(
        set in candidates().prop_filter("two", |set| set.len() > 1),
        gone in any::<prop::sample::Index>(),
        hashes in proptest::collection::vec(any::<u64>(), 1..50),
    ) {
        // That of the only one with a weight changes what the weights mean.
        let set: Vec<_> = set
            .into_iter()
            .map(|candidate| Candidate { weight: candidate.weight + 1, ..candidate })
            .collect();
        let gone = gone.index(set.len());
        let mut left = set.clone();
        left.remove(gone);
        for hash in hashes {
            let before = set[sticky(hash, &set).unwrap()].key;
            let after = left[sticky(hash, &left).unwrap()].key;
            prop_assert!(before == after || before == set[gone].key);
        }
    }
}
