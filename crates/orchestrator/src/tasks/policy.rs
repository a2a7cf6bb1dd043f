//! What the policy says of tasks: who may know of one, and what its result counts.
//!
//! A task is a call of its tool that goes on. Whoever may no longer see the tool has no such task; a
//! request for one is a continuation of the call, which was charged when it began. What comes later
//! is its result, whose bytes are charged when it is delivered for the first time.

use switchboard_protocol::call::Call;
use switchboard_protocol::policy::{Ending, Target, TargetKind};
use switchboard_protocol::splice::member;

use super::Task;
use crate::catalogue::Snapshot;
use crate::orchestrator::Inner;

/// The end of a request for a task that brought no result, or one that was charged before.
pub(crate) const NOTHING_DELIVERED: Ending = Ending {
    did_something: true,
    bytes: 0,
};

impl Task {
    /// What policies decide about: the tool, by the name that it has now.
    pub(crate) fn target<'t>(&'t self, snapshot: &'t Snapshot) -> Target<'t> {
        let entry = snapshot
            .tool(&self.tool)
            .filter(|entry| entry.backend == self.home.backend);
        Target {
            kind: TargetKind::Tool,
            backend: &self.home.backend,
            name: entry.map_or(&self.tool, |entry| &entry.exposed),
        }
    }

    /// Whether whoever makes this call may know of the task: now, of its tool.
    pub(crate) fn is_shown(&self, snapshot: &Snapshot, call: &Call) -> bool {
        let profile = call.profile.as_deref();
        snapshot.shows(&call.principal, profile, &self.target(snapshot))
    }

    /// The same; if it is hidden it is reported to the policy that somebody asked for it.
    pub(crate) fn is_shown_or_reported(&self, snapshot: &Snapshot, call: &Call) -> bool {
        let is_shown = self.is_shown(snapshot, call);
        if !is_shown {
            snapshot.policy().hid(call, &self.target(snapshot));
        }
        is_shown
    }
}

/// Whether the state of a task has what its call would have been answered with.
pub(crate) fn has_result(task: &[u8]) -> bool {
    member(task, "result").is_some()
}

impl Inner {
    /// The end of a request, or of news, that brought the result of the task of this name, `bytes`
    /// long. As far as this process knows, it is charged once.
    pub(crate) fn first_delivery(&self, token: &str, bytes: usize) -> Ending {
        if !self.spent.is_first_use(token) {
            return NOTHING_DELIVERED;
        }
        Ending {
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            ..NOTHING_DELIVERED
        }
    }
}
