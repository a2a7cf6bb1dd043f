//! An entry of the `backends` section as it is written, and how it becomes a [`BackendConfig`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::Deserialize;

use super::conflicts::{check_container, check_oauth, check_shared_cache, misplaced};
use super::endpoints::{EndpointFile, endpoints};
use super::processes::MAX_INSTANCES;
use super::transport::{headers, stdio};
use super::{
    BackendCacheConfig, BackendConfig, BackendConfigError, BalancePolicy, BreakerConfig,
    BulkheadConfig, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TIMEOUT,
    DegradeConfig, DiscoveryConfig, EndpointConfig, EraPin, HealthConfig, HttpKind,
    LEAST_MAX_MESSAGE_BYTES, LimitsConfig, OAuthConfig, OnUnavailable, ProcessesConfig,
    RedactionSwitch, RestartsConfig, RetryConfig, SandboxConfig, SessionScope, SessionsConfig,
    StartPolicy, TransportConfig, bytes, check_prefix, count, duration, malformed, parse_url,
};

/// An MCP server behind the gateway: either a local process (`command`) or a remote server
/// (`url`).
// The form of the file. Flat, because that is how every client writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BackendConfig")]
pub(super) struct BackendFile {
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
    /// The largest message taken from the server: a size such as `16MiB`, or a number of bytes, at least
    /// 4096. A message is a line on stdio, an HTTP body, an event of an event stream.
    #[serde(
        default = "default_max_message_bytes",
        deserialize_with = "bytes::deserialize"
    )]
    #[schemars(schema_with = "max_message_bytes_schema", extend("default" = "16MiB"))]
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
    /// Which of its results are cached to answer equal calls with. Without it none are.
    cache: Option<BackendCacheConfig>,
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

fn max_message_bytes_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer"],
        "format": "message-size",
        "minimum": LEAST_MAX_MESSAGE_BYTES,
    })
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

impl TryFrom<BackendFile> for BackendConfig {
    type Error = BackendConfigError;

    fn try_from(mut file: BackendFile) -> Result<Self, BackendConfigError> {
        check_values(&file)?;
        let sessions = sessions(&file)?;
        let processes = processes(&file)?;
        let endpoints = endpoints(file.endpoints.take())?;
        let transport = transport(&mut file, &endpoints)?;
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

fn check_values(file: &BackendFile) -> Result<(), BackendConfigError> {
    if let Some(prefix) = &file.prefix {
        check_prefix(prefix).map_err(malformed("prefix"))?;
    }
    duration::check_positive(file.timeout).map_err(malformed("timeout"))?;
    if file.max_message_bytes < LEAST_MAX_MESSAGE_BYTES {
        return Err(malformed("max_message_bytes")("is less than 4096".into()));
    }
    duration::check_positive(file.connect_timeout).map_err(malformed("connect_timeout"))
}

/// Where the server is, which takes what says so out of the file.
fn transport(
    file: &mut BackendFile,
    endpoints: &[EndpointConfig],
) -> Result<TransportConfig, BackendConfigError> {
    if file.discovery.is_some() && !endpoints.is_empty() {
        let beside = "stands beside `endpoints`; expected one of them";
        return Err(malformed("discovery")(beside.into()));
    }
    let url = match (file.url.take(), endpoints.first()) {
        (Some(_), Some(_)) => return Err(BackendConfigError::TwoTransports),
        (Some(url), None) => Some(parse_url(&url).map_err(malformed("url"))?),
        (None, first) => first.map(|endpoint| endpoint.url.clone()),
    };
    match (file.command.take(), url) {
        (None, None) => Err(BackendConfigError::NoTransport),
        (Some(_), Some(_)) => Err(BackendConfigError::TwoTransports),
        (Some(command), None) => {
            misplaced("command", of_remotes(file))?;
            stdio(command, file.args.take(), file.env.take(), file.cwd.take())
        }
        (None, Some(url)) => {
            misplaced("url", of_processes(file))?;
            Ok(TransportConfig::Http {
                url,
                address: None,
                headers: headers(&file.headers.take().unwrap_or_default())?,
                kind: file.transport.unwrap_or_default(),
            })
        }
    }
}

/// What says something of remote servers alone, and whether it is there.
fn of_remotes(file: &BackendFile) -> [(&'static str, bool); 7] {
    [
        ("headers", file.headers.is_some()),
        ("transport", file.transport.is_some()),
        ("discovery", file.discovery.is_some()),
        ("oauth", file.oauth.is_some()),
        ("first_byte_timeout", file.first_byte_timeout.is_some()),
        ("stream_idle_timeout", file.stream_idle_timeout.is_some()),
        ("health.path", file.health.path.is_some()),
    ]
}

/// What says something of local servers alone, and whether it is there.
fn of_processes(file: &BackendFile) -> [(&'static str, bool); 11] {
    [
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
    ]
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

/// The longest patterns first: they say the most.
fn by_length(timeouts: BTreeMap<String, PositiveDuration>) -> Vec<(String, Duration)> {
    let mut timeouts: Vec<_> = timeouts
        .into_iter()
        .map(|(pattern, timeout)| (pattern, timeout.0))
        .collect();
    timeouts.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
    timeouts
}
