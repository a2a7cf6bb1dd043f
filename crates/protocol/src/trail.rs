//! What became of a call on its way, for whoever has to answer for it: the audit, and traces.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Reason;
use crate::result_cache::Served;

/// The most steps that are noted of one call; more are counted.
const MAX_STEPS: usize = 64;

/// What became of a call on its way. Shared by the call and its substitutes.
#[derive(Debug, Default)]
pub struct Trail {
    steps: Mutex<Steps>,
    watcher: Option<Box<dyn Watcher>>,
}

/// Is told of what becomes of a call while it happens: who traces it. Told on the path of the call, so
/// nothing may wait.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A step was noted.
    fn noted(&self, step: &Step);

    /// Something happened that is no step.
    fn happened(&self, incident: Incident<'_>);
}

/// What happens to a call and is not noted, but reported to who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident<'a> {
    /// No cached result was found.
    CacheMiss {
        /// Of which backend.
        backend: &'a str,
    },
    /// Secrets were taken out of the result.
    Redacted {
        /// Of which backend.
        backend: &'a str,
    },
}

/// The steps of a call, in order.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// At most 64.
    pub steps: Vec<Step>,
    /// How many more there were.
    pub dropped: usize,
    /// What the call cost in all, in the units of `costs`.
    pub cost: u64,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A policy decided.
    Decision {
        /// Which kind: `access`, `rate`, `concurrency`, `budget`, `result_cap`.
        policy: &'static str,
        /// The name of the rule, limit or budget that decided.
        rule: Arc<str>,
        /// What it said.
        decision: Decision,
    },
    /// A backend was called.
    Attempt {
        /// Which.
        backend: Arc<str>,
        /// The name that the gateway has for the target.
        target: Arc<str>,
        /// Why it failed; `None`: it did not.
        reason: Option<Reason>,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// A cached result answered, or that of an equal call.
    Cached {
        /// Whose result.
        backend: Arc<str>,
        /// The name that the gateway has for the target.
        target: Arc<str>,
        /// Why that answered.
        served: Served,
        /// How old it was, in milliseconds.
        age_ms: u64,
    },
}

/// What a policy said of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be made.
    Allowed,
    /// It may not.
    Denied,
    /// It may be made, and could not be if the policy were enforced (`mode: shadow`).
    WouldDeny,
    /// It may be made, and nobody could look whether the policy would have let it: the store is away
    /// (`if_store_is_away: open`).
    Unchecked,
    /// It was made, and its result is not passed on as a whole.
    Cut,
}

impl Decision {
    /// The word in logs and the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
            Self::Unchecked => "unchecked",
            Self::Cut => "cut",
        }
    }
}

impl Trail {
    /// One of which this is told.
    #[must_use]
    pub fn watched(watcher: Box<dyn Watcher>) -> Self {
        Self {
            steps: Mutex::default(),
            watcher: Some(watcher),
        }
    }

    /// Reports it to who watches, if somebody does.
    pub fn report(&self, incident: Incident<'_>) {
        if let Some(watcher) = &self.watcher {
            watcher.happened(incident);
        }
    }

    /// Whether somebody watches.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watcher.is_some()
    }

    /// Notes a step.
    pub fn note(&self, step: Step) {
        if let Some(watcher) = &self.watcher {
            watcher.noted(&step);
        }
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.steps.len() < MAX_STEPS {
            steps.steps.push(step);
        } else {
            steps.dropped += 1;
        }
    }

    /// Notes what the call cost.
    pub fn charge(&self, cost: u64) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.cost = steps.cost.saturating_add(cost);
    }

    /// Everything noted so far.
    #[must_use]
    pub fn steps(&self) -> Steps {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.clone()
    }
}
