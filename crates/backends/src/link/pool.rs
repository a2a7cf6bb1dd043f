//! Connections to one HTTP server, kept for the next request.
//!
//! hyper-util's pooled client starts a task for every request that it makes; on the path of a call
//! that is a third of what hyper itself costs. This pool keeps idle HTTP/1 connections in stacks,
//! one for each thread, since a connection is driven where it was opened and a request from another
//! thread would wake that one; and one HTTP/2 connection for everybody where the server chose that.
//! A request is made again on a fresh connection only if hyper hands it back unsent.

use ::http::{Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::dial;
use super::unreachable::Goal;

/// How long an idle connection is kept: less than what servers commonly allow, so that they rarely
/// close one under a request.
const MAX_IDLE_TIME: Duration = Duration::from_secs(20);
/// How often idle connections are looked over.
const LOOK_OVER: Duration = Duration::from_secs(5);
/// The most that is read from an HTTP/1 connection at once, and so the largest piece of a large
/// answer and the largest head: enough that a piece is rare, and little to hold for each client that
/// reads slowly (four times that at most).
const READ_AT_ONCE: usize = 128 * 1024;
/// How long the end of a response is waited for by nobody but its connection.
const MAX_WAIT_FOR_END: Duration = Duration::from_secs(1);
/// How many idle connections each stack keeps.
const MAX_IDLE: usize = 64;
/// How many stacks there are: threads beyond that share them.
const STACKS: usize = 16;

type RequestBody = Full<Bytes>;
type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PoolError {
    /// The request was never sent, for want of a connection. Why, for operators.
    NotSent(String),
    /// It was, or may have been.
    Lost,
}

/// Idle connections and since when they are, the one used last at the end.
type Idle = VecDeque<(http1::SendRequest<RequestBody>, Instant)>;

/// The idle connections of one thread, in cache lines that no other thread writes.
#[derive(Default)]
#[repr(align(128))]
struct Stack(Mutex<Idle>);

/// The connections to one authority.
pub(crate) struct Pool {
    authority: Uri,
    /// Where to connect to, if that is not where the authority's name leads.
    address: Option<SocketAddr>,
    /// How long the handshakes of TCP and TLS may take together.
    connect_timeout: Duration,
    idle: [Stack; STACKS],
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
    tasks: TaskTracker,
    /// Whether a task looks idle connections over, which it does while there are any.
    is_looked_over: AtomicBool,
    end: CancellationToken,
    _end_when_dropped: DropGuard,
}

/// A connection that can take a request.
enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Pool {
    /// A pool for the authority of this URI, to which a connection takes at most `connect_timeout`;
    /// at `address`, or else where its name leads.
    pub(crate) fn new(
        authority: Uri,
        address: Option<SocketAddr>,
        connect_timeout: Duration,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let end = CancellationToken::new();
        Arc::new(Self {
            authority,
            address,
            connect_timeout,
            is_looked_over: AtomicBool::new(false),
            _end_when_dropped: end.clone().drop_guard(),
            end,
            idle: Default::default(),
            shared: Mutex::default(),
            tasks,
        })
    }

    /// Sends a request with path and query for its URI, as HTTP/1 wants it, and a `Host` header. Dropping the future, or the body of its response
    /// before the end, ends the exchange.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, PoolError> {
        while let Some(mut sender) = self.take_idle() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.wrap(response, Some(sender))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(PoolError::Lost),
                },
            }
        }
        // Boxed, since it is rare, and a TLS handshake is many times larger than the rest of a
        // call's future.
        match Box::pin(self.connect()).await? {
            Sender::Http1(mut sender) => {
                let response = sender
                    .try_send_request(request)
                    .await
                    .map_err(|mut error| self.failure(error.take_message().is_some()))?;
                Ok(self.wrap(response, Some(sender)))
            }
            Sender::Http2(mut sender) => {
                to_absolute_form(&mut request, &self.authority);
                let response = sender
                    .try_send_request(request)
                    .await
                    .map_err(|mut error| self.failure(error.take_message().is_some()))?;
                Ok(self.wrap(response, None))
            }
        }
    }

    fn wrap(
        self: &Arc<Self>,
        response: Response<Incoming>,
        sender: Option<http1::SendRequest<RequestBody>>,
    ) -> Response<ResponseBody> {
        response.map(|body| {
            let mut body = ResponseBody {
                body,
                back: sender.map(|sender| (Arc::clone(self), sender)),
            };
            if body.body.is_end_stream() {
                body.give_back();
            }
            body
        })
    }

    fn take_idle(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.idle[own_stack()].0.lock();
        while let Some((sender, since)) = idle.pop_back() {
            if !sender.is_closed() && since.elapsed() < MAX_IDLE_TIME {
                return Some(sender);
            }
        }
        None
    }

    fn give_back(self: &Arc<Self>, sender: http1::SendRequest<RequestBody>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle[own_stack()].0.lock();
        idle.push_back((sender, Instant::now()));
        if idle.len() > MAX_IDLE {
            idle.pop_front();
        }
        drop(idle);
        if !self.is_looked_over.load(Ordering::Acquire) && self.begin_to_look() {
            let looking = look_over(Arc::downgrade(self), self.end.clone());
            self.tasks.spawn(looking);
        }
    }

    /// Whether nobody looked over the idle connections before.
    fn begin_to_look(&self) -> bool {
        !self.is_looked_over.swap(true, Ordering::AcqRel)
    }

    /// Closes what has been idle for too long; answers whether anything is idle still.
    pub(super) fn close_old(&self) -> bool {
        let mut any = false;
        for stack in &self.idle {
            let mut idle = stack.0.lock();
            while idle
                .front()
                .is_some_and(|(_, since)| since.elapsed() >= MAX_IDLE_TIME)
            {
                idle.pop_front();
            }
            any |= !idle.is_empty();
        }
        any
    }

    async fn connect(&self) -> Result<Sender, PoolError> {
        if let Some(sender) = self
            .shared
            .lock()
            .clone()
            .filter(|sender| !sender.is_closed())
        {
            return Ok(Sender::Http2(sender));
        }
        let connecting = async {
            let mut connector = dial::connector(self.address);
            let stream = connector
                .call(self.authority.clone())
                .await
                .map_err(|error| self.goal().failed(&*error))?;
            self.handshake(TokioIo::new(stream))
                .await
                .map_err(|error| self.goal().failed(&error))
        };
        tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(self.goal().timed_out(self.connect_timeout)))
            .map_err(PoolError::NotSent)
    }

    fn goal(&self) -> Goal<'_> {
        Goal {
            authority: &self.authority,
            address: self.address,
        }
    }

    fn failure(&self, unsent: bool) -> PoolError {
        if unsent {
            PoolError::NotSent(self.goal().closed())
        } else {
            PoolError::Lost
        }
    }

    async fn handshake(&self, stream: Stream) -> hyper::Result<Sender> {
        let io = stream.into_inner();
        if io.connected().is_negotiated_h2() {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .handshake(io)
                .await?;
            self.tasks.spawn(connection);
            *self.shared.lock() = Some(sender.clone());
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AT_ONCE)
            .handshake(io)
            .await?;
        self.tasks.spawn(connection);
        Ok(Sender::Http1(sender))
    }
}

