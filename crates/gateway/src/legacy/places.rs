//! Places for calls in flight: so many in all, and so many of one principal.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use switchboard_protocol::call::Principal;

/// The most calls of all sessions in flight: they outlive the connections that bound the others.
const MAX_CALLS: usize = 10_000;
/// The most calls of one principal's sessions: nobody takes the places of all.
const MAX_OF_PRINCIPAL: usize = MAX_CALLS / 4;

/// All places. Cheap to clone; clones are the same places.
#[derive(Clone, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    in_all: usize,
    of_principal: HashMap<String, usize, RandomState>,
}

/// One place, given back when it is dropped.
pub(super) struct Place {
    places: Places,
    principal: Arc<Principal>,
}

impl Places {
    /// A place for a call of this principal, if there is one.
    pub(super) fn take(&self, principal: &Arc<Principal>) -> Option<Place> {
        let mut taken = self.taken.lock();
        if taken.in_all >= MAX_CALLS {
            return None;
        }
        match taken.of_principal.get_mut(&principal.id) {
            Some(own) if *own >= MAX_OF_PRINCIPAL => return None,
            Some(own) => *own += 1,
            None => {
                taken.of_principal.insert(principal.id.clone(), 1);
            }
        }
        taken.in_all += 1;
        Some(Place {
            places: self.clone(),
            principal: Arc::clone(principal),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.in_all -= 1;
        if let Some(own) = taken.of_principal.get_mut(&self.principal.id) {
            *own -= 1;
            if *own == 0 {
                taken.of_principal.remove(&self.principal.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() {
        let principal = |id: &str| Arc::new(Principal::new(id));
        let places = Places::default();
        let greedy = principal("greedy");
        let mut taken: Vec<_> = std::iter::from_fn(|| places.take(&greedy)).collect();
        assert_eq!(taken.len(), MAX_OF_PRINCIPAL);
        for id in ["b", "c", "d"] {
            taken.extend(std::iter::from_fn(|| places.take(&principal(id))));
        }
        assert_eq!(taken.len(), MAX_CALLS);
        assert!(places.take(&principal("e")).is_none());
        drop(taken);
        let all = places.taken.lock();
        assert!(all.in_all == 0 && all.of_principal.is_empty());
    }
}
