//! What is made of the answers: a set of places that never empties, and one line of the log for
//! each change.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Place, Problem};
use crate::config::MAX_ENDPOINTS;

/// A look that found nothing, with words for the log.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: Problem,
    pub(super) detail: String,
}

pub(super) struct Publisher {
    backend: Arc<str>,
    places: watch::Sender<Arc<[Place]>>,
    problem: watch::Sender<Option<Problem>>,
}

type Receivers = (
    watch::Receiver<Arc<[Place]>>,
    watch::Receiver<Option<Problem>>,
);

impl Publisher {
    pub(super) fn new(backend: &str) -> (Self, Receivers) {
        let (places, places_seen) = watch::channel(Arc::from([]));
        let (problem, problem_seen) = watch::channel(None);
        let publisher = Self {
            backend: backend.into(),
            places,
            problem,
        };
        (publisher, (places_seen, problem_seen))
    }

    /// The places known last.
    pub(super) fn known(&self) -> Arc<[Place]> {
        Arc::clone(&self.places.borrow())
    }

    /// Publishes what a look came to: nothing new, if that is no place at all.
    pub(super) fn publish(&self, places: Vec<Place>) {
        if places.is_empty() {
            self.report(&Failure {
                problem: Problem::Empty,
                detail: "an empty answer".to_owned(),
            });
            return;
        }
        self.replace(places);
        if self.set_problem(None) {
            tracing::info!(backend = &*self.backend, "endpoints are known again");
        }
    }

    /// Publishes that a look failed.
    pub(super) fn report(&self, failure: &Failure) {
        let Failure { problem, detail } = failure;
        if self.set_problem(Some(*problem)) {
            tracing::warn!(
                backend = &*self.backend,
                %problem,
                detail,
                kept = self.places.borrow().len(),
                "can't find endpoints, keeping those known last"
            );
        }
    }

    fn replace(&self, mut places: Vec<Place>) {
        places.sort_unstable();
        places.dedup_by(|one, other| one.address == other.address && one.host == other.host);
        let found = places.len();
        places.truncate(MAX_ENDPOINTS);
        let backend = &*self.backend;
        let is_changed = self.places.send_if_modified(|known| {
            let is_changed = **known != *places;
            if is_changed {
                *known = places.into();
            }
            is_changed
        });
        if !is_changed {
            return;
        }
        tracing::info!(
            backend,
            endpoints = found.min(MAX_ENDPOINTS),
            "found endpoints"
        );
        if found > MAX_ENDPOINTS {
            tracing::warn!(
                backend,
                found,
                MAX_ENDPOINTS,
                "too many endpoints, the last are left out"
            );
        }
    }

    /// Answers whether that is a change.
    fn set_problem(&self, new: Option<Problem>) -> bool {
        self.problem
            .send_if_modified(|problem| std::mem::replace(problem, new) != new)
    }
}
