//! A real server that numbers its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{MAX_ENTRY, TTL};

/// How the server answers, whatever it is asked.
pub(crate) const WELL: usize = 0;
const TOOL_ERROR: usize = 1;
pub(crate) const FAILS: usize = 2;
const ASKS: usize = 3;
const LARGE: usize = 4;
const RPC_ERROR: usize = 5;
pub(crate) const MODES: usize = 6;

/// A server that numbers its answers. It is two backends: one at `/mcp`, and one at `/shared/mcp` whose
/// results of tools all principals share.
#[derive(Clone)]
pub(crate) struct Numbered {
    answers: Arc<AtomicU64>,
    mode: Arc<AtomicUsize>,
    is_open: watch::Sender<bool>,
}

/// The server as one of its two backends.
#[derive(Clone)]
struct Side {
    server: Numbered,
    /// What its resources begin with.
    scheme: &'static str,
}

impl Numbered {
    /// Starts it, and gives the addresses of the two.
    pub(crate) async fn start() -> (Self, [String; 2]) {
        let server = Self {
            answers: Arc::default(),
            mode: Arc::default(),
            is_open: watch::Sender::new(true),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let side = |path: &str, scheme| {
            let server = server.clone();
            let router = Router::new().route(path, post(answer));
            router.with_state(Side { server, scheme })
        };
        let router = side("/mcp", "test").merge(side("/shared/mcp", "shared"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let urls = ["mcp", "shared/mcp"].map(|path| format!("http://{address}/{path}"));
        (server, urls)
    }

    /// How many calls it has answered, in whatever way.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    pub(crate) fn answer_as(&self, mode: usize) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Lets calls wait, or answers those that do.
    pub(crate) fn open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    fn result(&self, request: &Value) -> Option<Value> {
        let serial = self.answers.fetch_add(1, Ordering::SeqCst) + 1;
        let mut result = json!({ "resultType": "complete", "dev.example/serial": serial });
        let is_tool = request["method"] == "tools/call";
        if is_tool {
            result["content"] = json!([{ "type": "text", "text": serial.to_string() }]);
        } else {
            let uri = &request["params"]["uri"];
            result["contents"] = json!([{ "uri": uri, "text": serial.to_string() }]);
            let path = uri.as_str().and_then(|uri| Some(uri.split_once("://")?.1));
            let (ttl, scope) = match path {
                Some("public") => (TTL.as_millis(), "public"),
                Some("private") => (TTL.as_millis(), "private"),
                _ => (0, "public"),
            };
            result["ttlMs"] = json!(ttl);
            result["cacheScope"] = json!(scope);
        }
        match self.mode.load(Ordering::SeqCst) {
            TOOL_ERROR if is_tool => result["isError"] = json!(true),
            TOOL_ERROR | RPC_ERROR | FAILS => return None,
            ASKS => {
                result["resultType"] = json!("input_required");
                result["requestState"] = json!("s");
            }
            LARGE => result["dev.example/filling"] = json!("x".repeat(MAX_ENTRY)),
            _ => {}
        }
        Some(result)
    }
}

async fn answer(State(Side { server, scheme }): State<Side>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tool = |name: &str, annotations: Value| json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": annotations });
    let resource = |name: &str| json!({ "uri": format!("{scheme}://{name}"), "name": name });
    let mut result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {}, "resources": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "numbered", "version": "1" } },
        }),
        "tools/list" => json!({ "tools": [
            tool("hinted", json!({ "readOnlyHint": true })),
            tool("marked", json!({})),
            tool("set_twice", json!({ "idempotentHint": true })),
            tool("unknown", json!({})),
            tool("delete_hinted", json!({ "readOnlyHint": true })),
            tool("marked_destructive", json!({ "destructiveHint": true })),
        ]}),
        "resources/list" => {
            let resources = ["public", "private", "never"].map(resource);
            json!({ "resources": resources })
        }
        "resources/templates/list" => json!({ "resourceTemplates": [] }),
        _ => {
            let mut opened = server.is_open.subscribe();
            let _ = opened.wait_for(|is_open| *is_open).await;
            return called(&server, &request);
        }
    };
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(3_600_000);
    result["cacheScope"] = json!("public");
    sent(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
}

fn called(server: &Numbered, request: &Value) -> Response {
    match server.result(request) {
        Some(result) => sent(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })),
        None if server.mode.load(Ordering::SeqCst) == FAILS => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        None => {
            let error = json!({ "code": -32000, "message": "no" });
            sent(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
        }
    }
}

fn sent(message: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], message.to_string()).into_response()
}
