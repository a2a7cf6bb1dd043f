//! What one call has tried so far.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use switchboard_protocol::error::{Attempt, CallError, Fault};

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
}

impl Tries {
    pub(crate) fn new() -> Self {
        Self {
            backoff: None,
            failed: SmallVec::new(),
            refused: SmallVec::new(),
            retry_after: None,
            attempts: Vec::new(),
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

    /// An endpoint failed it, and another attempt follows. Those that refused may let it in by
    /// then.
    pub(crate) fn failed(&mut self, endpoint: u64, fault: &Fault) {
        self.failed.push(endpoint);
        self.refused.clear();
        self.attempts.extend(fault.attempts.iter().cloned());
    }

    /// The last error, with all attempts.
    pub(crate) fn told(&mut self, error: CallError) -> CallError {
        match error {
            CallError::Fault(mut fault) if !self.attempts.is_empty() => {
                self.attempts.append(&mut fault.attempts);
                fault.attempts = std::mem::take(&mut self.attempts);
                CallError::Fault(fault)
            }
            error => error,
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
            ..Fault::not_sent("breaker_open", message)
        }
        .of(backend)
    }
}
