//! One HTTP exchange: what each of the transports does with a request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answer::{Play, play_as_response, play_into_stream};
use super::{MAX_BODY_BYTES, MAX_SESSIONS, Recorded, Session, Shared, Transport, full};
use crate::fake::{Incoming, error};
use crate::lock::lock;
use crate::serving;

/// How many events wait in an event stream of [`Transport::Sse`].
const STREAM_QUEUE: usize = 1024;

const SESSION: &str = "mcp-session-id";

/// Answers one request.
pub(super) async fn respond(
    shared: Arc<Shared>,
    request: Request<hyper::body::Incoming>,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(Body::new(body), MAX_BODY_BYTES).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "too large");
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let recorded = Recorded {
        verb: parts.method.clone(),
        path: path.to_owned(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    let guard = lock(&shared.guard).clone();
    let admitted = guard.map_or(Ok(()), |guard| guard.admit(&recorded));
    shared.record(recorded);
    if let Err((status, challenge)) = admitted {
        return refused(status, &challenge);
    }
    match (shared.transport, parts.uri.path()) {
        (Transport::Modern, "/mcp") if parts.method == Method::POST => {
            modern(shared, &parts.headers, body).await
        }
        (Transport::Legacy, "/mcp") => legacy(shared, &parts.method, &parts.headers, body).await,
        (Transport::Sse, "/mcp") if parts.method == Method::GET => event_stream(&shared),
        (Transport::Sse, "/messages") if parts.method == Method::POST => {
            let session = parts.uri.query().unwrap_or_default().to_owned();
            message(&shared, &session, &body)
        }
        (_, "/mcp") => plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    }
}

fn refused(status: u16, challenge: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = plain(status, "refused");
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

async fn modern(shared: Arc<Shared>, headers: &HeaderMap, body: Bytes) -> Response {
    let Ok(message) = serde_json::from_slice::<Incoming<'_>>(&body) else {
        return json(StatusCode::BAD_REQUEST, error("null", -32700, "Not JSON"));
    };
    let Some(id) = message.id else {
        return plain(StatusCode::ACCEPTED, "");
    };
    if let Some(header) = mismatch(headers, &message) {
        let text = format!("The header {header} does not match the message");
        return json(StatusCode::BAD_REQUEST, error(id.get(), -32020, &text));
    }
    let play = Play::begin(&shared, &message, false, None);
    play_as_response(play).await
}

/// The header that does not mirror the message as it should.
fn mismatch(headers: &HeaderMap, message: &Incoming<'_>) -> Option<&'static str> {
    let named = matches!(
        message.method.as_deref(),
        Some("tools/call" | "prompts/get" | "resources/read")
    );
    let name = message
        .params
        .name
        .as_deref()
        .or(message.params.uri.as_deref());
    let region = message.mirrored_region();
    let expected = [
        (
            "mcp-protocol-version",
            message.params.meta.version.as_deref(),
        ),
        ("mcp-method", message.method.as_deref()),
        ("mcp-name", name.filter(|_| named)),
        ("mcp-param-region", region.as_deref()),
    ];
    expected.into_iter().find_map(|(header, value)| {
        let sent = headers.get(header).map(HeaderValue::as_bytes);
        (sent != value.map(str::as_bytes)).then_some(header)
    })
}

async fn legacy(shared: Arc<Shared>, verb: &Method, headers: &HeaderMap, body: Bytes) -> Response {
    let session = headers.get(SESSION).and_then(|id| id.to_str().ok());
    let is_known = session.is_some_and(|id| lock(&shared.sessions).alive.contains_key(id));
    let initializes = *verb == Method::POST
        && serde_json::from_slice::<Incoming<'_>>(&body)
            .is_ok_and(|message| message.method.as_deref() == Some("initialize"));
    if initializes {
        return initialize(shared, &body).await;
    }
    match session {
        None => return plain(StatusCode::BAD_REQUEST, "a session is missing"),
        Some(_) if !is_known => return plain(StatusCode::NOT_FOUND, "no such session"),
        Some(_) => {}
    }
    let session = session.unwrap_or_default();
    match *verb {
        Method::GET => silent_stream(),
        Method::DELETE => {
            lock(&shared.sessions).alive.remove(session);
            plain(StatusCode::OK, "")
        }
        Method::POST => {
            let Ok(message) = serde_json::from_slice::<Incoming<'_>>(&body) else {
                return json(StatusCode::BAD_REQUEST, error("null", -32700, "Not JSON"));
            };
            match shared.accept(session, &message) {
                None => plain(StatusCode::ACCEPTED, ""),
                Some((logs, cancel)) => {
                    play_as_response(Play::begin(&shared, &message, logs, Some(cancel))).await
                }
            }
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

async fn initialize(shared: Arc<Shared>, body: &Bytes) -> Response {
    let Some(id) = shared.new_session(None) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
    };
    let Ok(message) = serde_json::from_slice::<Incoming<'_>>(body) else {
        return plain(StatusCode::BAD_REQUEST, "not JSON");
    };
    let mut response = play_as_response(Play::begin(&shared, &message, false, None)).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

/// The stream of a legacy session for what belongs to no request: here, nothing.
fn silent_stream() -> Response {
    events(Body::from_stream(stream::pending::<
        Result<Bytes, Infallible>,
    >()))
}

/// Opens a session of [`Transport::Sse`]: its stream begins with the address for messages.
fn event_stream(shared: &Shared) -> Response {
    let (sender, queue) = mpsc::channel::<String>(STREAM_QUEUE);
    let Some(id) = shared.new_session(Some(sender)) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
    };
    let first = format!("event: endpoint\ndata: /messages?{id}\n\n");
    let body = stream::unfold((Some(first), queue), |(first, mut queue)| async move {
        let event = match first {
            Some(first) => first,
            None => format!("event: message\ndata: {}\n\n", queue.recv().await?),
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), (None, queue)))
    });
    events(Body::from_stream(body))
}

