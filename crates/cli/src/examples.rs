//! The example servers built into the command: what the quickstart puts behind the gateway.
//!
//! `notes` is a scratchpad that a team shares, with tools, resources, a prompt, completion and
//! notifications; `toolbox` is a set of tools that need nothing but their arguments. Both are
//! written with rmcp, which shares no code with the gateway's own wire path, and answer clients of
//! both eras.

mod http;
mod notes;
mod table;
mod toolbox;

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rmcp::model::{Implementation, PaginatedRequestParams, ServerCapabilities, ServerConfig};
use rmcp::service::ServerInitializeError;
use rmcp::transport::io::stdio_pipes;
use rmcp::{ErrorData, ServerHandler, ServiceExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

pub(crate) use self::http::over_http;
use self::notes::NotesServer;
use self::toolbox::ToolboxServer;

/// The names that [`run`] knows.
pub(crate) const NAMES: [&str; 2] = ["notes", "toolbox"];

/// How long answers may still be written after the end of input.
const GRACE: Duration = Duration::from_secs(1);

/// Why an example server could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExampleError {
    /// There is no such server.
    #[error("there is no example server `{name}`; there are: {}", NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The other side opened the connection with something that MCP does not allow there.
    #[error("the client did not open the connection as the Model Context Protocol asks")]
    Handshake(#[source] Box<ServerInitializeError>),
    /// It could not listen there, or stopped to.
    #[error("cannot serve {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The task that serves the connection ended by a panic.
    #[error("the example server stopped unexpectedly")]
    Stopped(#[source] tokio::task::JoinError),
}

/// Serves the example server called `name` on standard input and output until the input ends.
///
/// Nothing else may write to standard output meanwhile.
///
/// # Errors
///
/// [`ExampleError`]; a client that leaves before it has said anything is none.
pub(crate) async fn run(name: &str) -> Result<(), ExampleError> {
    let closing = CancellationToken::new();
    match name {
        "notes" => serve(NotesServer::new(closing.clone()), stdio_pipes(), closing).await,
        "toolbox" => serve(ToolboxServer::new(closing.clone()), stdio_pipes(), closing).await,
        _ => Err(ExampleError::Unknown {
            name: name.to_owned(),
        }),
    }
}

/// Serves one connection, and cancels `closing` as soon as its reading half has ended.
async fn serve<S, R, W>(
    server: S,
    (read, write): (R, W),
    closing: CancellationToken,
) -> Result<(), ExampleError>
where
    S: ServerHandler,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let end = closing.clone();
    let running = match server.serve((UntilEnd { read, closing }, write)).await {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ExampleError::Handshake(Box::new(error))),
    };
    let overdue = async {
        end.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        quit = running.waiting() => quit.map(drop).map_err(ExampleError::Stopped),
        () = overdue => Ok(()),
    }
}

/// A reader that cancels a token at its end.
///
/// rmcp waits for requests in flight after the end of input. Those that last until they are
/// cancelled learn by the token that nobody will do so any more; without it every shutdown would
/// take as long as the grace allows.
struct UntilEnd<R> {
    read: R,
    closing: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilEnd<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.read).poll_read(cx, buf));
        if result.is_err() || buf.filled().len() == before {
            self.closing.cancel();
        }
        Poll::Ready(result)
    }
}

/// What a server says of itself.
fn config(
    name: &str,
    title: &str,
    capabilities: ServerCapabilities,
    instructions: &str,
) -> ServerConfig {
    let implementation = Implementation::new(name, env!("CARGO_PKG_VERSION")).with_title(title);
    ServerConfig::new(capabilities)
        .with_server_info(implementation)
        .with_instructions(instructions)
}

/// Refuses a cursor: every list of these servers is one page, so no cursor was ever given out.
fn first_page(request: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|page| page.cursor) {
        None => Ok(()),
        Some(_) => Err(ErrorData::invalid_params("There is no such cursor", None)),
    }
}
