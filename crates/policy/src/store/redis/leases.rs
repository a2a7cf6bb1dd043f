//! What this process holds of concurrency limits in Redis: leases, which it renews for as long as a
//! call lasts, so that those of a process that was killed come back by themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How long a lease lasts that nobody renews.
pub(super) const LEASE: Duration = Duration::from_secs(10);

/// How often all are renewed: three times may be missed.
pub(super) const RENEW_EVERY: Duration = Duration::from_millis(2_500);

/// How many leases a script renews.
pub(super) const BATCH: usize = 500;

/// The leases that calls under way hold. As many as calls, which are bounded.
#[derive(Debug)]
pub(super) struct Leases {
    process: u64,
    next: AtomicU64,
    held: Mutex<HashMap<u64, Vec<String>>>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            process: fastrand::u64(..),
            next: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    /// A number for the leases of one call.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A lease as it stands in Redis.
    pub(super) fn member(&self, number: u64) -> String {
        format!("{:016x}:{number}", self.process)
    }

    /// Renews these until they are given up.
    pub(super) fn hold(&self, number: u64, keys: Vec<String>) {
        if !keys.is_empty() {
            self.held.lock().insert(number, keys);
        }
    }

    pub(super) fn give_up(&self, number: u64) {
        self.held.lock().remove(&number);
    }

    /// Each key and lease that is held now.
    pub(super) fn held(&self) -> Vec<(String, String)> {
        let held = self.held.lock();
        let each = held.iter().flat_map(|(number, keys)| {
            let member = self.member(*number);
            keys.iter().map(move |key| (key.clone(), member.clone()))
        });
        each.collect()
    }
}
