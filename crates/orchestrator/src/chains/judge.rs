//! Whether a failed call is followed by one of another server.

use switchboard_protocol::call::Outcome;
use switchboard_protocol::error::{CallError, Effect, Fault, Reason, code};

use crate::config::chains::When;

/// On which terms the next server is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) when: Vec<When>,
    pub(crate) only_safe: bool,
}

/// What a failed call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Nothing, for certain.
    Nothing,
    /// The server says that it failed; how far it came nobody knows.
    Refused,
    /// It may be all done.
    Unknown,
}

/// A failure that another server may make good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) when: When,
    pub(crate) done: Done,
}

impl Failure {
    /// What failed; `None` for what is an answer, or the caller's own mistake.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Complete(completed) if completed.is_error => Some(Self {
                when: When::Error,
                done: Done::Refused,
            }),
            Outcome::Complete(_) | Outcome::Arriving(_) | Outcome::InputRequired(_) => None,
            Outcome::Failed(CallError::Protocol(_)) => None,
            Outcome::Failed(CallError::Backend { .. }) => Some(Self {
                when: When::Error,
                done: Done::Refused,
            }),
            Outcome::Failed(CallError::Fault(fault)) => Self::of_fault(fault),
        }
    }

    fn of_fault(fault: &Fault) -> Option<Self> {
        let when = match fault.reason {
            // What may not be called here may not be called elsewhere in its name.
            Reason::Denied | Reason::ArgumentsRefused => return None,
            // The server has done what it was asked for, and answered.
            Reason::TooLarge => return None,
            Reason::OverBudget => When::Budget,
            Reason::BackendLimit | Reason::RateLimited | Reason::Overloaded => When::Limit,
            Reason::Timeout | Reason::Unanswered => When::Timeout,
            Reason::Error | Reason::NotCallable | Reason::Abandoned => When::Error,
            Reason::Starting
            | Reason::Unavailable
            | Reason::NeedsAuth
            | Reason::BreakerOpen
            | Reason::TooManyRounds
            | Reason::ConnectionLost
            | Reason::AnswerTooLarge
            | Reason::InvalidAnswer
            | Reason::ServerError
            | Reason::Refused
            | Reason::PolicyUnavailable
            | Reason::AllFailed => When::Unavailable,
        };
        let done = match fault.effect {
            _ if fault.did_nothing() => Done::Nothing,
            Effect::NotSent => Done::Nothing,
            Effect::Failed => Done::Refused,
            Effect::Unknown => Done::Unknown,
        };
        Some(Self { when, done })
    }

    /// Whether the next server may be called. An uncertain outcome of a tool that is not known to
    /// be safe never is followed by another (decision 4 of the design).
    pub(crate) fn may_be_followed(self, terms: &Terms, is_safe: bool) -> bool {
        terms.when.contains(&self.when)
            && match self.done {
                Done::Nothing => true,
                Done::Refused => !terms.only_safe || is_safe,
                Done::Unknown => is_safe,
            }
    }
}

