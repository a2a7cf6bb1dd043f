//! A legacy MCP client without an SDK, over streamable HTTP or HTTP+SSE.
//!
//! It answers what a server asks by a function that the test gives it, rightly or wrongly. Like
//! [`crate::client`] it panics instead of returning errors and waits for nothing longer than
//! [`PATIENCE`].

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{self, Client, Draft, Exchange, PATIENCE};
use crate::lock::lock;

#[cfg(test)]
mod tests;

/// The newest revision with a handshake.
pub const VERSION: &str = "2025-11-25";
/// How many messages that belong to no request are remembered, the first ones.
const MAX_HEARD: usize = 10_000;

/// The transport that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Streamable HTTP.
    #[default]
    Streamable,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

/// What is done about a request of the server.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It is answered with this result.
    Result(Value),
    /// It is answered with this error.
    Error(i64, &'static str),
    /// Nothing.
    Nothing,
    /// These messages are sent, one after another.
    Messages(Vec<Value>),
    /// The same, after a while.
    After(Duration, Box<Reply>),
}

impl Reply {
    /// Accepts a question; see [`client::accept`].
    pub fn accept(question: &Value) -> Self {
        Self::Result(client::accept(question))
    }
}

/// Decides about each request of the server.
pub type Replies = Arc<dyn Fn(&Value) -> Reply + Send + Sync>;

/// What a client is.
#[derive(Clone)]
pub struct Setup {
    /// The transport.
    pub wire: Wire,
    /// The revision that it asks for.
    pub version: &'static str,
    /// The capabilities that it declares.
    pub capabilities: Value,
    /// The API key that it shows, if any.
    pub key: Option<String>,
    /// What it answers to the server.
    pub replies: Replies,
}

impl Default for Setup {
    /// Streamable HTTP of 2025-11-25; declares nothing, and accepts what it is asked all the same.
    fn default() -> Self {
        Self {
            wire: Wire::Streamable,
            version: VERSION,
            capabilities: json!({}),
            key: None,
            replies: Arc::new(Reply::accept),
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("wire", &self.wire)
            .field("version", &self.version)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// What came of a request.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status; that of the accepted message with HTTP+SSE.
    pub status: StatusCode,
    /// The notifications on the stream of the request, in their order.
    pub notifications: Vec<Value>,
    /// The server's requests on the stream of the request, in their order.
    pub questions: Vec<Value>,
    /// The response; null if there was none.
    pub response: Value,
    /// The id of the last event that had one.
    pub last_event: Option<String>,
}

impl Answer {
    /// The result.
    pub fn result(&self) -> &Value {
        &self.response["result"]
    }

    /// The code of the JSON-RPC error; none if there is no error.
    pub fn error_code(&self) -> Option<i64> {
        self.response["error"]["code"].as_i64()
    }
}

/// A legacy client. Its streams are closed when it is dropped; its session is not ended.
#[derive(Debug)]
pub struct LegacyClient {
    inner: Arc<Inner>,
    stop: CancellationToken,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Inner {
    http: Client,
    setup: Setup,
    /// Where messages go: the endpoint, or what the event stream named.
    messages: Mutex<Uri>,
    session: Mutex<Option<String>>,
    agreed: Mutex<Option<String>>,
    next_id: AtomicU64,
    pending: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    heard: Mutex<Vec<Value>>,
    reply_statuses: Mutex<Vec<StatusCode>>,
}

impl LegacyClient {
    /// A client of this endpoint that has not said anything yet. With HTTP+SSE the URL is that of
    /// the event stream.
    ///
    /// # Panics
    ///
    /// If it is no URL.
    pub fn new(url: &str, setup: Setup) -> Self {
        let mut http = Client::new(url);
        if let Some(key) = &setup.key {
            http = http.with_key(key);
        }
        let stop = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                messages: Mutex::new(http.endpoint().clone()),
                http,
                setup,
                session: Mutex::default(),
                agreed: Mutex::default(),
                next_id: AtomicU64::new(1),
                pending: Mutex::default(),
                heard: Mutex::default(),
                reply_statuses: Mutex::default(),
            }),
            stop: stop.clone(),
            _stop: stop.drop_guard(),
        }
    }

