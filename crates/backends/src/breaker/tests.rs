use super::*;

use proptest::prelude::*;

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn breaker() -> (Breaker, Instant) {
    (Breaker::new(&BreakerConfig::default()), Instant::now())
}

fn fail(breaker: &Breaker, times: usize, now: Instant) {
    for _ in 0..times {
        breaker.admit(now).unwrap().failed(now);
    }
}

/// A breaker that has just opened.
fn open_breaker() -> (Breaker, Instant) {
    let (breaker, now) = breaker();
    fail(&breaker, 5, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
    (breaker, now)
}

#[test]
fn it_opens_after_failures_in_a_row_and_says_when_to_come_back() {
    let (breaker, now) = breaker();
    fail(&breaker, 4, now);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    let opened = breaker.admit(now).unwrap().failed(now);
    assert_eq!(opened, Some(BreakerState::Open));
    let refused = breaker.admit(now).unwrap_err();
    assert!(refused.retry_after >= second(4) && refused.retry_after <= second(5));
}

#[test]
fn a_success_between_failures_starts_their_count_anew() {
    let (breaker, now) = breaker();
    for _ in 0..4 {
        fail(&breaker, 4, now);
        assert_eq!(breaker.admit(now).unwrap().succeeded(now), None);
    }
    assert_eq!(breaker.admit(now).unwrap().ignored(now), None);
}

#[test]
fn it_opens_when_half_of_enough_recent_calls_failed() {
    let (breaker, now) = breaker();
    for _ in 0..9 {
        breaker.admit(now).unwrap().failed(now);
        breaker.admit(now).unwrap().succeeded(now);
    }
    fail(&breaker, 1, now);
    assert_eq!(breaker.state(now), BreakerState::Closed);
    fail(&breaker, 1, now);
    assert_eq!(breaker.state(now), BreakerState::Open);
}

#[test]
fn failures_that_are_long_ago_do_not_count_towards_the_rate() {
    let (breaker, now) = breaker();
    for _ in 0..9 {
        breaker.admit(now).unwrap().failed(now);
        breaker.admit(now).unwrap().succeeded(now);
    }
    fail(&breaker, 4, now + second(10));
    assert_eq!(breaker.state(now + second(10)), BreakerState::Closed);
}

#[test]
fn answers_that_say_nothing_of_the_endpoint_do_not_count() {
    let (breaker, now) = breaker();
    for _ in 0..100 {
        assert_eq!(breaker.admit(now).unwrap().ignored(now), None);
    }
    fail(&breaker, 4, now);
    assert_eq!(breaker.state(now), BreakerState::Closed);
}

#[test]
fn one_probe_at_a_time_is_admitted_and_closes_it() {
    let (breaker, now) = open_breaker();
    let later = now + second(5);
    assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    let probe = breaker.admit(later).unwrap();
    assert!(probe.is_probe());
    assert_eq!(breaker.admit(later).unwrap_err().retry_after, WHILE_PROBING);
    assert_eq!(probe.succeeded(later), Some(BreakerState::Closed));
    fail(&breaker, 4, later);
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

#[test]
fn a_probe_that_hangs_keeps_others_away_for_a_while_only() {
    let (breaker, now) = open_breaker();
    let first_at = now + second(5);
    let hanging = breaker.admit(first_at).unwrap();
    assert!(breaker.admit(first_at + second(4)).is_err());
    let next_at = first_at + second(5);
    let next = breaker.admit(next_at).unwrap();
    assert!(next.is_probe());
    // It is no longer the latest: giving it up makes no room for a third.
    drop(hanging);
    assert!(breaker.admit(next_at).is_err());
    assert_eq!(next.succeeded(next_at), Some(BreakerState::Closed));
}

#[test]
fn the_first_probe_that_ends_decides() {
    for slow_one_fails in [false, true] {
        let (breaker, now) = open_breaker();
        let slow = breaker.admit(now + second(5)).unwrap();
        let later = now + second(10);
        let other = breaker.admit(later).unwrap();
        let (turned, stays) = if slow_one_fails {
            (slow.failed(later), other.succeeded(later))
        } else {
            (slow.succeeded(later), other.failed(later))
        };
        let expected = match slow_one_fails {
            false => BreakerState::Closed,
            true => BreakerState::Open,
        };
        assert_eq!((turned, stays), (Some(expected), None));
        assert_eq!(breaker.state(later), expected);
    }
}

#[test]
fn a_health_check_closes_it_only_when_no_call_says_anything() {
    let (breaker, now) = open_breaker();
    assert_eq!(breaker.recovered(now), None, "it has just opened");
    assert_eq!(breaker.recovered(now + second(5)), None, "a call may come");
    let later = now + second(10);
    let hanging = breaker.admit(later).unwrap();
    assert_eq!(breaker.recovered(later), None, "a call is about to say it");
    let much_later = later + second(5);
    assert_eq!(breaker.recovered(much_later), Some(BreakerState::Closed));
    assert_eq!(breaker.recovered(much_later), None, "it is closed");
    assert_eq!(hanging.failed(much_later), None, "that was before");
    assert_eq!(breaker.state(much_later), BreakerState::Closed);
}

#[test]
fn a_health_check_does_not_contradict_calls_that_fail() {
    let (breaker, mut now) = open_breaker();
    for _ in 0..100 {
        now += second(1);
        if let Ok(probe) = breaker.admit(now) {
            probe.failed(now);
        }
        assert_eq!(breaker.recovered(now), None);
    }
}

#[test]
fn an_answer_that_says_nothing_closes_it_if_it_is_the_probes() {
    let (breaker, now) = open_breaker();
    let later = now + second(5);
    let probe = breaker.admit(later).unwrap();
    assert_eq!(probe.ignored(later), Some(BreakerState::Closed));
}

#[test]
fn a_cancelled_probe_makes_room_for_the_next() {
    let (breaker, now) = open_breaker();
    let later = now + second(5);
    drop(breaker.admit(later).unwrap());
    assert_eq!(breaker.state(later), BreakerState::HalfOpen);
    assert!(breaker.admit(later).unwrap().is_probe());
}

#[test]
fn the_time_it_is_open_doubles_up_to_a_minute_while_probes_fail_and_then_starts_anew() {
    let (breaker, mut now) = open_breaker();
    for full in [10, 20, 40, 60, 60].map(second) {
        now += second(60);
        let probe = breaker.admit(now).unwrap();
        assert_eq!(probe.failed(now), Some(BreakerState::Open));
        let pause = breaker.admit(now).unwrap_err().retry_after;
        assert!(
            pause <= full && pause >= full * 4 / 5,
            "{pause:?} of {full:?}"
        );
    }
    now += second(60);
    breaker.admit(now).unwrap().succeeded(now);
    fail(&breaker, 5, now);
    assert!(breaker.admit(now).unwrap_err().retry_after <= second(5));
}

#[test]
fn verdicts_of_calls_from_before_it_opened_change_nothing() {
    let (breaker, now) = breaker();
    let slow: Vec<_> = (0..12).map(|_| breaker.admit(now).unwrap()).collect();
    let mut slow = slow.into_iter();
    fail(&breaker, 5, now);
    assert_eq!(slow.next().unwrap().succeeded(now), None);
    assert_eq!(slow.next().unwrap().failed(now), None);
    assert_eq!(breaker.state(now), BreakerState::Open);

    let later = now + second(5);
    let probe = breaker.admit(later).unwrap();
    assert_eq!(slow.next().unwrap().succeeded(later), None);
    assert_eq!(slow.next().unwrap().failed(later), None);
    assert!(breaker.admit(later).is_err(), "the probe is still out");
    probe.succeeded(later);

    assert!(slow.all(|call| call.failed(later).is_none()));
    assert_eq!(breaker.state(later), BreakerState::Closed);
}

/// What happens to a breaker. Calls are named by their place among those under way.
#[derive(Clone, Debug)]
enum Event {
    Call,
    Succeed(usize),
    Fail(usize),
    Ignore(usize),
    Cancel(usize),
    Recover,
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Call),
        2 => (0..8usize).prop_map(Event::Succeed),
        6 => (0..8usize).prop_map(Event::Fail),
        1 => (0..8usize).prop_map(Event::Ignore),
        1 => (0..8usize).prop_map(Event::Cancel),
        1 => Just(Event::Recover),
        2 => (0..70_000u64).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 0..150)
}

