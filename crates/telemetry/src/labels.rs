//! The closed sets of label values.
//!
//! A label never takes a value that a client or a server chose, so a stranger cannot make the
//! registry grow.

/// Declares an enum whose variants are the only values of one label.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`\n\n")] $(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in order of declaration; a value's place is its discriminant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The values as they stand in the metric, in the same order.
            pub const NAMES: [&'static str; Self::ALL.len()] = [$($text,)+];

            /// The value as it stands in the metric.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

label! {
    /// `decision` of a limit or budget.
    LimitDecision {
        Allowed = "allowed",
        Refused = "refused",
        /// The store was away, and the call passed uncounted.
        Unchecked = "unchecked",
        /// The store was away, and the call was refused.
        Unavailable = "unavailable",
    }
}

label! {
    /// `reason` why the store gave no usable answer.
    StoreFailure {
        Timeout = "timeout",
        /// There is no connection, or it broke.
        Connection = "connection",
        /// It takes no writes, or none of this user's.
        Refused = "refused",
        /// What it answered is none of the answers that it may give.
        Answer = "answer",
    }
}

label! {
    /// `mcp_method_name`: the methods of the revisions 2024-11-05 to 2026-07-28, of tasks and
    /// of skills, that a client sends.
    MethodLabel {
        ServerDiscover = "server/discover",
        Initialize = "initialize",
        Ping = "ping",
        ToolsList = "tools/list",
        ToolsCall = "tools/call",
        ResourcesList = "resources/list",
        ResourceTemplatesList = "resources/templates/list",
        ResourcesRead = "resources/read",
        ResourcesSubscribe = "resources/subscribe",
        ResourcesUnsubscribe = "resources/unsubscribe",
        PromptsList = "prompts/list",
        PromptsGet = "prompts/get",
        CompletionComplete = "completion/complete",
        LoggingSetLevel = "logging/setLevel",
        SubscriptionsListen = "subscriptions/listen",
        TasksGet = "tasks/get",
        TasksUpdate = "tasks/update",
        TasksCancel = "tasks/cancel",
        TasksResult = "tasks/result",
        SkillsList = "skills/list",
        SkillsGet = "skills/get",
        DirectoryRead = "resources/directory/read",
        NotificationsInitialized = "notifications/initialized",
        NotificationsCancelled = "notifications/cancelled",
        /// Any other method, whatever its name.
        Other = "other",
    }
}

label! {
    /// `error_type`: how an operation failed. A success has the empty string.
    ErrorType {
        /// The result had `isError: true`.
        ToolError = "tool_error",
        /// The deadline of the call or of the attempt passed.
        Timeout = "timeout",
        /// The caller went away or cancelled.
        Cancelled = "cancelled",
        /// JSON-RPC parse error.
        ParseError = "-32700",
        /// JSON-RPC invalid request.
        InvalidRequest = "-32600",
        /// JSON-RPC method not found.
        MethodNotFound = "-32601",
        /// JSON-RPC invalid params.
        InvalidParams = "-32602",
        /// JSON-RPC internal error.
        InternalError = "-32603",
        /// Resource not found, in revisions before 2026-07-28.
        ResourceNotFound = "-32002",
        /// A header and the body disagree.
        HeaderMismatch = "-32020",
        /// The client lacks a capability that the request needs.
        MissingCapability = "-32021",
        /// The protocol version is not supported.
        UnsupportedVersion = "-32022",
        /// The session ended or was never there.
        SessionNotFound = "404",
        /// No valid credential.
        Unauthorized = "401",
        /// A budget is spent.
        OverBudget = "402",
        /// A policy refused the call.
        Forbidden = "403",
        /// A message was larger than its bound.
        TooLarge = "413",
        /// The arguments were refused.
        ArgumentsRefused = "422",
        /// A rate limit was reached.
        LimitReached = "429",
        /// The backend failed or answered what is no answer.
        BadGateway = "502",
        /// The backend is not there.
        Unavailable = "503",
        /// The gateway's own deadline for the backend passed.
        GatewayTimeout = "504",
        /// Anything else.
        Other = "other",
    }
}

impl ErrorType {
    /// The label of an error's code, JSON-RPC's or HTTP's; [`ErrorType::Other`] for one that is not
    /// in the set.
    pub fn from_code(code: i64) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|error| error.as_str().parse() == Ok(code))
            .unwrap_or(Self::Other)
    }

    /// Whether a server's span shows no error for one of this code: it [is the
    /// caller's](ErrorType::is_the_callers).
    pub(crate) fn is_excused(code: Option<i64>) -> bool {
        code.is_some_and(|code| Self::from_code(code).is_the_callers())
    }

    /// True for the errors that a server does not count as its own under the OpenTelemetry
    /// conventions for MCP: the request was at fault, so the server's span and histogram show no
    /// error.
    pub const fn is_the_callers(self) -> bool {
        matches!(
            self,
            Self::ParseError
                | Self::InvalidRequest
                | Self::MethodNotFound
                | Self::InvalidParams
                | Self::ResourceNotFound
        )
    }
}

