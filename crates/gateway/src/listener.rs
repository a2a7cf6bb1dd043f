//! The accept loop, with a deadline on everything that a peer may keep waiting.
//!
//! A connection is always in one of these states, and leaves each in bounded time:
//!
//! - no request yet, over TLS also no handshake, or a head begun: cut after
//!   [`Limits::header_timeout`], a handshake after [`Limits::handshake_timeout`] if that is less;
//! - no request in flight: told to finish after [`Limits::idle_timeout`] (`GOAWAY`, or the end of
//!   the stream), cut after another [`Limits::header_timeout`];
//! - no request in flight, and none yet whose sender was known: the same after ten seconds at the
//!   latest, and at once when a credential was refused;
//! - a request in flight, until the last byte of its answer is handed over: as long as it takes,
//!   for how long a call may run is its own affair; but a peer that takes no byte of what waits
//!   for it, over HTTP/2 also one that makes no room for an answer in its window, is cut after
//!   [`Limits::idle_timeout`];
//! - everything said: the peer has a second to close its side.
//!
//! Whatever it does, it is cut when it sends more than 1 MiB that belongs to no request.
//!
//! The time that a request's body may take is checked by whoever reads it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use switchboard_telemetry::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::activity::Standing;
use self::connection::{Connections, End};
pub(crate) use self::service::{HttpApp, HttpService};
use self::slots::Slots;
use crate::tls::Certificate;
use crate::workers::Workers;

mod activity;
mod connection;
mod io_watch;
mod service;
mod slots;

/// The first pause after an error of `accept` that has nothing to do with one connection.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What connections may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most connections at once, at least 1. More wait in the kernel's backlog.
    pub max_connections: usize,
    /// The most TLS handshakes at once, at least 1, of connections that count only once they have
    /// proved themselves: with one more the oldest ends. `None`: each connection counts from its
    /// start. Of use only where the handshake proves something.
    pub max_handshakes: Option<usize>,
    /// The longest that a TLS handshake may take, if that is less than [`Limits::header_timeout`].
    pub handshake_timeout: Duration,
    /// The longest that a new connection may take to its first complete request head, and each
    /// later head from its first byte.
    pub header_timeout: Duration,
    /// How long a connection without a request in flight stays open, and how long a peer may
    /// take no byte of an answer.
    pub idle_timeout: Duration,
    /// How long requests that run may still take once the listener drains.
    pub drain_timeout: Duration,
    /// The most bytes of a request's head, at least 8 KiB; more are answered with 431.
    pub max_header_bytes: usize,
    /// The most header fields of a request; more are answered with 431.
    pub max_headers: usize,
    /// The most bytes of a request's URI; more are answered with 414. One that does not fit into
    /// [`Limits::max_header_bytes`] is answered with 431 before its length is known.
    pub max_uri_bytes: usize,
    /// The most bytes of a request's body, which whoever reads it enforces.
    pub max_body_bytes: usize,
    /// The most requests at once on one HTTP/2 connection, at least 1.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_handshakes: None,
            handshake_timeout: Duration::MAX,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_uri_bytes: 8 * 1024,
            max_body_bytes: 16 * 1024 * 1024,
            max_streams: 200,
        }
    }
}

/// Serves HTTP/1.1 and HTTP/2 (with prior knowledge) on `listener`, over TLS if there is a
/// `certificate`, until `drain` is cancelled and
/// all connections are gone.
///
/// `app` may be an [`axum::Router`]. A request future or body is dropped when its peer goes away.
///
/// The open connections are counted in `metrics`, if there are any. Each is served on one of the
/// `workers`; accepting is done by whoever polls this.
///
/// Once `drain` is cancelled the listener is closed, every connection is told to finish after
/// what it runs (`Connection: close`, `GOAWAY`), and what is not done after
/// [`Limits::drain_timeout`] is dropped. Streams that would go on for ever have to watch `drain`
/// themselves to end in good order. When this returns, none of its tasks is left; when its future
/// is dropped before, they are all told to stop at once.
pub(crate) async fn serve<A: HttpApp>(
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    app: A,
    limits: Limits,
    metrics: Option<Arc<Metrics>>,
    workers: &Workers,
    drain: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let (finish, cut) = (Arc::<End>::default(), Arc::<End>::default());
    let _cut_when_dropped = EndWhenDropped(Arc::clone(&cut));
    let connections = Connections {
        certificate,
        app,
        limits,
        drain: Arc::clone(&finish),
        cut: Arc::clone(&cut),
        tasks: tasks.clone(),
        metrics,
        workers,
    };

    drain
        .run_until_cancelled(accept_all(&listener, &connections, &limits))
        .await;
    finish.come();
    // From here on the kernel refuses who comes, instead of letting them wait for nobody.
    drop(listener);

    tasks.close();
    let done = tokio::time::timeout(limits.drain_timeout, tasks.wait()).await;
    if done.is_err() {
        tracing::warn!(
            tasks = tasks.len(),
            "cutting what is still running after the drain timeout"
        );
        cut.come();
        tasks.wait().await;
    }
}

/// Tells connections that their end has come when their listener is dropped.
struct EndWhenDropped(Arc<End>);

impl Drop for EndWhenDropped {
    fn drop(&mut self) {
        self.0.come();
    }
}

async fn accept_all<A: HttpApp>(
    listener: &TcpListener,
    connections: &Connections<'_, A>,
    limits: &Limits,
) {
    let slots = Slots::new(limits);
    // It never ends by itself.
    while let Some(ready) = slots.wait().await {
        let (stream, peer) = accept(listener).await;
        if let Some(slot) = ready.accepted() {
            connections.start(stream, peer, slot);
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: only time helps, and the backlog keeps who
                // comes meanwhile.
                tracing::warn!(%error, ?pause, "cannot accept connections");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
