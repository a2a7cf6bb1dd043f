//! What stands in for GitHub's server: a modern server with three tools, which remembers who called.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A call: the tool, and what was shown as `Authorization`.
pub(crate) type Called = (String, String);

/// A running server; it stops when it is dropped.
pub(crate) struct GitHub {
    pub(crate) url: String,
    calls: Calls,
    serving: JoinHandle<()>,
}

type Calls = Arc<Mutex<Vec<Called>>>;

impl GitHub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let calls = Calls::default();
        let router = Router::new()
            .route("/mcp", post(answer))
            .with_state(Arc::clone(&calls));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            url: format!("http://{address}/mcp"),
            calls,
            serving,
        }
    }

    /// The calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<Called> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.clone()
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(calls): State<Calls>, headers: HeaderMap, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    if request["id"].is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    let mut result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "github", "version": "1" } },
        }),
        "tools/list" => json!({ "tools": [
            tool("search_issues", "Search issues"),
            tool("get_issue", "Read an issue"),
            tool("delete_repository", "Delete a repository"),
        ] }),
        _ => {
            let shown = headers.get("authorization");
            let shown = shown.and_then(|value| value.to_str().ok()).unwrap_or("");
            let tool = request["params"]["name"].as_str().unwrap_or_default();
            let called = (tool.to_owned(), shown.to_owned());
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push(called);
            json!({ "content": [{ "type": "text", "text": "2 issues found" }] })
        }
    };
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(3_600_000);
    result["cacheScope"] = json!("public");
    let message = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    let media_type = [(CONTENT_TYPE, "application/json")];
    (media_type, message.to_string()).into_response()
}

fn tool(name: &str, description: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "query": { "type": "string" } } });
    json!({ "name": name, "description": description, "inputSchema": schema })
}
