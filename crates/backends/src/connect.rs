//! Making a connection: which transport, which era, who is there.

use ::http::{HeaderName, HeaderValue, Uri};
use std::sync::Arc;
use std::time::Duration;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::code;
use switchboard_protocol::splice::{for_each_item, for_each_member, member};
use switchboard_protocol::version::Version;
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::config::{BackendConfig, EraPin, HttpKind, TransportConfig};
use crate::legacy;
use crate::link::http::HttpLink;
use crate::link::inbox::Inbox;
use crate::link::mux::Mux;
use crate::link::stdio::Program;
use crate::link::watch::Watch;
use crate::link::{Link, LinkError, Wire, http_sse, next_id, stdio};
use crate::lists::{Features, Server};
use crate::message;
use crate::status::State;

/// How long a server may take to answer the question which era it speaks, before it is taken for a
/// legacy one that keeps silent.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the whole of connecting may take; `npx` and the like may download first.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// How much of a server's `instructions` is kept.
const MAX_INSTRUCTIONS: usize = 16 * 1024;
/// How many of a server's extensions are kept.
const MAX_EXTENSIONS: usize = 64;
/// How many of the versions that a server offers are told.
const MAX_VERSIONS: usize = 16;
/// What is longer than this, in bytes, is no version.
const MAX_VERSION_LENGTH: usize = 32;

/// `_meta` of the gateway's own requests. They declare everything: some servers register tools by
/// what the client can do, and no call is made with this.
pub(crate) const OWN_META: &str = concat!(
    "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",",
    "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"switchboard\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"},\"io.modelcontextprotocol/clientCapabilities\":",
    "{\"elicitation\":{\"form\":{},\"url\":{}},\"sampling\":{\"tools\":{},\"context\":{}},\"roots\":{}}}"
);

/// A server that answers.
pub(crate) struct Connection {
    /// The way to it.
    pub(crate) link: Link,
    /// What was agreed.
    pub(crate) wire: Wire,
    /// What it said about itself.
    pub(crate) server: Arc<Server>,
    /// What only legacy sessions have.
    pub(crate) legacy: Option<legacy::Session>,
    /// A call found that the server has forgotten the session. Of this connection alone: what is
    /// said of one session must not end the next.
    pub(crate) session_lost: Notify,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectError {
    /// A few plain words, fit for a caller.
    pub(crate) reason: String,
    /// Whether the server wants another credential.
    pub(crate) needs_auth: bool,
}

impl ConnectError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            needs_auth: false,
        }
    }

    /// The state of a backend that this happened to.
    pub(crate) fn state(&self) -> State {
        if self.needs_auth {
            State::NeedsAuth
        } else {
            State::Unavailable
        }
    }
}

impl From<LinkError> for ConnectError {
    fn from(error: LinkError) -> Self {
        let needs_auth = matches!(error, LinkError::Unauthorized(_));
        let reason = match error {
            LinkError::Unauthorized(_) => "it refuses the gateway's credential".to_owned(),
            LinkError::Status {
                status: 300..=399, ..
            } => "it redirects elsewhere: configure the address that it redirects to".to_owned(),
            LinkError::Status { status, .. } => format!("it answers with HTTP status {status}"),
            LinkError::NotSent(reason) | LinkError::Lost(reason) => reason,
            LinkError::TooLarge => "its answer is larger than the limit".to_owned(),
            LinkError::Invalid(reason) => {
                format!("it does not answer as an MCP server does ({reason}): check its address")
            }
            LinkError::Full => "too many requests wait for it".to_owned(),
        };
        Self { reason, needs_auth }
    }
}

/// Connects, finding out the era where it is neither pinned nor remembered.
pub(crate) async fn connect(
    backend: &Arc<str>,
    config: &BackendConfig,
    remembered: Option<EraPin>,
    inbox: &Arc<Inbox>,
) -> Result<Connection, ConnectError> {
    let era = if config.era == EraPin::Auto {
        remembered.unwrap_or_default()
    } else {
        config.era
    };
    match &config.transport {
        TransportConfig::Stdio {
            command,
            args,
            env,
            cwd,
        } => {
            let program = Program {
                command,
                args,
                env,
                cwd: cwd.as_deref(),
                max_line: config.max_message_bytes,
            };
            connect_stdio(backend, &program, era, config.era, inbox).await
        }
        TransportConfig::Http { url, headers, kind } => {
            let uri: Uri = url
                .as_str()
                .parse()
                .map_err(|_| ConnectError::new("its URL cannot be used"))?;
            connect_http(uri, headers.clone(), *kind, config, era, inbox).await
        }
    }
}

