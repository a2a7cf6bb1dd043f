use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use switchboard_telemetry::Metrics;

use super::*;
use crate::delivery::redact::tests::Nothing;

/// Takes so many, and remembers how long they are.
struct Lengths {
    room: usize,
    taken: Mutex<Vec<usize>>,
}

impl Sink for Lengths {
    fn offer(&self, notification: Bytes) -> bool {
        let mut taken = self.taken.lock();
        let has_room = taken.len() < self.room;
        if has_room {
            taken.push(notification.len());
        }
        has_room
    }
}

/// Counts how often a call is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Scene {
    sink: Arc<Lengths>,
    notifications: Option<Box<Notifications>>,
    metrics: Metrics,
}

impl Scene {
    fn new(room: usize) -> Self {
        let taken = Mutex::default();
        let sink = Arc::new(Lengths { room, taken });
        let metrics = Metrics::new().expect("a registry");
        let redactor: Arc<dyn Redactor> = Arc::new(Nothing);
        let of_call: Arc<dyn Sink> = Arc::clone(&sink) as _;
        let notifications = Notifications::new(&redactor, &of_call, &metrics.backend("b"));
        Self {
            sink,
            notifications: Some(Box::new(notifications)),
            metrics,
        }
    }

    fn heard(&self) -> Arc<dyn Sink> {
        self.notifications.as_ref().expect("some").heard()
    }
}

fn text(length: usize) -> Bytes {
    vec![b'1'; length].into()
}

