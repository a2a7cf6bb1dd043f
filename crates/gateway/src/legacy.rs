//! The client edge of 2025-11-25 and older: sessions, requests to the client, streams that outlive
//! their connection.
//!
//! Everything in here ends in modern calls, made through the same call stack as any other. The rest
//! of the gateway knows of [`Edge`] and of nothing else in this folder: it hands over the messages
//! and requests of that time (`edge::decode` tells them apart), and tells when the gateway ends.

mod attended;
mod call;
mod clients;
mod config;
mod events;
mod handshake;
mod http_sse;
mod places;
mod post;
mod questions;
mod report;
mod session;
mod sessions;
mod stream;
mod tasks;
mod translate;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::ALLOW;
use http::request::Parts as Head;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, StatusCode};
use switchboard_orchestrator::Orchestrator;
use switchboard_orchestrator::hub::ListenError;
use switchboard_protocol::call::{ClientSession, Principal};
use switchboard_protocol::credentials::SubjectToken;
use switchboard_protocol::envelope::Message;
use switchboard_protocol::error::{ProtocolError, code};
use switchboard_protocol::header;
use switchboard_protocol::token::Sealer;
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;

use self::attended::Tasks;
pub use self::config::LegacyClientsConfig;
use self::places::Places;
use self::session::{Session, Transport};
use self::sessions::{CannotBegin, Sessions};
use crate::access::AccessInForce;
use crate::audit::AuditLog;
use crate::edge::decode::{self, BodyLimits, Rejection};
use crate::edge::respond;
use crate::paths::is_endpoint;
use crate::stack::CallService;

/// Whether what was posted belongs to a session, and does not begin one.
pub(crate) fn is_of_a_session(posted: &Posted) -> bool {
    !matches!(posted, Posted::One(message) if is_beginning(message))
}

fn is_beginning(message: &Message) -> bool {
    matches!(message, Message::Request(request)
        if request.is_request() && &*request.method_name() == b"initialize")
}

/// Where clients of HTTP+SSE open their stream.
pub(crate) const SSE: &str = "/sse";
/// Where they post their messages.
pub(crate) const MESSAGES: &str = "/messages";

/// What the edge is made of.
pub(crate) struct Parts {
    pub(crate) config: LegacyClientsConfig,
    pub(crate) access: AccessInForce,
    /// Of the bodies that are read here: those of HTTP+SSE.
    pub(crate) limits: BodyLimits,
    /// How long a client may take to answer what it is asked in the middle of a call.
    pub(crate) ask_timeout: Duration,
    /// Seals session ids.
    pub(crate) sealer: Sealer,
    /// The address at which other replicas reach this one, if there are any.
    pub(crate) replica: Option<Arc<str>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) calls: CallService,
    /// Where subscriptions are noted; `None`: nowhere.
    pub(crate) audit: Option<AuditLog>,
}

/// What a client posted.
#[derive(Debug)]
pub(crate) enum Posted {
    /// One message.
    One(Box<Message>),
    /// An array of messages, as written: part of 2025-03-26 alone.
    Batch(Bytes),
}

/// Who sent a request, and to which profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'r> {
    pub(crate) principal: &'r Arc<Principal>,
    /// `None`: to the endpoint without one.
    pub(crate) profile: Option<&'r Arc<str>>,
}

/// The edge. Cheap to clone; clones are the same edge.
#[derive(Clone)]
pub(crate) struct Edge {
    inner: Arc<Inner>,
}

struct Inner {
    limits: BodyLimits,
    ask_timeout: Duration,
    metrics: Arc<Metrics>,
    orchestrator: Orchestrator,
    calls: CallService,
    sessions: Sessions,
    tasks: Tasks,
    audit: Option<AuditLog>,
    /// Places for calls.
    places: Places,
}

impl Edge {
    /// Puts the edge together and starts the task that ends sessions which are over. Must be called
    /// within a tokio runtime.
    pub(crate) fn start(parts: Parts) -> Self {
        let Parts {
            config,
            access,
            limits,
            ask_timeout,
            sealer,
            replica,
            metrics,
            orchestrator,
            calls,
            audit,
        } = parts;
        let redactors = Arc::new({
            let orchestrator = orchestrator.clone();
            move |backend: &str| orchestrator.catalogue().load().policy().redactor(backend)
        });
        let inner = Arc::new(Inner {
            limits,
            ask_timeout,
            sessions: Sessions::new(config, sealer, replica, Arc::clone(&metrics), redactors),
            metrics,
            orchestrator,
            calls,
            tasks: Tasks::new(),
            audit,
            places: Places::default(),
        });
        inner.tasks.spawn({
            let inner = Arc::clone(&inner);
            async move {
                let ended = |session: &Session| inner.ended(session);
                let may_stay = |session: &Session| {
                    let catalogue = inner.orchestrator.catalogue().load();
                    let profile = session.profile();
                    let profile = profile.map(|profile| &**profile);
                    let access = access.load();
                    profile.is_none_or(|profile| catalogue.profile(profile).is_some())
                        && access
                            .authenticator
                            .may_return(&session.principal(), profile)
                };
                inner.sessions.look_after(may_stay, ended).await;
            }
        });
        Self { inner }
    }

