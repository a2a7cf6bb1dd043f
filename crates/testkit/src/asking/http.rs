//! The server over HTTP: streamable HTTP of its era at `/mcp`, and for legacy clients also HTTP+SSE
//! of 2024-11-05 at `/sse`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::session::{Aside, Session};
use super::{OUTBOX, Options, Outlet, Shared, modern};
use crate::fake::Era;
use crate::lock::lock;
use crate::serving;

const SESSION: &str = "mcp-session-id";
/// How many sessions there may be at once.
const MAX_SESSIONS: usize = 2000;

/// A running server; its streams break and it serves nothing more when it is dropped.
#[derive(Debug)]
pub struct AskingHttp {
    address: SocketAddr,
    serving: Arc<Serving>,
    task: JoinHandle<io::Result<()>>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Serving {
    shared: Arc<Shared>,
    sessions: Mutex<HashMap<String, Open>>,
    stop: CancellationToken,
}

#[derive(Clone, Debug)]
struct Open {
    session: Arc<Session>,
    /// The one stream of HTTP+SSE.
    stream: Option<Outlet>,
}

type Served = State<Arc<Serving>>;

impl AskingHttp {
    /// Serves on a free loopback port.
    ///
    /// # Panics
    ///
    /// If no port can be had, or the journal cannot be opened.
    pub async fn start(options: Options) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::bind(any, options).await.expect("a free port")
    }

    /// Serves at this address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, or the journal not be opened.
    pub async fn bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|connection| {
            // Without it everything is the same, and slower.
            let _ = connection.set_nodelay(true);
        });
        let stop = CancellationToken::new();
        let serving = Arc::new(Serving {
            shared: Shared::new(options)?,
            sessions: Mutex::default(),
            stop: stop.clone(),
        });
        let router = Router::new()
            .route("/mcp", post(posted).get(opened).delete(ended))
            .route("/sse", get(opened_sse))
            .route("/messages", post(posted_sse))
            .with_state(Arc::clone(&serving));
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Ok(Self {
            address,
            serving,
            task,
            _stop: stop.drop_guard(),
        })
    }

    /// The endpoint of streamable HTTP.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The event stream of HTTP+SSE.
    pub fn sse_url(&self) -> String {
        format!("http://{}/sse", self.address)
    }

    /// What the server saw.
    pub fn events(&self) -> Vec<Value> {
        self.serving.shared.events()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        lock(&self.serving.sessions).len()
    }

    /// Serves until this is dropped.
    ///
    /// # Errors
    ///
    /// If the listener fails.
    pub async fn wait(&mut self) -> io::Result<()> {
        (&mut self.task).await.unwrap_or(Ok(()))
    }
}

impl Serving {
    fn open(&self, session: Arc<Session>, stream: Option<Outlet>) -> Option<String> {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, open| !open.stream.as_ref().is_some_and(|out| out.0.is_closed()));
        if sessions.len() >= MAX_SESSIONS {
            return None;
        }
        let id = format!("{}-{}", std::process::id(), session.number);
        sessions.insert(id.clone(), Open { session, stream });
        Some(id)
    }

    /// The session that a request names, or the status of the refusal.
    fn find(&self, headers: &HeaderMap) -> Result<Arc<Session>, StatusCode> {
        let Some(id) = headers.get(SESSION).and_then(|id| id.to_str().ok()) else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let session = lock(&self.sessions)
            .get(id)
            .filter(|open| open.stream.is_none())
            .map(|open| Arc::clone(&open.session));
        session.ok_or(StatusCode::NOT_FOUND)
    }
}

async fn posted(State(serving): Served, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return plain(StatusCode::BAD_REQUEST, "not JSON");
    };
    if serving.shared.options.era == Era::Modern {
        return posted_modern(&serving, message).await;
    }
    if message["method"] == "initialize" {
        return initialize(&serving, message).await;
    }
    let session = match serving.find(&headers) {
        Ok(session) => session,
        Err(status) => return plain(status, "no such session"),
    };
    let is_request = message["method"].is_string() && message.get("id").is_some();
    let (out, answers) = mpsc::channel(OUTBOX);
    session.receive(message, Outlet(out)).await;
    if is_request {
        answer(&serving, answers, true).await
    } else {
        plain(StatusCode::ACCEPTED, "")
    }
}

async fn initialize(serving: &Arc<Serving>, message: Value) -> Response {
    let session = Session::new(&serving.shared, Aside::Get(Mutex::default()));
    let Some(id) = serving.open(Arc::clone(&session), None) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
    };
    let (out, answers) = mpsc::channel(OUTBOX);
    session.receive(message, Outlet(out)).await;
    let mut response = answer(serving, answers, false).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

