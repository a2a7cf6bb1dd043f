//! `fixture-server modern|legacy http|stdio FOLDER`: the server of
//! [`switchboard_tests::fixture`] as a process.

use std::io::{self, Write as _};

use rmcp::service::serve_server;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use switchboard_tests::fixture::{Fixture, Folder};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [era, transport, folder] = &arguments[..] else {
        return Err(io::Error::other(
            "usage: fixture-server ERA TRANSPORT FOLDER",
        ));
    };
    let modern = era == "modern";
    let fixture = Fixture::start(Folder::new(folder.into()), modern);
    match transport.as_str() {
        "stdio" => serve_stdio(fixture).await,
        _ => serve_http(fixture, modern).await,
    }
}

async fn serve_stdio(fixture: Fixture) -> io::Result<()> {
    let running = serve_server(fixture, rmcp::transport::io::stdio()).await;
    let running = running.map_err(io::Error::other)?;
    running.waiting().await.map(drop).map_err(io::Error::other)
}

async fn serve_http(fixture: Fixture, modern: bool) -> io::Result<()> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(!modern)
        .with_stateless_protocol_metadata_required(modern);
    let service = StreamableHttpService::new(
        move || Ok(fixture.session()),
        LocalSessionManager::default().into(),
        config,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    writeln!(io::stdout(), "listening on http://{address}/mcp")?;
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await
}
