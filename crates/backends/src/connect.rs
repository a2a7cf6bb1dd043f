//! Making a connection: which transport, which era, who is there.

mod describe;
mod probe;

use ::http::Uri;
use std::sync::{Arc, Weak};
use std::time::Duration;
use switchboard_init::machine::Machine;
use switchboard_protocol::call::ClientSession;
use switchboard_protocol::credentials::{Blame, Credentials, OnBehalf};
use switchboard_protocol::error::code;
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

pub(crate) use self::describe::describe;
use self::probe::{Probe, assumed_modern, no_common_version, probe};
use crate::config::{BackendConfig, EraPin, HttpKind, TransportConfig};
use crate::confinement::Plan;
use crate::legacy::{self, Introduction, Relay};
use crate::link::http::{HttpBounds, HttpLink};
use crate::link::inbox::Inbox;
use crate::link::mux::Mux;
use crate::link::{Link, LinkError, Wire, http_sse, stdio};
use crate::lists::{Found, Server};
use crate::process::{Epilogue, Program, Supervisor, runner};
use crate::status::State;

/// How long the whole of connecting may take; `npx` and the like may download first.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// `_meta` of the gateway's own requests. They declare everything: some servers register tools by
/// what the client can do, and no call is made with this.
pub(crate) const OWN_META: &str = concat!(
    "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",",
    "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"switchboard\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"},\"io.modelcontextprotocol/clientCapabilities\":",
    "{\"elicitation\":{\"form\":{},\"url\":{}},\"sampling\":{\"tools\":{},\"context\":{}},\"roots\":{},\"extensions\":",
    "{\"io.modelcontextprotocol/tasks\":{},\"io.modelcontextprotocol/ui\":{\"mimeTypes\":[\"text/html;profile=mcp-app\"]}}}}"
);

/// A server that answers.
pub(crate) struct Connection {
    /// The way to it.
    pub(crate) link: Link,
    /// Its endpoint, if it is reached over HTTP, whichever HTTP transport it speaks: further
    /// sessions begin there.
    pub(crate) http: Option<HttpLink>,
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
    /// What else an operator needs to mend it, such as the address. Not for callers.
    pub(crate) cause: Option<String>,
    /// Whether the server wants another credential.
    pub(crate) needs_auth: bool,
}

impl ConnectError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            cause: None,
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
        let needs_auth = match &error {
            LinkError::Unauthorized(_) => true,
            LinkError::NoCredential(error) => error.blame != Blame::Passing,
            _ => false,
        };
        let mut cause = None;
        let reason = match error {
            LinkError::Unreachable(why) => {
                cause = Some(why);
                "no connection to the server".to_owned()
            }
            LinkError::NoCredential(error) => {
                cause = error.cause.as_deref().map(str::to_owned);
                error.reason.to_string()
            }
            LinkError::Unauthorized(status) => {
                cause = Some(format!("HTTP status {status}"));
                "it refuses the gateway's credential".to_owned()
            }
            LinkError::Status {
                status: 300..=399, ..
            } => "it redirects elsewhere: configure the address that it redirects to".to_owned(),
            LinkError::Status { status, .. } => format!("it answers with HTTP status {status}"),
            LinkError::NotSent(reason) | LinkError::Lost(reason) => reason,
            LinkError::Silent => "it keeps silent for too long".to_owned(),
            LinkError::TooLarge => "its answer is larger than the limit".to_owned(),
            LinkError::Invalid(reason) => {
                format!("it does not answer as an MCP server does ({reason}): check its address")
            }
            LinkError::HandshakeRefused(code) => format!(
                "it does not answer as an MCP server does (it refuses the handshake with error {code}): check its address"
            ),
            LinkError::Full => "too many requests wait for it".to_owned(),
        };
        Self {
            reason,
            cause,
            needs_auth,
        }
    }
}

/// What was found out about a server's era, so that it need not be asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    pub(crate) era: EraPin,
    pub(crate) found: Found,
}

impl Remembered {
    /// What there is to remember of this one.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self {
            era: match connection.wire.version.is_modern() {
                true => EraPin::Modern,
                false => EraPin::Legacy,
            },
            found: connection.server.found,
        }
    }
}

