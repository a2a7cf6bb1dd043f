//! The parking lot: which calls wait for their client, and the bounds of them all.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::call::ParkedCall;
use crate::config::parked::ParkedCallsConfig;

/// How much may be kept for all calls together: what servers ask, and outcomes that their client
/// has yet to fetch or may ask for once more. In bytes.
const MAX_KEPT: usize = 64 * 1024 * 1024;
/// How much of it for the calls of one principal: nobody takes the room of all.
const MAX_KEPT_OF_PRINCIPAL: usize = MAX_KEPT / 2;
/// What keeping anything costs beside its own length, in bytes: so the number of what is kept is
/// bounded as well.
const KEPT_OVERHEAD: usize = 1024;

/// What all backends share: the calls of legacy servers that wait for their client. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    pub(crate) lot: Arc<Lot>,
}

impl Shared {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(config: ParkedCallsConfig) -> Self {
        Self {
            lot: Arc::new(Lot::new(config)),
        }
    }

    /// How many calls have a question open that their client has not answered.
    #[must_use]
    pub fn parked_calls(&self) -> usize {
        let all = self.lot.config.max.min(Semaphore::MAX_PERMITS);
        all.saturating_sub(self.lot.places.available_permits())
    }
}

/// Where calls wait for their client.
pub(crate) struct Lot {
    config: ParkedCallsConfig,
    /// What tells this process from every other: a number by chance. It is not secret, and what
    /// holds it is sealed.
    process: u64,
    next: AtomicU64,
    places: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    by_principal: Mutex<HashMap<String, Share>>,
    /// The calls that have asked something and are not over, or whose outcome is remembered, by
    /// number. Each holds something that is bounded: a place, a session, or what it keeps.
    calls: Mutex<HashMap<u64, Arc<ParkedCall>>>,
    /// The calls that are made anew when their client comes back, by number; bounded as places are.
    anew: Mutex<HashMap<u64, Anew>>,
}

/// A call that is over, and made once more when its client comes back.
struct Anew {
    principal: String,
    expires: Instant,
}

/// What one principal has of the lot.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    places: usize,
    kept: usize,
}

/// A place in the lot, given back when it is dropped.
pub(crate) struct Place {
    lot: Arc<Lot>,
    principal: String,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lot
            .give_back(&self.principal, |share| share.places -= 1);
    }
}

/// Memory that is spoken for, until it is dropped.
pub(crate) struct Charge {
    lot: Arc<Lot>,
    principal: String,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.lot
            .give_back(&self.principal, |share| share.kept -= self.bytes);
    }
}

/// What `requestState` of a parked call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    process: u64,
    call: u64,
    /// Which of the call's rounds it belongs to, counted from 1.
    pub(crate) round: usize,
}

impl Ticket {
    /// Reads it back; `None` for anything else.
    pub(crate) fn parse(state: &str) -> Option<Self> {
        let mut parts = state.splitn(3, '.');
        Some(Self {
            process: u64::from_str_radix(parts.next()?, 16).ok()?,
            call: parts.next()?.parse().ok()?,
            round: parts.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}.{}", self.process, self.call, self.round)
    }
}

impl Lot {
    pub(crate) fn new(config: ParkedCallsConfig) -> Self {
        Self {
            config,
            process: fastrand::u64(..),
            next: AtomicU64::new(1),
            places: Arc::new(Semaphore::new(config.max.min(Semaphore::MAX_PERMITS))),
            kept: Arc::new(Semaphore::new(MAX_KEPT)),
            by_principal: Mutex::default(),
            calls: Mutex::default(),
            anew: Mutex::default(),
        }
    }

    /// Notes a call that is made anew when its client comes back, once. `None` if there is no room.
    pub(crate) fn invite(&self, principal: &str) -> Option<(u64, u64)> {
        let now = Instant::now();
        let mut anew = self.anew.lock();
        anew.retain(|_, call| call.expires > now);
        let of_principal = anew.values().filter(|call| call.principal == principal);
        if anew.len() >= self.config.max || of_principal.count() >= self.config.max_per_principal {
            return None;
        }
        let number = self.number();
        let call = Anew {
            principal: principal.to_owned(),
            expires: now + self.config.timeout,
        };
        anew.insert(number, call);
        Some((self.process, number))
    }