label! {
    /// `state` of a backend. A backend is in exactly one.
    BackendState {
        /// Being started or connected for the first time.
        Starting = "starting",
        /// Connected, its lists learned.
        Ready = "ready",
        /// Answers, though not everywhere, or not always.
        Degraded = "degraded",
        /// Down, or its breaker is open.
        Unavailable = "unavailable",
        /// Waits for somebody to give it a credential.
        NeedsAuth = "needs_auth",
        /// Its process failed too often and is left alone.
        NeedsAttention = "needs_attention",
        /// Set aside because what it offers changed.
        Quarantined = "quarantined",
        /// Its budget is spent.
        OverBudget = "over_budget",
    }
}

label! {
    /// `reason` of a call that was not let in to a backend.
    Refusal {
        /// As many calls as may be are in it, and as many as may wait.
        Full = "full",
        /// The breakers of all its endpoints are open.
        BreakerOpen = "breaker_open",
    }
}

label! {
    /// `reason` of a call that the gateway did not take on, or whose answer it could not keep.
    ShedReason {
        /// As many calls are under way as may be.
        InFlight = "in_flight",
        /// Its principal has as many of them as it may have of the upper half.
        Share = "share",
        /// The worker thread is late with those that it has.
        QueueDelay = "queue_delay",
        /// The call was made, but there was no memory for its answer.
        Answers = "answers",
    }
}

label! {
    /// `decision` of the rules of who may do what.
    PolicyDecision {
        /// The call may be made.
        Allowed = "allowed",
        /// It may not.
        Denied = "denied",
        /// It may, and could not if the policy were enforced.
        WouldDeny = "would_deny",
    }
}

label! {
    /// `reason` of a record of the audit that is lost.
    AuditDrop {
        /// As many as may be wait to be written.
        QueueFull = "queue_full",
        /// The file or database did not take it.
        WriteFailed = "write_failed",
    }
}

label! {
    /// `outcome` of finding out on whose behalf a request is made.
    AuthOutcome {
        /// It has a principal.
        Accepted = "accepted",
        /// It has no credential.
        Missing = "missing",
        /// What it has is no bearer credential, or there are several.
        Malformed = "malformed",
        /// It has a key that is not accepted.
        UnknownKey = "unknown_key",
        /// It has a key whose last day is over.
        ExpiredKey = "expired_key",
        /// Its key is for other profiles.
        Profile = "profile",
        /// Its client certificate has no name that counts, or has expired.
        Certificate = "certificate",
        /// Its token cannot be read, or is no access token.
        TokenMalformed = "token_malformed",
        /// Its token is signed by an algorithm that is not allowed, or not at all.
        TokenAlgorithm = "token_algorithm",
        /// Its token is of an issuer that is not trusted.
        TokenIssuer = "token_issuer",
        /// The issuer of its token publishes no such key.
        TokenKey = "token_key",
        /// The signature of its token is wrong.
        TokenSignature = "token_signature",
        /// Its token has expired.
        TokenExpired = "token_expired",
        /// Its token is not valid yet.
        TokenEarly = "token_early",
        /// Its token is for somebody else.
        TokenAudience = "token_audience",
        /// Its token names no subject, or no expiry.
        TokenClaims = "token_claims",
        /// Its token is good for less than it needs.
        InsufficientScope = "insufficient_scope",
        /// The issuer of its token has never been reached.
        IssuerAway = "issuer_away",
    }
}

label! {
    /// `result` of the wish to try a failed call again.
    Retry {
        /// It was tried again.
        Made = "made",
        /// The backend's budget of retries was spent.
        OverBudget = "over_budget",
    }
}

label! {
    /// `result` of reading the configuration again.
    ReloadResult {
        /// What it says now is in force, but for what needs a restart.
        Done = "ok",
        /// It says what it said before.
        Unchanged = "unchanged",
        /// It is wrong, or could not be read; nothing was changed.
        Failed = "failed",
    }
}

label! {
    /// `outcome` of looking for a cached result.
    CacheOutcome {
        /// One was there, and fresh.
        Hit = "hit",
        /// None was there, and the call was made.
        Miss = "miss",
        /// An equal call was under way, and its result answered.
        Coalesced = "coalesced",
        /// One was there, fresh no longer, and answered since the backend failed.
        Stale = "stale",
        /// No result of this call may be cached.
        Bypassed = "bypassed",
    }
}

