//! One backend: how it is reached and what of it is shown. An entry of the `backends` section of
//! the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use switchboard_protocol::pattern;
use url::Url;

use crate::process::runner;

pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod bytes;
pub mod cache;
pub mod count;
pub mod degrade;
pub mod discovery;
pub mod duration;
pub mod endpoints;
mod equality;
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

pub use self::balance::BalancePolicy;
pub use self::breaker::BreakerConfig;
pub use self::bulkhead::BulkheadConfig;
pub use self::cache::BackendCacheConfig;
pub use self::degrade::{DegradeConfig, OnUnavailable};
pub use self::discovery::{ConsulConfig, DiscoveryConfig, DiscoverySource};
use self::endpoints::EndpointFile;
pub use self::endpoints::{CanaryConfig, EndpointConfig};
pub use self::health::HealthConfig;
pub use self::limits::LimitsConfig;
pub use self::oauth::OAuthConfig;
use self::processes::MAX_INSTANCES;
pub use self::processes::{ProcessesConfig, StartPolicy};
pub use self::redaction::RedactionSwitch;
pub use self::restarts::RestartsConfig;
pub use self::retry::RetryConfig;
pub use self::sandbox::SandboxConfig;
pub use self::sessions::{SessionScope, SessionsConfig};

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
    /// Which of its results are kept to answer equal calls with; `None`: none.
    pub cache: Option<BackendCacheConfig>,
}

/// How a backend is reached.
#[derive(Clone, Debug)]
pub enum TransportConfig {
    /// A local process that speaks over its standard input and output.
    Stdio {
        /// The program: a path, or a name looked up in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables of its environment, added to a short safe list.
        env: BTreeMap<String, SecretString>,
        /// The folder it starts in; by default the gateway's own.
        cwd: Option<PathBuf>,
    },
    /// A remote server.
    Http {
        /// Its endpoint: `http` or `https`, without a fragment.
        url: Url,
        /// Where to connect to, if that is not where the URL's name leads: an endpoint that was
        /// found.
        address: Option<SocketAddr>,
        /// Headers of every request; every value is marked sensitive.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// Which of the HTTP transports it speaks.
        kind: HttpKind,
    },
}

/// Which era of the protocol a backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EraPin {
    /// Found out by asking.
    #[default]
    Auto,
    /// 2026-07-28 or newer.
    Modern,
    /// 2025-11-25 or older.
    Legacy,
}

/// Which HTTP transport a backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpKind {
    /// Found out by asking: streamable HTTP first.
    #[default]
    Auto,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP with server-sent events, deprecated since 2025-03-26.
    Sse,
}