/// Closes idle connections in time, until there are none or the pool is gone.
async fn look_over(pool: Weak<Pool>, end: CancellationToken) {
    while end
        .run_until_cancelled(tokio::time::sleep(LOOK_OVER))
        .await
        .is_some()
    {
        let Some(pool) = pool.upgrade() else { return };
        if pool.close_old() {
            continue;
        }
        pool.is_looked_over.store(false, Ordering::Release);
        // What was given back just now may still have seen that somebody looks.
        if !(pool.close_old() && pool.begin_to_look()) {
            return;
        }
    }
}

/// The stack of this thread.
fn own_stack() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STACKS;
    }
    OWN.with(|own| *own)
}

/// HTTP/2 names the host in the URI.
fn to_absolute_form(request: &mut Request<RequestBody>, authority: &Uri) {
    request.headers_mut().remove(::http::header::HOST);
    let mut parts = authority.clone().into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The body of a response; gives its connection back to the pool when it has been read to the end.
pub(crate) struct ResponseBody {
    body: Incoming,
    back: Option<(Arc<Pool>, http1::SendRequest<RequestBody>)>,
}

impl ResponseBody {
    /// Whether what is left of it comes on a connection that nobody else uses: not over HTTP/2.
    pub(crate) fn has_own_connection(&self) -> bool {
        self.back.is_some()
    }

    /// Waits for the end, so that the connection is used again: a server ends an event stream right
    /// after its response, but not in the same breath. Gives up after a second, or if there is
    /// more.
    pub(crate) async fn reach_end(mut self) {
        if self.back.is_some() {
            // Whatever came of it, dropping the body does the rest.
            let _ = tokio::time::timeout(MAX_WAIT_FOR_END, self.frame()).await;
        }
    }

    fn give_back(&mut self) {
        if let Some((pool, sender)) = self.back.take() {
            pool.give_back(sender);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || (frame.is_ready() && self.body.is_end_stream()) {
            self.give_back();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
