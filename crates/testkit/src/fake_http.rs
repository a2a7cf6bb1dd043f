//! A fake server over HTTP, within the test's own process, whose behaviour the test changes while
//! it runs and which remembers every request.
//!
//! It serves one endpoint on the loopback, by the rules of one of the three HTTP transports. See
//! [`crate::fake`] for its tools.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fake::{Content, Era};
use crate::lock::lock;
use crate::serving;

mod answer;
mod exchange;
#[cfg(test)]
mod tests;

/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How many requests are remembered, the latest ones.
const MAX_RECORDED: usize = 20_000;
/// How many sessions there may be at once.
const MAX_SESSIONS: usize = 1000;

/// The HTTP transport that a fake speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP of 2026-07-28: no sessions, headers that mirror the message.
    Modern,
    /// Streamable HTTP of 2025-11-25: sessions, a GET stream.
    Legacy,
    /// HTTP+SSE of 2024-11-05: one event stream and an address for messages.
    Sse,
}

/// In which form requests are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As an event stream where progress or logs are asked for, else as JSON.
    #[default]
    AsNeeded,
    /// Always as JSON; progress and logs are lost.
    Json,
    /// Always as an event stream.
    EventStream,
}

/// What goes wrong. With [`Transport::Sse`], whose answers have no HTTP response of their own, only
/// what concerns the message itself does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks after half of the answer.
    DropMidAnswer,
    /// The answer claims to be HTML.
    WrongContentType,
    /// The body is not JSON, though the answer says so.
    Garbage,
    /// The answer is this many bytes longer than it should be.
    Huge(usize),
    /// The answer is this HTTP status with a few words of text.
    Status(u16),
    /// No answer ever comes.
    NeverAnswers,
    /// The answer is for an id that nobody asked.
    WrongId,
}

/// How a fake behaves. The default is well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// The form of the answers.
    pub form: Form,
    /// Pause a random time of up to 30 ms before everything that is sent, beginning with this
    /// seed.
    pub shuffle: Option<u64>,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// Whether it goes wrong for every request, not for tool calls alone.
    pub fault_everywhere: bool,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its HTTP method.
    pub verb: Method,
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Recorded {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC method, or an empty text.
    pub fn method(&self) -> String {
        self.json()["method"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A running fake; it stops, and breaks all its connections, when it is dropped.
#[derive(Debug)]
pub struct FakeHttp {
    url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    label: String,
    content: Content,
    behaviour: Mutex<Behaviour>,
    random: Mutex<fastrand::Rng>,
    recorded: Mutex<VecDeque<Recorded>>,
    sessions: Mutex<Sessions>,
    in_flight: AtomicUsize,
    cancelled: AtomicUsize,
    guard: Mutex<Option<Arc<dyn Guard>>>,
}

/// What lets requests in, or answers them itself: before anything else is looked at.
pub trait Guard: std::fmt::Debug + Send + Sync {
    /// A status and a `WWW-Authenticate` for those that may not come in.
    ///
    /// # Errors
    /// Says how the request is refused.
    fn admit(&self, request: &Recorded) -> Result<(), (u16, String)>;
}

#[derive(Debug, Default)]
struct Sessions {
    begun: u64,
    alive: HashMap<String, Session>,
}

#[derive(Clone, Debug, Default)]
struct Session {
    /// Whether log notifications were asked for.
    logs: bool,
    /// The event stream of a session of [`Transport::Sse`].
    stream: Option<mpsc::Sender<String>>,
    /// The requests that run, by id, to be cancelled.
    running: HashMap<String, CancellationToken>,
}

impl FakeHttp {
    /// Serves `/mcp` on a free loopback port. Every tool result repeats the label.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn start(transport: Transport, label: &str) -> Self {
        let (listener, address) = serving::listener().await;
        let era = match transport {
            Transport::Modern => Era::Modern,
            Transport::Legacy | Transport::Sse => Era::Legacy,
        };
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            transport,
            label: label.to_owned(),
            content: Content {
                era,
                misbehaves: false,
            },
            behaviour: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(0)),
            recorded: Mutex::default(),
            sessions: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            guard: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared), stop.clone()));
        Self {
            url: format!("http://{address}/mcp"),
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// The URL of the endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes how requests are answered from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        if let Some(seed) = behaviour.shuffle {
            lock(&self.shared.random).seed(seed);
        }
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Has this let requests in from now on.
    pub fn guard(&self, guard: Arc<dyn Guard>) {
        *lock(&self.shared.guard) = Some(guard);
    }

    /// Breaks tool calls from now on.
    pub fn fail_calls(&self, fault: Fault) {
        self.behave(Behaviour {
            fault: Some(fault),
            ..Behaviour::default()
        });
    }

    /// The latest requests, at most 20,000, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.recorded).iter().cloned().collect()
    }

    /// The latest requests of one JSON-RPC method.
    pub fn requests_of(&self, method: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.method() == method);
        requests
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        lock(&self.shared.recorded).clear();
    }

    /// How many requests are being answered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// How many requests the client gave up before they were answered: by closing the connection,
    /// or by `notifications/cancelled`.
    pub fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        lock(&self.shared.sessions).alive.len()
    }

    /// Forgets all sessions, as a server does that was restarted: they get 404 from now on.
    pub fn expire_sessions(&self) {
        lock(&self.shared.sessions).alive.clear();
    }
}

/// An address that refuses connections for as long as this lives.
#[derive(Debug)]
pub struct RefusedPort {
    url: String,
    // Bound and never listened at, so that nobody else gets the port.
    _socket: TcpSocket,
}

impl RefusedPort {
    /// Takes a free port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn take() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(any).expect("a free port");
        let address = socket.local_addr().expect("a bound address");
        Self {
            url: format!("http://{address}/mcp"),
            _socket: socket,
        }
    }

    /// A URL at the address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Serves connections until told to stop, and then breaks them.
async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            continue;
        };
        let shared = Arc::clone(&shared);
        let stop = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(exchange::respond(shared, request).await) }
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // A connection that breaks is what many tests are about.
                _ = serving => {}
            }
        });
    }
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        *lock(&self.behaviour)
    }

    fn extra_pause(&self) -> Duration {
        match self.behaviour().shuffle {
            Some(_) => Duration::from_millis(lock(&self.random).u64(..=30)),
            None => Duration::ZERO,
        }
    }

    fn record(&self, recorded: Recorded) {
        let mut all = lock(&self.recorded);
        if all.len() == MAX_RECORDED {
            all.pop_front();
        }
        all.push_back(recorded);
    }

    /// Who answers, as JSON.
    fn facts(&self) -> String {
        serde_json::json!({ "label": self.label }).to_string()
    }
}

/// Counts one request as long as it is being answered.
#[derive(Debug)]
struct InFlight {
    shared: Arc<Shared>,
    finished: bool,
}

impl InFlight {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Self {
            shared: Arc::clone(shared),
            finished: false,
        }
    }

    /// The answer is on its way.
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.finished {
            self.shared.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A body that is there at once.
fn full(text: impl Into<Bytes>) -> Body {
    Body::from(text.into())
}