/// Over HTTP a call reads itself what it hears.
#[test]
fn a_call_hears_no_more_before_all_that_it_heard_is_told() {
    const LENGTHS: [usize; 5] = [5 * STEP, 20, 2 * STEP + 1, 30, 10];
    let scene = Scene::new(usize::MAX);
    let (heard, sink) = (scene.heard(), Arc::clone(&scene.sink));
    let mut count = 0;
    let call = pin!(poll_fn(|context| {
        let told = sink.taken.lock().len();
        assert_eq!(told, count, "another is heard before the last was told");
        let Some(length) = LENGTHS.get(count) else {
            return Poll::Ready(());
        };
        assert!(heard.offer(text(*length)));
        count += 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    let mut notifications = scene.notifications;
    let mut hearing = pin!(hearing(&mut notifications, call));
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    let mut turns = 0;
    while hearing.as_mut().poll(&mut context).is_pending() {
        turns += 1;
        assert!(woken.times() >= turns, "nobody wakes it");
    }
    assert_eq!(*sink.taken.lock(), LENGTHS);
    // One for each step of the large ones, the first of which the call's own turn goes on with, and one for
    // each of the others.
    let small = LENGTHS.iter().filter(|length| **length <= STEP).count();
    assert_eq!(turns, 5 + 3 + small);
}

/// On a channel that calls share somebody else reads, who must not be held up.
#[test]
fn what_somebody_else_hears_waits_for_its_call_and_is_told_before_its_end() {
    let mut scene = Scene::new(usize::MAX);
    let (heard, sink) = (scene.heard(), Arc::clone(&scene.sink));
    let told = || sink.taken.lock().clone();
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut context = Context::from_waker(&waker);
    let has_ended = AtomicUsize::new(0);
    let call = pin!(poll_fn(|_| match has_ended.load(Ordering::Relaxed) {
        0 => Poll::Pending,
        _ => Poll::Ready("the end"),
    }));
    let mut hearing = Box::pin(hearing(&mut scene.notifications, call));
    assert!(hearing.as_mut().poll(&mut context).is_pending());

    // A small one is told at once, and wakes nobody.
    assert!(heard.offer(text(10)));
    assert_eq!((told(), woken.times()), (vec![10], 0));
    // A large one wakes the call, which looks through it step by step. What comes meanwhile waits behind.
    assert!(heard.offer(text(3 * STEP)));
    assert_eq!((told(), woken.times()), (vec![10], 1));
    assert!(hearing.as_mut().poll(&mut context).is_pending());
    assert!(heard.offer(text(20)));
    assert_eq!(told(), [10]);
    let mut turns = 1;
    while told().len() < 3 {
        assert!(hearing.as_mut().poll(&mut context).is_pending());
        turns += 1;
    }
    assert_eq!((told(), turns), (vec![10, 3 * STEP, 20], 4));
    // Nothing waits any more, once the client's side had its turn.
    assert!(hearing.as_mut().poll(&mut context).is_pending());
    assert!(heard.offer(text(30)));
    assert_eq!(told(), [10, 3 * STEP, 20, 30]);

    // What was heard before the end is told before it.
    assert!(heard.offer(text(STEP + 1)) && heard.offer(text(40)));
    has_ended.store(1, Ordering::Relaxed);
    let mut ended = hearing.as_mut().poll(&mut context);
    while ended.is_pending() {
        ended = hearing.as_mut().poll(&mut context);
    }
    drop(hearing);
    assert_eq!(ended, Poll::Ready("the end"));
    assert_eq!(told(), [10, 3 * STEP, 20, 30, STEP + 1, 40]);
}

#[test]
fn what_is_heard_with_the_end_is_told_before_it() {
    let scene = Scene::new(usize::MAX);
    let (heard, sink) = (scene.heard(), Arc::clone(&scene.sink));
    let call = pin!(poll_fn(|_| {
        assert!(heard.offer(text(4 * STEP)) && heard.offer(text(5)));
        Poll::Ready(())
    }));
    let mut notifications = scene.notifications;
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut hearing = Box::pin(hearing(&mut notifications, call));
    assert!(hearing.as_mut().poll(&mut context).is_ready());
    drop(hearing);
    let notifications = notifications.expect("some");
    assert!(notifications.are_waiting());
    let mut all_told = pin!(notifications.all_told("the end"));
    let mut turns = 0;
    while all_told.as_mut().poll(&mut context).is_pending() {
        turns += 1;
    }
    assert_eq!(turns, 4 + 1);
    assert_eq!(*sink.taken.lock(), [4 * STEP, 5]);
}

#[test]
fn what_waits_has_bounds_and_what_is_dropped_is_counted() {
    let mut scene = Scene::new(3);
    let heard = scene.heard();
    // One of any size, and behind it so many bytes.
    assert!(heard.offer(text(2 * MAX_WAITING_BYTES)));
    assert!(!heard.offer(text(1)));
    let notifications = scene.notifications.as_mut().expect("some");
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(notifications.poll_told(&mut context).is_pending());
    assert!(heard.offer(text(MAX_WAITING_BYTES)));
    assert!(!heard.offer(text(1)));
    while notifications.poll_told(&mut context).is_pending() {}
    // So many in all.
    let taken = std::iter::repeat_with(|| heard.offer(text(STEP + 1)));
    let most = (MAX_WAITING_BYTES / (STEP + 1)).min(MAX_WAITING);
    assert_eq!(
        taken
            .take_while(|taken| *taken)
            .take(MAX_WAITING + 1)
            .count(),
        most
    );
    while notifications.poll_told(&mut context).is_pending() {}
    assert!(heard.offer(text(STEP + 1)));
    let small = std::iter::repeat_with(|| heard.offer(text(1)));
    assert_eq!(small.take_while(|taken| *taken).count(), MAX_WAITING - 1);
    // However fast they are told, the call has its turn before more come.
    assert!(notifications.poll_told(&mut context).is_pending());
    assert!(!heard.offer(text(1)));
    while notifications.poll_told(&mut context).is_pending() {}
    // The sink took three.
    let dropped = most - 1 + MAX_WAITING;
    let text = scene.metrics.render();
    assert!(
        text.contains(&format!(
            "switchboard_backend_ignored_messages_total{{backend=\"b\",kind=\"dropped_notification\"}} {dropped}"
        )),
        "{text}"
    );
    // Nobody is left to tell a large one.
    scene.notifications = None;
    assert!(!heard.offer(self::text(STEP + 1)));
}
