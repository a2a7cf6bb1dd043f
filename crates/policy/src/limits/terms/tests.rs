use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const CALL: Price = Price {
    cost: 1,
    is_continuation: false,
};
const CONTINUATION: Price = Price {
    cost: 1,
    is_continuation: true,
};
const SECOND: Nanos = 1_000_000_000;
const START: Nanos = 1_000_000 * SECOND;

fn rate(calls: u32, period: Duration, burst: u32) -> Terms {
    let rate = Rate { calls, period };
    let interval = nanos(period) / u64::from(calls);
    Terms::Limit(LimitTerms {
        rate: Some(RateTerms {
            rate,
            burst,
            interval,
            capacity: interval * u64::from(burst),
        }),
        concurrency: None,
    })
}

fn budget(calls: Option<u64>, bytes: Option<u64>, cost: Option<u64>) -> Terms {
    Terms::Budget(BudgetTerms {
        calls,
        bytes,
        cost,
        window: 60 * SECOND,
    })
}

fn try_take(terms: &Terms, state: &mut State, now: Nanos, price: Price) -> Result<u64, Shortage> {
    terms.check(state, now, price)?;
    Ok(terms.take(state, now, price))
}

/// A bucket of tokens as a list of the times at which each token that was taken is back: they come
/// back one after the other.
struct Model {
    burst: usize,
    interval: Nanos,
    back_at: VecDeque<Nanos>,
}

impl Model {
    fn take(&mut self, now: Nanos) -> bool {
        while self.back_at.front().is_some_and(|back| *back <= now) {
            self.back_at.pop_front();
        }
        if self.back_at.len() >= self.burst {
            return false;
        }
        let last = self.back_at.back().copied().unwrap_or(now).max(now);
        self.back_at.push_back(last + self.interval);
        true
    }
}

proptest! {
    #[test]
    fn a_rate_is_a_bucket_of_tokens_that_come_back_one_by_one(
        calls in 1_u32..50,
        burst in 1_u32..20,
        pauses in proptest::collection::vec(0_u64..3 * SECOND, 1..200),
    ) {
        let terms = rate(calls, Duration::from_secs(10), burst);
        let interval = 10 * SECOND / u64::from(calls);
        let mut model = Model { burst: burst as usize, interval, back_at: VecDeque::new() };
        let (mut state, mut now) = (State::default(), START);
        for pause in pauses {
            now += pause;
            let taken = try_take(&terms, &mut state, now, CALL);
            prop_assert_eq!(taken.is_ok(), model.take(now));
            if let Err(shortage) = taken {
                // Whoever comes back when told is let in, and not much too late.
                let then = now + shortage.retry_ms * 1_000_000;
                prop_assert!(terms.check(&state, then, CALL).is_ok());
                prop_assert!(terms.check(&state, then - 2_000_000, CALL).is_err() || shortage.retry_ms < 2);
            }
        }
    }

    #[test]
    fn what_did_nothing_leaves_no_trace(
        kind in 0..3,
        others in proptest::collection::vec(0_u64..2 * SECOND, 0..20),
    ) {
        let terms = match kind {
            0 => rate(20, Duration::from_secs(10), 10),
            1 => budget(Some(5), None, None),
            _ => budget(None, Some(5), Some(7)),
        };
        let (mut with, mut without) = (State::default(), State::default());
        // The same calls, and one more in the midst that is given back at once.
        let mut now = START;
        for (index, pause) in others.iter().enumerate() {
            now += pause;
            if index == others.len() / 2 && let Ok(window) = try_take(&terms, &mut with, now, CALL) {
                terms.release(&mut with);
                terms.give_back(&mut with, window, CALL);
            }
            let taken = try_take(&terms, &mut without, now, CALL);
            prop_assert_eq!(try_take(&terms, &mut with, now, CALL), taken);
        }
    }
}

#[test]
fn what_is_back_by_itself_is_not_given_back_again() {
    let terms = rate(1, Duration::from_secs(1), 1);
    let mut state = State::default();
    let taken = try_take(&terms, &mut state, START, CALL).expect("the first");
    let later = START + 10 * SECOND;
    assert!(try_take(&terms, &mut state, later, CALL).is_ok());
    terms.give_back(&mut state, taken, CALL);
    assert!(try_take(&terms, &mut state, later, CALL).is_err());
}

#[test]
fn a_clock_set_back_makes_nobody_wait_for_longer_than_a_burst_takes() {
    let terms = rate(60, Duration::from_secs(60), 3);
    let mut state = State::default();
    for _ in 0..3 {
        assert!(try_take(&terms, &mut state, START, CALL).is_ok());
    }
    let earlier = START - 100_000 * SECOND;
    let shortage = try_take(&terms, &mut state, earlier, CALL).unwrap_err();
    assert!(shortage.retry_ms <= 3_000, "{shortage:?}");
}

#[test]
fn a_budget_begins_anew_with_its_window_and_what_goes_over_is_charged() {
    let terms = budget(Some(2), Some(100), None);
    let mut state = State::default();
    let end = (START / (60 * SECOND) + 1) * 60 * SECOND;
    let window = try_take(&terms, &mut state, end - 2_000_000, CALL).unwrap();
    terms.charge_bytes(&mut state, end - 2_000_000, 1_000);
    let shortage = try_take(&terms, &mut state, end - 2_000_000, CALL).unwrap_err();
    assert_eq!((shortage.measure, shortage.retry_ms), (Measure::Bytes, 2));

    assert!(
        terms.is_idle(&state, end),
        "nothing is used of the next window"
    );
    assert!(try_take(&terms, &mut state, end, CALL).is_ok());
    // What was charged in a window that is over is not given back to the next.
    terms.give_back(&mut state, window, CALL);
    assert!(try_take(&terms, &mut state, end, CALL).is_ok());
    let shortage = try_take(&terms, &mut state, end, CALL).unwrap_err();
    assert_eq!(
        (shortage.measure, shortage.retry_ms),
        (Measure::Calls, 60_000)
    );
}

#[test]
fn a_continuation_takes_a_place_and_nothing_else_and_is_never_refused() {
    let terms = Terms::Limit(LimitTerms {
        concurrency: Some(1),
        ..match rate(1, Duration::from_secs(60), 1) {
            Terms::Limit(limit) => limit,
            Terms::Budget(_) => unreachable!("it is a limit"),
        }
    });
    let mut state = State::default();
    assert!(try_take(&terms, &mut state, START, CALL).is_ok());
    assert!(try_take(&terms, &mut state, START, CONTINUATION).is_ok());
    assert_eq!(state.in_flight(), 2);
    let full_at = state.full_at;
    terms.release(&mut state);
    terms.give_back(&mut state, START, CONTINUATION);
    assert_eq!((state.in_flight(), state.full_at), (1, full_at));

    let terms = budget(Some(1), Some(10), None);
    let mut state = State::default();
    assert!(try_take(&terms, &mut state, START, CALL).is_ok());
    assert!(try_take(&terms, &mut state, START, CONTINUATION).is_ok());
    assert_eq!(state.calls, 1);
}