/// An MCP server behind the gateway: either a local process (`command`) or a remote server
/// (`url`).
// The form of the file. Flat, because that is how every client writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BackendConfig")]
struct BackendFile {
    /// The program of a local server: a path, or a name looked up in `PATH`.
    #[schemars(length(min = 1))]
    command: Option<String>,
    /// The program's arguments. Only with `command`.
    #[schemars(extend("writeOnly" = true))]
    args: Option<Vec<String>>,
    /// Variables of the program's environment. It gets these and a short safe list (`PATH`,
    /// `HOME` and the like), nothing else of the gateway's own. Only with `command`.
    #[schemars(
        with = "Option<BTreeMap<String, String>>",
        extend("writeOnly" = true, "propertyNames" = {"format": "variable-name"})
    )]
    env: Option<BTreeMap<String, SecretString>>,
    /// The folder that the program starts in; by default the gateway's own. A relative one is
    /// meant from the folder of the configuration file. Only with `command`.
    #[schemars(with = "Option<String>")]
    cwd: Option<PathBuf>,
    /// The endpoint of a remote server, `http` or `https`.
    #[schemars(with = "Option<String>", extend("format" = "http-url"))]
    url: Option<String>,
    /// Headers of every request, such as `Authorization`. Only with `url`.
    #[schemars(
        with = "Option<BTreeMap<String, String>>",
        extend(
            "writeOnly" = true,
            "propertyNames" = {"format": "header-name"},
            "additionalProperties" = {"type": "string", "format": "header-value"}
        )
    )]
    headers: Option<BTreeMap<String, SecretString>>,
    /// How the gateway gets the token that it shows the server as `Authorization`, beside `headers`.
    /// Only with `url` or `endpoints`.
    oauth: Option<OAuthConfig>,
    /// The places of a remote server that runs in several, in the place of `url`; at most 256.
    endpoints: Option<Vec<EndpointFile>>,
    /// Who knows the addresses where the server runs: connections go there, and `url` says all
    /// else (scheme, `Host`, the name in the certificate, path). Only with `url`.
    discovery: Option<DiscoveryConfig>,
    /// Which HTTP transport the remote server speaks; by default `auto`. Only with `url` or
    /// `endpoints`.
    transport: Option<HttpKind>,
    /// The longest that a call may take, all its attempts together, to the last byte of its
    /// answer: a duration such as `30s` or a number of seconds, from 1 ms to 1 day. A large result
    /// comes as fast as its client takes it.
    #[serde(default = "default_timeout", with = "duration")]
    #[schemars(schema_with = "duration::positive_schema")]
    timeout: Duration,
    /// The same for some tools, by patterns of the server's own names in which `*` stands for any
    /// characters; of several that fit the longest pattern decides.
    #[serde(default)]
    #[schemars(
        with = "BTreeMap<String, String>",
        extend("additionalProperties" = {"type": ["string", "number"], "format": "positive-duration", "minimum": 0.001})
    )]
    tool_timeouts: BTreeMap<String, PositiveDuration>,
    /// The longest that a connection to a remote server may take to be made: a duration, from 1 ms
    /// to 1 day.
    #[serde(default = "default_connect_timeout", with = "duration")]
    #[schemars(schema_with = "duration::positive_schema")]
    connect_timeout: Duration,
    /// The longest that the head of a remote server's answer may take to come: a duration, from 1 ms
    /// to 1 day; by default all of the call's time.
    #[serde(default)]
    #[schemars(schema_with = "duration::positive_schema")]
    first_byte_timeout: Option<PositiveDuration>,
    /// The longest that a remote server may send nothing on an event stream that has not answered
    /// yet, or in the middle of an answer: a duration, from 1 ms to 1 day; by default all of the
    /// call's time.
    #[serde(default)]
    #[schemars(schema_with = "duration::positive_schema")]
    stream_idle_timeout: Option<PositiveDuration>,
    /// Which era of the protocol the server speaks.
    #[serde(default)]
    era: EraPin,
    /// What the names of its tools and prompts begin with: up to 64 of the characters
    /// `A-Z a-z 0-9 _ -`; by default the backend's name. An empty text leaves names as they are.
    #[schemars(extend("format" = "name-prefix"))]
    prefix: Option<String>,
    /// Patterns of the only tools that are shown, in which `*` stands for any characters; without
    /// any, all are.
    #[serde(default)]
    include_tools: Vec<String>,
    /// Patterns of tools that are not shown, whatever `include_tools` says.
    #[serde(default)]
    exclude_tools: Vec<String>,
    /// Whether a call that failed, and may have been executed, may be tried again where the server
    /// says that its tool does no harm (`readOnlyHint`) or that twice is as once
    /// (`idempotentHint`).
    #[serde(default)]
    trust_annotations: bool,
    /// Patterns of tools, by the server's own names, that may be tried again whatever it says of
    /// them.
    #[serde(default)]
    safe_tools: Vec<String>,
    /// How each of its endpoints is asked whether it is well.
    #[serde(default)]
    health: HealthConfig,
    /// How calls are spread over its endpoints.
    #[serde(default)]
    balance: BalancePolicy,
    /// When an endpoint that fails is left alone for a while.
    #[serde(default)]
    breaker: BreakerConfig,
    /// How many calls are in the server at once, and how many wait for their turn.
    #[serde(default)]
    bulkhead: BulkheadConfig,
    /// How often a call that failed is tried again, where that is safe.
    #[serde(default)]
    retry: RetryConfig,
    /// How often a local server that fails is started again before it is left alone for 5 minutes,
    /// or until the configuration is loaded again. Only with `command`.
    restarts: Option<RestartsConfig>,
    /// How many processes of a local server calls are spread over, as `balance` says: 1 to 64. Only
    /// with `command`. By default 1. Each is one server to its clients, whatever it remembers: a
    /// call may come to any of them, but what belongs to one goes on in it.
    #[schemars(range(min = 1, max = 64))]
    instances: Option<usize>,
    /// When the processes of a local server are started: `eager`, with the gateway, or `lazy`, once
    /// to learn what the server offers and then when a call needs one. Only with `command`. By
    /// default `eager`.
    start: Option<StartPolicy>,
    /// How long a process may be without a call before it is ended; the next call starts it again.
    /// One that a client waits for news of is not ended. A duration, from 1 ms to 1 day; by default
    /// `5m` with `start: lazy`, else for ever. Only with `command`.
    #[serde(default)]
    #[schemars(schema_with = "duration::positive_schema")]
    idle_stop: Option<PositiveDuration>,
    /// After how many calls a process is replaced, at least 1; by default never. Another is started
    /// first; the old one ends when its calls have. Sessions in which a legacy server keeps somebody's
    /// state are not replaced. Only with `command`.
    #[schemars(range(min = 1))]
    max_calls: Option<u64>,
    /// At what age a process is replaced, in the same way: a duration, from 1 ms to 1 day, up to a
    /// tenth shorter or longer by chance; by default never. Only with `command`.
    #[serde(default)]
    #[schemars(schema_with = "duration::positive_schema")]
    max_age: Option<PositiveDuration>,
    /// What a local server and all that it starts may use. Only with `command`.
    limits: Option<LimitsConfig>,
    /// What a local server and all that it starts may reach; by default whatever the gateway's user
    /// may. Only with `command`.
    sandbox: Option<SandboxConfig>,
    /// The largest message taken from the server, in bytes, at least 4096: a line on stdio, an
    /// HTTP body, an event of an event stream.
    #[serde(default = "default_max_message_bytes")]
    #[schemars(range(min = 4096))]
    max_message_bytes: usize,
    /// Who shares a session of a legacy server with whom. `shared`: everybody whose client can be
    /// asked nothing, and sessions of their own for the calls of others. `per_principal` and
    /// `per_client` (for legacy clients): each has one, in which the server keeps its state.
    #[serde(default)]
    sessions: SessionScope,
    /// The most sessions for calls that a legacy server has at once, at least 1; with `command`,
    /// each is a process. One more is for its lists.
    #[serde(default = "default_max_sessions")]
    #[schemars(range(min = 1))]
    max_sessions: usize,
    /// The most of these that belong to one principal, at least 1.
    #[serde(default = "default_max_sessions_per_principal")]
    #[schemars(range(min = 1))]
    max_sessions_per_principal: usize,
    /// How long a session for calls may be idle before it is closed: a duration, from 1 ms to 1
    /// day. The one that everybody shares stays.
    #[serde(default = "default_session_idle_timeout", with = "duration")]
    #[schemars(schema_with = "duration::positive_schema")]
    session_idle_timeout: Duration,
    /// What becomes of its tools, prompts and resources in the lists while it is away. Calls to it
    /// fail as calls to a server that is not available, listed or not.
    #[serde(default)]
    on_unavailable: OnUnavailable,
    /// With `on_unavailable: hide`, how long it has been away before it is hidden: a duration, at
    /// most 1 day.
    #[serde(default = "default_hide_after", with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    hide_after: Duration,
    /// How long it has been well again, without a break, before it is shown after it was hidden: a
    /// duration, at most 1 day.
    #[serde(default = "default_show_after", with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    show_after: Duration,
    /// How long what it offered last is shown while its lists cannot be read again, whatever
    /// `on_unavailable` says: a duration, from 1 ms to 1 day; by default for ever.
    #[serde(default)]
    #[schemars(schema_with = "duration::positive_schema")]
    stale_if_error: Option<PositiveDuration>,
    /// Whether secrets are taken out of its results, errors and notifications: `off` for a server whose
    /// purpose is to hand them out. What is looked for says the section `redaction`.
    #[serde(default)]
    redaction: RedactionSwitch,
    /// The backends that have to be ready before this one is started. After 60 s it is started
    /// anyway, and what happens to them later does not concern it.
    #[serde(default)]
    depends_on: Vec<String>,
    /// Which of its results are kept to answer equal calls with. Without it none are.
    cache: Option<BackendCacheConfig>,
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

