//! How everything here that asks is connected: HTTP/1.1 over TCP, each request sent at once.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failure;

/// Connects; what drives the connection ends with the sender, or when the peer closes.
///
/// # Errors
/// If nobody listens there.
pub(crate) async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(Failure::at("cannot connect"))?;
    stream
        .set_nodelay(true)
        .map_err(Failure::at("cannot set TCP_NODELAY"))?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::at("cannot connect"))?;
    // How it ends, the sender learns.
    tokio::spawn(connection);
    Ok(sender)
}