    /// Whether a request names a session that is open, whoever sent it.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let id = headers.get(header::SESSION_ID);
        let id = id.and_then(|id| id.to_str().ok());
        id.is_some_and(|id| self.inner.sessions.is_open(id))
    }

    /// The address of the replica that has the session which a request names, if another one gave it
    /// to this caller.
    pub(crate) fn replica_of(&self, head: &Head, principal: &Principal) -> Option<Arc<str>> {
        let id = match head.uri.path() {
            MESSAGES => http_sse::session_id(&head.uri)?,
            _ => head.headers.get(header::SESSION_ID)?.to_str().ok()?,
        };
        self.inner.sessions.replica_of(principal, id)
    }

    /// Answers a posted message of a session, or one that begins a session.
    pub(crate) async fn post(
        &self,
        headers: &HeaderMap,
        caller: Caller<'_>,
        peer: Option<IpAddr>,
        subject_token: Option<Arc<SubjectToken>>,
        posted: Posted,
    ) -> Result<Response, Rejection> {
        let inner = &self.inner;
        match posted {
            Posted::One(message) => {
                let id = match &*message {
                    Message::Request(request) => request.keys.id.map(|id| request.bytes(id)),
                    Message::Response(_) => None,
                };
                let answer = inner
                    .posted(headers, caller, peer, subject_token, &message)
                    .await;
                answer.map_err(|rejection| Rejection { id, ..rejection })
            }
            Posted::Batch(raw) => {
                let session = inner.session(headers, caller)?;
                session.shows(subject_token);
                inner.batch(&session, &raw, peer).await
            }
        }
    }

    /// Answers any other request that [`takes`] says is ours.
    pub(crate) async fn serve(
        &self,
        head: Head,
        body: Body,
        caller: Caller<'_>,
        peer: Option<IpAddr>,
        subject_token: Option<Arc<SubjectToken>>,
    ) -> Result<Response, Rejection> {
        let inner = &self.inner;
        let Caller { principal, .. } = caller;
        match (head.uri.path(), &head.method) {
            (path, &HttpMethod::GET) if is_endpoint(path) => inner.get(&head.headers, caller).await,
            (path, &HttpMethod::DELETE) if is_endpoint(path) => {
                let session = inner.session(&head.headers, caller)?;
                inner.end(&session);
                Ok(respond::empty(StatusCode::NO_CONTENT))
            }
            (SSE, &HttpMethod::GET) => inner.open_sse(principal).await,
            (SSE, _) => Ok(not_allowed("GET")),
            (MESSAGES, &HttpMethod::POST) => {
                inner
                    .message(&head, body, principal, peer, subject_token)
                    .await
            }
            (MESSAGES, _) => Ok(not_allowed("POST")),
            _ => Ok(not_allowed("GET, POST, DELETE")),
        }
    }

    /// Ends all sessions, and waits for what they have going to end. Called when no more requests
    /// come.
    pub(crate) async fn shut_down(&self) {
        let inner = &self.inner;
        inner.sessions.close();
        inner.tasks.tracker.close();
        inner.tasks.tracker.wait().await;
    }
}

/// Whether a request that posts nothing to the endpoint is of an older revision's: one of its
/// sessions', or of HTTP+SSE. Modern clients have no use for them.
pub(crate) fn takes(request: &Request<Body>) -> bool {
    if !is_endpoint(request.uri().path()) {
        return true;
    }
    matches!(*request.method(), HttpMethod::GET | HttpMethod::DELETE)
        && is_legacy(request.headers()) == Some(true)
}

/// What the headers alone say: `Some(false)` if a request is modern, `Some(true)` if it is of an
/// older revision, `None` if they say nothing.
pub(crate) fn is_legacy(headers: &HeaderMap) -> Option<bool> {
    match headers.get(header::PROTOCOL_VERSION) {
        Some(value) => {
            let version = value.to_str().ok().and_then(Version::parse);
            Some(version.is_some_and(|version| !version.is_modern()))
        }
        None => headers.contains_key(header::SESSION_ID).then_some(true),
    }
}

