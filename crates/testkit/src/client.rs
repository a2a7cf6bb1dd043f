//! A modern MCP client without an SDK, for tests that look at bytes or send wrong ones.
//!
//! What it sends is right unless the test changes it: a [`Draft`] is a request with all the
//! headers that its message asks for, and every part of it is open. Everything here panics instead
//! of returning errors, since only tests call it, and nothing waits longer than [`PATIENCE`].

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::timeout;

#[cfg(test)]
mod tests;

/// The lists that there are: the method, the member of the result that has the items, and the member of an
/// item that names it.
pub const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
    ),
];

/// The revision that the client speaks.
pub const VERSION: &str = "2026-07-28";

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one endpoint. Cheap to clone; the clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    endpoint: Uri,
    authorization: Option<String>,
}

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// What it is called, if it says so.
    pub name: Option<String>,
    /// Its data; empty in an event that only carries an id.
    pub data: String,
    /// How long to wait before the stream is asked for again, in milliseconds.
    pub retry: Option<u64>,
}

/// A request that may still be changed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The HTTP method.
    pub verb: Method,
    /// Where it goes.
    pub uri: Uri,
    /// Its headers, as they are sent. `Host` and `Content-Length` are added unless they are here.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Draft {
    /// Sets a header, instead of those of the same name.
    ///
    /// # Panics
    ///
    /// If it is no header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(header_name(name), header_value(value));
        self
    }

    /// Adds a header beside those of the same name.
    ///
    /// # Panics
    ///
    /// If it is no header.
    #[must_use]
    pub fn and_header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(header_name(name), header_value(value));
        self
    }

    /// Removes a header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Sends these bytes instead of the message.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Exchange {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
    is_stream: bool,
    ended: bool,
}

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The messages before the response, in their order.
    pub notifications: Vec<Value>,
    /// The response as it was written; empty if there was none.
    pub raw: String,
    /// The response; null if there was none, or it is not JSON.
    pub response: Value,
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

    /// Whether the server needs answers before it goes on.
    pub fn is_input_required(&self) -> bool {
        self.result()["resultType"] == "input_required"
    }

    /// What the server asks, by its keys; empty if it asks nothing.
    pub fn questions(&self) -> BTreeMap<String, Value> {
        let asked = self.result()["inputRequests"].as_object().into_iter();
        asked
            .flatten()
            .map(|(key, question)| (key.clone(), question.clone()))
            .collect()
    }

    /// The answers to all that the server asks, by its keys.
    pub fn replies(&self, reply: impl Fn(&Value) -> Value) -> Value {
        let replies = self.questions().into_iter();
        let replies = replies.map(|(key, question)| (key, reply(&question)));
        Value::Object(replies.collect())
    }

    /// What a retry has to give back.
    pub fn state(&self) -> Option<&str> {
        self.result()["requestState"].as_str()
    }

    /// What the gateway says about a failure of its own: the object under
    /// `_meta["dev.switchboard/error"]` of a tool result, or the `data` of an error.
    pub fn fault(&self) -> &Value {
        let in_result = &self.response["result"]["_meta"]["dev.switchboard/error"];
        if in_result.is_null() {
            &self.response["error"]["data"]
        } else {
            in_result
        }
    }
}