impl JsonSchema for BackendConfig {
    fn schema_name() -> Cow<'static, str> {
        BackendFile::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BackendFile::json_schema(generator)
    }
}

/// A duration of at least [`duration::SHORTEST_POSITIVE`].
#[derive(Clone, Copy, Deserialize)]
struct PositiveDuration(#[serde(deserialize_with = "duration::deserialize_positive")] Duration);

fn default_connect_timeout() -> Duration {
    DEFAULT_CONNECT_TIMEOUT
}

fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}

fn default_max_message_bytes() -> usize {
    DEFAULT_MAX_MESSAGE_BYTES
}

fn default_max_sessions() -> usize {
    SessionsConfig::default().max
}

fn default_max_sessions_per_principal() -> usize {
    SessionsConfig::default().max_per_principal
}

fn default_session_idle_timeout() -> Duration {
    SessionsConfig::default().idle_timeout
}

fn default_hide_after() -> Duration {
    DegradeConfig::default().hide_after
}

fn default_show_after() -> Duration {
    DegradeConfig::default().show_after
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

impl TryFrom<BackendFile> for BackendConfig {
    type Error = BackendConfigError;

    fn try_from(file: BackendFile) -> Result<Self, BackendConfigError> {
        if let Some(prefix) = &file.prefix {
            check_prefix(prefix).map_err(malformed("prefix"))?;
        }
        duration::check_positive(file.timeout).map_err(malformed("timeout"))?;
        if file.max_message_bytes < LEAST_MAX_MESSAGE_BYTES {
            return Err(malformed("max_message_bytes")("is less than 4096".into()));
        }
        duration::check_positive(file.connect_timeout).map_err(malformed("connect_timeout"))?;
        let sessions = sessions(&file)?;
        let processes = processes(&file)?;
        let endpoints = endpoints(file.endpoints)?;
        if file.discovery.is_some() && !endpoints.is_empty() {
            let beside = "stands beside `endpoints`; expected one of them";
            return Err(malformed("discovery")(beside.into()));
        }
        let url = match (file.url, endpoints.first()) {
            (Some(_), Some(_)) => return Err(BackendConfigError::TwoTransports),
            (Some(url), None) => Some(parse_url(&url).map_err(malformed("url"))?),
            (None, first) => first.map(|endpoint| endpoint.url.clone()),
        };
        let transport = match (file.command, url) {
            (None, None) => return Err(BackendConfigError::NoTransport),
            (Some(_), Some(_)) => return Err(BackendConfigError::TwoTransports),
            (Some(command), None) => {
                let of_remotes = [
                    ("headers", file.headers.is_some()),
                    ("transport", file.transport.is_some()),
                    ("discovery", file.discovery.is_some()),
                    ("oauth", file.oauth.is_some()),
                    ("first_byte_timeout", file.first_byte_timeout.is_some()),
                    ("stream_idle_timeout", file.stream_idle_timeout.is_some()),
                    ("health.path", file.health.path.is_some()),
                ];
                misplaced("command", of_remotes)?;
                stdio(command, file.args, file.env, file.cwd)?
            }
            (None, Some(url)) => {
                let of_processes = [
                    ("args", file.args.is_some()),
                    ("env", file.env.is_some()),
                    ("cwd", file.cwd.is_some()),
                    ("restarts", file.restarts.is_some()),
                    ("instances", file.instances.is_some()),
                    ("start", file.start.is_some()),
                    ("idle_stop", file.idle_stop.is_some()),
                    ("max_calls", file.max_calls.is_some()),
                    ("max_age", file.max_age.is_some()),
                    ("limits", file.limits.is_some()),
                    ("sandbox", file.sandbox.is_some()),
                ];
                misplaced("url", of_processes)?;
                TransportConfig::Http {
                    url,
                    address: None,
                    headers: headers(&file.headers.unwrap_or_default())?,
                    kind: file.transport.unwrap_or_default(),
                }
            }
        };
        if file.cache.as_ref().is_some_and(|cache| cache.shared) {
            check_shared_cache(file.oauth.as_ref(), sessions.scope)?;
        }
        check_container(&transport, &processes, sessions.scope)?;
        if let Some(oauth) = &file.oauth {
            check_oauth(oauth, &transport, sessions.scope, file.era)?;
        }
        Ok(Self {
            oauth: file.oauth,
            timeout: file.timeout,
            tool_timeouts: by_length(file.tool_timeouts),
            connect_timeout: file.connect_timeout,
            first_byte_timeout: file.first_byte_timeout.map(|timeout| timeout.0),
            stream_idle_timeout: file.stream_idle_timeout.map(|timeout| timeout.0),
            endpoints,
            discovery: file.discovery,
            era: file.era,
            prefix: file.prefix,
            include_tools: file.include_tools,
            exclude_tools: file.exclude_tools,
            trust_annotations: file.trust_annotations,
            safe_tools: file.safe_tools,
            health: file.health,
            balance: file.balance,
            breaker: file.breaker,
            bulkhead: file.bulkhead,
            retry: file.retry,
            restarts: file.restarts.unwrap_or_default(),
            processes,
            limits: file.limits.unwrap_or_default(),
            sandbox: file.sandbox,
            max_message_bytes: file.max_message_bytes,
            sessions,
            degrade: DegradeConfig {
                on_unavailable: file.on_unavailable,
                hide_after: file.hide_after,
                show_after: file.show_after,
                stale_if_error: file.stale_if_error.map(|time| time.0),
            },
            redaction: file.redaction,
            depends_on: file.depends_on,
            cache: file.cache,
            ..Self::new(transport)
        })
    }
}

/// What `oauth` needs of the rest: a header of its own, and sessions that no two principals share.
fn check_oauth(
    oauth: &OAuthConfig,
    transport: &TransportConfig,
    scope: SessionScope,
    era: EraPin,
) -> Result<(), BackendConfigError> {
    let malformed = malformed("oauth");
    if let TransportConfig::Http { headers, .. } = transport
        && headers
            .iter()
            .any(|(name, _)| name == http::header::AUTHORIZATION)
    {
        let problem = "stands beside an `Authorization` in `headers`; expected one of them";
        return Err(malformed(problem.to_owned()));
    }
    if oauth.is_per_principal() && scope == SessionScope::Shared && era != EraPin::Modern {
        let problem = "has `grant: token_exchange`, with which no two callers may share a session of a legacy server; expected `sessions: per_principal` or `per_client` beside it, or `era: modern`";
        return Err(malformed(problem.to_owned()));
    }
    Ok(())
}

/// What one caller may not see of another's must not be shared between them.
fn check_shared_cache(
    oauth: Option<&OAuthConfig>,
    scope: SessionScope,
) -> Result<(), BackendConfigError> {
    let beside = if oauth.is_some_and(OAuthConfig::is_per_principal) {
        "`grant: token_exchange`"
    } else if scope != SessionScope::Shared {
        "`sessions` that are not `shared`"
    } else {
        return Ok(());
    };
    Err(malformed("cache.shared")(format!(
        "stands beside {beside}, so that what one caller gets may not be for another; expected `shared: false`"
    )))
}

/// The longest patterns first: they say the most.
fn by_length(timeouts: BTreeMap<String, PositiveDuration>) -> Vec<(String, Duration)> {
    let mut timeouts: Vec<_> = timeouts
        .into_iter()
        .map(|(pattern, timeout)| (pattern, timeout.0))
        .collect();
    timeouts.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    timeouts
}

fn endpoints(files: Option<Vec<EndpointFile>>) -> Result<Vec<EndpointConfig>, BackendConfigError> {
    let malformed = malformed("endpoints");
    let Some(files) = files else {
        return Ok(Vec::new());
    };
    if files.is_empty() || files.len() > MAX_ENDPOINTS {
        return Err(malformed(format!("has not 1 to {MAX_ENDPOINTS} of them")));
    }
    let mut endpoints: Vec<EndpointConfig> = Vec::with_capacity(files.len());
    for file in files {
        let endpoint = EndpointConfig::try_from(file).map_err(&malformed)?;
        if endpoints.iter().any(|other| other.url == endpoint.url) {
            return Err(malformed("has the same `url` twice".to_owned()));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

fn sessions(file: &BackendFile) -> Result<SessionsConfig, BackendConfigError> {
    let counts = [
        ("max_sessions", file.max_sessions),
        (
            "max_sessions_per_principal",
            file.max_sessions_per_principal,
        ),
    ];
    for (field, count) in counts {
        count::check(count).map_err(malformed(field))?;
    }
    duration::check_positive(file.session_idle_timeout)
        .map_err(malformed("session_idle_timeout"))?;
    Ok(SessionsConfig {
        scope: file.sessions,
        max: file.max_sessions,
        max_per_principal: file.max_sessions_per_principal,
        idle_timeout: file.session_idle_timeout,
    })
}

fn processes(file: &BackendFile) -> Result<ProcessesConfig, BackendConfigError> {
    if file
        .instances
        .is_some_and(|count| !(1..=MAX_INSTANCES).contains(&count))
    {
        return Err(malformed("instances")(format!(
            "is not 1 to {MAX_INSTANCES}"
        )));
    }
    if file.max_calls == Some(0) {
        return Err(malformed("max_calls")("is less than 1".to_owned()));
    }
    Ok(ProcessesConfig::new(
        file.instances,
        file.start,
        file.idle_stop.map(|time| time.0),
        file.max_calls,
        file.max_age.map(|time| time.0),
    ))
}

/// A container with a name of its own is there once: another beside it would be refused by its daemon.
fn check_container(
    transport: &TransportConfig,
    processes: &ProcessesConfig,
    scope: SessionScope,
) -> Result<(), BackendConfigError> {
    let TransportConfig::Stdio { command, args, .. } = transport else {
        return Ok(());
    };
    let named = runner::container("", command, args, 0).filter(|container| container.is_named);
    let Some(container) = named else {
        return Ok(());
    };
    let second = [
        ("instances", processes.instances > 1),
        ("max_calls", processes.max_calls.is_some()),
        ("max_age", processes.max_age.is_some()),
        ("sessions", scope != SessionScope::Shared),
    ];
    match second.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(malformed(field)(format!(
            "needs a second container beside the first, but `args` give it the name \"{}\", which \
             one alone can have; leave `--name` out: each gets a name of its own and is removed",
            container.name
        ))),
        None => Ok(()),
    }
}

fn stdio(
    command: String,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, SecretString>>,
    cwd: Option<PathBuf>,
) -> Result<TransportConfig, BackendConfigError> {
    if command.is_empty() {
        return Err(malformed("command")("is empty".into()));
    }
    let env = env.unwrap_or_default();
    for name in env.keys() {
        check_variable_name(name).map_err(malformed("env"))?;
    }
    Ok(TransportConfig::Stdio {
        command,
        args: args.unwrap_or_default(),
        env,
        cwd,
    })
}

fn headers(
    texts: &BTreeMap<String, SecretString>,
) -> Result<Vec<(HeaderName, HeaderValue)>, BackendConfigError> {
    texts
        .iter()
        .map(|(name, value)| {
            Ok((
                parse_header_name(name).map_err(malformed("headers"))?,
                parse_header_value(value.expose_secret()).map_err(malformed("headers"))?,
            ))
        })
        .collect()
}

fn misplaced<const N: usize>(
    beside: &'static str,
    fields: [(&'static str, bool); N],
) -> Result<(), BackendConfigError> {
    let present = fields.into_iter().filter(|(_, present)| *present);
    let fields: Vec<_> = present.map(|(field, _)| field).collect();
    if fields.is_empty() {
        return Ok(());
    }
    Err(BackendConfigError::Misplaced { fields, beside })
}

fn malformed(field: &'static str) -> impl Fn(String) -> BackendConfigError {
    move |problem| BackendConfigError::Malformed { field, problem }
}

/// Reads the address of a server: `http` or `https`, with a host and without a fragment.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is not an http or https URL".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (`#…`), which is never sent".to_owned());
    }
    Ok(url)
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

/// Checks the name of an environment variable.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_variable_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is not the name of a variable".to_owned());
    }
    Ok(())
}

/// Reads the name of a header that a backend is sent.
///
/// # Errors
///
/// Says what is wrong with it. Headers that the transport writes itself are refused.
pub fn parse_header_name(name: &str) -> Result<HeaderName, String> {
    const OWN: [HeaderName; 8] = [
        http::header::ACCEPT,
        http::header::CONNECTION,
        http::header::CONTENT_LENGTH,
        http::header::CONTENT_TYPE,
        http::header::HOST,
        http::header::TE,
        http::header::TRANSFER_ENCODING,
        http::header::UPGRADE,
    ];
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "is not the name of a header".to_owned())?;
    if OWN.contains(&name) || name.as_str().starts_with("mcp-") {
        return Err("is a header that the gateway writes itself".to_owned());
    }
    Ok(name)
}

/// Reads the value of a header that a backend is sent, and marks it sensitive.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn parse_header_value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "has characters that a header can't hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
