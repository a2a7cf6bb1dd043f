//! What is answered to a request.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Shared;
use super::delivery::{Delivery, Reply};
use super::kind::Fault;
use super::wire::Request;
use crate::fake::Era;
use crate::lock::lock;

/// The most bytes of padding.
const MAX_PADDING: usize = 4 * 1024 * 1024;
/// The header of a session.
const SESSION: &str = "Mcp-Session-Id";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Params<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    arguments: Arguments,
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    key: String,
    ms: u64,
    size: usize,
    events: bool,
    fault: Option<Fault>,
    times: Option<u32>,
}

/// A call that is being answered.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) key: String,
    session: Option<String>,
    id: String,
}

impl Shared {
    /// Does what a request asks for, and says what is to be sent; with the call, if it is one.
    pub(super) fn answer(&self, request: &Request) -> (Delivery, Option<Running>) {
        let plain = |reply: Reply| (Delivery::of(&reply, None), None);
        if request.path == "/health" {
            let is_healthy = self.is_healthy.load(Ordering::SeqCst);
            return plain(Reply::empty(if is_healthy { 200 } else { 503 }));
        }
        if let Some(refusal) = self.refusal(request) {
            return plain(refusal);
        }
        if request.verb == "DELETE" {
            let session = request.session.as_deref().unwrap_or_default();
            lock(&self.sessions).end(session);
            return plain(Reply::empty(200));
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(&request.body) else {
            return plain(Reply::empty(400));
        };
        let Some(id) = message.id else {
            self.hear(request, &message);
            return plain(Reply::empty(202));
        };
        if message.method == "tools/call" {
            return self.call(request, &message, id.get());
        }
        let fault = self.draw(false);
        let reply = Reply::json(self.listed(&message.method, id.get()));
        let reply = if message.method == "initialize" {
            self.begin_session(reply)
        } else {
            reply
        };
        (
            Delivery::of(&spoiled(reply, fault, id.get(), ""), fault),
            None,
        )
    }

    /// Why a request is refused before its message is looked at.
    fn refusal(&self, request: &Request) -> Option<Reply> {
        if request.path != "/mcp" {
            return Some(Reply::empty(404));
        }
        let is_known_verb = match self.era {
            Era::Modern => request.verb == "POST",
            Era::Legacy => request.verb == "POST" || request.verb == "DELETE",
        };
        if !is_known_verb {
            return Some(Reply::empty(405));
        }
        let session = request.session.as_ref().filter(|_| self.era == Era::Legacy);
        let is_gone = session.is_some_and(|name| !lock(&self.sessions).is_alive(name));
        is_gone.then(|| Reply::empty(404))
    }

    /// Takes note of a notification.
    fn hear(&self, request: &Request, message: &Message<'_>) {
        if message.method != "notifications/cancelled" {
            return;
        }
        let session = request.session.as_deref().unwrap_or_default();
        let id = message.params.request_id.map_or("", RawValue::get);
        // The call goes on: what its client then gets of it is the client's affair.
        let key = lock(&self.sessions).call_ends(session, id);
        if let Some(key) = key {
            self.journal.note(&key, |counts| counts.cancelled += 1);
        }
    }

    fn draw(&self, is_call: bool) -> Option<Fault> {
        lock(&self.schedule).as_mut()?.draw(is_call)
    }

    /// Executes a call, unless the fault that befalls it keeps it from that.
    fn call(
        &self,
        request: &Request,
        message: &Message<'_>,
        id: &str,
    ) -> (Delivery, Option<Running>) {
        let arguments = &message.params.arguments;
        let Some(attempt) = self.journal.receive(&arguments.key) else {
            return (Delivery::of(&Reply::empty(507), None), None);
        };
        let asked = arguments
            .fault
            .filter(|_| arguments.times.is_none_or(|times| attempt <= times));
        let fault = asked.or_else(|| self.draw(true));
        if fault.is_none_or(Fault::executes) {
            self.journal
                .note(&arguments.key, |counts| counts.executed += 1);
        }
        let mut reply = Reply::json(self.executed(&message.params, id));
        if arguments.events {
            reply.media_type = "text/event-stream";
            reply.body = format!("event: message\ndata: {}\n\n", reply.body);
        }
        let mut delivery = Delivery::of(&spoiled(reply, fault, id, &arguments.key), fault);
        delivery.pause += Duration::from_millis(arguments.ms);
        let running = Running {
            key: arguments.key.clone(),
            session: request.session.clone(),
            id: id.to_owned(),
        };
        if let Some(session) = &running.session {
            lock(&self.sessions).call_begins(session, id, &running.key);
        }
        (delivery, Some(running))
    }

    /// Takes note of how the answering of a call ended.
    pub(super) fn ended(&self, running: &Running, was_answered: bool) {
        // A client that hung up may still say that it meant it.
        if let Some(session) = running.session.as_ref().filter(|_| was_answered) {
            lock(&self.sessions).call_ends(session, &running.id);
        }
        self.journal.note(&running.key, |counts| {
            if was_answered {
                counts.answered += 1;
            } else {
                counts.hung_up += 1;
            }
        });
    }

    fn begin_session(&self, mut reply: Reply) -> Reply {
        match lock(&self.sessions).begin() {
            Some(name) => {
                reply.header = Some((SESSION, name));
                reply
            }
            None => Reply::empty(503),
        }
    }

    /// The result of a call.
    fn executed(&self, params: &Params<'_>, id: &str) -> String {
        let Arguments { key, size, .. } = &params.arguments;
        let mut result = json!({
            "content": [{ "type": "text", "text": format!("{} {key}", params.name) }],
            "structuredContent": {
                "key": key,
                "server": self.label,
                "padding": "a".repeat((*size).min(MAX_PADDING)),
            },
        });
        if self.era == Era::Modern {
            result["resultType"] = json!("complete");
        }
        response(id, "result", &result)
    }

    /// The response to a request that is no call.
    fn listed(&self, method: &str, id: &str) -> String {
        let result = match (self.era, method) {
            (Era::Modern, "server/discover") => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} },
                "ttlMs": 300_000,
                "cacheScope": "public",
                "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "fault", "version": "1" } },
            }),
            (Era::Legacy, "initialize") => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "fault", "version": "1" },
            }),
            (Era::Legacy, "ping") => json!({}),
            (Era::Modern, "tools/list") => json!({
                "resultType": "complete",
                "tools": tools(),
                "ttlMs": 300_000,
                "cacheScope": "public",
            }),
            (Era::Legacy, "tools/list") => json!({ "tools": tools() }),
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                return response(id, "error", &error);
            }
        };
        response(id, "result", &result)
    }
}

