//! The server of tasks over HTTP.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::TaskServer;
use crate::fake::Era;
use crate::lock::lock;
use crate::serving;

const SESSION: &str = "mcp-session-id";
/// How many messages wait in the stream of a request.
const STREAM_QUEUE: usize = 1024;
/// How many requests are remembered.
const MAX_RECORDED: usize = 20_000;

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct FakeTasks {
    url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    server: TaskServer,
    sessions: AtomicU64,
    ended: Mutex<Vec<String>>,
    recorded: Mutex<Vec<Value>>,
    streams: AtomicU64,
}

impl FakeTasks {
    /// Serves `/mcp` on a free loopback port.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(era: Era, label: &str) -> Self {
        let (listener, address) = serving::listener().await;
        let shared = Arc::new(Shared {
            server: TaskServer::new(era, label),
            sessions: AtomicU64::new(0),
            ended: Mutex::default(),
            recorded: Mutex::default(),
            streams: AtomicU64::new(0),
        });
        let app = Router::new()
            .route("/mcp", axum::routing::any(respond))
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = axum::serve(listener, app) => {}
            }
        });
        Self {
            url: format!("http://{address}/mcp"),
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// The URL of the endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server itself.
    pub fn server(&self) -> &TaskServer {
        &self.shared.server
    }

    /// The messages that came of one method, oldest first.
    pub fn requests_of(&self, method: &str) -> Vec<Value> {
        let recorded = lock(&self.shared.recorded);
        let messages = recorded.iter();
        messages
            .filter(|message| message["method"] == method)
            .cloned()
            .collect()
    }

    /// How many `subscriptions/listen` streams are open.
    pub fn streams(&self) -> u64 {
        self.shared.streams.load(Ordering::SeqCst)
    }

    /// Forgets all sessions so far: they get 404 from now on.
    pub fn expire_sessions(&self) {
        let begun = self.shared.sessions.load(Ordering::SeqCst);
        lock(&self.shared.ended).extend((1..=begun).map(|number| number.to_string()));
    }
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    verb: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_modern = shared.server.era == Era::Modern;
    if verb != Method::POST {
        if verb == Method::DELETE && !is_modern {
            if let Some(id) = session_of(&headers) {
                lock(&shared.ended).push(id);
            }
            return plain(StatusCode::OK);
        }
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    {
        let mut recorded = lock(&shared.recorded);
        if recorded.len() < MAX_RECORDED {
            recorded.push(message.clone());
        }
    }
    let method = message["method"].as_str().unwrap_or_default();
    if is_modern {
        if !mirrored(&headers, method, &message) {
            let error = json!({ "code": -32020, "message": "A header does not match the body" });
            return answered(&json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }));
        }
        return answer(shared, String::new(), message, None).await;
    }
    if method == "initialize" {
        let id = shared.sessions.fetch_add(1, Ordering::SeqCst) + 1;
        return answer(shared, id.to_string(), message, Some(id)).await;
    }
    match session_of(&headers) {
        None => plain(StatusCode::BAD_REQUEST),
        Some(id) if lock(&shared.ended).contains(&id) => plain(StatusCode::NOT_FOUND),
        Some(id) => answer(shared, id, message, None).await,
    }
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(SESSION)?.to_str().ok()?.to_owned())
}

/// Whether the headers mirror the message (SEP-2243; SEP-2663, Routing Headers).
fn mirrored(headers: &HeaderMap, method: &str, message: &Value) -> bool {
    let params = &message["params"];
    let name = match method {
        "tools/call" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    let is = |header: &str, value: Option<&str>| {
        headers.get(header).map(HeaderValue::as_bytes) == value.map(str::as_bytes)
    };
    is("mcp-method", Some(method)) && is("mcp-name", name)
}

/// Answers as JSON, or as an event stream as soon as the server says something before its answer.
async fn answer(
    shared: Arc<Shared>,
    session: String,
    message: Value,
    new: Option<u64>,
) -> Response {
    let (out, mut messages) = mpsc::channel(STREAM_QUEUE);
    let is_stream = message["method"] == "subscriptions/listen";
    let task = Arc::clone(&shared);
    // Ends when what waits for it is dropped: every wait of the server's watches `out`.
    let handled = tokio::spawn(async move {
        if is_stream {
            task.streams.fetch_add(1, Ordering::SeqCst);
        }
        let answer = task.server.handle(&session, &message, &out).await;
        if is_stream {
            task.streams.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(answer) = answer {
            let _ = out.send(answer).await;
        }
    });
    let Some(first) = messages.recv().await else {
        let _ = handled.await;
        return plain(StatusCode::ACCEPTED);
    };
    let is_answer = first.get("result").is_some() || first.get("error").is_some();
    let mut response = if is_answer && !is_stream {
        answered(&first)
    } else {
        let rest = stream::unfold(
            (Some(first), messages),
            |(first, mut messages)| async move {
                let message = match first {
                    Some(first) => first,
                    None => messages.recv().await?,
                };
                let event = Bytes::from(format!("event: message\ndata: {message}\n\n"));
                Some((Ok::<_, Infallible>(event), (None, messages)))
            },
        );
        typed(StatusCode::OK, "text/event-stream", Body::from_stream(rest))
    };
    if let Some(id) = new {
        response
            .headers_mut()
            .insert(SESSION, HeaderValue::from(id));
    }
    response
}

fn answered(message: &Value) -> Response {
    let status = match message["error"]["code"].as_i64() {
        Some(-32021 | -32020) => StatusCode::BAD_REQUEST,
        Some(-32601) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    typed(status, "application/json", Body::from(message.to_string()))
}

fn plain(status: StatusCode) -> Response {
    typed(status, "text/plain", Body::empty())
}

fn typed(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
