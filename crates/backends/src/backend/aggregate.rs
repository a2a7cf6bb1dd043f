//! What the endpoints of a backend come to: its lists and its state.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Inner;
use crate::endpoint::Endpoint;
use crate::endpoints;
use crate::lists::Lists;
use crate::observe::shown_state;
use crate::status::{ChangedLists, Observer, State, Status};

impl Inner {
    /// The lists of the first endpoint that is well, or else of the first that ever had any.
    pub(super) fn lists(&self) -> Option<Arc<Lists>> {
        let endpoints = self.endpoints.load();
        let well = endpoints.iter().filter(|endpoint| endpoint.is_well());
        well.chain(endpoints.iter()).find_map(Endpoint::lists)
    }

    /// What the states of the endpoints come to, or why there are none.
    fn aggregate_status(&self) -> Status {
        let endpoints = self.endpoints.load();
        let problem = self.problem.as_ref().filter(|_| endpoints.is_empty());
        match problem.map(|problem| *problem.borrow()) {
            None => endpoints::aggregate_status(endpoints.iter().map(Endpoint::status)),
            Some(None) => Status::starting(),
            Some(Some(problem)) => Status {
                state: State::Unavailable,
                reason: problem.to_string(),
                ..Status::starting()
            },
        }
    }

    /// Looks at all endpoints again, and tells whoever observes the backend.
    pub(super) fn refresh_status(&self) {
        let status = self.aggregate_status();
        self.metrics.set_state(shown_state(status.state));
        *self.status.lock() = status;
        self.changed.send_replace(());
        self.observer.changed(&self.name);
    }
}

/// What the endpoints of a backend tell goes through here.
pub(super) struct EndpointWatch(pub(super) Weak<Inner>);

impl EndpointWatch {
    /// The backend, unless another has taken its place.
    fn in_use(&self) -> Option<Arc<Inner>> {
        let backend = self.0.upgrade()?;
        (!backend.is_retired.load(Ordering::Relaxed)).then_some(backend)
    }
}

impl Observer for EndpointWatch {
    fn changed(&self, _backend: &str) {
        if let Some(backend) = self.in_use() {
            backend.refresh_status();
        }
    }

    fn lists_changed(&self, name: &str, lists: ChangedLists) {
        if let Some(backend) = self.in_use() {
            backend.observer.lists_changed(name, lists);
        }
    }

    fn resource_updated(&self, name: &str, uri: &str) {
        if let Some(backend) = self.in_use() {
            backend.observer.resource_updated(name, uri);
        }
    }
}