/// The metadata that every modern request has.
pub fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": { "name": "testkit", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// A request message with id 1. `params` must be an object; metadata that it has is kept beside
/// the usual.
///
/// # Panics
///
/// If `params` is no object.
pub fn message(method: &str, mut params: Value) -> Value {
    let mut all = meta();
    let own = params["_meta"].take();
    for (key, value) in own.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    params["_meta"] = all;
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

/// A `tools/call` message with id 1.
///
/// # Panics
///
/// Never: its parameters are an object.
pub fn call(tool: &str, arguments: &Value) -> Value {
    message(
        "tools/call",
        json!({ "name": tool, "arguments": arguments }),
    )
}

/// The same message from a client that declares these capabilities.
#[must_use]
pub fn declaring(mut message: Value, capabilities: Value) -> Value {
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    message
}

/// Capabilities of a client that may be asked anything.
pub fn all_capabilities() -> Value {
    json!({
        "elicitation": { "form": {}, "url": {} },
        "sampling": { "tools": {} },
        "roots": {},
    })
}

/// The same request again, with a new id, the state of `answer`, and these answers (2026-07-28
/// `basic/patterns/mrtr`).
#[must_use]
pub fn retry(mut message: Value, answer: &Answer, responses: Value) -> Value {
    message["id"] = json!(message["id"].as_u64().unwrap_or_default() + 1);
    message["params"]["inputResponses"] = responses;
    message["params"]["requestState"] = answer.result()["requestState"].clone();
    message
}

/// Accepts a question with something that fits it and repeats its text: a form with the text as
/// `answer`, a message with the text as its content.
pub fn accept(question: &Value) -> Value {
    let params = &question["params"];
    match question["method"].as_str() {
        Some("elicitation/create") if params["mode"] == "url" => json!({ "action": "accept" }),
        Some("elicitation/create") => {
            let content = json!({ "answer": params["message"] });
            json!({ "action": "accept", "content": content })
        }
        Some("sampling/createMessage") => {
            let asked = &params["messages"][0]["content"]["text"];
            let content = json!({ "type": "text", "text": asked });
            json!({
                "role": "assistant",
                "content": content,
                "model": "none",
                "stopReason": "endTurn",
            })
        }
        _ => json!({ "roots": [{ "uri": "file:///root", "name": "root" }] }),
    }
}

/// Text as the value of a header, in the Base64 form where it has to be (2026-07-28
/// `basic/transports/streamable-http`, Value Encoding).
pub fn encoded(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
        && !text.starts_with("=?base64?");
    if is_plain {
        return text.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(text))
}

impl Client {
    /// A client of this endpoint.
    ///
    /// # Panics
    ///
    /// If it is no URL.
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            endpoint: url.parse().expect("a URL"),
            authorization: None,
        }
    }

    /// Where requests go.
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }

    /// A client that shows this key with every request, over the same connections.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            authorization: Some(format!("Bearer {key}")),
            ..self.clone()
        }
    }

    /// The right request for a message, with the headers that mirror it.
    ///
    /// # Panics
    ///
    /// If a value cannot be a header.
    pub fn draft(&self, message: &Value) -> Draft {
        let mut draft = Draft {
            verb: Method::POST,
            uri: self.endpoint.clone(),
            headers: HeaderMap::new(),
            body: message.to_string().into(),
        }
        .with_header("content-type", "application/json")
        .with_header("accept", "application/json, text/event-stream");
        if let Some(authorization) = &self.authorization {
            draft = draft.with_header("authorization", authorization);
        }
        let params = &message["params"];
        let version = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
        let name = [&params["name"], &params["uri"], &params["taskId"]];
        let mirrored = [
            ("mcp-protocol-version", Some(version)),
            ("mcp-method", Some(&message["method"])),
            ("mcp-name", name.into_iter().find(|name| name.is_string())),
        ];
        for (header, value) in mirrored {
            if let Some(text) = value.and_then(Value::as_str) {
                draft = draft.with_header(header, &encoded(text));
            }
        }
        draft
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn send(&self, draft: Draft) -> Exchange {
        let mut request = Request::new(Full::new(draft.body));
        *request.method_mut() = draft.verb;
        *request.uri_mut() = draft.uri;
        *request.headers_mut() = draft.headers;
        let response = timeout(PATIENCE, self.pool.request(request))
            .await
            .expect("an answer in time")
            .expect("an answer");
        let (parts, body) = response.into_parts();
        let media_type = parts.headers.get(header::CONTENT_TYPE);
        let is_stream =
            media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        Exchange {
            status: parts.status,
            headers: parts.headers,
            body,
            buffer: Vec::new(),
            is_stream,
            ended: false,
        }
    }

    /// Sends a right request for a message and reads the whole answer.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn ask(&self, message: &Value) -> Answer {
        self.send(self.draft(message)).await.finish().await
    }

    /// Makes a request and answers what it asks, round after round, until there is another end than
    /// `input_required`. The notifications are those of all rounds.
    ///
    /// # Panics
    ///
    /// If there is no such end after 100 rounds.
    pub async fn converse(&self, message: &Value, reply: impl Fn(&Value) -> Value) -> Answer {
        let mut message = message.clone();
        let mut notifications = Vec::new();
        for _ in 0..100 {
            let mut answer = self.ask(&message).await;
            notifications.append(&mut answer.notifications);
            if !answer.is_input_required() {
                answer.notifications = notifications;
                return answer;
            }
            message = retry(message, &answer, answer.replies(&reply));
        }
        panic!("still asking after 100 rounds")
    }

    /// Makes a request with these parameters and reads the whole answer.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn request(&self, method: &str, params: Value) -> Answer {
        self.ask(&message(method, params)).await
    }

    /// Calls a tool and reads the whole answer.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.ask(&call(tool, &arguments)).await
    }

    /// Opens a `subscriptions/listen` stream. Its first message is the acknowledgement.
    ///
    /// # Panics
    ///
    /// If no answer comes.
    pub async fn listen(&self, notifications: Value) -> Exchange {
        let params = json!({ "notifications": notifications });
        let message = message("subscriptions/listen", params);
        self.send(self.draft(&message)).await
    }
}

