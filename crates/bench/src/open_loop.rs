//! Calls at a fixed rate, whether or not the last ones were answered: the time of a call runs from
//! when it was due, so that waiting for a client or for a slow answer before it counts as well.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::Failure;
use crate::client::Client;
use crate::load::{Clients, Loaded, nanoseconds};

/// How long the schedule begins after it was made.
const LEAD: Duration = Duration::from_millis(5);

/// When each call is due.
struct Schedule {
    start: Instant,
    interval: Duration,
    calls: u64,
    /// How many calls the clients have taken so far.
    taken: AtomicU64,
    /// One permit for each call that is due and not taken.
    due: Semaphore,
}

impl Schedule {
    fn due_at(&self, number: u64) -> Instant {
        let nanos = nanoseconds(self.interval).saturating_mul(number);
        self.start + Duration::from_nanos(nanos)
    }
}

impl Clients {
    /// Makes so many calls, one every `1 / rate` seconds, on whichever connection is free.
    ///
    /// # Errors
    /// At the first call that is not answered as it should be, or after `limit`.
    pub(crate) async fn open_loop(
        &mut self,
        calls: u64,
        rate: f64,
        limit: Duration,
    ) -> Result<Loaded, Failure> {
        let schedule = Arc::new(Schedule {
            start: Instant::now() + LEAD,
            interval: Duration::from_secs_f64(1.0 / rate.max(1.0)),
            calls,
            taken: AtomicU64::new(0),
            due: Semaphore::new(0),
        });
        let paced = Arc::clone(&schedule);
        // A thread of its own: the runtime's clock wakes to a millisecond only.
        let pacing = spawn_blocking(move || pace(&paced));
        let loaded = self
            .run(calls, limit, |client| {
                call_when_due(client, Arc::clone(&schedule))
            })
            .await;
        // The pacing ends at its next call, if the clients ended before.
        schedule.due.close();
        pacing.await.map_err(Failure::at("the schedule failed"))?;
        loaded
    }
}

/// Says of each call when it is due, until somebody closes the schedule.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread is the clock's alone, and the runtime's clock is too coarse"
)]
fn pace(schedule: &Schedule) {
    // Sleeping to 50 µs is only what happens without it.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    for number in 0..schedule.calls {
        thread::sleep(
            schedule
                .due_at(number)
                .saturating_duration_since(Instant::now()),
        );
        if schedule.due.is_closed() {
            return;
        }
        schedule.due.add_permits(1);
    }
    // Nobody waits for a call that does not come.
    schedule.due.close();
}

async fn call_when_due(
    mut client: Client,
    schedule: Arc<Schedule>,
) -> Result<(Client, Vec<u64>), Failure> {
    let mut latencies = Vec::new();
    loop {
        // Once the schedule is closed every call is due, and none is waited for.
        if let Ok(permit) = schedule.due.acquire().await {
            permit.forget();
        }
        let number = schedule.taken.fetch_add(1, Ordering::Relaxed);
        if number >= schedule.calls {
            return Ok((client, latencies));
        }
        client.call(number).await?;
        latencies.push(nanoseconds(schedule.due_at(number).elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(calls: u64) -> Schedule {
        Schedule {
            start: Instant::now(),
            interval: Duration::from_micros(100),
            calls,
            taken: AtomicU64::new(0),
            due: Semaphore::new(0),
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let schedule = schedule(20);
        let whole = schedule.due_at(20) - schedule.due_at(0);
        assert_eq!(whole, Duration::from_millis(2));
        pace(&schedule);
        assert!(Instant::now() >= schedule.due_at(19));
        assert!(schedule.due.is_closed());
    }

    #[test]
    fn a_schedule_that_was_closed_ends() {
        let schedule = schedule(u64::MAX);
        schedule.due.close();
        pace(&schedule);
    }
}
