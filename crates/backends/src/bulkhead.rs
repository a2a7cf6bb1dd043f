//! The bulkhead of a backend: so many calls are in it at once, so many wait for their turn, the
//! others are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::BulkheadConfig;

/// A refused call is told to wait at least this long.
const LEAST_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Lets a bounded number of calls in. Those that wait are let in in the order in which they came.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    config: BulkheadConfig,
    places: Arc<Semaphore>,
    queued: AtomicUsize,
}

/// A call's place in the backend, which the next may have once this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place away"]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
}

/// There was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// How long the call had waited; none at all if the queue was full too.
    pub(crate) queued_for: Duration,
    /// How long it makes sense to wait before the next try.
    pub(crate) retry_after: Duration,
}

impl Bulkhead {
    /// An empty one.
    pub(crate) fn new(config: &BulkheadConfig) -> Self {
        let places = config.max_concurrent.min(Semaphore::MAX_PERMITS);
        Self {
            config: *config,
            places: Arc::new(Semaphore::new(places)),
            queued: AtomicUsize::new(0),
        }
    }

    /// A place, if there is one. A place that is given back goes to the first who waits, so this
    /// overtakes nobody.
    pub(crate) fn try_enter(&self) -> Option<Permit> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Permit { _place: place })
    }

    /// Waits for a place, until the queue's timeout or the call's deadline. If there is one, this
    /// neither waits nor reads the clock. Dropping the future gives the place in the queue away.
    ///
    /// # Errors
    ///
    /// If the queue is full, or the time is up.
    pub(crate) async fn enter(&self, deadline: Option<Instant>) -> Result<Permit, Full> {
        if let Some(permit) = self.try_enter() {
            return Ok(permit);
        }
        let Some(_in_queue) = InQueue::enter(&self.queued, self.config.max_queue) else {
            return Err(self.full(Duration::ZERO));
        };
        let since = Instant::now();
        let last = since + self.config.queue_timeout;
        let last = deadline.map_or(last, |deadline| deadline.min(last));
        match timeout_at(last, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Permit { _place: place }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.full(since.elapsed())),
        }
    }

    /// How many calls have a place.
    pub(crate) fn in_flight(&self) -> usize {
        let places = self.config.max_concurrent.min(Semaphore::MAX_PERMITS);
        places - self.places.available_permits()
    }

    /// How many calls wait for one.
    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn full(&self, queued_for: Duration) -> Full {
        Full {
            queued_for,
            retry_after: self.config.queue_timeout.max(LEAST_RETRY_AFTER),
        }
    }
}

/// A place in the queue.
struct InQueue<'a>(&'a AtomicUsize);

impl<'a> InQueue<'a> {
    fn enter(queued: &'a AtomicUsize, max: usize) -> Option<Self> {
        let in_queue = Self(queued);
        (queued.fetch_add(1, Ordering::Relaxed) < max).then_some(in_queue)
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
