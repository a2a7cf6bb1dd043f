//! The tasks of one backend that are known, and how many may be.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_protocol::call::Call;
use switchboard_protocol::splice::member;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::said::Said;
use crate::connect::Connection;
use crate::legacy::call::{Ended, ParkedCall, Resumed};
use crate::legacy::parked::Charge;

/// The most tasks of one backend that are known at a time, of one principal and in all.
const MAX_OF_PRINCIPAL: usize = 100;
const MAX_IN_ALL: usize = 1_000;

/// How long a task is known whose server does not say how long it keeps it, and the longest.
const USUAL_LIFE: Duration = Duration::from_secs(60 * 60);
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The tasks of one backend.
pub(crate) struct Tasks {
    /// What tells this process from every other: a number by chance.
    process: u64,
    next: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    known: HashMap<u64, Arc<Task>>,
    /// How many calls of each principal may become tasks any moment.
    making: HashMap<String, usize>,
}

/// Room for a task that is being made, until this is dropped.
pub(super) struct Room<'t> {
    tasks: &'t Tasks,
    principal: &'t str,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut books = self.tasks.books.lock();
        if let Some(making) = books.making.get_mut(self.principal) {
            *making -= 1;
            if *making == 0 {
                books.making.remove(self.principal);
            }
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            process: fastrand::u64(..),
            next: AtomicU64::new(1),
            books: Mutex::default(),
        }
    }
}

/// A task of a legacy server.
pub(super) struct Task {
    pub(super) number: u64,
    pub(super) principal: String,
    /// The server's identifier.
    pub(super) id: String,
    pub(super) connection: Arc<Connection>,
    /// What the server said of it last.
    pub(super) said: Mutex<Said>,
    pub(super) state: Mutex<State>,
    /// Counts the changes of `state`.
    pub(super) changed: watch::Sender<u64>,
    pub(super) expires: Instant,
    /// Cancelled when another one needs its room.
    pub(super) forgotten: CancellationToken,
    /// Cancelled when the server is found to have forgotten the session, and the task with it.
    pub(super) lost: CancellationToken,
}

/// How far a task is.
pub(super) enum State {
    /// The server works, as far as is known.
    Working,
    /// The server asked something.
    Asking(Asking),
    /// The server is done with it.
    Ended {
        ended: Box<Ended>,
        _charge: Option<Charge>,
    },
}

/// What the server asked, and who waits for the answers.
pub(super) struct Asking {
    pub(super) call: Arc<ParkedCall>,
    pub(super) round: usize,
    /// `inputRequests`, as it is shown.
    pub(super) requests: Bytes,
    /// Wakes the driver with what it waits for next.
    pub(super) resumed: oneshot::Sender<Resumed>,
}

impl Tasks {
    /// What the orchestrator knows a task by.
    pub(super) fn name(&self, number: u64) -> String {
        format!("{:x}.{number}", self.process)
    }

    /// Whether it knows of none.
    pub(crate) fn is_empty(&self) -> bool {
        let books = self.books.lock();
        books.known.is_empty() && books.making.is_empty()
    }

    /// The task of this principal that has this name.
    pub(super) fn find(&self, name: &str, principal: &str) -> Option<Arc<Task>> {
        let (process, number) = name.split_once('.')?;
        if u64::from_str_radix(process, 16) != Ok(self.process) {
            return None;
        }
        let task = self.find_number(number.parse().ok()?)?;
        (task.principal == principal).then_some(task)
    }

    fn find_number(&self, number: u64) -> Option<Arc<Task>> {
        self.books.lock().known.get(&number).cloned()
    }

    /// Room for one more task of this principal, if there is any, after the oldest that has ended
    /// was forgotten if need be.
    pub(super) fn make_room<'t>(&'t self, principal: &'t str) -> Option<Room<'t>> {
        let mut books = self.books.lock();
        let Books { known, making } = &mut *books;
        let own = known.values().filter(|task| task.principal == principal);
        let own = own.count() + making.get(principal).copied().unwrap_or(0);
        let all = known.len() + making.values().sum::<usize>();
        if own >= MAX_OF_PRINCIPAL || all >= MAX_IN_ALL {
            let may_go = |task: &Task| {
                task.is_ended() && (own < MAX_OF_PRINCIPAL || task.principal == principal)
            };
            let oldest = known
                .values()
                .filter(|task| may_go(task))
                .map(|task| task.number)
                .min()?;
            // Its driver still holds it, and what it keeps.
            known.remove(&oldest)?.forgotten.cancel();
        }
        *making.entry(principal.to_owned()).or_default() += 1;
        Some(Room {
            tasks: self,
            principal,
        })
    }

    /// Notes a task that was made.
    pub(super) fn note(
        &self,
        call: &Call,
        connection: &Arc<Connection>,
        id: String,
        said: Said,
    ) -> Arc<Task> {
        let life = member(&[b"{", &said.members[..], b"}"].concat(), "ttlMs")
            .and_then(|ttl| serde_json::from_slice(ttl).ok())
            .map_or(USUAL_LIFE, Duration::from_millis);
        let task = Arc::new(Task {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            principal: call.principal.id.clone(),
            id,
            connection: Arc::clone(connection),
            said: Mutex::new(said),
            state: Mutex::new(State::Working),
            changed: watch::Sender::new(0),
            expires: Instant::now() + life.min(MAX_LIFE),
            forgotten: CancellationToken::new(),
            lost: CancellationToken::new(),
        });
        let mut books = self.books.lock();
        books.known.insert(task.number, Arc::clone(&task));
        task
    }

    /// Forgets a task.
    pub(super) fn forget(&self, task: &Task) {
        self.books.lock().known.remove(&task.number);
    }
}

impl Task {
    pub(super) fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.state.lock(), State::Ended { .. })
    }

    fn is_settled(&self) -> bool {
        !matches!(*self.state.lock(), State::Working)
    }

    /// Waits until the server is known to ask, or to be done.
    pub(super) async fn settled(&self, at_most: Duration) {
        let mut changed = self.changed.subscribe();
        let _ = timeout(at_most, changed.wait_for(|_| self.is_settled())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_process_is_unknown() {
        let (one, two) = (Tasks::default(), Tasks::default());
        for name in [one.name(1), two.name(1), "x".to_owned(), ".1".to_owned()] {
            assert!(one.find(&name, "anonymous").is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_being_made_takes_room_as_well() {
        let tasks = Tasks::default();
        let rooms: Vec<_> = std::iter::from_fn(|| tasks.make_room("one")).collect();
        assert_eq!(rooms.len(), MAX_OF_PRINCIPAL);
        assert!(tasks.make_room("two").is_some());
        drop(rooms);
        assert!(tasks.make_room("one").is_some());
        assert!(tasks.books.lock().making.is_empty());
    }
}
