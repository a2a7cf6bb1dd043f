//! Reading the configuration again because an operator asks for it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::reload::Reloaded;

/// The most requests that wait: they are answered one after the other.
const MAX_WAITING: usize = 4;

/// What came of it: what has changed, or why nothing has.
pub type ReloadAnswer = Result<Reloaded, Vec<String>>;

/// The requests to read the configuration again, for whoever reads it.
pub type ReloadRequests = mpsc::Receiver<ReloadRequest>;

/// One request.
#[derive(Debug)]
pub struct ReloadRequest(oneshot::Sender<ReloadAnswer>);

impl ReloadRequest {
    /// Tells what came of it.
    pub fn answer(self, answer: ReloadAnswer) {
        // Whoever asked may have left.
        let _ = self.0.send(answer);
    }
}

/// Where requests are made.
#[derive(Clone)]
pub(crate) struct ReloadSender(mpsc::Sender<ReloadRequest>);

impl ReloadSender {
    /// A way to ask, and what comes out of it.
    pub(crate) fn new() -> (Self, ReloadRequests) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer; `None` if nobody is there to give one, or too many wait.
    pub(super) async fn ask(&self) -> Option<ReloadAnswer> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(ReloadRequest(sender)).ok()?;
        answer.await.ok()
    }
}

/// What a reload did.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReloadView {
    /// Whether anything is in force now that was not before.
    changed: bool,
    /// The keys whose values are others now.
    keys: Vec<&'static str>,
    backends: ReloadedBackendsView,
    /// The keys that differ from those in force and that only a restart puts in force.
    needs_restart: Vec<&'static str>,
}

/// The backends that a reload touched.
#[derive(Serialize, JsonSchema)]
struct ReloadedBackendsView {
    added: Vec<Arc<str>>,
    changed: Vec<Arc<str>>,
    removed: Vec<Arc<str>>,
}

impl ReloadView {
    pub(super) fn of(reloaded: Reloaded) -> Self {
        Self {
            changed: reloaded.is_changed,
            keys: reloaded.keys,
            backends: ReloadedBackendsView {
                added: reloaded.backends.added,
                changed: reloaded.backends.changed,
                removed: reloaded.backends.removed,
            },
            needs_restart: reloaded.needs_restart,
        }
    }
}
