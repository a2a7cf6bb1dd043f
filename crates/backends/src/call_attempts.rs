//! What one call has tried so far.

use smallvec::SmallVec;
use switchboard_protocol::error::{Attempt, CallError, Effect, Fault};

use crate::retry::Backoff;

/// The attempts of one call: where it was sent, and what came of it.
pub(crate) struct CallAttempts {
    /// Made with the second attempt, which most calls never need.
    pub(crate) backoff: Option<Backoff>,
    /// The endpoints that failed it.
    failed: SmallVec<[u64; 2]>,
    attempts: Vec<Attempt>,
    /// The last fault that leaves open whether the call took effect.
    uncertain: Option<Box<Fault>>,
}

impl CallAttempts {
    pub(crate) fn new() -> Self {
        Self {
            backoff: None,
            failed: SmallVec::new(),
            attempts: Vec::new(),
            uncertain: None,
        }
    }

    pub(crate) fn has_failed_at(&self, endpoint: u64) -> bool {
        self.failed.contains(&endpoint)
    }

    /// An endpoint failed it.
    pub(crate) fn failed(&mut self, endpoint: u64, fault: &Fault) {
        self.failed.push(endpoint);
        self.attempts.extend(fault.attempts.iter().cloned());
        if fault.effect == Effect::Unknown {
            self.uncertain = Some(Box::new(fault.clone()));
        }
    }

    /// What the caller is told in the end: the last error, with all attempts. A fault that says
    /// that nothing was done gives way to an earlier one that cannot.
    pub(crate) fn into_error(self, error: CallError) -> CallError {
        match (error, self.uncertain) {
            (CallError::Fault(fault), uncertain) => {
                let is_uncertain = fault.effect == Effect::Unknown;
                let told = uncertain.filter(|_| !is_uncertain).unwrap_or(fault);
                CallError::Fault(Box::new(Fault {
                    attempts: self.attempts,
                    ..*told
                }))
            }
            (error, _) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answer::breaker_open;
    use switchboard_protocol::error::Reason;

    fn fault(reason: Reason, effect: Effect) -> Fault {
        let attempt = Attempt {
            backend: "b".into(),
            reason,
            ms: 1,
        };
        Fault {
            effect,
            attempts: vec![attempt],
            ..Fault::unknown(reason, "")
        }
    }

    fn told(faults: &[(Reason, Effect)], last: Fault) -> Fault {
        let mut attempts = CallAttempts::new();
        for (index, (reason, effect)) in faults.iter().enumerate() {
            attempts.failed(index as u64, &fault(*reason, *effect));
        }
        match attempts.into_error(last.into()) {
            CallError::Fault(fault) => *fault,
            other => panic!("a fault, not {other}"),
        }
    }

    #[test]
    fn what_may_have_been_done_is_never_told_as_not_done() {
        let faults = [
            (Reason::Timeout, Effect::Unknown),
            (Reason::Unavailable, Effect::NotSent),
        ];
        let told = told(&faults, fault(Reason::Unavailable, Effect::NotSent));
        assert_eq!(
            (told.reason, told.effect),
            (Reason::Timeout, Effect::Unknown)
        );
        let reasons: Vec<_> = told.attempts.iter().map(|attempt| attempt.reason).collect();
        assert_eq!(reasons, [Reason::Timeout, Reason::Unavailable]);
    }

    #[test]
    fn who_was_let_in_nowhere_hears_of_what_failed_before() {
        let mut attempts = CallAttempts::new();
        attempts.failed(1, &fault(Reason::ServerError, Effect::Unknown));
        let refused = breaker_open(&"b".into(), Duration::from_secs(3));
        assert_eq!(refused.retry_after_ms, Some(3_000));
        let CallError::Fault(told) = attempts.into_error(refused.into()) else {
            panic!("a fault");
        };
        assert_eq!((told.reason, told.attempts.len()), (Reason::ServerError, 1));
    }
}