label! {
    /// `to`: what the breaker of an endpoint did.
    BreakerTurn {
        /// It lets no call in for a while.
        Open = "open",
        /// It lets all in.
        Closed = "closed",
    }
}

label! {
    /// `kind` of a message from a backend that was not passed on.
    IgnoredMessage {
        /// A line that is no JSON, as start-up banners are.
        Banner = "banner",
        /// A line that is no UTF-8.
        InvalidUtf8 = "invalid_utf8",
        /// An answer to an id that nobody waits for.
        UnknownId = "unknown_id",
        /// A message above the size cap.
        Oversize = "oversize",
        /// A request that a server may not make there.
        UnexpectedRequest = "unexpected_request",
        /// A log notification that no single call can own.
        UnattributedLog = "unattributed_log",
        /// A notification with no addressee, or for a full sink.
        DroppedNotification = "dropped_notification",
    }
}

label! {
    /// `outcome` of an attempt at an endpoint.
    AttemptOutcome {
        /// There was a result, or a question.
        Ok = "ok",
        /// The result had `isError: true`.
        ToolError = "tool_error",
        /// The server answered with an error.
        Error = "error",
        /// There was no answer in time.
        Timeout = "timeout",
        /// There was no answer, or none that is one.
        Failed = "failed",
        /// The caller went away or cancelled.
        Cancelled = "cancelled",
    }
}

impl AttemptOutcome {
    /// What an attempt came to that failed like this; `None`: it did not fail.
    pub const fn of(error: Option<ErrorType>) -> Self {
        let Some(error) = error else {
            return Self::Ok;
        };
        match error {
            ErrorType::ToolError => Self::ToolError,
            ErrorType::Timeout | ErrorType::GatewayTimeout => Self::Timeout,
            ErrorType::Cancelled => Self::Cancelled,
            ErrorType::ParseError
            | ErrorType::InvalidRequest
            | ErrorType::MethodNotFound
            | ErrorType::InvalidParams
            | ErrorType::InternalError
            | ErrorType::ResourceNotFound
            | ErrorType::HeaderMismatch
            | ErrorType::MissingCapability
            | ErrorType::UnsupportedVersion
            | ErrorType::Other => Self::Error,
            ErrorType::SessionNotFound
            | ErrorType::Unauthorized
            | ErrorType::OverBudget
            | ErrorType::Forbidden
            | ErrorType::TooLarge
            | ErrorType::ArgumentsRefused
            | ErrorType::LimitReached
            | ErrorType::BadGateway
            | ErrorType::Unavailable => Self::Failed,
        }
    }
}

label! {
    /// `outcome` of a call of a tool.
    ToolOutcome {
        /// There was a result, or a question.
        Ok = "ok",
        /// The result had `isError: true`.
        ToolError = "tool_error",
        /// There was no result.
        Failed = "failed",
        /// It was not made: by a rule, a limit or a budget, or for its arguments.
        Refused = "refused",
        /// The caller went away or cancelled.
        Cancelled = "cancelled",
    }
}

label! {
    /// `state` of the breaker of an endpoint. It is in exactly one.
    BreakerShown {
        /// It lets all calls in.
        Closed = "closed",
        /// It lets none in.
        Open = "open",
        /// It lets one in, to see whether the endpoint is back.
        HalfOpen = "half_open",
    }
}

label! {
    /// `outcome` of a call of a tool that took the place of another.
    FallbackOutcome {
        /// Its answer is the caller's.
        Served = "served",
        /// It failed too, or could not be called.
        Failed = "failed",
    }
}

label! {
    /// `list`: what is listed.
    ListKind {
        Tools = "tools",
        Prompts = "prompts",
        Resources = "resources",
        /// Of resources.
        Templates = "templates",
        Skills = "skills",
    }
}

label! {
    /// `version` of the protocol that a client speaks.
    ClientVersion {
        V2024_11_05 = "2024-11-05",
        V2025_03_26 = "2025-03-26",
        V2025_06_18 = "2025-06-18",
        V2025_11_25 = "2025-11-25",
        V2026_07_28 = "2026-07-28",
    }
}

impl ClientVersion {
    /// `era` of the version.
    pub const fn era(self) -> &'static str {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => {
                "legacy"
            }
            Self::V2026_07_28 => "modern",
        }
    }
}

label! {
    /// `outcome` of a request that was passed on to the replica that has what it is about.
    ForwardOutcome {
        /// The replica answered, whatever it said.
        Answered = "answered",
        /// It could not be reached: nothing was sent.
        Unreachable = "unreachable",
        /// It was lost before it answered.
        Lost = "lost",
        /// As many were on their way as may be: nothing was sent.
        Overloaded = "overloaded",
    }
}