/// Connects, finding out the era where it is neither pinned nor remembered. A legacy server is told
/// that its client can do everything: the connection is for its lists.
pub(crate) async fn connect(
    backend: &Arc<str>,
    config: &BackendConfig,
    supervisor: &Supervisor,
    remembered: Option<Remembered>,
    inbox: &Arc<Inbox>,
    credentials: Option<&Arc<dyn Credentials>>,
) -> Result<Connection, ConnectError> {
    let known = match (config.era, remembered) {
        (EraPin::Auto, Some(remembered)) => remembered,
        (era, _) => Remembered {
            era,
            found: Found::Configured,
        },
    };
    match &config.transport {
        TransportConfig::Stdio { .. } => {
            connect_stdio(backend, config, supervisor, known, inbox).await
        }
        TransportConfig::Http {
            url,
            address,
            headers,
            kind,
        } => {
            let uri: Uri = url
                .as_str()
                .parse()
                .map_err(|_| ConnectError::new("its URL cannot be used"))?;
            let link = HttpLink::new(
                uri,
                *address,
                headers.clone(),
                HttpBounds::of(config),
                Arc::clone(inbox),
                credentials.cloned(),
            );
            connect_http(link, *kind, config, known, inbox).await
        }
    }
}

/// Begins a session of a legacy server, beside the one at `via`: a process of its own, or a session
/// at the same endpoint. All that is sent in it is sent on behalf of `caller`, if there is one.
#[expect(clippy::too_many_arguments, reason = "all that a session begins with")]
pub(crate) async fn open_session(
    backend: &Arc<str>,
    config: &BackendConfig,
    supervisor: &Supervisor,
    inbox: &Arc<Inbox>,
    via: &Connection,
    introduction: &Introduction,
    client: Option<Weak<dyn ClientSession>>,
    caller: Option<Arc<OnBehalf>>,
) -> Result<Connection, ConnectError> {
    let found = via.server.found;
    let relay = client.map(|client| Relay::new(client, backend, inbox));
    let begin = async |link: &Link| legacy::initialize(link, introduction, relay, found).await;
    match (&via.link, &via.http) {
        (Link::Http(http), _) => {
            let http = http.with_inbox(Arc::clone(inbox)).on_behalf_of(caller);
            let link = Link::Http(http.clone());
            let agreed = begin(&link).await?;
            Ok(agreed.over(link, Some(http)))
        }
        (Link::Mux(_), Some(http)) => {
            let http = http.with_inbox(Arc::clone(inbox)).on_behalf_of(caller);
            let guarded = Guarded::new(http_sse::connect(&http, Arc::clone(inbox)).await?);
            let agreed = begin(&guarded.link).await?;
            Ok(guarded.into_connection(agreed, Some(http)))
        }
        (Link::Mux(_), None) => {
            let guarded = spawn(backend, config, supervisor, inbox).await?;
            let agreed = begin(&guarded.link).await?;
            Ok(guarded.into_connection(agreed, None))
        }
    }
}

/// Starts the process of a local server.
async fn spawn(
    backend: &Arc<str>,
    config: &BackendConfig,
    supervisor: &Supervisor,
    inbox: &Arc<Inbox>,
) -> Result<Guarded, ConnectError> {
    let TransportConfig::Stdio {
        command,
        args,
        env,
        cwd,
    } = &config.transport
    else {
        return Err(ConnectError::new("it has no program"));
    };
    let plan = plan(config).await?;
    if let Some(refusal) = plan.refusal() {
        return Err(ConnectError::new(refusal));
    }
    let container = runner::container(backend, command, args, fastrand::u64(..));
    let epilogue = container.as_ref().map(removal);
    let program = Program {
        plan: &plan,
        command,
        args: container.as_ref().map_or(args, |container| &container.args),
        env,
        cwd: cwd.as_deref(),
        max_line: config.max_message_bytes,
        epilogue: epilogue.as_ref(),
    };
    stdio::spawn(backend, supervisor, &program, Arc::clone(inbox))
        .await
        .map(Guarded::new)
        .map_err(ConnectError::new)
}

/// What is to hold for the process. Made on a thread that may wait for a disk: it looks at the files
/// of the sandbox, and the first one finds out what the machine can.
async fn plan(config: &BackendConfig) -> Result<Plan, ConnectError> {
    let config = config.clone();
    let making = tokio::task::spawn_blocking(move || {
        let plan = Plan::of(&config, Machine::this())?;
        // A start that is refused needs none.
        if plan.refusal().is_none() {
            plan.make_caches();
        }
        Some(plan)
    });
    let plan = making.await.ok().flatten();
    plan.ok_or_else(|| ConnectError::new("it has no program"))
}

/// A container is a child of another service: it does not end with what asked for it.
fn removal(container: &runner::Container) -> Epilogue {
    Epilogue {
        command: container.removal.clone(),
        // Where the name is the configuration's, another container may have it: then this one was
        // refused, and the other is not its own to remove.
        unless: container.is_named.then_some(runner::REFUSED),
    }
}