    /// A client whose session is initialized.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn connect(url: &str, setup: Setup) -> Self {
        let client = Self::new(url, setup);
        let answer = client.initialize().await;
        assert!(answer.result().is_object(), "refused: {answer:?}");
        client
    }

    /// Opens the session, and says that it is initialized if the server agreed.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn initialize(&self) -> Answer {
        let inner = &self.inner;
        if inner.setup.wire == Wire::Sse
            && let Err(status) = self.open_sse().await
        {
            return Answer {
                status,
                ..Answer::default()
            };
        }
        let params = json!({
            "protocolVersion": inner.setup.version,
            "capabilities": inner.setup.capabilities,
            "clientInfo": { "name": "testkit", "version": "1" },
        });
        let answer = self.request("initialize", params).await;
        if let Some(agreed) = answer.result()["protocolVersion"].as_str() {
            *lock(&inner.agreed) = Some(agreed.to_owned());
            self.notify("notifications/initialized", None).await;
        }
        answer
    }

    /// The id of the session; none before there is one, and with HTTP+SSE.
    pub fn session(&self) -> Option<String> {
        lock(&self.inner.session).clone()
    }

    /// Goes on with another session id, or none.
    pub fn set_session(&self, session: Option<String>) {
        *lock(&self.inner.session) = session;
    }

    /// The messages that came on no request's stream, the first 10,000.
    pub fn heard(&self) -> Vec<Value> {
        lock(&self.inner.heard).clone()
    }

    /// The HTTP statuses that the answers to the server's requests got.
    pub fn reply_statuses(&self) -> Vec<StatusCode> {
        lock(&self.inner.reply_statuses).clone()
    }

    /// A request message with an id of its own.
    pub fn message(&self, method: &str, params: Value) -> Value {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "jsonrpc": "2.0", "id": id, "method": method });
        message["params"] = params;
        message
    }

    /// A `tools/call` message with an id of its own.
    pub fn call_message(&self, tool: &str, arguments: Value) -> Value {
        let mut params = json!({ "name": tool });
        params["arguments"] = arguments;
        self.message("tools/call", params)
    }

    /// The right HTTP request for a message, or a batch of them.
    pub fn draft(&self, message: &Value) -> Draft {
        self.inner.draft(message)
    }

    /// Sends an HTTP request and waits for the head of its answer.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn send(&self, draft: Draft) -> Exchange {
        self.inner.http.send(draft).await
    }

    /// Makes a request, answers what the server asks meanwhile, and reads the response.
    ///
    /// # Panics
    ///
    /// If none comes within [`PATIENCE`].
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        self.ask(&self.message(method, params)).await
    }

    /// Calls a tool; see [`LegacyClient::request`].
    ///
    /// # Panics
    ///
    /// If no answer comes within [`PATIENCE`].
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.ask(&self.call_message(tool, arguments)).await
    }

    /// Makes this request; see [`LegacyClient::request`].
    ///
    /// # Panics
    ///
    /// If it has no id, or no answer comes within [`PATIENCE`].
    pub async fn ask(&self, message: &Value) -> Answer {
        match self.inner.setup.wire {
            Wire::Streamable => {
                let exchange = self.start(message).await;
                self.follow(exchange, &message["id"]).await
            }
            Wire::Sse => self.ask_sse(message).await,
        }
    }

    /// Sends a request over streamable HTTP and leaves the answer to be read, or not.
    ///
    /// # Panics
    ///
    /// If the head of the answer does not come.
    pub async fn start(&self, message: &Value) -> Exchange {
        let exchange = self.send(self.draft(message)).await;
        if message["method"] == "initialize" {
            let session = exchange.headers.get("mcp-session-id");
            let session = session.and_then(|id| id.to_str().ok());
            *lock(&self.inner.session) = session.map(str::to_owned);
        }
        exchange
    }

    /// Reads an answer until the response to this request, or its end, and answers what the server
    /// asks.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn follow(&self, mut exchange: Exchange, id: &Value) -> Answer {
        let mut answer = Answer {
            status: exchange.status,
            ..Answer::default()
        };
        while let Some(event) = exchange.next_event().await {
            if event.id.is_some() {
                answer.last_event = event.id;
            }
            // Whatever is no JSON shows by what is missing.
            let message: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let is_request = message["method"].is_string() && message.get("id").is_some();
            if is_request {
                self.inner.reply(&message);
                answer.questions.push(message);
            } else if message["method"].is_string() {
                answer.notifications.push(message);
            } else if message["id"] == *id || !message["error"].is_null() {
                answer.response = message;
                break;
            }
        }
        answer
    }

    /// Sends a notification and returns the HTTP status.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn notify(&self, method: &str, params: Option<Value>) -> StatusCode {
        let mut message = json!({ "jsonrpc": "2.0", "method": method });
        if let Some(params) = params {
            message["params"] = params;
        }
        self.inner.post(&message).await
    }

    /// Sends a message that is no request, as it is, and returns the HTTP status.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn post(&self, message: &Value) -> StatusCode {
        self.inner.post(message).await
    }

    /// Sends a batch and returns the messages that came back, in their order; what the server asks
    /// meanwhile is answered.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn batch(&self, messages: Vec<Value>) -> (StatusCode, Vec<Value>) {
        let mut exchange = self.send(self.draft(&Value::Array(messages))).await;
        let mut all = Vec::new();
        while let Some(raw) = exchange.next_raw().await {
            match serde_json::from_str(&raw).unwrap_or_default() {
                Value::Array(several) => all.extend(several),
                one => all.push(one),
            }
            if let Some(last) = all.last()
                && last["method"].is_string()
                && last.get("id").is_some()
            {
                self.inner.reply(last);
            }
        }
        (exchange.status, all)
    }

    /// Opens the GET stream; with an event id, the stream that had it, from there on.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn get(&self, last_event: Option<&str>) -> Exchange {
        let mut draft = self
            .draft(&Value::Null)
            .without_header("content-type")
            .with_header("accept", "text/event-stream")
            .with_body("");
        draft.verb = Method::GET;
        if let Some(id) = last_event {
            draft = draft.with_header("last-event-id", id);
        }
        self.send(draft).await
    }

    /// Opens the GET stream and follows it for as long as this client lives: what the server asks
    /// there is answered, and everything is [heard](LegacyClient::heard).
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub async fn listen(&self) {
        let exchange = self.get(None).await;
        assert_eq!(exchange.status, StatusCode::OK, "{exchange:?}");
        self.follow_aside(exchange);
    }

    /// Ends the session and returns the HTTP status.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn delete(&self) -> StatusCode {
        let mut draft = self
            .draft(&Value::Null)
            .without_header("content-type")
            .with_body("");
        draft.verb = Method::DELETE;
        self.send(draft).await.status
    }

    /// Opens the event stream of HTTP+SSE and learns where messages go.
    async fn open_sse(&self) -> Result<(), StatusCode> {
        let mut exchange = self.get(None).await;
        if exchange.status != StatusCode::OK {
            return Err(exchange.status);
        }
        let first = exchange.next_event().await.expect("an event");
        assert_eq!(first.name.as_deref(), Some("endpoint"), "{first:?}");
        let stream = self.inner.http.endpoint();
        let authority = stream.authority().expect("an address").as_str();
        let uri = if first.data.starts_with('/') {
            format!("http://{authority}{}", first.data)
        } else {
            first.data
        };
        *lock(&self.inner.messages) = uri.parse().expect("a URL");
        self.follow_aside(exchange);
        Ok(())
    }

    async fn ask_sse(&self, message: &Value) -> Answer {
        let id = message["id"].as_u64().expect("an id of this client's");
        let (sender, response) = oneshot::channel();
        lock(&self.inner.pending).insert(id, sender);
        let status = self.inner.post(message).await;
        let mut answer = Answer {
            status,
            ..Answer::default()
        };
        if status.is_success() {
            let response = timeout(PATIENCE, response)
                .await
                .expect("an answer in time");
            answer.response = response.unwrap_or_default();
        }
        lock(&self.inner.pending).remove(&id);
        answer
    }

    fn follow_aside(&self, mut exchange: Exchange) {
        let inner = Arc::clone(&self.inner);
        let stop = self.stop.clone();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = exchange.next_event_however_late() => event,
                };
                let Some(event) = event else { return };
                let message: Value = serde_json::from_str(&event.data).unwrap_or_default();
                inner.hear(message);
            }
        });
    }
}