async fn connect_stdio(
    backend: &Arc<str>,
    program: &Program<'_>,
    era: EraPin,
    pinned: EraPin,
    inbox: &Arc<Inbox>,
) -> Result<Connection, ConnectError> {
    let spawn = || {
        stdio::spawn(backend, program, Arc::clone(inbox))
            .map(Guarded::new)
            .map_err(ConnectError::new)
    };
    let mut guarded = spawn()?;
    if era != EraPin::Legacy {
        match probe(&guarded.link).await {
            Probe::Modern(agreed) => return Ok(guarded.into_connection(agreed)),
            Probe::Unsupported(versions) => return Err(no_common_version(&versions)),
            Probe::Silent | Probe::Other if pinned == EraPin::Modern => {
                return Ok(guarded.into_connection(assumed_modern()));
            }
            // Some servers end on any request before `initialize`: the handshake gets a fresh
            // process.
            Probe::Gone => {
                guarded.link.shut_down().await;
                guarded = spawn()?;
            }
            Probe::Failed(error) => return Err(error.into()),
            Probe::Silent | Probe::Other => {}
        }
    }
    let agreed = legacy::initialize(&guarded.link).await?;
    Ok(guarded.into_connection(agreed))
}

async fn connect_http(
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    kind: HttpKind,
    config: &BackendConfig,
    era: EraPin,
    inbox: &Arc<Inbox>,
) -> Result<Connection, ConnectError> {
    let http = HttpLink::new(uri, headers, config.max_message_bytes, Arc::clone(inbox));
    let link = Link::Http(http.clone());
    if kind != HttpKind::Sse {
        if era != EraPin::Legacy {
            match probe(&link).await {
                Probe::Modern(agreed) => return Ok(agreed.over(link)),
                Probe::Unsupported(versions) => return Err(no_common_version(&versions)),
                Probe::Failed(error @ (LinkError::NotSent(_) | LinkError::Unauthorized(_))) => {
                    return Err(error.into());
                }
                _ if config.era == EraPin::Modern => return Ok(assumed_modern().over(link)),
                _ => {}
            }
        }
        match legacy::initialize(&link).await {
            Ok(agreed) => return Ok(agreed.over(link)),
            Err(LinkError::Status {
                status: 400 | 404 | 405,
                ..
            }) if kind == HttpKind::Auto => {}
            Err(error) => return Err(error.into()),
        }
    }
    let guarded = Guarded::new(http_sse::connect(&http, Arc::clone(inbox)).await?);
    let agreed = legacy::initialize(&guarded.link).await?;
    Ok(guarded.into_connection(agreed))
}

/// A channel that ends if connecting is given up.
struct Guarded {
    link: Link,
    guard: DropGuard,
}

impl Guarded {
    fn new(mux: Mux) -> Self {
        Self {
            guard: mux.stop_guard(),
            link: Link::Mux(mux),
        }
    }

    fn into_connection(self, agreed: Agreed) -> Connection {
        self.guard.disarm();
        agreed.over(self.link)
    }
}

/// What was agreed with a server, before it is put together with its link.
pub(crate) struct Agreed {
    pub(crate) wire: Wire,
    pub(crate) server: Server,
    pub(crate) legacy: Option<legacy::Session>,
}

impl Agreed {
    fn over(self, link: Link) -> Connection {
        Connection {
            link,
            wire: self.wire,
            server: Arc::new(self.server),
            legacy: self.legacy,
            session_lost: Notify::new(),
        }
    }
}

enum Probe {
    /// It answered `server/discover`.
    Modern(Agreed),
    /// Modern, but of other versions.
    Unsupported(Vec<String>),
    /// Some other error: a legacy server.
    Other,
    /// No answer in time.
    Silent,
    /// The channel ended.
    Gone,
    /// There is no telling.
    Failed(LinkError),
}

/// Asks `server/discover` (specification: `basic/transports/stdio` and `streamable-http`, Backward
/// Compatibility). Only a valid answer or one of the errors that modern servers alone have proves a
/// modern server.
async fn probe(link: &Link) -> Probe {
    match probe_once(link).await {
        // One that offers only versions with a handshake is spoken to in one of those.
        Probe::Unsupported(versions)
            if versions
                .iter()
                .filter_map(|version| Version::parse(version))
                .all(|version| !version.is_modern())
                && versions
                    .iter()
                    .any(|version| Version::parse(version).is_some()) =>
        {
            Probe::Other
        }
        // A server that offers the very version that was asked for is asked again, as the
        // specification has it.
        Probe::Unsupported(versions)
            if versions
                .iter()
                .any(|version| version == Version::LATEST.as_str()) =>
        {
            match probe_once(link).await {
                Probe::Unsupported(_) => Probe::Modern(assumed_modern()),
                other => other,
            }
        }
        other => other,
    }
}

