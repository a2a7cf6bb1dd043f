//! How many requests are on their way to other replicas.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The most to one replica. A session's open stream is one of them.
const MAX_TO_ONE: usize = 4_096;
/// The most to all.
const MAX_IN_ALL: usize = 16_384;

/// Those that are on their way now. Cheap to clone; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    in_all: usize,
    /// Only owners that some are on their way to.
    by_owner: HashMap<Arc<str>, usize>,
}

/// The place of one request, until its answer has ended.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    owner: Arc<str>,
}

impl Places {
    /// A place for a request to this replica, if there is one.
    pub(super) fn take(&self, owner: &Arc<str>) -> Option<Place> {
        let mut taken = self.0.lock();
        let to_owner = taken.by_owner.get(owner).copied().unwrap_or(0);
        if to_owner >= MAX_TO_ONE || taken.in_all >= MAX_IN_ALL {
            return None;
        }
        taken.in_all += 1;
        taken.by_owner.insert(Arc::clone(owner), to_owner + 1);
        drop(taken);
        Some(Place {
            places: self.clone(),
            owner: Arc::clone(owner),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock();
        taken.in_all -= 1;
        if let Some(to_owner) = taken.by_owner.get_mut(&self.owner) {
            *to_owner -= 1;
            if *to_owner == 0 {
                taken.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_does_not_take_the_places_of_another_and_all_come_back() {
        let places = Places::default();
        let (one, other): (Arc<str>, Arc<str>) = ("https://a:1".into(), "https://b:1".into());
        let held: Vec<_> = (0..MAX_TO_ONE).map_while(|_| places.take(&one)).collect();
        assert_eq!(held.len(), MAX_TO_ONE);
        assert!(places.take(&one).is_none());
        assert!(places.take(&other).is_some());
        drop(held);
        assert!(places.take(&one).is_some());
        let taken = places.0.lock();
        assert_eq!((taken.in_all, taken.by_owner.len()), (0, 0));
    }
}
