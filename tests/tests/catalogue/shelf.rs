//! A modern server over HTTP that lists exactly what a test puts on it, in pages, and whose tools
//! say who they are.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a shelf lists.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Tools, each as JSON text that is sent as it is.
    pub(crate) tools: Vec<String>,
    /// Prompts, as the tools.
    pub(crate) prompts: Vec<String>,
    /// Resources, as the tools.
    pub(crate) resources: Vec<String>,
    /// Templates, as the tools.
    pub(crate) templates: Vec<String>,
    /// How many items a page has.
    pub(crate) page: usize,
    /// How long a client may keep a list, in milliseconds.
    pub(crate) ttl_ms: u64,
    /// Whether every page names a next one, the last one itself.
    pub(crate) is_endless: bool,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            page: 1000,
            ttl_ms: 60_000,
            is_endless: false,
        }
    }
}

impl Content {
    /// Tools of these names.
    pub(crate) fn of_tools(names: &[&str]) -> Self {
        Self {
            tools: names.iter().map(|name| tool(name)).collect(),
            ..Self::default()
        }
    }

    /// The page of a list that the cursor leads to.
    fn listed(&self, method: &str, cursor: Option<&str>) -> Option<String> {
        let (key, items) = match method {
            "tools/list" => ("tools", &self.tools),
            "prompts/list" => ("prompts", &self.prompts),
            "resources/list" => ("resources", &self.resources),
            "resources/templates/list" => ("resourceTemplates", &self.templates),
            _ => return None,
        };
        let start = cursor.map_or(Some(0), |cursor| cursor.parse().ok())?;
        let end = items.len().min(start + self.page);
        let next = if end < items.len() {
            Some(end)
        } else {
            self.is_endless.then_some(start)
        };
        let next = next.map(|next| format!(r#","nextCursor":"{next}""#));
        Some(format!(
            r#""{key}":[{items}],"ttlMs":{ttl},"cacheScope":"public"{next}"#,
            items = items.get(start..end)?.join(","),
            ttl = self.ttl_ms,
            next = next.unwrap_or_default(),
        ))
    }
}

/// A tool without a description.
pub(crate) fn tool(name: &str) -> String {
    json!({ "name": name, "inputSchema": { "type": "object" } }).to_string()
}

/// A running shelf; it stops when it is dropped.
pub(crate) struct Shelf {
    url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    content: Mutex<Content>,
    lists: AtomicUsize,
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Serves this on a free loopback port.
    pub(crate) async fn start(content: Content) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let inner = Arc::new(Inner {
            content: Mutex::new(content),
            lists: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/mcp", post(answer))
            .with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a shelf");
        });
        Self {
            url: format!("http://{address}/mcp"),
            inner,
            task,
        }
    }

    /// The shelf as an entry of the `backends` section.
    pub(crate) fn backend(&self) -> Value {
        json!({ "url": self.url })
    }

    /// The shelf as an entry of the `backends` section with this prefix.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Value {
        json!({ "url": self.url, "prefix": prefix })
    }

    /// Lists something else from now on, and tells nobody.
    pub(crate) fn put(&self, content: Content) {
        *self.inner.held() = content;
    }

    /// How many pages of tools were asked for.
    pub(crate) fn pages_of_tools(&self) -> usize {
        self.inner.lists.load(Ordering::SeqCst)
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(inner): State<Arc<Inner>>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).expect("the gateway sends JSON");
    let id = &request["id"];
    if id.is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    let method = request["method"].as_str().unwrap_or_default();
    let params = &request["params"];
    if method == "tools/list" {
        inner.lists.fetch_add(1, Ordering::SeqCst);
    }
    let content = inner.held().clone();
    let members = match method {
        "server/discover" => Some(
            r#""supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{}},"ttlMs":60000,"cacheScope":"public""#
                .to_owned(),
        ),
        "tools/call" => Some(format!(r#""content":[],"structuredContent":{}"#, params["name"])),
        "prompts/get" => Some(format!(r#""messages":[],"description":{}"#, params["name"])),
        "resources/read" => {
            let uri = &params["uri"];
            Some(format!(r#""contents":[{{"uri":{uri},"text":{uri}}}]"#))
        }
        _ => content.listed(method, params["cursor"].as_str()),
    };
    let (status, outcome) = match members {
        Some(members) => {
            let result = format!(r#""result":{{"resultType":"complete",{members}}}"#);
            (StatusCode::OK, result)
        }
        None => {
            let error = r#""error":{"code":-32601,"message":"Method not found"}"#;
            (StatusCode::NOT_FOUND, error.to_owned())
        }
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
