//! A process that runs only while it is needed: whether it is, and what is known of it while it is not there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Inner;
use crate::config::StartPolicy;
use crate::lists::Lists;
use crate::status::{Stage, State};

impl Inner {
    /// Whether its process is needed by nobody and started when it is: what the server offers is
    /// known.
    pub(crate) fn needs_no_process(&self) -> bool {
        self.config.processes.start == StartPolicy::Lazy
            && self.lists.load().is_some()
            && !self.demand.is_waited_for()
            && !self.is_in_use()
    }

    /// Whether an attempt is under way, a call waits for its client in a session, or a task is known
    /// that a client may come back for.
    pub(super) fn is_at_work(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
            || self.pool.is_leased()
            || !self.legacy_tasks.is_empty()
    }

    /// Whether its process has something to do, be it to tell news of a resource.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_at_work() || self.demand.is_listened_to() || !self.watched.borrow().is_empty()
    }

    /// Takes what its server was last known to offer for what it offers, if its process is started
    /// only when it is needed; whether it did.
    pub(crate) async fn takes_known_lists(self: &Arc<Self>) -> bool {
        if self.config.processes.start != StartPolicy::Lazy {
            return false;
        }
        let inner = Arc::clone(self);
        let read = move || inner.known_lists.read(&inner.name, &inner.config);
        let Ok(Some(lists)) = self.tasks.spawn_blocking(read).await else {
            return false;
        };
        self.metrics.set_tools(lists.tools.len());
        self.lists.store(Some(Arc::new(lists)));
        self.set_status(State::Ready, Stage::Listing, "");
        true
    }

    /// Keeps what its server offers for the next time that [`Inner::takes_known_lists`] asks.
    pub(crate) fn keep_known_lists(self: &Arc<Self>, lists: &Arc<Lists>) {
        if self.config.processes.start == StartPolicy::Lazy {
            // One at a time, or an older one may be the last: what changes meanwhile is kept the next
            // time that it is read.
            let Ok(writing) = Arc::clone(&self.keeping_lists).try_acquire_owned() else {
                return;
            };
            let (inner, lists) = (Arc::clone(self), Arc::clone(lists));
            self.tasks.spawn_blocking(move || {
                inner.known_lists.write(&inner.name, &inner.config, &lists);
                drop(writing);
            });
        }
    }
}