fn tools() -> Value {
    let tool = |name: &str, annotations: Value| {
        json!({
            "name": name,
            "description": "Does as it is told",
            "inputSchema": { "type": "object", "properties": { "key": { "type": "string" } } },
            "annotations": annotations,
        })
    };
    json!([
        tool("read", json!({ "readOnlyHint": true })),
        tool(
            "put",
            json!({ "readOnlyHint": false, "idempotentHint": true })
        ),
        tool(
            "write",
            json!({ "readOnlyHint": false, "idempotentHint": false })
        ),
    ])
}

/// A response with this member, to the request of this id.
fn response(id: &str, member: &str, value: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#)
}

/// What the fault makes of the content of an answer.
fn spoiled(reply: Reply, fault: Option<Fault>, id: &str, key: &str) -> Reply {
    match fault {
        Some(Fault::Status { status, json }) => {
            let error = json!({ "code": -32603, "message": format!("it failed: {key}") });
            if json {
                Reply::new(status, "application/json", response(id, "error", &error))
            } else {
                Reply::new(status, "text/plain", "it failed")
            }
        }
        Some(Fault::RetryAfter(seconds)) => Reply {
            header: Some(("Retry-After", seconds.to_string())),
            ..Reply::new(429, "text/plain", "too many")
        },
        Some(Fault::WrongId) => {
            // The ids of a client's requests follow each other: the next is likely to be waited for.
            let next = id.parse::<u64>().unwrap_or_default().wrapping_add(1);
            let body =
                reply
                    .body
                    .replacen(&format!(r#""id":{id},"#), &format!(r#""id":{next},"#), 1);
            Reply { body, ..reply }
        }
        Some(Fault::InvalidJson) => {
            let body = reply.body.replacen(r#""jsonrpc":"#, r#""jsonrpc""#, 1);
            Reply { body, ..reply }
        }
        Some(Fault::WrongContentType) => {
            Reply::new(200, "text/html", "<html><body>Please log in</body></html>")
        }
        _ => reply,
    }
}
