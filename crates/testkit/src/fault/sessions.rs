//! The sessions of a server of the legacy era.

use std::collections::HashMap;

/// How many sessions there may be at once.
const MAX_SESSIONS: usize = 1000;
/// How many calls of a session are remembered, those included whose client went and has not said so.
const MAX_CALLS: usize = 10_000;

/// The open sessions, and the calls that run in each.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    begun: u64,
    /// The keys of the calls that may be cancelled by the id of their request, by session.
    alive: HashMap<String, HashMap<String, String>>,
}

impl Sessions {
    /// Begins a session, and gives its name; `None` if there are too many.
    pub(super) fn begin(&mut self) -> Option<String> {
        if self.alive.len() >= MAX_SESSIONS {
            return None;
        }
        self.begun += 1;
        let name = format!("session-{}", self.begun);
        self.alive.insert(name.clone(), HashMap::new());
        Some(name)
    }

    pub(super) fn is_alive(&self, session: &str) -> bool {
        self.alive.contains_key(session)
    }

    pub(super) fn end(&mut self, session: &str) {
        self.alive.remove(session);
    }

    pub(super) fn forget_all(&mut self) {
        self.alive.clear();
    }

    /// A call runs from now on.
    pub(super) fn call_begins(&mut self, session: &str, id: &str, key: &str) {
        if let Some(running) = self.alive.get_mut(session)
            && running.len() < MAX_CALLS
        {
            running.insert(id.to_owned(), key.to_owned());
        }
    }

    /// A call was answered or cancelled; gives the key of it, unless it was before.
    pub(super) fn call_ends(&mut self, session: &str, id: &str) -> Option<String> {
        self.alive.get_mut(session)?.remove(id)
    }
}
