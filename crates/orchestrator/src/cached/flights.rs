//! Equal calls that are under way at once: the first makes the call, the others wait for its result.
//! If it is given up, the next of them makes the call.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use switchboard_protocol::result_cache::{CacheKey, CachedResult, Served};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most different calls that others may wait for. More are made, each for itself.
const MAX_FLIGHTS: usize = 4096;
/// The most calls that wait for one. More are made, each for itself.
const MAX_ABOARD: usize = 1024;

/// The calls under way that others may wait for.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<CacheKey, Place, foldhash::fast::RandomState>>);

struct Place {
    flight: Arc<Flight>,
    aboard: usize,
}

/// What became of a call that others wait for.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) result: CachedResult,
    pub(super) served: Served,
}

struct Flight {
    /// Whose turn it is to make the call; closed once there is something to say.
    lead: Arc<Semaphore>,
    /// Empty: what came is for nobody else.
    landed: OnceLock<Option<Landed>>,
}

/// Whose turn it is.
pub(super) enum Turn {
    /// This call's: it is made, and what comes of it is told.
    Lead(Lead),
    /// An equal call has ended; `None`: what came of it is for nobody else.
    Landed(Option<Landed>),
}

impl Flights {
    /// Joins the equal calls that are under way. `None`: there is no room to wait.
    pub(super) fn board(self: &Arc<Self>, key: &CacheKey) -> Option<Aboard> {
        let mut flights = self.0.lock();
        if let Some(place) = flights.get_mut(key) {
            if place.aboard >= MAX_ABOARD {
                return None;
            }
            place.aboard += 1;
            return Some(self.aboard(key, &place.flight));
        }
        if flights.len() >= MAX_FLIGHTS {
            return None;
        }
        let flight = Arc::new(Flight {
            lead: Arc::new(Semaphore::new(1)),
            landed: OnceLock::new(),
        });
        let aboard = self.aboard(key, &flight);
        flights.insert(*key, Place { flight, aboard: 1 });
        Some(aboard)
    }

    fn aboard(self: &Arc<Self>, key: &CacheKey, flight: &Arc<Flight>) -> Aboard {
        Aboard {
            flights: Arc::clone(self),
            flight: Arc::clone(flight),
            key: *key,
        }
    }

    /// How many calls are under way that others may wait for.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A call that makes or waits for a flight. Dropped, it leaves.
pub(super) struct Aboard {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    key: CacheKey,
}

impl Aboard {
    /// Waits until it is this call's turn, or an equal one has ended. Dropping the future gives up.
    pub(super) async fn turn(self) -> Turn {
        match Arc::clone(&self.flight.lead).acquire_owned().await {
            Ok(permit) => Turn::Lead(Lead {
                aboard: self,
                _permit: permit,
            }),
            Err(_) => Turn::Landed(self.flight.landed.get().cloned().flatten()),
        }
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        let Some(place) = flights.get_mut(&self.key) else {
            return;
        };
        // It may have ended, and another begun under the same key.
        if !Arc::ptr_eq(&place.flight, &self.flight) {
            return;
        }
        place.aboard -= 1;
        if place.aboard == 0 {
            flights.remove(&self.key);
        }
    }
}

/// The turn to make the call. Dropped without an end it goes to the next.
pub(super) struct Lead {
    aboard: Aboard,
    _permit: OwnedSemaphorePermit,
}

impl Lead {
    /// Tells the others what came of the call; `None`: nothing that is for them.
    pub(super) fn land(self, landed: Option<Landed>) {
        let Aboard {
            flights,
            flight,
            key,
        } = &self.aboard;
        // There is one turn at a time, and it ends here.
        let _ = flight.landed.set(landed);
        {
            let mut flights = flights.0.lock();
            let is_this = |place: &Place| Arc::ptr_eq(&place.flight, flight);
            if flights.get(key).is_some_and(is_this) {
                flights.remove(key);
            }
        }
        flight.lead.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use switchboard_protocol::result_cache::Places;

    use super::*;

    const KEY: CacheKey = CacheKey::new([1; 32]);

    fn landed() -> Landed {
        let text = Bytes::from_static(b"{}");
        Landed {
            result: CachedResult {
                places: Places::find(&text, false).expect("a place").0,
                text,
                asked_at: Instant::now(),
                fresh_for: Duration::from_secs(1),
                kept_for: Duration::from_secs(1),
            },
            served: Served::Coalesced,
        }
    }

    async fn leads(flights: &Arc<Flights>) -> Lead {
        match flights.board(&KEY).expect("there is room").turn().await {
            Turn::Lead(lead) => lead,
            Turn::Landed(_) => panic!("it was another's turn"),
        }
    }

    #[tokio::test]
    async fn all_others_get_what_the_first_got() {
        let flights = Arc::new(Flights::default());
        let lead = leads(&flights).await;
        let waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(flights.board(&KEY).expect("there is room").turn()))
            .collect();
        lead.land(Some(landed()));
        for turn in waiting {
            assert!(matches!(turn.await, Ok(Turn::Landed(Some(_)))));
        }
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_turn_that_is_given_up_goes_to_the_next_and_no_further() {
        let flights = Arc::new(Flights::default());
        let lead = leads(&flights).await;
        let mut second = tokio_test_task(flights.board(&KEY).expect("there is room").turn());
        let mut third = tokio_test_task(flights.board(&KEY).expect("there is room").turn());
        assert!(second.poll().is_none() && third.poll().is_none());
        drop(lead);
        let Some(Turn::Lead(lead)) = second.poll() else {
            panic!("it is the second's turn");
        };
        assert!(third.poll().is_none());
        drop(third);
        drop(lead);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn what_is_for_nobody_else_sets_all_free() {
        let flights = Arc::new(Flights::default());
        let lead = leads(&flights).await;
        let waiting = flights.board(&KEY).expect("there is room");
        lead.land(None);
        assert!(matches!(waiting.turn().await, Turn::Landed(None)));
        // The next call begins anew.
        drop(leads(&flights).await);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_no_more() {
        let flights = Arc::new(Flights::default());
        let all: Vec<_> = (0..MAX_ABOARD).map(|_| flights.board(&KEY)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(flights.board(&KEY).is_none());
        drop(all);
        assert_eq!(flights.len(), 0);
    }

    /// A future that is polled by hand.
    struct Polled<F>(std::pin::Pin<Box<F>>);

    fn tokio_test_task<F: Future>(future: F) -> Polled<F> {
        Polled(Box::pin(future))
    }

    impl<F: Future> Polled<F> {
        fn poll(&mut self) -> Option<F::Output> {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match self.0.as_mut().poll(&mut context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            }
        }
    }
}