/// Takes a message of a session of [`Transport::Sse`]; its answer goes into the session's stream.
fn message(shared: &Arc<Shared>, session: &str, body: &Bytes) -> Response {
    let stream = lock(&shared.sessions)
        .alive
        .get(session)
        .and_then(|session| session.stream.clone());
    let Some(stream) = stream else {
        return plain(StatusCode::NOT_FOUND, "no such session");
    };
    let Ok(message) = serde_json::from_slice::<Incoming<'_>>(body) else {
        return plain(StatusCode::BAD_REQUEST, "not JSON");
    };
    if let Some((logs, cancel)) = shared.accept(session, &message) {
        let play = Play::begin(shared, &message, logs, Some(cancel));
        tokio::spawn(play_into_stream(play, stream));
    }
    plain(StatusCode::ACCEPTED, "")
}

impl Shared {
    fn new_session(&self, stream: Option<mpsc::Sender<String>>) -> Option<String> {
        let mut sessions = lock(&self.sessions);
        sessions
            .alive
            .retain(|_, session| !session.stream.as_ref().is_some_and(mpsc::Sender::is_closed));
        if sessions.alive.len() >= MAX_SESSIONS {
            return None;
        }
        sessions.begun += 1;
        let id = format!("session-{}", sessions.begun);
        let session = Session {
            stream,
            ..Session::default()
        };
        sessions.alive.insert(id.clone(), session);
        Some(id)
    }

    /// Takes note of a message of a session. `None` if it asks for no answer; else whether the
    /// session wants logs, and what cancels the request.
    fn accept(&self, session: &str, message: &Incoming<'_>) -> Option<(bool, CancellationToken)> {
        let mut sessions = lock(&self.sessions);
        let session = sessions.alive.get_mut(session)?;
        if message.method.as_deref() == Some("notifications/cancelled") {
            let id = message.params.request_id.map_or("", |id| id.get());
            if let Some(running) = session.running.remove(id) {
                running.cancel();
            }
        }
        if message.method.as_deref() == Some("logging/setLevel") {
            session.logs = true;
        }
        let id = message.id.filter(|_| message.method.is_some())?;
        // Whoever is done has dropped its half of the pair that `Play` makes.
        session.running.retain(|_, running| !running.is_cancelled());
        let cancel = CancellationToken::new();
        session.running.insert(id.get().to_owned(), cancel.clone());
        Some((session.logs, cancel))
    }
}

/// An answer of plain text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    serving::answer(status, "text/plain", full(text))
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    serving::answer(status, "application/json", full(text))
}

/// An answer that is an event stream.
pub(super) fn events(body: Body) -> Response {
    serving::answer(StatusCode::OK, "text/event-stream", body)
}
