//! One backend: how it is reached and what of it is shown. An entry of the `backends` section of
//! the configuration.

use std::time::Duration;

use serde::Deserialize;
use switchboard_protocol::pattern;

pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod bytes;
pub mod cache;
mod conflicts;
pub mod count;
pub mod degrade;
pub mod discovery;
pub mod duration;
pub mod endpoints;
mod equality;
mod file;
mod fingerprint;
pub mod health;
pub mod limits;
pub mod oauth;
pub mod parked;
pub mod processes;
pub mod redaction;
pub mod restarts;
pub mod retry;
pub mod sandbox;
pub mod sessions;
pub mod share;
mod transport;

pub use self::balance::BalancePolicy;
pub use self::breaker::BreakerConfig;
pub use self::bulkhead::BulkheadConfig;
pub use self::cache::BackendCacheConfig;
pub use self::degrade::{DegradeConfig, OnUnavailable};
pub use self::discovery::{ConsulConfig, DiscoveryConfig, DiscoverySource};
pub use self::endpoints::{CanaryConfig, EndpointConfig};
use self::file::BackendFile;
pub use self::health::HealthConfig;
pub use self::limits::LimitsConfig;
pub use self::oauth::OAuthConfig;
pub use self::processes::{ProcessesConfig, StartPolicy};
pub use self::redaction::RedactionSwitch;
pub use self::restarts::RestartsConfig;
pub use self::retry::RetryConfig;
pub use self::sandbox::SandboxConfig;
pub use self::sessions::{SessionScope, SessionsConfig};
pub use self::transport::{
    EraPin, HttpKind, TransportConfig, check_variable_name, parse_header_name, parse_header_value,
    parse_url,
};

/// The default of [`BackendConfig::timeout`].
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The default of [`BackendConfig::connect_timeout`].
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most endpoints of one backend.
pub const MAX_ENDPOINTS: usize = 256;
/// The default of [`BackendConfig::max_message_bytes`].
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// The least that [`BackendConfig::max_message_bytes`] may be.
pub const LEAST_MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// An MCP server behind the gateway.
///
/// Two are equal if everything is, secrets included.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "BackendFile")]
pub struct BackendConfig {
    /// How the server is reached.
    pub transport: TransportConfig,
    /// The places where a remote server runs, if there are several; the URL of `transport` is the
    /// first one's then.
    pub endpoints: Vec<EndpointConfig>,
    /// Who knows where a remote server runs, in the place of `endpoints`.
    pub discovery: Option<DiscoveryConfig>,
    /// How the gateway gets the tokens that it shows a remote server, beside the headers of
    /// `transport`.
    pub oauth: Option<OAuthConfig>,
    /// The longest that a call may take, all its attempts together.
    pub timeout: Duration,
    /// Shorter or longer ones for some tools: the first pattern that fits decides. `*` stands for
    /// any characters.
    pub tool_timeouts: Vec<(String, Duration)>,
    /// The longest that a connection may take to be made.
    pub connect_timeout: Duration,
    /// The longest that the head of an answer may take to come, if not the call's own time.
    pub first_byte_timeout: Option<Duration>,
    /// The longest that nothing may come on an event stream that has not answered yet, if not the
    /// call's own time.
    pub stream_idle_timeout: Option<Duration>,
    /// Which era of the protocol the server speaks.
    pub era: EraPin,
    /// What its names begin with. `None` stands for the backend's name; an empty text leaves the
    /// names as they are.
    pub prefix: Option<String>,
    /// Patterns of the only tools that are shown; empty shows all. `*` stands for any characters.
    pub include_tools: Vec<String>,
    /// Patterns of tools that are not shown, whatever `include_tools` says.
    pub exclude_tools: Vec<String>,
    /// Whether a call that failed may be tried again where the server says that its tool does no
    /// harm (`readOnlyHint`) or that twice is as once (`idempotentHint`).
    pub trust_annotations: bool,
    /// Patterns of tools that may be tried again whatever the server says of them.
    pub safe_tools: Vec<String>,
    /// How its endpoints are asked whether they are well.
    pub health: HealthConfig,
    /// How calls are spread over its endpoints.
    pub balance: BalancePolicy,
    /// When an endpoint that fails is left alone.
    pub breaker: BreakerConfig,
    /// How many calls are in it at once, and how many wait.
    pub bulkhead: BulkheadConfig,
    /// How often a call that failed is tried again, where that is safe.
    pub retry: RetryConfig,
    /// How often a process that fails is started again before it is left alone.
    pub restarts: RestartsConfig,
    /// How many processes there are, when they run, and when each is replaced.
    pub processes: ProcessesConfig,
    /// What a process and all that it starts may use.
    pub limits: LimitsConfig,
    /// What they may reach; `None` for whatever the gateway's user may.
    pub sandbox: Option<SandboxConfig>,
    /// The largest message taken from the server, in bytes: a line on stdio, an HTTP body, an
    /// event of an event stream.
    pub max_message_bytes: usize,
    /// The sessions of a legacy server.
    pub sessions: SessionsConfig,
    /// What becomes of its part of the lists while it is away.
    pub degrade: DegradeConfig,
    /// Whether secrets are taken out of what it says.
    pub redaction: RedactionSwitch,
    /// The backends that it waits for before it starts.
    pub depends_on: Vec<String>,
    /// Which of its results are cached to answer equal calls with; `None`: none.
    pub cache: Option<BackendCacheConfig>,
}

