//! The methods of the protocol that the gateway serves or sends.

/// A request method (specification: `schema`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `server/discover`
    Discover,
    /// `tools/list`
    ToolsList,
    /// `tools/call`
    ToolsCall,
    /// `resources/list`
    ResourcesList,
    /// `resources/templates/list`
    ResourceTemplatesList,
    /// `resources/read`
    ResourcesRead,
    /// `prompts/list`
    PromptsList,
    /// `prompts/get`
    PromptsGet,
    /// `completion/complete`
    Complete,
    /// `subscriptions/listen`
    Listen,
    /// `tasks/get` of the tasks extension (SEP-2663)
    TasksGet,
    /// `tasks/update` of the tasks extension
    TasksUpdate,
    /// `tasks/cancel` of the tasks extension
    TasksCancel,
    /// `skills/list` of the skills extension (SEP-2640)
    SkillsList,
    /// `skills/get` of the skills extension
    SkillsGet,
    /// `resources/directory/read` of the skills extension
    DirectoryRead,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Discover,
        Self::ToolsList,
        Self::ToolsCall,
        Self::ResourcesList,
        Self::ResourceTemplatesList,
        Self::ResourcesRead,
        Self::PromptsList,
        Self::PromptsGet,
        Self::Complete,
        Self::Listen,
        Self::TasksGet,
        Self::TasksUpdate,
        Self::TasksCancel,
        Self::SkillsList,
        Self::SkillsGet,
        Self::DirectoryRead,
    ];

    /// The method of this name, or `None` for one that neither 2026-07-28 nor an extension that is
    /// routed has.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::of_name(name.as_bytes())
    }

    /// As [`Method::parse`], of the bytes of a name.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str().as_bytes() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "server/discover",
            Self::ToolsList => "tools/list",
            Self::ToolsCall => "tools/call",
            Self::ResourcesList => "resources/list",
            Self::ResourceTemplatesList => "resources/templates/list",
            Self::ResourcesRead => "resources/read",
            Self::PromptsList => "prompts/list",
            Self::PromptsGet => "prompts/get",
            Self::Complete => "completion/complete",
            Self::Listen => "subscriptions/listen",
            Self::TasksGet => "tasks/get",
            Self::TasksUpdate => "tasks/update",
            Self::TasksCancel => "tasks/cancel",
            Self::SkillsList => "skills/list",
            Self::SkillsGet => "skills/get",
            Self::DirectoryRead => "resources/directory/read",
        }
    }

    /// Whether the `Mcp-Name` header is required, that is, whether `params.name`, `params.uri` or
    /// `params.taskId` names a target (specification: `basic/transports/streamable-http`, Standard
    /// Request Headers; SEP-2663, Routing Headers).
    #[must_use]
    pub const fn has_name_header(self) -> bool {
        self.may_require_input() || self.names_task()
    }

    /// Whether it is one of the tasks extension's, for which `params.taskId` names the task.
    #[must_use]
    pub const fn names_task(self) -> bool {
        matches!(self, Self::TasksGet | Self::TasksUpdate | Self::TasksCancel)
    }

    /// Whether the answer may be `input_required` (specification: `basic/patterns/mrtr`, Supported
    /// Requests).
    #[must_use]
    pub const fn may_require_input(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::ResourcesRead | Self::PromptsGet
        )
    }

    /// Whether a complete result may be large, and decides nothing by what is in it: so it may pass
    /// while it arrives.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::ToolsCall | Self::ResourcesRead | Self::PromptsGet
        )
    }

    /// Whether a complete result carries `ttlMs` and `cacheScope` (specification:
    /// `server/utilities/caching`).
    #[must_use]
    pub const fn is_cacheable(self) -> bool {
        !matches!(
            self,
            Self::ToolsCall
                | Self::PromptsGet
                | Self::Complete
                | Self::Listen
                | Self::TasksGet
                | Self::TasksUpdate
                | Self::TasksCancel
        )
    }

    /// The members that 2026-07-28 asks of a result and that this one has not, comma-separated; often
    /// empty. `has_type`: it has a `resultType`; `is_complete`: that is `complete`, or absent, as
    /// legacy servers leave it; `has_ttl`: it has a `ttlMs`.
    #[must_use]
    pub const fn missing_members(
        self,
        has_type: bool,
        is_complete: bool,
        has_ttl: bool,
    ) -> &'static str {
        // Caching hints are asked for on complete results alone.
        let needs_hints = self.is_cacheable() && is_complete && !has_ttl;
        match (has_type, needs_hints) {
            (false, true) => "\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\"",
            (false, false) => "\"resultType\":\"complete\"",
            (true, true) => "\"ttlMs\":0,\"cacheScope\":\"private\"",
            (true, false) => "",
        }
    }
}

/// Severity of a log notification (specification: `server/utilities/logging`), least severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Detailed debugging information.
    Debug,
    /// General information.
    Info,
    /// Normal but significant.
    Notice,
    /// Warning conditions.
    Warning,
    /// Error conditions.
    Error,
    /// A component failed.
    Critical,
    /// Act at once.
    Alert,
    /// Unusable.
    Emergency,
}

impl LogLevel {
    /// How many there are.
    pub const COUNT: usize = Self::NAMES.len();

    const NAMES: [(&'static str, Self); 8] = [
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
        ("critical", Self::Critical),
        ("alert", Self::Alert),
        ("emergency", Self::Emergency),
    ];

    /// The level of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, level)| *level == self)
            .map_or("debug", |(name, _)| name)
    }
}
