//! What a server did for which call.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::lock::lock;

/// How many calls are remembered; what comes beyond that is refused.
const MAX_KEYS: usize = 500_000;

/// How often what happened to the call of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// It arrived.
    pub received: u32,
    /// Its tool was executed.
    pub executed: u32,
    /// Its answer was sent, right or wrong, to the end that the fault left it.
    pub answered: u32,
    /// Its client closed the connection before that: how a call of the modern era is cancelled.
    pub hung_up: u32,
    /// It was named by `notifications/cancelled`: how a call of the legacy era is cancelled.
    pub cancelled: u32,
}

/// The calls that a server saw, by key: at most 500,000, and the server refuses more.
#[derive(Debug, Default)]
pub struct Journal {
    calls: Mutex<HashMap<String, Counts>>,
}

impl Journal {
    /// What happened to the call of this key so far.
    pub fn of(&self, key: &str) -> Counts {
        lock(&self.calls).get(key).copied().unwrap_or_default()
    }

    /// Notes that a call came, and says how often it has come. `None`: there is no room for it.
    pub(super) fn receive(&self, key: &str) -> Option<u32> {
        let mut calls = lock(&self.calls);
        if calls.len() >= MAX_KEYS && !calls.contains_key(key) {
            return None;
        }
        let counts = calls.entry(key.to_owned()).or_default();
        counts.received += 1;
        Some(counts.received)
    }

    /// Notes more of a call that was received.
    pub(super) fn note(&self, key: &str, change: impl FnOnce(&mut Counts)) {
        if let Some(counts) = lock(&self.calls).get_mut(key) {
            change(counts);
        }
    }
}
