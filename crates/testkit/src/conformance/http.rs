//! The server over streamable HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::era::{Era, is_modern};
use super::handler::ConformanceServer;
use super::state::{Counts, Shared};

/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// A server on a loopback address; it stops when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl HttpServer {
    /// Serves `/mcp` at `address`; port 0 takes any free one. Requests with a `Host` or an `Origin`
    /// that is not of the loopback are refused, as 2026-07-28 basic/transports/streamable-http
    /// asks of local servers.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened at.
    pub async fn bind(address: SocketAddr, era: Era) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Shared::new();
        let stop = CancellationToken::new();
        let router = router(Arc::clone(&shared), era, stop.clone());
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
        });
        Ok(Self {
            address,
            shared,
            stop,
            task,
        })
    }

    /// The URL of the MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The counters that the tool `counters` answers with.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Waits until the server ends by itself.
    ///
    /// # Errors
    ///
    /// When accepting connections failed for good, or the serving task panicked.
    pub async fn wait(mut self) -> io::Result<()> {
        (&mut self.task).await.map_err(io::Error::other)?
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

fn router(shared: Arc<Shared>, era: Era, stop: CancellationToken) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"])
        .with_legacy_session_mode(era != Era::Modern)
        .with_stateless_protocol_metadata_required(era == Era::Modern)
        .with_max_request_body_bytes(MAX_BODY_BYTES)
        .with_cancellation_token(stop);
    let service = StreamableHttpService::new(
        move || Ok(ConformanceServer::new(Arc::clone(&shared), era)),
        LocalSessionManager::default().into(),
        config,
    );
    let router = Router::new().nest_service("/mcp", service);
    match era {
        Era::Both => router,
        Era::Modern | Era::Legacy => router.layer(from_fn_with_state(era, gate)),
    }
}

/// The part of a request that [`gate`] looks at.
#[derive(Deserialize)]
struct Peek {
    method: String,
    #[serde(default)]
    id: Value,
}

/// Answers what the era does not have before rmcp sees it.
async fn gate(State(era): State<Era>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let version = parts.headers.get("mcp-protocol-version");
    let version = version.and_then(|version| version.to_str().ok());
    let modern = version.is_some_and(is_modern);
    let peek = serde_json::from_slice::<Peek>(&body).ok();
    if let Some(peek) = &peek
        && let Some(error) = era.refuses(&peek.method)
    {
        let status = match era {
            Era::Modern if modern => StatusCode::NOT_FOUND,
            // Without the headers of the era, no method is known to begin with.
            Era::Modern => StatusCode::BAD_REQUEST,
            // Before 2026-07-28 an error of the protocol has a status of its own only where the
            // transport failed.
            Era::Legacy | Era::Both => StatusCode::OK,
        };
        return refused(status, &peek.id, &error);
    }
    if era == Era::Legacy && modern {
        let error = ErrorData::new(
            ErrorCode(-32000),
            "Bad Request: unsupported protocol version",
            None,
        );
        return refused(StatusCode::BAD_REQUEST, &Value::Null, &error);
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

fn refused(status: StatusCode, id: &Value, error: &ErrorData) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": error });
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, body.to_string()).into_response()
}
