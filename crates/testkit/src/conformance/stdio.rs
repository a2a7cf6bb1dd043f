//! The server over standard input and output.

use std::borrow::Cow;
use std::io;

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, GetMeta, ProtocolVersion, ServerJsonRpcMessage,
};
use rmcp::service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage, serve_server};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ErrorData, RoleServer};

use super::era::Era;
use super::handler::ConformanceServer;
use super::state::Shared;

/// Serves standard input and output until the client closes them.
///
/// # Errors
///
/// When the client's first message is none that a session can begin with, or the serving task
/// panicked.
pub async fn serve_stdio(era: Era) -> io::Result<()> {
    let (stdin, stdout) = rmcp::transport::io::stdio_pipes();
    let transport = Gate {
        inner: AsyncRwTransport::new_server(stdin, stdout),
        era,
        begun: false,
    };
    let server = ConformanceServer::new(Shared::new(), era);
    match serve_server(server, transport).await {
        Ok(running) => running.waiting().await.map(drop).map_err(io::Error::other),
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Answers what the era does not have before rmcp sees it.
struct Gate<T> {
    inner: T,
    era: Era,
    /// Whether a request has passed that makes rmcp settle on an era.
    begun: bool,
}

impl<T> Gate<T> {
    fn refusal(&mut self, request: &ClientRequest) -> Option<ErrorData> {
        if let Some(error) = self.era.refuses(request.method()) {
            return Some(error);
        }
        match request {
            ClientRequest::InitializeRequest(_) => self.begun = true,
            ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => {}
            // rmcp would take a modern request for the beginning of a modern session.
            _ if self.era == Era::Legacy && !self.begun => {
                return Some(ErrorData::invalid_params(
                    "Received a request before initialization",
                    None,
                ));
            }
            request => {
                let meta = request.get_meta();
                let missing = meta.missing_required_keys(&ProtocolVersion::V_2026_07_28);
                self.begun |= missing.is_empty();
            }
        }
        None
    }
}

impl<T> Transport<RoleServer> for Gate<T>
where
    T: Transport<RoleServer>,
{
    type Error = T::Error;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let message = self.inner.receive().await?;
            let ClientJsonRpcMessage::Request(request) = &message else {
                // Before that rmcp would end the connection, for instance at the `initialized` of a
                // client whose `initialize` was refused.
                if self.begun {
                    return Some(message);
                }
                continue;
            };
            let Some(error) = self.refusal(&request.request) else {
                return Some(message);
            };
            // In a task of its own: rmcp may drop this future while it waits. A client that is gone
            // shows in the next message.
            let refused = ServerJsonRpcMessage::error(error, Some(request.id.clone()));
            tokio::spawn(self.inner.send(refused));
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
