//! How many requests are on their way to other replicas.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_protocol::call::Principal;

/// The most to one replica. A session's open stream is one of them.
pub(crate) const MAX_TO_ONE: usize = 4_096;
/// The most to all.
const MAX_IN_ALL: usize = 16_384;
/// Which part of either one principal may have: nobody takes the places of all. Where nobody needs a
/// credential all are one, and have all.
const SHARE: usize = 4;

/// Those that are on their way now. Cheap to clone; clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Places {
    max_to_one: usize,
    max_in_all: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: Count,
    /// Only replicas that some are on their way to.
    by_replica: HashMap<Arc<str>, Count>,
}

/// So many, and whose; only principals that have some.
#[derive(Debug, Default)]
struct Count {
    all: usize,
    of_principal: HashMap<String, usize>,
}

impl Count {
    fn has_room(&self, principal: &Principal, most: usize) -> bool {
        let own = self.of_principal.get(&principal.id).copied().unwrap_or(0);
        let share = match principal.is_anonymous() {
            true => most,
            false => (most / SHARE).max(1),
        };
        self.all < most && own < share
    }

    fn add(&mut self, principal: &Principal) {
        self.all += 1;
        match self.of_principal.get_mut(&principal.id) {
            Some(own) => *own += 1,
            None => {
                self.of_principal.insert(principal.id.clone(), 1);
            }
        }
    }

    fn remove(&mut self, principal: &Principal) {
        self.all -= 1;
        if let Some(own) = self.of_principal.get_mut(&principal.id) {
            *own -= 1;
            if *own == 0 {
                self.of_principal.remove(&principal.id);
            }
        }
    }
}

/// The place of one request, until its answer has ended.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    replica: Arc<str>,
    principal: Arc<Principal>,
}

impl Default for Places {
    fn default() -> Self {
        Self::new(MAX_TO_ONE, MAX_IN_ALL)
    }
}

impl Places {
    /// So many to one replica, and to all.
    fn new(max_to_one: usize, max_in_all: usize) -> Self {
        Self {
            max_to_one,
            max_in_all,
            taken: Arc::default(),
        }
    }

    /// A place for a request of this principal to this replica, if there is one.
    pub(super) fn take(&self, replica: &Arc<str>, principal: &Arc<Principal>) -> Option<Place> {
        let mut taken = self.taken.lock();
        let to_replica = taken.by_replica.get(replica);
        if !to_replica.is_none_or(|count| count.has_room(principal, self.max_to_one))
            || !taken.in_all.has_room(principal, self.max_in_all)
        {
            return None;
        }
        taken.in_all.add(principal);
        let to_replica = taken.by_replica.entry(Arc::clone(replica));
        to_replica.or_default().add(principal);
        drop(taken);
        Some(Place {
            places: self.clone(),
            replica: Arc::clone(replica),
            principal: Arc::clone(principal),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.in_all.remove(&self.principal);
        if let Some(to_replica) = taken.by_replica.get_mut(&self.replica) {
            to_replica.remove(&self.principal);
            if to_replica.all == 0 {
                taken.by_replica.remove(&self.replica);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::from_fn;

    use super::*;

    fn principal(id: &str) -> Arc<Principal> {
        Arc::new(Principal::new(id))
    }

    fn all(places: &Places, replica: &Arc<str>, principal: &Arc<Principal>) -> Vec<Place> {
        from_fn(|| places.take(replica, principal)).collect()
    }

    #[test]
    fn one_replica_does_not_take_the_places_of_another_and_all_come_back() {
        let places = Places::default();
        let (one, other): (Arc<str>, Arc<str>) = ("https://a:1".into(), "https://b:1".into());
        let anybody = Arc::new(Principal::anonymous());
        let held = all(&places, &one, &anybody);
        assert_eq!(held.len(), MAX_TO_ONE);
        assert!(places.take(&other, &anybody).is_some());
        drop(held);
        assert!(places.take(&one, &anybody).is_some());
        let taken = places.taken.lock();
        assert_eq!((taken.in_all.all, taken.by_replica.len()), (0, 0));
        assert!(taken.in_all.of_principal.is_empty());
    }

    #[test]
    fn nobody_takes_all_places() {
        let places = Places::new(8, 16);
        let replicas: Vec<Arc<str>> = (0..9).map(|at| format!("https://{at}:1").into()).collect();
        let greedy = principal("greedy");
        let mut held = all(&places, &replicas[0], &greedy);
        assert_eq!(held.len(), 2);
        // Nor by way of many replicas.
        held.extend(
            replicas
                .iter()
                .flat_map(|replica| all(&places, replica, &greedy)),
        );
        assert_eq!(held.len(), 4);
        for id in ["b", "c", "d"] {
            held.extend(all(&places, &replicas[0], &principal(id)));
        }
        assert_eq!(held.len(), 10);
        assert!(places.take(&replicas[0], &principal("e")).is_none());
        assert!(places.take(&replicas[8], &principal("e")).is_some());
        drop(held);
        assert_eq!(all(&places, &replicas[0], &greedy).len(), 2);
        let taken = places.taken.lock();
        assert!(taken.in_all.of_principal.is_empty() && taken.by_replica.is_empty());
    }
}
