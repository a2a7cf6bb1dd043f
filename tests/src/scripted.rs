//! A server over HTTP whose answers to calls are written byte by byte by the test.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use futures_util::{Stream, stream};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a server does next to answer a call.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes, as a piece of their own.
    Send(Bytes),
    /// Waits until something was answered that it asked.
    AwaitReply,
    /// Sends nothing any more, and does not end either.
    Hang,
    /// Breaks the connection.
    Break,
}

/// The steps that answer a call, made of its id (as written).
type Script = dyn Fn(&str) -> Vec<Step> + Send + Sync;

/// A running server with a tool `t`, or others in its place, a prompt `p` and a resource `test://r`.
pub struct Scripted {
    url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    media_type: Mutex<&'static str>,
    announces_length: AtomicBool,
    /// Calls are answered once this is true, if it is there.
    go: Mutex<Option<watch::Receiver<bool>>>,
    sent: AtomicU64,
    given_up: AtomicUsize,
    /// What is listed in the place of `t`.
    tools: Mutex<Option<Value>>,
    /// Whether it speaks 2025-11-25, with sessions.
    is_legacy: AtomicBool,
    sessions: AtomicUsize,
    cancelled: AtomicUsize,
    /// How many of its questions were answered.
    replies: watch::Sender<usize>,
}

/// Pieces of a text of this many bytes each.
pub fn pieces(text: &str, size: usize) -> Vec<Step> {
    let chunks = text.as_bytes().chunks(size);
    chunks
        .map(|chunk| Step::Send(Bytes::copy_from_slice(chunk)))
        .collect()
}

impl Scripted {
    /// Starts the server; calls are answered by `script`, as JSON.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub async fn start(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            media_type: Mutex::new("application/json"),
            announces_length: AtomicBool::new(false),
            go: Mutex::default(),
            sent: AtomicU64::new(0),
            given_up: AtomicUsize::new(0),
            tools: Mutex::default(),
            is_legacy: AtomicBool::new(false),
            sessions: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            replies: watch::Sender::default(),
        });
        let router = Router::new()
            .route("/mcp", post(answer).delete(StatusCode::NO_CONTENT))
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            url: format!("http://{address}/mcp"),
            shared,
            serving,
        }
    }

    /// Its endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lists a tool of this name instead of `t`.
    #[must_use]
    pub fn with_tool(self, name: &str) -> Self {
        self.with_tools(json!([{ "name": name, "inputSchema": { "type": "object" } }]))
    }

    /// Lists these tools instead of `t`: all of them are answered alike.
    #[must_use]
    pub fn with_tools(self, tools: Value) -> Self {
        *lock(&self.shared.tools) = Some(tools);
        self
    }

    /// Speaks 2025-11-25.
    #[must_use]
    pub fn speaking_legacy(self) -> Self {
        self.shared.is_legacy.store(true, Ordering::SeqCst);
        self
    }

    /// Changes how calls are answered from now on.
    pub fn answer_with(&self, script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// Changes the type of the answers to calls from now on.
    pub fn answer_as(&self, media_type: &'static str) {
        *lock(&self.shared.media_type) = media_type;
    }

    /// From now on the answers to calls say beforehand how long they are.
    pub fn announce_length(&self) {
        self.shared.announces_length.store(true, Ordering::SeqCst);
    }

    /// From now on calls are answered once this is true.
    pub fn wait_for(&self, go: watch::Receiver<bool>) {
        *lock(&self.shared.go) = Some(go);
    }

    /// How many bytes the answers to calls had so far that were taken from it.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How many sessions were begun with it as a legacy server.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::SeqCst)
    }

    /// How many calls the gateway has cancelled by a notification.
    pub fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// How many answers to calls were given up by the gateway before they had ended.
    pub fn given_up(&self) -> usize {
        self.shared.given_up.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = request["method"].as_str().unwrap_or_default();
    let is_reply = request.get("method").is_none();
    if is_reply || request.get("id").is_none() {
        if method == "notifications/cancelled" {
            shared.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        shared
            .replies
            .send_modify(|count| *count += usize::from(is_reply));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    let is_legacy = shared.is_legacy.load(Ordering::SeqCst);
    let mut result = match method {
        "initialize" if is_legacy => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
            "serverInfo": { "name": "scripted", "version": "1" },
        }),
        "ping" => json!({}),
        "server/discover" if is_legacy => {
            let error = json!({ "code": -32601, "message": "not here" });
            let message = json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
            return answer_of("application/json", Body::from(message.to_string()));
        }
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "scripted", "version": "1" } },
        }),
        "tools/list" => json!({ "tools": [{ "name": "t", "inputSchema": { "type": "object" } }] }),
        "prompts/list" => json!({ "prompts": [{ "name": "p" }] }),
        "resources/list" => json!({ "resources": [{ "uri": "test://r", "name": "r" }] }),
        "resources/templates/list" => json!({ "resourceTemplates": [] }),
        _ => {
            let go = lock(&shared.go).clone();
            if let Some(mut go) = go {
                let _ = go.wait_for(|go| *go).await;
            }
            return shared.play(&request["id"]);
        }
    };
    if let ("tools/list", Some(tools)) = (method, &*lock(&shared.tools)) {
        result["tools"] = tools.clone();
    }
    if !is_legacy {
        result["resultType"] = json!("complete");
        result["ttlMs"] = json!(3_600_000);
        result["cacheScope"] = json!("public");
    }
    let message = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    let mut response = answer_of("application/json", Body::from(message.to_string()));
    if method == "initialize" {
        let session = shared.sessions.fetch_add(1, Ordering::SeqCst);
        response
            .headers_mut()
            .insert("mcp-session-id", session.into());
    }
    response
}

fn answer_of(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

impl Shared {
    fn play(self: &Arc<Self>, id: &Value) -> Response {
        let script = Arc::clone(&lock(&self.script));
        let steps = script(&id.to_string());
        let lengths = steps.iter().map(|step| match step {
            Step::Send(bytes) => bytes.len(),
            Step::AwaitReply | Step::Hang | Step::Break => 0,
        });
        let length: usize = lengths.sum();
        let played = Played {
            shared: Arc::clone(self),
            ended: false,
        };
        let body = Body::from_stream(stream_of(steps, played));
        let mut response = answer_of(*lock(&self.media_type), body);
        if self.announces_length.load(Ordering::SeqCst) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        response
    }
}

/// Notices when an answer is dropped before it has ended.
struct Played {
    shared: Arc<Shared>,
    ended: bool,
}

impl Drop for Played {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn stream_of(
    steps: Vec<Step>,
    played: Played,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(
        (steps.into_iter(), played),
        async |(mut steps, mut played)| {
            let sent = match steps.next() {
                Some(Step::Send(bytes)) => {
                    let length = bytes.len() as u64;
                    played.shared.sent.fetch_add(length, Ordering::SeqCst);
                    Ok(bytes)
                }
                Some(Step::AwaitReply) => {
                    let mut replies = played.shared.replies.subscribe();
                    let _ = replies.wait_for(|count| *count > 0).await;
                    Ok(Bytes::new())
                }
                Some(Step::Hang) => std::future::pending().await,
                Some(Step::Break) => {
                    played.ended = true;
                    // What was written is sent once the body is not ready with more.
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("on purpose"))
                }
                None => {
                    played.ended = true;
                    drop(played);
                    return None;
                }
            };
            Some((sent, (steps, played)))
        },
    )
}
