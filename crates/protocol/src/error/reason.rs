//! Why a call failed, in one word.

use std::fmt;

/// The closed list of reasons that a [`Fault`](super::Fault) or an [`Attempt`](super::Attempt) gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The backend has not been learned within the call's time.
    Starting,
    /// There is no connection to the backend, or it says that it is unavailable.
    Unavailable,
    /// The backend refuses the gateway's credential.
    NeedsAuth,
    /// Calls to the backend keep failing, so that it is left alone.
    BreakerOpen,
    /// There is no room for the call, in the gateway or in the backend.
    Overloaded,
    /// The backend asked its client again and again.
    TooManyRounds,
    /// The backend asked its client, who did not answer in time.
    Unanswered,
    /// The backend did not answer in time.
    Timeout,
    /// The connection broke before the answer.
    ConnectionLost,
    /// The answer is larger than the gateway takes, or keeps.
    AnswerTooLarge,
    /// The result is larger than a rule of the gateway's lets results be.
    TooLarge,
    /// The answer is none, or cannot be passed on.
    InvalidAnswer,
    /// The backend answered with an HTTP status that says that it failed.
    ServerError,
    /// The backend answered with an HTTP status that says that the request is wrong.
    Refused,
    /// The backend takes no more calls right now.
    BackendLimit,
    /// A rule does not let this principal make this call.
    Denied,
    /// A rule looks into the arguments, and cannot be sure what they are.
    ArgumentsRefused,
    /// A limit of the gateway's takes no more calls right now.
    RateLimited,
    /// A budget is used up.
    OverBudget,
    /// What decides about the call cannot be asked.
    PolicyUnavailable,
    /// All tools that could have answered failed.
    AllFailed,
    /// Of an attempt alone: the backend answered with an error of its own.
    Error,
    /// Of an attempt alone: the gateway could not make the call.
    NotCallable,
    /// Of an attempt in the audit alone: nobody waited for its end any more.
    Abandoned,
}

impl Reason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Unavailable => "unavailable",
            Self::NeedsAuth => "needs_auth",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::TooManyRounds => "too_many_rounds",
            Self::Unanswered => "unanswered",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::AnswerTooLarge => "answer_too_large",
            Self::TooLarge => "too_large",
            Self::InvalidAnswer => "invalid_answer",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::BackendLimit => "backend_limit",
            Self::Denied => "denied",
            Self::ArgumentsRefused => "arguments_refused",
            Self::RateLimited => "rate_limited",
            Self::OverBudget => "over_budget",
            Self::PolicyUnavailable => "policy_unavailable",
            Self::AllFailed => "all_failed",
            Self::Error => "error",
            Self::NotCallable => "not_callable",
            Self::Abandoned => "abandoned",
        }
    }

    /// The code of a fault with this reason: positive, following HTTP.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::OverBudget => 402,
            Self::Denied => 403,
            Self::TooLarge => 413,
            Self::ArgumentsRefused => 422,
            Self::BackendLimit | Self::RateLimited => 429,
            Self::Starting
            | Self::Unavailable
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::PolicyUnavailable => 503,
            Self::Unanswered | Self::Timeout => 504,
            Self::NeedsAuth
            | Self::TooManyRounds
            | Self::ConnectionLost
            | Self::AnswerTooLarge
            | Self::InvalidAnswer
            | Self::ServerError
            | Self::Refused
            | Self::AllFailed
            | Self::Error
            | Self::NotCallable
            | Self::Abandoned => 502,
        }
    }

    /// Whether it says that the backend, or the way to it, does not work: there was no connection,
    /// no answer, none that is one, or a failure of its own.
    #[must_use]
    pub const fn is_failure_of_backend(self) -> bool {
        match self {
            Self::Unavailable
            | Self::ConnectionLost
            | Self::InvalidAnswer
            | Self::ServerError
            | Self::Timeout => true,
            Self::Starting
            | Self::NeedsAuth
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::TooManyRounds
            | Self::Unanswered
            | Self::AnswerTooLarge
            | Self::TooLarge
            | Self::Refused
            | Self::BackendLimit
            | Self::Denied
            | Self::ArgumentsRefused
            | Self::RateLimited
            | Self::OverBudget
            | Self::PolicyUnavailable
            | Self::AllFailed
            | Self::Error
            | Self::NotCallable
            | Self::Abandoned => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