impl BackendConfig {
    /// The configuration of a server that is reached so, with the defaults for everything else.
    #[must_use]
    pub fn new(transport: TransportConfig) -> Self {
        Self {
            transport,
            endpoints: Vec::new(),
            discovery: None,
            oauth: None,
            timeout: DEFAULT_TIMEOUT,
            tool_timeouts: Vec::new(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            first_byte_timeout: None,
            stream_idle_timeout: None,
            era: EraPin::Auto,
            prefix: None,
            include_tools: Vec::new(),
            exclude_tools: Vec::new(),
            trust_annotations: false,
            safe_tools: Vec::new(),
            health: HealthConfig::default(),
            balance: BalancePolicy::default(),
            breaker: BreakerConfig::default(),
            bulkhead: BulkheadConfig::default(),
            retry: RetryConfig::default(),
            restarts: RestartsConfig::default(),
            processes: ProcessesConfig::default(),
            limits: LimitsConfig::default(),
            sandbox: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            sessions: SessionsConfig::default(),
            degrade: DegradeConfig::default(),
            redaction: RedactionSwitch::On,
            depends_on: Vec::new(),
            cache: None,
        }
    }

    /// The longest that a call of this tool may take, or of anything else.
    #[must_use]
    pub fn timeout_of(&self, tool: Option<&str>) -> Duration {
        let of_tool = tool.and_then(|tool| {
            let mut timeouts = self.tool_timeouts.iter();
            timeouts.find(|(pattern, _)| pattern::matches(pattern, tool))
        });
        of_tool.map_or(self.timeout, |(_, timeout)| *timeout)
    }

    /// The longest that any call may take.
    #[must_use]
    pub(crate) fn longest_timeout(&self) -> Duration {
        let of_tools = self.tool_timeouts.iter().map(|(_, timeout)| *timeout);
        of_tools.fold(self.timeout, Duration::max)
    }

    /// Whether the operator says that this tool may be tried again.
    #[must_use]
    pub fn is_safe_tool(&self, tool: &str) -> bool {
        let mut patterns = self.safe_tools.iter();
        patterns.any(|pattern| pattern::matches(pattern, tool))
    }

    /// Whether it is a local process.
    #[must_use]
    pub fn is_process(&self) -> bool {
        matches!(self.transport, TransportConfig::Stdio { .. })
    }
}

/// What is wrong with one backend. No message repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendConfigError {
    /// Neither a program nor an address.
    #[error(
        "has neither `command` nor `url` nor `endpoints`; expected `command` for a local process or `url` for a remote server"
    )]
    NoTransport,
    /// Both a program and an address.
    #[error(
        "has more than one of `command`, `url` and `endpoints`; expected one of them: a backend is one server"
    )]
    TwoTransports,
    /// Fields that belong to the other transport.
    #[error(
        "has {}, which would have no effect beside `{beside}`; expected them beside {}",
        .fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", "),
        if *.beside == "url" { "`command`" } else { "`url`" }
    )]
    Misplaced {
        /// The fields that are out of place.
        fields: Vec<&'static str>,
        /// What they stand beside.
        beside: &'static str,
    },
    /// A field whose text is not of its form.
    #[error("`{field}` {problem}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn malformed(field: &'static str) -> impl Fn(String) -> BackendConfigError {
    move |problem| BackendConfigError::Malformed { field, problem }
}

/// Checks a prefix of names.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if prefix.len() <= 64 && prefix.bytes().all(allowed) {
        return Ok(());
    }
    Err("is not a prefix of names".to_owned())
}
