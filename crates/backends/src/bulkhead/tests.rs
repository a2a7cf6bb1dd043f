use super::*;

use futures_util::FutureExt;
use futures_util::future::join_all;
use parking_lot::Mutex;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);

fn bulkhead(max_concurrent: usize, max_queue: usize) -> Bulkhead {
    Bulkhead::new(&BulkheadConfig {
        max_concurrent,
        max_queue,
        queue_timeout: QUEUE_TIMEOUT,
    })
}

async fn enter(bulkhead: &Bulkhead) -> Permit {
    bulkhead.enter(None).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_place_and_a_full_queue_is_refused_at_once() {
    let bulkhead = bulkhead(1, 1);
    let _inside = enter(&bulkhead).await;
    let mut waiting = Box::pin(bulkhead.enter(None));
    assert!(waiting.as_mut().now_or_never().is_none());
    let full = bulkhead.enter(None).now_or_never().unwrap().unwrap_err();
    assert_eq!(full.queued_for, Duration::ZERO);
    assert_eq!(full.retry_after, QUEUE_TIMEOUT);
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_the_queue_allows() {
    let bulkhead = bulkhead(1, 1);
    let _inside = enter(&bulkhead).await;
    let full = bulkhead.enter(None).await.unwrap_err();
    assert!(full.queued_for >= QUEUE_TIMEOUT && full.queued_for < QUEUE_TIMEOUT * 2);
    assert_eq!(bulkhead.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_its_deadline_allows() {
    let bulkhead = bulkhead(1, 1);
    let _inside = enter(&bulkhead).await;
    let deadline = Instant::now() + Duration::from_secs(1);
    let full = bulkhead.enter(Some(deadline)).await.unwrap_err();
    assert!(full.queued_for < QUEUE_TIMEOUT);
    assert!(bulkhead.enter(Some(Instant::now())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_let_in_in_their_order() {
    let bulkhead = bulkhead(1, 10);
    let order = Mutex::new(Vec::new());
    let inside = enter(&bulkhead).await;
    let calls = (0..10).map(async |call| {
        let permit = enter(&bulkhead).await;
        order.lock().push(call);
        drop(permit);
    });
    tokio::join!(join_all(calls), async { drop(inside) });
    assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_cancelled_while_they_wait_leave_no_ghost() {
    let bulkhead = bulkhead(1, 2);
    for _ in 0..1000 {
        // What a task may do in one go is bounded (tokio's cooperative budget).
        tokio::task::yield_now().await;
        let inside = enter(&bulkhead).await;
        let mut given_up = Box::pin(bulkhead.enter(None));
        let mut patient = Box::pin(bulkhead.enter(None));
        assert!(given_up.as_mut().now_or_never().is_none());
        assert!(patient.as_mut().now_or_never().is_none());
        drop(inside);
        // It has been given the place by now, but never looked at it.
        drop(given_up);
        drop(patient.now_or_never().unwrap().unwrap());
    }
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_waits() {
    let bulkhead = bulkhead(1, 0);
    let _inside = enter(&bulkhead).await;
    assert!(bulkhead.enter(None).now_or_never().unwrap().is_err());
}

#[tokio::test]
async fn as_many_as_a_number_can_say_are_taken_for_as_many_as_there_can_be() {
    let bulkhead = bulkhead(usize::MAX, 0);
    let _inside = enter(&bulkhead).await;
    assert_eq!(bulkhead.in_flight(), 1);
}
