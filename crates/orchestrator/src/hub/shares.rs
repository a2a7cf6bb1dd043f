//! What each principal has of the hub's room, so that one alone cannot take it from all others.

use std::collections::HashMap;
use std::sync::Arc;

use switchboard_protocol::call::Principal;

use super::MAX_URI_MEMORY;

/// A principal may have one part in so many of the room.
const PARTS: usize = 8;

/// What every principal that listens has. As many entries as there are listeners, at most.
#[derive(Debug, Default)]
pub(super) struct Shares(HashMap<Arc<str>, Share>);

#[derive(Debug, Default)]
struct Share {
    listeners: usize,
    uri_memory: usize,
}

impl Shares {
    /// Takes room for one more listener; `None` if the principal has its share of `max_listeners` or
    /// of the memory. The callers that nobody tells apart may have all the room there is.
    pub(super) fn take(
        &mut self,
        principal: &Principal,
        memory: usize,
        max_listeners: usize,
    ) -> Option<Arc<str>> {
        let parts = if principal.is_anonymous() { 1 } else { PARTS };
        let (known, had) = match self.0.get_key_value(&*principal.id) {
            Some((known, share)) => (Arc::clone(known), (share.listeners, share.uri_memory)),
            None => (Arc::from(&*principal.id), (0, 0)),
        };
        let is_full = had.0 >= max_listeners.div_ceil(parts)
            || had.1.saturating_add(memory) > MAX_URI_MEMORY / parts;
        if is_full {
            return None;
        }
        let share = self.0.entry(Arc::clone(&known)).or_default();
        share.listeners += 1;
        share.uri_memory += memory;
        Some(known)
    }

    /// Gives the room of a listener back.
    pub(super) fn give_back(&mut self, principal: &Arc<str>, memory: usize) {
        let Some(share) = self.0.get_mut(principal) else {
            return;
        };
        share.listeners = share.listeners.saturating_sub(1);
        share.uri_memory = share.uri_memory.saturating_sub(memory);
        if share.listeners == 0 {
            self.0.remove(principal);
        }
    }

    /// How many principals have something.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
