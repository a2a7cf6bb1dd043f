//! How late a worker thread is with what it has to do.
//!
//! A worker is one thread ([`crate::workers`]): a task that is woken waits for all that were woken
//! before it. How long that takes is measured by a timer of the thread itself, which costs a call
//! nothing, and an idle thread has none.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, sleep_until};

/// How often a thread is measured while calls are under way.
const TICK: Duration = Duration::from_millis(100);

thread_local! {
    static DELAY: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static IS_MEASURED: Cell<bool> = const { Cell::new(false) };
}

/// What is known of the calling thread.
pub(super) struct QueueDelay;

impl QueueDelay {
    /// How late the calling thread has been lately, by its last two measurements. Zero on a thread
    /// that nobody measures.
    pub(super) fn of_this_thread() -> Duration {
        DELAY.get()
    }

    /// Measures the calling thread until there are no `calls` any more, if it is one that runs
    /// all that it spawns itself.
    pub(super) fn measure_while(calls: &Arc<AtomicUsize>) {
        if IS_MEASURED.get() {
            return;
        }
        let runtime = Handle::try_current()
            .ok()
            .filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        if let Some(runtime) = runtime {
            let measured = Measured::begin();
            runtime.spawn(measure(measured, Arc::clone(calls)));
        }
    }
}

/// How late a thread is said to be after it was late by `last` and then by `late`: by the lesser, so
/// that a single pause, after which there is no queue, says nothing.
fn next(last: Duration, late: Duration) -> Duration {
    last.min(late)
}

async fn measure(measured: Measured, calls: Arc<AtomicUsize>) {
    let mut last = Duration::ZERO;
    while calls.load(Ordering::Relaxed) > 0 {
        let due = Instant::now() + TICK;
        sleep_until(due).await;
        let late = due.elapsed();
        DELAY.set(next(last, late));
        last = late;
    }
    drop(measured);
}

/// Says that the thread is being measured until this is dropped, which also happens when its
/// runtime ends.
struct Measured;

impl Measured {
    fn begin() -> Self {
        IS_MEASURED.set(true);
        Self
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        IS_MEASURED.set(false);
        DELAY.set(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pause_is_no_delay_and_two_are_as_long_as_the_shorter() {
        let [none, short, long] = [0, 1, 2].map(Duration::from_secs);
        assert_eq!(next(none, long), none);
        assert_eq!(next(long, none), none);
        assert_eq!(next(long, short), short);
        assert_eq!(next(short, long), short);
    }

    #[tokio::test]
    async fn a_thread_that_stays_behind_is_late_until_there_are_no_calls() {
        let calls = Arc::new(AtomicUsize::new(1));
        QueueDelay::measure_while(&calls);
        let stall = async || {
            tokio::task::yield_now().await;
            #[expect(
                clippy::disallowed_methods,
                reason = "a thread that is blocked is what is measured"
            )]
            std::thread::sleep(TICK * 4);
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        for _ in 0..8 {
            stall().await;
        }
        assert!(QueueDelay::of_this_thread() > TICK);

        calls.store(0, Ordering::Relaxed);
        while IS_MEASURED.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(QueueDelay::of_this_thread(), Duration::ZERO);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_runtime_that_moves_its_tasks_is_not_measured() {
        QueueDelay::measure_while(&Arc::new(AtomicUsize::new(1)));
        assert!(!IS_MEASURED.get());
    }
}