impl Inner {
    async fn posted(
        self: &Arc<Self>,
        headers: &HeaderMap,
        caller: Caller<'_>,
        peer: Option<IpAddr>,
        subject_token: Option<Arc<SubjectToken>>,
        message: &Message,
    ) -> Result<Response, Rejection> {
        if let Message::Request(request) = message
            && is_beginning(message)
        {
            return self.initialize(caller, request).await;
        }
        let session = self.session(headers, caller)?;
        session.shows(subject_token);
        self.one(&session, message, peer).await
    }

    /// The session that a request belongs to (2025-11-25 `basic/transports`, Session Management,
    /// Protocol Version Header).
    fn session(&self, headers: &HeaderMap, caller: Caller<'_>) -> Result<Arc<Session>, Rejection> {
        let bad = |message: String| {
            Rejection::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, message)
        };
        let id = headers.get(header::SESSION_ID).ok_or_else(|| {
            bad("Mcp-Session-Id is missing: begin a session with initialize".to_owned())
        })?;
        let session = id
            .to_str()
            .ok()
            .and_then(|id| self.sessions.find(caller.principal, id))
            .filter(|session| session.transport() == Transport::Streamable)
            // What was begun at one profile is of no other.
            .filter(|session| session.profile() == caller.profile)
            .ok_or_else(no_session)?;
        let agreed = session.agreed().map(clients::Agreed::version);
        if let (Some(agreed), Some(in_header)) = (agreed, headers.get(header::PROTOCOL_VERSION))
            && in_header.as_bytes() != agreed.as_str().as_bytes()
        {
            return Err(bad(format!(
                "MCP-Protocol-Version is not the version of this session, which is {agreed}"
            )));
        }
        session.used();
        Ok(session)
    }

    /// Ends a session and what it has at the servers.
    fn end(&self, session: &Session) {
        if self.sessions.end(session) {
            self.ended(session);
        }
    }

    fn ended(&self, session: &Session) {
        self.orchestrator.client_gone(session.id());
    }

    /// Opens the stream of what is said outside of any call, or one that broke off (2025-11-25
    /// `basic/transports`, Listening for Messages from the Server).
    async fn get(
        self: &Arc<Self>,
        headers: &HeaderMap,
        caller: Caller<'_>,
    ) -> Result<Response, Rejection> {
        decode::check_accepts_events(headers)?;
        let session = self.session(headers, caller)?;
        let Some(last) = headers.get(header::LAST_EVENT_ID) else {
            watched::listen(&session, &self.orchestrator)
                .await
                .map_err(cannot_listen)?;
            let reader = session.outside().read_primed();
            return Ok(stream::response(reader, &session, &self.metrics));
        };
        // One that is no text was never given out.
        let reader = session
            .resume(last.to_str().unwrap_or_default())
            .map_err(|error| {
                Rejection::new(
                    StatusCode::BAD_REQUEST,
                    code::INVALID_REQUEST,
                    error.to_string(),
                )
            })?;
        if reader.is_of(session.outside()) {
            watched::listen(&session, &self.orchestrator)
                .await
                .map_err(cannot_listen)?;
        }
        Ok(stream::response(reader, &session, &self.metrics))
    }
}

/// The answer to a request of a session that is not there.
pub(crate) fn no_session() -> Rejection {
    Rejection::new(
        StatusCode::NOT_FOUND,
        code::INVALID_REQUEST,
        "Session not found: it has ended, or never was; begin a new one with initialize",
    )
}

fn cannot_begin(error: CannotBegin) -> Rejection {
    Rejection::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code::INTERNAL_ERROR,
        error.to_string(),
    )
}

/// The error of a subscription.
fn listen_error(error: ListenError) -> (StatusCode, ProtocolError) {
    match error {
        ListenError::TooManyUris | ListenError::UriTooLong => (
            StatusCode::OK,
            ProtocolError::invalid_params(error.to_string()),
        ),
        ListenError::ShareFull => (
            StatusCode::TOO_MANY_REQUESTS,
            ProtocolError::new(code::INTERNAL_ERROR, error.to_string()),
        ),
        ListenError::Full | ListenError::Closed => (
            StatusCode::SERVICE_UNAVAILABLE,
            ProtocolError::new(code::INTERNAL_ERROR, error.to_string()),
        ),
    }
}

fn cannot_listen(error: ListenError) -> Rejection {
    let (status, error) = listen_error(error);
    // It is asked for by no request that could have an answer of its own.
    let status = match status {
        StatusCode::OK => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    };
    Rejection {
        status,
        id: None,
        error,
    }
}

fn not_allowed(allow: &'static str) -> Response {
    let mut response = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}
