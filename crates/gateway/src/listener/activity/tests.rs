use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::{
    ALLOWANCE, ALLOWANCE_PER_SECOND, Action, Activity, OF_HEAD, STRANGER_IDLE, Standing,
    WRITTEN_PER_UPDATE,
};
use crate::listener::Limits;

fn new() -> Arc<Activity> {
    Arc::new(Activity::new(&Limits::default(), Instant::now()))
}

fn action(activity: &Activity) -> Option<Action> {
    activity.deadline().map(|(_, action)| action)
}

#[test]
fn a_new_connection_has_only_the_time_of_a_head() {
    let start = Instant::now();
    let limits = Limits::default();
    let activity = Activity::new(&limits, start);
    activity.received(1);
    activity.received(1);
    assert_eq!(
        activity.deadline(),
        Some((start + limits.header_timeout, Action::Cut))
    );
}

#[test]
fn a_request_in_flight_has_no_deadline_here() {
    let activity = new();
    let one = activity.begin(true, 0);
    let other = activity.begin(true, 0);
    assert_eq!(action(&activity), None);
    drop(one);
    activity.received(1);
    assert_eq!(action(&activity), None);
    drop(other);
    assert_eq!(action(&activity), Some(Action::Finish));
}

#[test]
fn an_offer_that_nobody_takes_has_the_deadline_of_the_earliest() {
    let activity = new();
    let (mut one, mut other) = (activity.begin(true, 0), activity.begin(true, 0));
    one.offers();
    let earliest = activity.deadline();
    assert_eq!(action(&activity), Some(Action::Cut));
    other.offers();
    assert_eq!(activity.deadline(), earliest);
    one.taken();
    assert_eq!(action(&activity), Some(Action::Cut));
    drop(other);
    assert_eq!(action(&activity), None);

    let plain = new();
    let mut busy = plain.begin(false, 0);
    busy.offers();
    assert_eq!(action(&plain), None);
}

#[test]
fn bytes_begin_a_head_only_where_nothing_else_is_sent() {
    let plain = new();
    drop(plain.begin(false, 0));
    assert_eq!(action(&plain), Some(Action::Finish));
    plain.received(1);
    assert_eq!(action(&plain), Some(Action::Cut));

    let multiplexed = new();
    drop(multiplexed.begin(true, 0));
    multiplexed.received(1);
    assert_eq!(action(&multiplexed), Some(Action::Finish));
}

#[test]
fn who_was_told_to_finish_is_cut_next() {
    let activity = new();
    let busy = activity.begin(true, 0);
    activity.finishes();
    assert_eq!(action(&activity), None);
    drop(busy);
    assert_eq!(action(&activity), Some(Action::Cut));
}

#[test]
fn a_peer_that_takes_nothing_is_cut_even_while_busy() {
    let activity = new();
    let busy = activity.begin(false, 0);
    activity.write_blocked();
    let first = activity.deadline();
    activity.write_blocked();
    assert_eq!(activity.deadline(), first);
    assert_eq!(action(&activity), Some(Action::Cut));
    activity.written(1);
    assert_eq!(action(&activity), None);
    drop(busy);
}

#[test]
fn the_end_of_an_answer_that_was_held_up_counts_as_use() {
    let activity = new();
    let busy = activity.begin(false, 0);
    activity.write_blocked();
    drop(busy);
    let (idle_end, _) = activity.deadline().unwrap();
    activity.written(1);
    let (later, action) = activity.deadline().unwrap();
    assert!(later >= idle_end);
    assert_eq!(action, Action::Finish);
}

#[test]
fn lingering_is_short_and_not_prolonged() {
    let activity = new();
    activity.lingers();
    let first = activity.deadline();
    activity.lingers();
    assert_eq!(activity.deadline(), first);
    let (_, action) = first.unwrap();
    assert_eq!(action, Action::Cut);
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_request_is_bounded() {
    let activity = new();
    let busy = activity.begin(true, 1_000_000);
    // The body, and what there may be beside it.
    activity.received(1_000_000 + OF_HEAD + ALLOWANCE);
    assert_eq!(activity.deadline(), None);
    // To make room for what is taken is not too much, however much is taken.
    activity.written(1_000 * WRITTEN_PER_UPDATE);
    activity.received(1_000);
    advance(Duration::from_secs(2)).await;
    activity.received(2 * ALLOWANCE_PER_SECOND);
    assert_eq!(activity.deadline(), None);
    activity.received(1);
    let (at, action) = activity.deadline().expect("an end");
    assert!(at <= Instant::now() && action == Action::Cut);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn over_http_1_a_request_bounds_itself() {
    let activity = new();
    let _busy = activity.begin(false, 0);
    activity.received(100 * ALLOWANCE);
    assert_eq!(activity.deadline(), None);
}

#[test]
fn a_stranger_may_be_idle_for_a_short_time() {
    let limits = Limits::default();
    let activity = new();
    let idle = |activity: &Arc<Activity>| {
        drop(activity.begin(false, 0));
        let now = Instant::now();
        let (at, action) = activity.deadline().unwrap();
        assert_eq!(action, Action::Finish);
        assert_eq!(activity.look_again(now) - now, activity.patience());
        at - now
    };
    assert!(idle(&activity) <= STRANGER_IDLE);
    Standing::of(&activity).is_of_a_principal();
    assert!(idle(&activity) > limits.idle_timeout / 2);
}

#[test]
fn a_refused_credential_ends_a_connection_that_never_had_a_better_one() {
    let activity = new();
    let standing = Standing::of(&activity);
    let busy = activity.begin(true, 0);
    assert!(standing.dismiss());
    assert!(
        activity
            .deadline()
            .is_some_and(|(at, action)| { at <= Instant::now() && action == Action::Finish })
    );
    activity.finishes();
    assert_eq!(action(&activity), None, "its answer is on the way");
    drop(busy);
    assert_eq!(action(&activity), Some(Action::Cut));

    let of_many = new();
    let standing = Standing::of(&of_many);
    standing.is_of_a_principal();
    let _busy = of_many.begin(true, 0);
    assert!(!standing.dismiss());
    assert_eq!(action(&of_many), None);
}