async fn connect_stdio(
    backend: &Arc<str>,
    config: &BackendConfig,
    supervisor: &Supervisor,
    known: Remembered,
    inbox: &Arc<Inbox>,
) -> Result<Connection, ConnectError> {
    let mut guarded = spawn(backend, config, supervisor, inbox).await?;
    let mut found = known.found;
    if known.era != EraPin::Legacy {
        match probe(&guarded.link).await {
            Probe::Modern(agreed) => return Ok(guarded.into_connection(agreed, None)),
            Probe::Unsupported(versions) => return Err(no_common_version(&versions)),
            Probe::Legacy(_) if config.era == EraPin::Modern => {
                let agreed = assumed_modern(Found::Configured);
                return Ok(guarded.into_connection(agreed, None));
            }
            // Some servers end on any request before `initialize`: the handshake gets a fresh
            // process.
            Probe::Gone => {
                guarded.link.shut_down().await;
                guarded = spawn(backend, config, supervisor, inbox).await?;
                found = Found::Ended;
            }
            Probe::Failed(error) => return Err(error.into()),
            Probe::Legacy(how) => found = how,
        }
    }
    match legacy::initialize(&guarded.link, &Introduction::FULL, None, found).await {
        Ok(agreed) => Ok(guarded.into_connection(agreed, None)),
        Err(error) => {
            let agreed = asked_too_early(&guarded.link, known, error).await?;
            Ok(guarded.into_connection(agreed, None))
        }
    }
}

/// A modern server that took longer to start than the question which era it speaks may wait
/// refuses the handshake with an error that modern servers alone have (specification:
/// `basic/transports/stdio`, Backward Compatibility). By then it has started: it is asked again.
async fn asked_too_early(
    link: &Link,
    known: Remembered,
    error: LinkError,
) -> Result<Agreed, ConnectError> {
    let is_modern = matches!(
        error,
        LinkError::HandshakeRefused(code::UNSUPPORTED_VERSION)
    );
    if is_modern
        && known.era != EraPin::Legacy
        && let Probe::Modern(agreed) = probe(link).await
    {
        return Ok(agreed);
    }
    Err(error.into())
}

async fn connect_http(
    http: HttpLink,
    kind: HttpKind,
    config: &BackendConfig,
    known: Remembered,
    inbox: &Arc<Inbox>,
) -> Result<Connection, ConnectError> {
    let link = Link::Http(http.clone());
    let mut found = known.found;
    if kind != HttpKind::Sse {
        if known.era != EraPin::Legacy {
            match probe(&link).await {
                Probe::Modern(agreed) => return Ok(agreed.over(link, Some(http))),
                Probe::Unsupported(versions) => return Err(no_common_version(&versions)),
                Probe::Failed(
                    error @ (LinkError::NotSent(_)
                    | LinkError::Unreachable(_)
                    | LinkError::NoCredential(_)
                    | LinkError::Unauthorized(_)),
                ) => return Err(error.into()),
                _ if config.era == EraPin::Modern => {
                    return Ok(assumed_modern(Found::Configured).over(link, Some(http)));
                }
                Probe::Legacy(how) => found = how,
                Probe::Failed(LinkError::Status { status, .. }) => found = Found::Status(status),
                Probe::Gone | Probe::Failed(_) => found = Found::Ended,
            }
        }
        match legacy::initialize(&link, &Introduction::FULL, None, found).await {
            Ok(agreed) => return Ok(agreed.over(link, Some(http))),
            Err(LinkError::Status {
                status: 400 | 404 | 405,
                ..
            }) if kind == HttpKind::Auto => {}
            Err(error) => {
                let agreed = asked_too_early(&link, known, error).await?;
                return Ok(agreed.over(link, Some(http)));
            }
        }
    }
    let guarded = Guarded::new(http_sse::connect(&http, Arc::clone(inbox)).await?);
    let agreed = legacy::initialize(&guarded.link, &Introduction::FULL, None, found).await?;
    Ok(guarded.into_connection(agreed, Some(http)))
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

    fn into_connection(self, agreed: Agreed, http: Option<HttpLink>) -> Connection {
        self.guard.disarm();
        agreed.over(self.link, http)
    }
}

/// What was agreed with a server, before it is put together with its link.
pub(crate) struct Agreed {
    pub(crate) wire: Wire,
    pub(crate) server: Server,
    pub(crate) legacy: Option<legacy::Session>,
}

impl Agreed {
    fn over(self, link: Link, http: Option<HttpLink>) -> Connection {
        Connection {
            link,
            http,
            wire: self.wire,
            server: Arc::new(self.server),
            legacy: self.legacy,
            session_lost: Notify::new(),
        }
    }
}