    /// Lets a call be made anew: `false` if it was already, or was never to be.
    pub(crate) fn admit(&self, (process, number): (u64, u64), principal: &str) -> bool {
        let call = (process == self.process)
            .then(|| self.anew.lock().remove(&number))
            .flatten();
        call.is_some_and(|call| call.principal == principal && call.expires > Instant::now())
    }

    /// How long a call waits for its client.
    pub(crate) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// A number that no other call of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for a call of this principal, if there is one.
    pub(crate) fn place(self: &Arc<Self>, principal: &str) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.take(principal, |share| {
            share.places += 1;
            share.places <= self.config.max_per_principal
        })?;
        Some(Place {
            lot: Arc::clone(self),
            principal: principal.to_owned(),
            _permit: permit,
        })
    }

    /// Room for something of this many bytes for a call of this principal, if there is any.
    pub(crate) fn keep(self: &Arc<Self>, principal: &str, bytes: usize) -> Option<Charge> {
        let bytes = bytes.checked_add(KEPT_OVERHEAD)?;
        let cost = u32::try_from(bytes).ok()?;
        let permit = Arc::clone(&self.kept).try_acquire_many_owned(cost).ok()?;
        self.take(principal, |share| {
            share.kept += bytes;
            share.kept <= MAX_KEPT_OF_PRINCIPAL
        })?;
        Some(Charge {
            lot: Arc::clone(self),
            principal: principal.to_owned(),
            bytes,
            _permit: permit,
        })
    }

    /// Adds to what a principal has, unless that is more than it may have.
    fn take(&self, principal: &str, add: impl FnOnce(&mut Share) -> bool) -> Option<()> {
        let mut shares = self.by_principal.lock();
        let mut share = shares.get(principal).copied().unwrap_or_default();
        if !add(&mut share) {
            return None;
        }
        shares.insert(principal.to_owned(), share);
        Some(())
    }

    fn give_back(&self, principal: &str, subtract: impl FnOnce(&mut Share)) {
        let mut shares = self.by_principal.lock();
        if let Some(share) = shares.get_mut(principal) {
            subtract(share);
            if *share == Share::default() {
                shares.remove(principal);
            }
        }
    }

    /// What the client of this call is given to come back with.
    pub(crate) fn ticket(&self, call: u64, round: usize) -> Ticket {
        Ticket {
            process: self.process,
            call,
            round,
        }
    }

    /// Has the call be found.
    pub(crate) fn enter(&self, call: &Arc<ParkedCall>) {
        self.calls.lock().insert(call.number(), Arc::clone(call));
    }

    /// Has the call be found no more.
    pub(crate) fn leave(&self, number: u64) {
        self.calls.lock().remove(&number);
    }

    /// The call of a ticket, if it is here and not over.
    pub(crate) fn find(&self, ticket: Ticket) -> Option<Arc<ParkedCall>> {
        if ticket.process != self.process {
            return None;
        }
        self.calls.lock().get(&ticket.call).cloned()
    }

    /// How many calls can be found.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.calls.lock().len()
    }

    /// Whether nothing is left of any call.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
            && self.by_principal.lock().is_empty()
            && self.kept.available_permits() == MAX_KEPT
            && self.places.available_permits() == self.config.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_room_of_all() {
        let lot = Arc::new(Lot::new(ParkedCallsConfig::default()));
        let keep = |principal| lot.keep(principal, 1024 * 1024);
        let taken: Vec<_> = std::iter::from_fn(|| keep("one")).collect();
        assert_eq!(taken.len(), 31);
        let other = keep("other").expect("room");
        drop(taken);
        assert!(keep("one").is_some());
        drop(other);
        assert!(lot.is_empty());
    }
}