async fn probe_once(link: &Link) -> Probe {
    let wire = Wire {
        version: Version::LATEST,
        session: None,
    };
    let out = message::own("server/discover", next_id(), OWN_META, "");
    let answer =
        tokio::time::timeout(PROBE_DEADLINE, link.request(&wire, out, Watch::deaf())).await;
    let response = match answer {
        Err(_) => return Probe::Silent,
        Ok(Ok(response)) => response,
        Ok(Err(LinkError::Status {
            error: Some(response),
            ..
        })) => *response,
        Ok(Err(LinkError::Status {
            status: 400 | 404 | 405 | 406 | 415 | 422 | 500 | 501,
            error: None,
        })) => return Probe::Other,
        Ok(Err(LinkError::Lost(_))) if matches!(link, Link::Mux(_)) => return Probe::Gone,
        Ok(Err(LinkError::Invalid(_))) => return Probe::Other,
        Ok(Err(error)) => return Probe::Failed(error),
    };
    if response.error.is_some() {
        return match response.error_code() {
            Some(code::UNSUPPORTED_VERSION) => Probe::Unsupported(supported(&response)),
            Some(code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY) => {
                Probe::Modern(assumed_modern())
            }
            _ => Probe::Other,
        };
    }
    match discovered(&response) {
        Some(server) => Probe::Modern(Agreed {
            wire,
            server,
            legacy: None,
        }),
        None => Probe::Other,
    }
}

fn no_common_version(versions: &[String]) -> ConnectError {
    let known = if versions.is_empty() {
        "none that it names".to_owned()
    } else {
        versions.join(", ")
    };
    ConnectError::new(format!(
        "it speaks no version of the protocol that the gateway does (it offers {known})"
    ))
}

/// A modern server that does not describe itself.
fn assumed_modern() -> Agreed {
    Agreed {
        wire: Wire {
            version: Version::LATEST,
            session: None,
        },
        server: Server {
            version: Version::LATEST,
            instructions: None,
            extensions: Vec::new(),
            features: Features {
                tools: true,
                prompts: true,
                resources: true,
                completions: true,
                ..Features::default()
            },
        },
        legacy: None,
    }
}

fn supported(response: &Response) -> Vec<String> {
    let data = response
        .error_keys
        .data
        .map(|span| response.slice(span))
        .unwrap_or_default();
    let list = member(data, "supported").unwrap_or_default();
    strings(list)
        .into_iter()
        .take(MAX_VERSIONS)
        .filter(|text| text.len() <= MAX_VERSION_LENGTH)
        .collect()
}

fn strings(array: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for_each_item(array, |span| {
        if let Some(text) = switchboard_protocol::json::as_str(span.of(array)) {
            found.push(text.into_owned());
        }
    });
    found
}

/// The server behind a discover result; `None` if it does not offer our version.
fn discovered(response: &Response) -> Option<Server> {
    let result = response.slice(response.result?);
    let versions = strings(member(result, "supportedVersions")?);
    if !versions
        .iter()
        .any(|version| version == Version::LATEST.as_str())
    {
        return None;
    }
    Some(describe(result, Version::LATEST))
}

/// Reads capabilities and instructions, which discover and initialize results share.
pub(crate) fn describe(result: &[u8], version: Version) -> Server {
    let mut features = Features::default();
    let mut extensions = Vec::new();
    let is_true = |object: &[u8], key: &str| member(object, key) == Some(b"true");
    for_each_member(
        member(result, "capabilities").unwrap_or_default(),
        |key, _, value| match key {
            "tools" => {
                features.tools = true;
                features.tools_changed = is_true(value, "listChanged");
            }
            "prompts" => {
                features.prompts = true;
                features.prompts_changed = is_true(value, "listChanged");
            }
            "resources" => {
                features.resources = true;
                features.resources_changed = is_true(value, "listChanged");
                features.subscribe = is_true(value, "subscribe");
            }
            "completions" => features.completions = true,
            "logging" => features.logging = true,
            "extensions" => for_each_member(value, |name, _, settings| {
                if extensions.len() < MAX_EXTENSIONS {
                    extensions.push((name.to_owned(), bytes::Bytes::copy_from_slice(settings)));
                }
            }),
            _ => {}
        },
    );
    // Completions were not a capability before 2025-03-26.
    features.completions |= version < Version::V2025_03_26;
    let instructions = member(result, "instructions")
        .and_then(switchboard_protocol::json::as_str)
        .map(|text| {
            let mut end = text.len().min(MAX_INSTRUCTIONS);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text[..end].to_owned()
        });
    Server {
        version,
        instructions,
        extensions,
        features,
    }
}