impl Inner {
    fn draft(&self, message: &Value) -> Draft {
        let mut draft = self.http.draft(message);
        // Those are of the modern era.
        draft = draft
            .without_header("mcp-method")
            .without_header("mcp-name");
        draft.uri = lock(&self.messages).clone();
        if let Some(session) = lock(&self.session).as_deref() {
            draft = draft.with_header("mcp-session-id", session);
        }
        let agreed = lock(&self.agreed).clone();
        if let Some(agreed) = agreed.filter(|agreed| agreed.as_str() >= "2025-06-18") {
            draft = draft.with_header("mcp-protocol-version", &agreed);
        }
        draft
    }

    async fn post(&self, message: &Value) -> StatusCode {
        self.http.send(self.draft(message)).await.status
    }

    /// Takes a message that came on no request's stream.
    fn hear(self: &Arc<Self>, message: Value) {
        if message.is_null() {
            return;
        }
        let id = message.get("id");
        if message["method"].is_string() {
            if id.is_some() {
                self.reply(&message);
            }
        } else if let Some(pending) = id
            .and_then(Value::as_u64)
            .and_then(|id| lock(&self.pending).remove(&id))
        {
            // Whoever asked may have stopped waiting.
            let _ = pending.send(message);
            return;
        }
        let mut heard = lock(&self.heard);
        if heard.len() < MAX_HEARD {
            heard.push(message);
        }
    }

    /// Answers a request of the server, without waiting for that.
    fn reply(self: &Arc<Self>, request: &Value) {
        let reply = (self.setup.replies)(request);
        let inner = Arc::clone(self);
        let id = request["id"].clone();
        tokio::spawn(async move {
            let mut reply = reply;
            while let Reply::After(pause, then) = reply {
                sleep(pause).await;
                reply = *then;
            }
            let messages = match reply {
                Reply::Result(result) => {
                    vec![json!({ "jsonrpc": "2.0", "id": id, "result": result })]
                }
                Reply::Error(code, message) => {
                    let error = json!({ "code": code, "message": message });
                    vec![json!({ "jsonrpc": "2.0", "id": id, "error": error })]
                }
                Reply::Messages(messages) => messages,
                Reply::Nothing | Reply::After(..) => Vec::new(),
            };
            for message in messages {
                let status = inner.post(&message).await;
                lock(&inner.reply_statuses).push(status);
            }
        });
    }
}
