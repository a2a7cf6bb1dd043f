//! What one call has tried so far.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use switchboard_protocol::error::{Attempt, CallError, Effect, Fault, Reason};

use crate::retry::Backoff;

/// The attempts of one call: where it was sent, where it was not let in, and what came of it.
pub(crate) struct Tries {
    /// Made with the second attempt, which most calls never need.
    pub(crate) backoff: Option<Backoff>,
    /// The endpoints that failed it.
    failed: SmallVec<[u64; 2]>,
    /// The endpoints whose breaker refused it.
    refused: SmallVec<[u64; 2]>,
    /// The shortest time until one of those may be asked again.
    retry_after: Option<Duration>,
    attempts: Vec<Attempt>,
    /// The last fault that leaves open whether the call took effect.
    uncertain: Option<Box<Fault>>,
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self {
            backoff: None,
            failed: SmallVec::new(),
            refused: SmallVec::new(),
            retry_after: None,
            attempts: Vec::new(),
            uncertain: None,
        }
    }

    pub(crate) fn has_failed(&self, endpoint: u64) -> bool {
        self.failed.contains(&endpoint)
    }

    pub(crate) fn is_refused(&self, endpoint: u64) -> bool {
        self.refused.contains(&endpoint)
    }

    /// The breaker of an endpoint did not let it in.
    pub(crate) fn refused(&mut self, endpoint: u64, retry_after: Duration) {
        self.refused.push(endpoint);
        let known = self.retry_after.unwrap_or(Duration::MAX);
        self.retry_after = Some(known.min(retry_after));
    }

    /// An endpoint failed it. Those that refused it may let in another attempt.
    pub(crate) fn failed(&mut self, endpoint: u64, fault: &Fault) {
        self.failed.push(endpoint);
        self.refused.clear();
        self.attempts.extend(fault.attempts.iter().cloned());
        if fault.effect == Effect::Unknown {
            self.uncertain = Some(Box::new(fault.clone()));
        }
    }

    /// What the caller is told in the end: the last error, with all attempts. A fault that says
    /// that nothing was done gives way to an earlier one that cannot.
    pub(crate) fn told(self, error: CallError) -> CallError {
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

    /// The fault of a call that no breaker lets in.
    pub(crate) fn left_alone(&self, backend: &Arc<str>) -> Fault {
        let after = self.retry_after.unwrap_or_default();
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let message = format!(
            "Calls to the server \"{backend}\" keep failing, so it is left alone for a while. Nothing was executed: try again in {} s, or go on without it.",
            after.as_secs().max(1)
        );
        Fault {
            retry_after_ms: Some(ms.max(1)),
            ..Fault::not_sent(Reason::BreakerOpen, message)
        }
        .of(backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut tries = Tries::new();
        for (index, (reason, effect)) in faults.iter().enumerate() {
            tries.failed(index as u64, &fault(*reason, *effect));
        }
        match tries.told(last.into()) {
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
        let mut tries = Tries::new();
        tries.failed(1, &fault(Reason::ServerError, Effect::Unknown));
        tries.refused(1, Duration::from_secs(5));
        tries.refused(2, Duration::from_secs(3));
        let refused = tries.left_alone(&"b".into());
        assert_eq!(refused.retry_after_ms, Some(3_000));
        let CallError::Fault(told) = tries.told(refused.into()) else {
            panic!("a fault");
        };
        assert_eq!((told.reason, told.attempts.len()), (Reason::ServerError, 1));
    }
}
