//! A server over HTTP that goes wrong to the byte, and counts what it did.
//!
//! It speaks streamable HTTP of either era on a loopback port, within the test's own process. It
//! writes its answers itself, without an HTTP library, so that a [`Fault`] can cut them anywhere.
//! Faults befall the call that asks for one, or those that a [`Schedule`] draws from its seed. Its
//! [`Journal`] says of every call, by the key in its arguments, how often it came and was executed:
//! what proves that nothing was executed twice.
//!
//! | tool | is said to be |
//! |---|---|
//! | `read` | read-only |
//! | `put` | idempotent |
//! | `write` | neither |
//!
//! All take the same arguments:
//!
//! | argument | means |
//! |---|---|
//! | `key` | what the journal calls it: unique, except for attempts at the same call |
//! | `ms` | how long it takes |
//! | `size` | how many bytes of padding the result has |
//! | `events` | whether the answer is an event stream |
//! | `fault` | the [`Fault`] that befalls it, as JSON |
//! | `times` | how many attempts the fault befalls; all, unless it is given |

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::Era;
use crate::lock::lock;

mod answer;
mod delivery;
mod journal;
mod kind;
mod sessions;
#[cfg(test)]
mod tests;
mod wire;

pub use self::journal::{Counts, Journal};
pub use self::kind::{Fault, Schedule};

use self::sessions::Sessions;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A running server. It stops, and breaks all its connections, when it is dropped.
#[derive(Debug)]
pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    up: AsyncMutex<Option<Up>>,
    stop: CancellationToken,
    /// Bound and never listened at, so that the port is nobody else's while the server is down.
    _port: TcpSocket,
}

/// What goes on while the server listens.
#[derive(Debug)]
struct Up {
    end: CancellationToken,
    accepting: JoinHandle<()>,
}

/// What all connections of a server share.
#[derive(Debug)]
struct Shared {
    label: String,
    era: Era,
    journal: Journal,
    schedule: Mutex<Option<Schedule>>,
    sessions: Mutex<Sessions>,
    is_healthy: AtomicBool,
    in_flight: AtomicUsize,
    /// Whether answers to calls wait.
    is_held: watch::Sender<bool>,
}

impl Shared {
    /// Waits until calls are answered.
    async fn released(&self) {
        // The sender is here, so it does not go before.
        let _ = self.is_held.subscribe().wait_for(|held| !held).await;
    }
}

impl FaultServer {
    /// Serves `/mcp` and `/health` on a free loopback port. Every result repeats the label.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(label: &str, era: Era) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let port = bound(any).expect("a free port");
        let server = Self {
            address: port.local_addr().expect("a bound address"),
            shared: Arc::new(Shared {
                label: label.to_owned(),
                era,
                journal: Journal::default(),
                schedule: Mutex::default(),
                sessions: Mutex::default(),
                is_healthy: AtomicBool::new(true),
                in_flight: AtomicUsize::new(0),
                is_held: watch::Sender::new(false),
            }),
            up: AsyncMutex::default(),
            stop: CancellationToken::new(),
            _port: port,
        };
        server.come_up().await;
        server
    }

    /// What the server is called in its results.
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// The URL of the MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// A URL that is answered with 200 while the server is healthy, and with 503 else.
    pub fn health_url(&self) -> String {
        format!("http://{}/health", self.address)
    }

    /// Changes what the health URL says. Calls are answered as before.
    pub fn say_healthy(&self, is_healthy: bool) {
        self.shared.is_healthy.store(is_healthy, Ordering::SeqCst);
    }

    /// Draws faults by this schedule from now on, or none.
    pub fn set_schedule(&self, schedule: Option<Schedule>) {
        *lock(&self.shared.schedule) = schedule;
    }

    /// Executes calls from now on, and answers none of them.
    pub fn hold(&self) {
        self.shared.is_held.send_replace(true);
    }

    /// Answers the calls that were held, and all that come.
    pub fn release(&self) {
        self.shared.is_held.send_replace(false);
    }

    /// What was done for which call.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// How many requests are being answered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Stops to listen, breaks all connections and forgets all sessions, as a server does that
    /// crashes. Nothing happens if it is down.
    pub async fn go_down(&self) {
        let mut up = self.up.lock().await;
        if let Some(Up { end, accepting }) = up.take() {
            end.cancel();
            // Once it has ended, the listener is closed.
            accepting.await.expect("accepting does not panic");
            lock(&self.shared.sessions).forget_all();
        }
    }

    /// Listens again, on the same port. Nothing happens if it is up.
    ///
    /// # Panics
    ///
    /// If the port cannot be listened at.
    pub async fn come_up(&self) {
        let mut up = self.up.lock().await;
        if up.is_none() {
            let listener = bound(self.address).and_then(|socket| socket.listen(BACKLOG));
            let listener = listener.expect("the port is reserved");
            let end = self.stop.child_token();
            let accepting = accept(listener, Arc::clone(&self.shared), end.clone());
            *up = Some(Up {
                end,
                accepting: tokio::spawn(accepting),
            });
        }
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A socket with this address, which others of this server may have as well.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves connections until the end, and then breaks them.
async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            continue;
        };
        let serving = wire::serve(stream, Arc::clone(&shared));
        tokio::spawn(end.clone().run_until_cancelled_owned(serving));
    }
}

/// Counts one request as long as it is being answered.
#[derive(Debug)]
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(&shared.in_flight)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