async fn posted_modern(serving: &Arc<Serving>, message: Value) -> Response {
    if message.get("id").is_none() {
        return plain(StatusCode::ACCEPTED, "");
    }
    let (out, answers) = mpsc::channel(OUTBOX);
    let cancelled = CancellationToken::new();
    let shared = Arc::clone(&serving.shared);
    tokio::spawn(async move {
        let serve = modern::serve(shared, message, Outlet(out.clone()), cancelled.clone());
        tokio::pin!(serve);
        tokio::select! {
            () = &mut serve => return,
            // In this era a client cancels by closing the stream.
            () = out.closed() => cancelled.cancel(),
        }
        serve.await;
    });
    answer(serving, answers, false).await
}

/// The answer to a request. As JSON if the first message is the response already, and nothing asks
/// for a stream; else as an event stream to the last message.
async fn answer(
    serving: &Arc<Serving>,
    mut messages: mpsc::Receiver<String>,
    may_primed: bool,
) -> Response {
    if may_primed && serving.shared.options.newest.as_str() >= "2025-11-25" {
        return events(serving, messages, Some("id: 0\ndata: \n\n".to_owned()));
    }
    let Some(first) = messages.recv().await else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "no answer");
    };
    let message: Value = serde_json::from_str(&first).unwrap_or_default();
    if message["method"].is_string() {
        return events(serving, messages, Some(event("message", &first)));
    }
    let status = match message["error"]["code"].as_i64() {
        Some(-32022..=-32020) => StatusCode::BAD_REQUEST,
        Some(-32601) if serving.shared.options.era == Era::Modern => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    serving::answer(status, "application/json", Body::from(first))
}

async fn opened(State(serving): Served, headers: HeaderMap) -> Response {
    if serving.shared.options.era == Era::Modern {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    }
    match serving.find(&headers) {
        Ok(session) => events(&serving, session.aside.open(), None),
        Err(status) => plain(status, "no such session"),
    }
}

async fn ended(State(serving): Served, headers: HeaderMap) -> Response {
    match serving.find(&headers) {
        Ok(session) => {
            lock(&serving.sessions).retain(|_, open| !Arc::ptr_eq(&open.session, &session));
            session.close();
            plain(StatusCode::OK, "")
        }
        Err(status) => plain(status, "no such session"),
    }
}

async fn opened_sse(State(serving): Served) -> Response {
    if serving.shared.options.era == Era::Modern {
        return plain(StatusCode::NOT_FOUND, "not found");
    }
    let (out, messages) = mpsc::channel(OUTBOX);
    let outlet = Outlet(out);
    let session = Session::new(&serving.shared, Aside::Channel(outlet.clone()));
    let Some(id) = serving.open(Arc::clone(&session), Some(outlet.clone())) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
    };
    // The client says that it is gone by closing the stream.
    let closing = Arc::clone(&serving);
    let closed_id = id.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = outlet.0.closed() => {}
            () = closing.stop.cancelled() => {}
        }
        lock(&closing.sessions).remove(&closed_id);
        session.close();
    });
    let endpoint = event("endpoint", &format!("/messages?session={id}"));
    events(&serving, messages, Some(endpoint))
}

async fn posted_sse(State(serving): Served, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let query = query.unwrap_or_default();
    let id = query.strip_prefix("session=").unwrap_or_default();
    let open = lock(&serving.sessions).get(id).cloned();
    let Some((session, stream)) = open.and_then(|open| Some((open.session, open.stream?))) else {
        return plain(StatusCode::NOT_FOUND, "no such session");
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return plain(StatusCode::BAD_REQUEST, "not JSON");
    };
    session.receive(message, stream).await;
    plain(StatusCode::ACCEPTED, "accepted")
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// An event stream that begins with `first`, until nobody sends any more or the server stops.
fn events(
    serving: &Arc<Serving>,
    messages: mpsc::Receiver<String>,
    first: Option<String>,
) -> Response {
    let stop = serving.stop.clone();
    let events = stream::unfold(
        (messages, first, stop),
        |(mut messages, first, stop)| async {
            let text = match first {
                Some(first) => first,
                None => tokio::select! {
                    () = stop.cancelled() => return None,
                    message = messages.recv() => event("message", &message?),
                },
            };
            Some((Ok::<_, Infallible>(text), (messages, None, stop)))
        },
    );
    let body = Body::from_stream(events);
    serving::answer(StatusCode::OK, "text/event-stream", body)
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    serving::answer(status, "text/plain", Body::from(text))
}
