//! The tokens of callers: one for each that each of them showed the gateway.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use switchboard_protocol::credentials::SubjectToken;
use tokio::time::Instant;

use super::slot::Slot;

/// How many tokens of callers are kept for one backend.
const MAX_CALLERS: usize = 10_000;

/// The tokens of callers, by who they are and what they showed: what was exchanged for one token is
/// never used for another, which may be good for less.
#[derive(Default)]
pub(super) struct Callers {
    hasher: RandomState,
    known: Mutex<HashMap<Key, Caller, RandomState>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    principal: Arc<str>,
    /// Of the token.
    hash: u64,
}

struct Caller {
    subject: Arc<SubjectToken>,
    slot: Arc<Slot>,
    used: Instant,
}

impl Callers {
    /// Where the token is that this one is exchanged for.
    pub(super) fn slot(&self, principal: &Arc<str>, subject: &Arc<SubjectToken>) -> Arc<Slot> {
        let key = Key {
            principal: Arc::clone(principal),
            hash: self.hasher.hash_one(subject.expose()),
        };
        let now = Instant::now();
        let mut known = self.known.lock();
        if let Some(caller) = known.get_mut(&key)
            && caller.subject.expose() == subject.expose()
        {
            caller.used = now;
            return Arc::clone(&caller.slot);
        }
        if known.len() >= MAX_CALLERS {
            evict(&mut known);
        }
        let caller = Caller {
            subject: Arc::clone(subject),
            slot: Arc::default(),
            used: now,
        };
        let slot = Arc::clone(&caller.slot);
        known.insert(key, caller);
        slot
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }
}

/// Lets the tenth go that was used longest ago, so that room is made rarely.
fn evict(known: &mut HashMap<Key, Caller, RandomState>) {
    let mut used: Vec<Instant> = known.values().map(|caller| caller.used).collect();
    let tenth = used.len() / 10;
    let (_, oldest_kept, _) = used.select_nth_unstable(tenth);
    let oldest_kept = *oldest_kept;
    let mut room = tenth + 1;
    known.retain(|_, caller| {
        let goes = caller.used <= oldest_kept && room > 0;
        room -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Arc<SubjectToken> {
        Arc::new(SubjectToken::new(text.to_owned()))
    }

    #[test]
    fn nobody_gets_what_was_made_for_another() {
        let callers = Callers::default();
        let (anna, ben): (Arc<str>, Arc<str>) = (Arc::from("anna"), Arc::from("ben"));
        let first = callers.slot(&anna, &token("a"));
        assert!(Arc::ptr_eq(&first, &callers.slot(&anna, &token("a"))));
        assert!(!Arc::ptr_eq(&first, &callers.slot(&anna, &token("b"))));
        assert!(!Arc::ptr_eq(&first, &callers.slot(&ben, &token("a"))));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let callers = Callers::default();
        let anna: Arc<str> = Arc::from("anna");
        for number in 0..MAX_CALLERS + 1 {
            callers.slot(&anna, &token(&number.to_string()));
        }
        let known = callers.known.lock().len();
        assert!(known <= MAX_CALLERS && known > MAX_CALLERS / 2, "{known}");
    }
}
