//! The example servers over HTTP: what the compose file and the overlay of Kubernetes put behind the
//! gateway.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::ExampleError;
use super::notes::NotesServer;
use super::toolbox::ToolboxServer;

/// Serves the example server called `name` at `address`, under `/mcp`, until SIGTERM or SIGINT, and
/// says on standard output where. Of other hosts than localhost, the address and `hosts` nothing is
/// answered, which keeps pages in a browser out.
///
/// # Errors
///
/// [`ExampleError`].
pub(crate) async fn over_http(
    name: &str,
    address: SocketAddr,
    hosts: Vec<String>,
) -> Result<(), ExampleError> {
    let closing = CancellationToken::new();
    let router = match name {
        // Every session sees the same notes.
        "notes" => {
            let server = Arc::new(NotesServer::new(closing.clone()));
            router(move || Arc::clone(&server), address, hosts, &closing)
        }
        "toolbox" => {
            let server = Arc::new(ToolboxServer::new(closing.clone()));
            router(move || Arc::clone(&server), address, hosts, &closing)
        }
        _ => {
            return Err(ExampleError::Unknown {
                name: name.to_owned(),
            });
        }
    };
    serve(router, address, closing)
        .await
        .map_err(|source| ExampleError::Listen { address, source })
}

fn router<S: ServerHandler>(
    server: impl Fn() -> S + Send + Sync + 'static,
    address: SocketAddr,
    hosts: Vec<String>,
    closing: &CancellationToken,
) -> Router {
    let own = ["localhost".to_owned(), address.ip().to_string()];
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(own.into_iter().chain(hosts))
        .enforce_origin_validation()
        .with_cancellation_token(closing.child_token());
    let sessions = LocalSessionManager::default().into();
    let service = StreamableHttpService::new(move || Ok(server()), sessions, config);
    Router::new().nest_service("/mcp", service)
}

async fn serve(router: Router, address: SocketAddr, closing: CancellationToken) -> io::Result<()> {
    let (mut interrupted, mut ended) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let _ = writeln!(io::stdout(), "listening on http://{address}/mcp");
    let told = async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = ended.recv() => {}
        }
        closing.cancel();
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(told)
        .await
}
