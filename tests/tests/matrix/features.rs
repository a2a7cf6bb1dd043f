//! The rows of the matrix.

/// What may pass between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Feature {
    Plain,
    Progress,
    Logs,
    Cancellation,
    FormAccept,
    FormDecline,
    FormCancel,
    UrlAccept,
    UrlDecline,
    UrlCancel,
    UrlError,
    Sampling,
    SamplingWithTools,
    Roots,
    Two,
    Three,
    Prompt,
    Resource,
    ListChanges,
    ResourceUpdates,
    Task,
    AskingTask,
}

impl Feature {
    pub(crate) const ALL: [Self; 22] = [
        Self::Plain,
        Self::Progress,
        Self::Logs,
        Self::Cancellation,
        Self::FormAccept,
        Self::FormDecline,
        Self::FormCancel,
        Self::UrlAccept,
        Self::UrlDecline,
        Self::UrlCancel,
        Self::UrlError,
        Self::Sampling,
        Self::SamplingWithTools,
        Self::Roots,
        Self::Two,
        Self::Three,
        Self::Prompt,
        Self::Resource,
        Self::ListChanges,
        Self::ResourceUpdates,
        Self::Task,
        Self::AskingTask,
    ];

    /// What the table calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain tools",
            Self::Progress => "progress",
            Self::Logs => "logs of a call",
            Self::Cancellation => "cancellation",
            Self::FormAccept => "elicitation by form, accepted",
            Self::FormDecline => "elicitation by form, declined",
            Self::FormCancel => "elicitation by form, cancelled",
            Self::UrlAccept => "elicitation by URL, accepted",
            Self::UrlDecline => "elicitation by URL, declined",
            Self::UrlCancel => "elicitation by URL, cancelled",
            Self::UrlError => "elicitation by URL, by error −32042",
            Self::Sampling => "sampling",
            Self::SamplingWithTools => "sampling with tools",
            Self::Roots => "roots",
            Self::Two => "two questions at once",
            Self::Three => "three rounds of questions",
            Self::Prompt => "a prompt that asks",
            Self::Resource => "a resource that asks",
            Self::ListChanges => "list changes",
            Self::ResourceUpdates => "resource updates",
            Self::Task => "tasks",
            Self::AskingTask => "a task that asks",
        }
    }

    /// Whether it is tried while nothing else runs, and before any call is given up: a change that
    /// one client made is none that another waits for, and on a channel for all calls a log is only
    /// the only call's, whose server is done with all others.
    pub(crate) fn is_alone(self) -> bool {
        matches!(self, Self::Logs | Self::ListChanges | Self::ResourceUpdates)
    }

    /// How an elicitation is answered.
    pub(crate) fn answer(self) -> &'static str {
        match self {
            Self::FormDecline | Self::UrlDecline => "decline",
            Self::FormCancel | Self::UrlCancel => "cancel",
            _ => "accept",
        }
    }
}
