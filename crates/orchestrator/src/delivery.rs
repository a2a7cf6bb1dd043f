//! What comes back, on its way from a backend to whoever called ([decision 19]): without secrets, in
//! a form that the client can use, and no larger than it may be.
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use switchboard_protocol::call::Outcome;
use switchboard_protocol::delivery::Terms;

mod redact;

pub(crate) use self::redact::{redacted, redacting};

/// The outcome of a call under these terms. Order is behaviour, change it with an ADR.
pub(crate) async fn deliver(terms: &Terms, outcome: Outcome) -> Outcome {
    // First, so that nothing behind it ever has a secret that was found.
    match &terms.redactor {
        Some(redactor) => redacted(redactor, outcome),
        None => outcome,
    }
}
