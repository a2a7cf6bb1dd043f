//! Equal calls that are under way at once: the first makes the call, the others wait for its result.
//! If it is given up, the next of them makes the call.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use switchboard_protocol::result_cache::CacheKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Answer;

/// The most different calls that others may wait for. More are made, each for itself.
const MAX_FLIGHTS: usize = 4096;
/// The most calls that wait for one. More are made, each for itself.
const MAX_MEMBERS: usize = 1024;

/// The calls under way that others may wait for.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<CacheKey, Place, foldhash::fast::RandomState>>);

struct Place {
    flight: Arc<Flight>,
    members: usize,
}

struct Flight {
    /// Held by who makes the call; closed once it has ended.
    lead: Arc<Semaphore>,
    /// Empty: what came is for nobody else.
    answer: OnceLock<Option<Answer>>,
}

/// What a call is among its equals.
pub(super) enum Role {
    /// It is made, for all of them.
    Lead(Lead),
    /// An equal call was made and has ended; `None`: what came of it is for nobody else.
    Follow(Option<Answer>),
}

impl Flights {
    /// Joins the equal calls that are under way. `None`: there is no room to wait.
    pub(super) fn join(self: &Arc<Self>, key: &CacheKey) -> Option<Member> {
        let mut flights = self.0.lock();
        if let Some(place) = flights.get_mut(key) {
            if place.members >= MAX_MEMBERS {
                return None;
            }
            place.members += 1;
            return Some(self.member(key, &place.flight));
        }
        if flights.len() >= MAX_FLIGHTS {
            return None;
        }
        let flight = Arc::new(Flight {
            lead: Arc::new(Semaphore::new(1)),
            answer: OnceLock::new(),
        });
        let member = self.member(key, &flight);
        flights.insert(*key, Place { flight, members: 1 });
        Some(member)
    }

    fn member(self: &Arc<Self>, key: &CacheKey, flight: &Arc<Flight>) -> Member {
        Member {
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
pub(super) struct Member {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    key: CacheKey,
}

impl Member {
    /// Waits until it is for this call to be made, or an equal one has ended. Dropping the future
    /// leaves.
    pub(super) async fn role(self) -> Role {
        match Arc::clone(&self.flight.lead).acquire_owned().await {
            Ok(permit) => Role::Lead(Lead {
                member: self,
                _permit: permit,
            }),
            Err(_) => Role::Follow(self.flight.answer.get().cloned().flatten()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        let Some(place) = flights.get_mut(&self.key) else {
            return;
        };
        // It may have ended, and another begun under the same key.
        if !Arc::ptr_eq(&place.flight, &self.flight) {
            return;
        }
        place.members -= 1;
        if place.members == 0 {
            flights.remove(&self.key);
        }
    }
}

/// The lead of equal calls: to make the one that the others wait for. Dropped before it has ended it
/// passes to the next of them.
pub(super) struct Lead {
    member: Member,
    _permit: OwnedSemaphorePermit,
}

impl Lead {
    /// Tells the others what came of the call; `None`: nothing that is for them.
    pub(super) fn finish(self, answer: Option<Answer>) {
        let Member {
            flights,
            flight,
            key,
        } = &self.member;
        // One call leads at a time, and it ends here.
        let _ = flight.answer.set(answer);
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
    use switchboard_protocol::result_cache::{CachedResult, Places, Served};

    use super::*;

    const KEY: CacheKey = CacheKey::new([1; 32]);

    fn answer() -> Answer {
        let text = Bytes::from_static(b"{}");
        Answer {
            result: CachedResult {
                places: Places::find(&text, false).expect("a place").0,
                text,
                asked_at: Instant::now(),
                fresh_for: Duration::from_secs(1),
                usable_for: Duration::from_secs(1),
                may_name_resources: false,
            },
            served: Served::Coalesced,
        }
    }

    async fn leads(flights: &Arc<Flights>) -> Lead {
        match flights.join(&KEY).expect("there is room").role().await {
            Role::Lead(lead) => lead,
            Role::Follow(_) => panic!("another leads"),
        }
    }

    #[tokio::test]
    async fn all_others_get_what_the_first_got() {
        let flights = Arc::new(Flights::default());
        let lead = leads(&flights).await;
        let waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(flights.join(&KEY).expect("there is room").role()))
            .collect();
        lead.finish(Some(answer()));
        for role in waiting {
            assert!(matches!(role.await, Ok(Role::Follow(Some(_)))));
        }
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_lead_that_is_given_up_passes_to_the_next_and_no_further() {
        let flights = Arc::new(Flights::default());
        let lead = leads(&flights).await;
        let mut second = tokio_test_task(flights.join(&KEY).expect("there is room").role());
        let mut third = tokio_test_task(flights.join(&KEY).expect("there is room").role());
        assert!(second.poll().is_none() && third.poll().is_none());
        drop(lead);
        let Some(Role::Lead(lead)) = second.poll() else {
            panic!("the second leads");
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
        let waiting = flights.join(&KEY).expect("there is room");
        lead.finish(None);
        assert!(matches!(waiting.role().await, Role::Follow(None)));
        // The next call begins anew.
        drop(leads(&flights).await);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_no_more() {
        let flights = Arc::new(Flights::default());
        let all: Vec<_> = (0..MAX_MEMBERS).map(|_| flights.join(&KEY)).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(flights.join(&KEY).is_none());
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
