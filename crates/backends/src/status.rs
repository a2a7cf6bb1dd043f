//! How a backend is doing, and who is told when that changes.

use std::time::SystemTime;

use switchboard_protocol::error::Reason;
use switchboard_telemetry::{Outlet, redacted};

/// The state of a backend, as lists and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not learned yet, and nothing has gone wrong so far.
    Starting,
    /// Learned and reachable.
    Ready,
    /// It answers, though not everywhere, or not always.
    Degraded,
    /// It cannot be reached, or does not answer as a server should.
    Unavailable,
    /// It wants a credential that it was not given.
    NeedsAuth,
    /// Its process failed too often and is left alone.
    NeedsAttention,
}

impl State {
    /// Why a call to a backend in this state that has no connection fails.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Starting => Reason::Starting,
            Self::NeedsAuth => Reason::NeedsAuth,
            Self::Ready | Self::Degraded | Self::Unavailable | Self::NeedsAttention => {
                Reason::Unavailable
            }
        }
    }

    /// Whether calls of it may succeed: it is learned and answers, be it not everywhere or not always.
    /// What it offers counts as there, and what depends on it may start.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// Whether something is wrong that waiting for a moment does not change.
    pub(crate) const fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::NeedsAuth | Self::NeedsAttention
        )
    }

    /// The word in `_meta["dev.switchboard/backends"]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::NeedsAuth => "needs_auth",
            Self::NeedsAttention => "needs_attention",
        }
    }

    /// What a person can do about it; empty when nothing is needed.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Starting => "wait a moment",
            Self::Ready | Self::Degraded => "",
            Self::Unavailable => {
                "try again later; an operator finds the cause in the gateway's log"
            }
            Self::NeedsAttention => {
                "an operator finds the cause in the gateway's log; loading the configuration again starts it at once"
            }
            Self::NeedsAuth => "an operator has to renew the gateway's credential for it",
        }
    }
}

/// What a server was last seen doing when its state was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being started or connected, the handshake of a legacy server included.
    Connecting,
    /// Answering its lists.
    Listing,
    /// Answering health checks.
    Checking,
    /// Answering calls.
    Calling,
}

impl Stage {
    /// The word in the log and in `_meta["dev.switchboard/backends"]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Listing => "listing",
            Self::Checking => "checking",
            Self::Calling => "calling",
        }
    }
}

/// A state with its story. No text in it holds a value of the server's `env`, a path of the host or a
/// stack trace; other secrets are taken out where it is told. What is for operators alone is apart from
/// what callers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// By what it was judged.
    pub stage: Stage,
    /// Why, in a few plain words; empty when ready.
    pub reason: String,
    /// What else an operator needs to mend it, such as the address that was tried.
    pub cause: Option<String>,
    /// Since when.
    pub since: SystemTime,
}

impl Status {
    /// The reason and the cause, for operators, without the secrets that redaction knows.
    #[must_use]
    pub fn told_operators(&self) -> String {
        redacted(Outlet::Operators, &self.story(), false).into_owned()
    }

    /// The reason and the cause, for the log, which takes secrets out itself.
    pub(crate) fn story(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{}: {cause}", self.reason),
            None => self.reason.clone(),
        }
    }

    /// That of what was just started.
    pub(crate) fn starting() -> Self {
        Self {
            state: State::Starting,
            stage: Stage::Connecting,
            reason: "it has not answered yet".to_owned(),
            cause: None,
            since: SystemTime::now(),
        }
    }
}

/// Is told of changes. Called from the backends' own tasks: must return at once.
pub trait Observer: Send + Sync {
    /// The backend's lists or its status are other than before; read them from the backend.
    fn changed(&self, backend: &str);

    /// The server said that these lists changed, and they have been read again since. Whether their
    /// items are others than before is not looked at: the server's word is passed on.
    fn lists_changed(&self, backend: &str, lists: ChangedLists);

    /// The server said that a resource changed. `uri` is as the server wrote it.
    fn resource_updated(&self, backend: &str, uri: &str);
}

/// Which lists a server said to have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangedLists {
    /// The tools.
    pub tools: bool,
    /// The prompts.
    pub prompts: bool,
    /// The resources or templates.
    pub resources: bool,
}

impl ChangedLists {
    /// All of them.
    pub const ALL: Self = Self {
        tools: true,
        prompts: true,
        resources: true,
    };

    /// Whether any did.
    #[must_use]
    pub const fn any(self) -> bool {
        self.tools || self.prompts || self.resources
    }

    /// Those in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
        }
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self {
            tools: self.tools || other.tools,
            prompts: self.prompts || other.prompts,
            resources: self.resources || other.resources,
        }
    }
}