proptest! {
    #[test]
    fn no_sequence_of_events_gets_it_stuck_or_probes_out_at_once(events in events()) {
        let (breaker, mut now) = breaker();
        let mut calls: Vec<Admission<'_>> = Vec::new();
        let (mut probed, mut was_cancelled) = (None::<Instant>, false);
        for event in events {
            let before = breaker.state(now);
            match event {
                Event::Call => match breaker.admit(now) {
                    Ok(call) => {
                        prop_assert_ne!(before, BreakerState::Open);
                        prop_assert_eq!(call.is_probe(), before == BreakerState::HalfOpen);
                        if call.is_probe() {
                            let is_out = calls.iter().any(|known| known.generation == call.generation);
                            let waited = probed.is_none_or(|at| now - at >= second(5));
                            prop_assert!(!is_out || waited || was_cancelled);
                            (probed, was_cancelled) = (Some(now), false);
                        }
                        calls.push(call);
                    }
                    Err(_) => prop_assert_ne!(before, BreakerState::Closed),
                },
                Event::Recover => {
                    let turned = breaker.recovered(now);
                    prop_assert!(turned.is_none() || before == BreakerState::HalfOpen);
                }
                Event::Pass(ms) => now += Duration::from_millis(ms),
                Event::Succeed(n) | Event::Fail(n) | Event::Ignore(n) | Event::Cancel(n) => {
                    if n < calls.len() {
                        let call = calls.remove(n);
                        let is_probe = call.is_probe();
                        was_cancelled |= is_probe && matches!(event, Event::Cancel(_));
                        let change = match event {
                            Event::Succeed(_) => call.succeeded(now),
                            Event::Fail(_) => call.failed(now),
                            Event::Ignore(_) => call.ignored(now),
                            _ => None,
                        };
                        if !is_probe && before != BreakerState::Closed {
                            prop_assert_eq!(change, None);
                        }
                        prop_assert_eq!(breaker.state(now), change.unwrap_or(before));
                    }
                }
            }
        }

        calls.clear();
        now += second(60);
        breaker.admit(now).expect("open for a minute at most").succeeded(now);
        prop_assert_eq!(breaker.state(now), BreakerState::Closed);
    }
}
