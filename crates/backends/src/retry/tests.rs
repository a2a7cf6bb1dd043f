use super::*;

use proptest::prelude::*;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(budget_ratio: f64, budget_floor: u32) -> RetryConfig {
    RetryConfig {
        budget_ratio,
        budget_floor,
        ..RetryConfig::default()
    }
}

fn retries(budget: &RetryBudget, now: Instant) -> usize {
    (0..10_000).take_while(|_| budget.try_take(now)).count()
}

#[test]
fn without_calls_there_is_the_floor() {
    let budget = RetryBudget::new(&config(0.2, 10));
    let now = Instant::now();
    assert_eq!(retries(&budget, now), 100);
    assert_eq!(retries(&budget, now + millis(9_999)), 0);
    assert_eq!(retries(&budget, now + SPAN), 100);
}

#[test]
fn each_call_allows_for_its_share_of_a_retry() {
    let budget = RetryBudget::new(&config(0.3, 0));
    let now = Instant::now();
    for _ in 0..100 {
        budget.count_call(now);
    }
    assert_eq!(retries(&budget, now), 30);
    assert_eq!(retries(&budget, now + SPAN), 0, "those calls are long ago");
}

/// Offers calls at a rate that changes, each of which fails and asks for all retries it can get.
fn attempts_of_a_backend_that_fails_wholly(
    budget: &RetryBudget,
    rates: &[u64],
    max_retries: usize,
) -> (usize, usize) {
    let mut now = Instant::now();
    let (mut calls, mut attempts) = (0, 0);
    for rate in rates {
        for _ in 0..*rate {
            budget.count_call(now);
            calls += 1;
            attempts += 1;
            attempts += (0..max_retries)
                .take_while(|_| budget.try_take(now))
                .count();
            now += Duration::from_secs(1) / *rate as u32;
        }
    }
    (calls, attempts)
}

proptest! {
    #[test]
    fn a_backend_that_fails_wholly_sees_no_more_than_a_fifth_more_above_the_floor(
        rates in proptest::collection::vec(1..150u64, 1..25),
        max_retries in 1..5usize,
    ) {
        let budget = RetryBudget::new(&config(0.2, 0));
        let (calls, attempts) = attempts_of_a_backend_that_fails_wholly(&budget, &rates, max_retries);
        prop_assert!(attempts as f64 <= calls as f64 * 1.2 + 1e-6, "{attempts} of {calls}");

        let budget = RetryBudget::new(&config(0.2, 10));
        let (calls, attempts) = attempts_of_a_backend_that_fails_wholly(&budget, &rates, max_retries);
        let spans = rates.len().div_ceil(10) as f64;
        prop_assert!(attempts as f64 <= calls as f64 * 1.2 + spans * 100.0, "{attempts} of {calls}");
    }

    #[test]
    fn pauses_stay_under_what_doubles_and_end_before_the_deadline(
        retry_after in proptest::option::of(0..2_000u64),
        left in proptest::option::of(0..3_000u64),
    ) {
        let config = RetryConfig { max_attempts: 12, ..RetryConfig::default() };
        let mut backoff = Backoff::new(&config);
        let now = Instant::now();
        let deadline = left.map(|left| now + millis(left));
        let hint = retry_after.map(millis);
        let floor = hint.unwrap_or_default();
        let mut longest = config.base;
        while let Some(pause) = backoff.next(now, hint, deadline) {
            prop_assert!(pause >= floor && pause <= floor + longest);
            prop_assert!(deadline.is_none_or(|deadline| now + pause < deadline));
            longest = (longest * 2).min(config.cap);
        }
    }
}

#[test]
fn a_call_is_sent_so_often_and_no_more() {
    let mut backoff = Backoff::new(&RetryConfig::default());
    let now = Instant::now();
    assert!(backoff.next(now, None, None).is_some());
    assert!(backoff.next(now, None, None).is_some());
    assert!(backoff.next(now, None, None).is_none());
}

#[test]
fn pauses_are_spread_over_all_of_their_range() {
    let now = Instant::now();
    let pauses: Vec<_> = (0..1_000)
        .filter_map(|_| Backoff::new(&RetryConfig::default()).next(now, None, None))
        .collect();
    assert!(pauses.iter().any(|pause| *pause < millis(3)));
    assert!(pauses.iter().any(|pause| *pause > millis(22)));
}

#[test]
fn a_server_that_asks_for_longer_than_is_left_is_not_asked_again() {
    let mut backoff = Backoff::new(&RetryConfig::default());
    let now = Instant::now();
    let deadline = Some(now + millis(500));
    assert!(backoff.next(now, Some(millis(500)), deadline).is_none());
    assert!(backoff.next(now, Some(Duration::MAX), deadline).is_none());
    assert!(backoff.next(now, Some(millis(400)), deadline).is_some());
}