/// Whether a substitute was refused by the gateway before anything was sent: nobody has its name,
/// its arguments are not what its headers need, or the caller may not call it.
pub(crate) fn is_unsendable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(CallError::Protocol(error)) => {
            matches!(error.code, code::INVALID_PARAMS | code::HEADER_MISMATCH)
        }
        Outcome::Failed(CallError::Fault(fault)) => {
            matches!(fault.reason, Reason::Denied | Reason::ArgumentsRefused)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchboard_protocol::call::Completed;
    use switchboard_protocol::error::ProtocolError;

    fn fault(reason: Reason, effect: Effect) -> Outcome {
        let fault = Fault {
            effect,
            ..Fault::unknown(reason, "")
        };
        Outcome::Failed(fault.into())
    }

    fn complete(is_error: bool) -> Outcome {
        Outcome::Complete(Completed {
            result: Default::default(),
            is_error,
        })
    }

    #[test]
    fn failures_are_sorted_by_what_they_are_and_what_they_did() {
        use Effect::{Failed, NotSent, Unknown};
        for (outcome, expected) in [
            (
                fault(Reason::Unavailable, NotSent),
                Some((When::Unavailable, Done::Nothing)),
            ),
            (
                fault(Reason::Unavailable, Failed),
                Some((When::Unavailable, Done::Refused)),
            ),
            (
                fault(Reason::ConnectionLost, Unknown),
                Some((When::Unavailable, Done::Unknown)),
            ),
            (
                fault(Reason::NeedsAuth, Failed),
                Some((When::Unavailable, Done::Nothing)),
            ),
            (
                fault(Reason::Timeout, Unknown),
                Some((When::Timeout, Done::Unknown)),
            ),
            (
                fault(Reason::Timeout, NotSent),
                Some((When::Timeout, Done::Nothing)),
            ),
            (
                fault(Reason::BackendLimit, Failed),
                Some((When::Limit, Done::Nothing)),
            ),
            (
                fault(Reason::Overloaded, NotSent),
                Some((When::Limit, Done::Nothing)),
            ),
            (
                fault(Reason::RateLimited, NotSent),
                Some((When::Limit, Done::Nothing)),
            ),
            (
                fault(Reason::OverBudget, NotSent),
                Some((When::Budget, Done::Nothing)),
            ),
            (fault(Reason::Denied, NotSent), None),
            (fault(Reason::ArgumentsRefused, NotSent), None),
            (complete(true), Some((When::Error, Done::Refused))),
            (complete(false), None),
            (
                Outcome::Failed(ProtocolError::invalid_params("").into()),
                None,
            ),
        ] {
            let failure = Failure::of(&outcome).map(|failure| (failure.when, failure.done));
            assert_eq!(failure, expected, "{outcome:?}");
        }
    }

    #[test]
    fn only_what_did_nothing_or_is_safe_is_followed() {
        for (done, only_safe, if_unsafe) in [
            (Done::Nothing, true, true),
            (Done::Refused, true, false),
            (Done::Refused, false, true),
            (Done::Unknown, true, false),
            (Done::Unknown, false, false),
        ] {
            let when = When::Timeout;
            let failure = Failure { when, done };
            let terms = |when: Vec<When>| Terms { when, only_safe };
            let asked = terms(vec![when]);
            assert_eq!(failure.may_be_followed(&asked, false), if_unsafe);
            assert!(failure.may_be_followed(&asked, true), "{done:?}");
            let other = terms(vec![When::Error]);
            assert!(!failure.may_be_followed(&other, true), "{done:?}");
        }
    }

    proptest! {
        #[test]
        fn no_chain_executes_an_unsafe_tool_twice(
            attempts in proptest::collection::vec((0_u8..6, any::<bool>()), 1..16),
            only_safe in any::<bool>(),
        ) {
            let terms = Terms {
                when: vec![When::Unavailable, When::Timeout, When::Limit, When::Budget, When::Error],
                only_safe,
            };
            let mut executed_unsafe = 0;
            for (kind, executes) in attempts {
                // An attempt whose outcome is uncertain may have done everything; one that was not
                // sent, or was refused with 429, has done nothing.
                let (outcome, executed) = match kind {
                    0 => (fault(Reason::Unavailable, Effect::NotSent), false),
                    1 => (fault(Reason::BackendLimit, Effect::Failed), false),
                    2 => (fault(Reason::Timeout, Effect::Unknown), executes),
                    3 => (fault(Reason::ConnectionLost, Effect::Unknown), executes),
                    4 => (fault(Reason::ServerError, Effect::Unknown), executes),
                    _ => (complete(false), true),
                };
                executed_unsafe += u32::from(executed);
                let Some(failure) = Failure::of(&outcome) else { break };
                if !failure.may_be_followed(&terms, false) {
                    break;
                }
            }
            prop_assert!(executed_unsafe <= 1);
        }
    }
}