impl Exchange {
    /// The next message as it was written: the next event of a stream, or a whole other body that
    /// is not empty. `None` at the end, however it came.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn next_raw(&mut self) -> Option<String> {
        loop {
            // Comments and priming events say nothing.
            let event = self.next_event().await?;
            if !event.data.is_empty() {
                return Some(event.data);
            }
        }
    }

    /// The next event, also one without data; another body than a stream counts as one event.
    /// `None` at the end, however it came.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn next_event(&mut self) -> Option<Event> {
        let next = timeout(PATIENCE, self.next_event_however_late()).await;
        next.expect("more of the answer, or its end, in time")
    }

    /// The same, however long that takes.
    pub async fn next_event_however_late(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take_event() {
                return Some(event);
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer);
                let is_whole = !self.is_stream && !rest.is_empty();
                return is_whole.then(|| Event {
                    data: String::from_utf8_lossy(&rest).into_owned(),
                    ..Event::default()
                });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.buffer.extend_from_slice(&data);
                }
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }

    /// The next bytes of the body as they come, if nothing else is read of it; `None` at its end, an
    /// error if it breaks off.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn next_bytes(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = timeout(PATIENCE, self.body.frame()).await;
        let frame = frame.expect("more of the answer, or its end, in time")?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Reads the body until at least so many more bytes have come.
    ///
    /// # Panics
    ///
    /// If it ends or breaks off before, or nothing comes for [`PATIENCE`].
    pub async fn read_at_least(&mut self, bytes: usize) {
        let mut read = 0;
        while read < bytes {
            let more = self.next_bytes().await;
            read += more.expect("more").expect("more").len();
        }
    }

    /// The next message; see [`Exchange::next_raw`].
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`], or it is not JSON.
    pub async fn next(&mut self) -> Option<Value> {
        let raw = self.next_raw().await?;
        Some(serde_json::from_str(&raw).unwrap_or_else(|error| panic!("{error} in {raw}")))
    }

    /// Reads to the end.
    ///
    /// # Panics
    ///
    /// If nothing comes for [`PATIENCE`].
    pub async fn finish(mut self) -> Answer {
        let mut notifications = Vec::new();
        let mut last = String::new();
        while let Some(raw) = self.next_raw().await {
            let before = std::mem::replace(&mut last, raw);
            if !before.is_empty() {
                notifications.push(serde_json::from_str(&before).unwrap_or_default());
            }
        }
        Answer {
            status: self.status,
            headers: self.headers,
            notifications,
            response: serde_json::from_str(&last).unwrap_or_default(),
            raw: last,
        }
    }

    /// Takes the next event out of the buffer, if the stream has a whole one.
    fn take_event(&mut self) -> Option<Event> {
        while self.is_stream {
            let end = event_end(&self.buffer)?;
            let text: Vec<u8> = self.buffer.drain(..end).collect();
            let event = event(&String::from_utf8_lossy(&text));
            // A comment is none.
            if event != Event::default() {
                return Some(event);
            }
        }
        None
    }
}

fn event(text: &str) -> Event {
    let mut event = Event::default();
    let mut data = Vec::new();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => event.id = Some(value.to_owned()),
            "event" => event.name = Some(value.to_owned()),
            "data" => data.push(value),
            "retry" => event.retry = value.parse().ok(),
            _ => {}
        }
    }
    event.data = data.join("\n");
    event
}

/// Where the first event of a stream ends: behind its empty line.
fn event_end(stream: &[u8]) -> Option<usize> {
    [b"\n\n".as_slice(), b"\r\n\r\n", b"\r\r"]
        .into_iter()
        .filter_map(|end| {
            let at = stream.windows(end.len()).position(|window| window == end);
            at.map(|at| at + end.len())
        })
        .min()
}

fn header_name(name: &str) -> HeaderName {
    name.parse().expect("a header's name")
}

fn header_value(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("a header's value")
}
