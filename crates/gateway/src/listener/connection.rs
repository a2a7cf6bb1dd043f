//! One connection from its acceptance to its end.

use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready as poll_ready};
use std::time::Duration;

use futures_util::TryFutureExt as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use switchboard_policy::authenticate::ClientCertificate;
use switchboard_telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use super::Limits;
use super::activity::{Action, Activity, Standing};
use super::io_watch::Watched;
use super::service::{ConnectionService, HttpApp};
use super::slots::Slot;
use crate::tls::Certificate;
use crate::workers::Workers;

/// The least that hyper takes as the size of its buffers.
const LEAST_BUFFER: usize = 8 * 1024;

/// The most header fields that hyper takes over HTTP/1 if it is not told otherwise.
const HYPER_MAX_HEADERS: usize = 100;

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What an HTTP/2 peer may send before somebody reads it, for one request and for all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of one HTTP/2 answer for a peer that does not take it.
const STREAM_SEND_BUFFER: usize = 64 * 1024;

/// What the connections of one listener share.
pub(super) struct Connections<'w, A> {
    /// With which they speak TLS, if they do.
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) app: A,
    pub(super) limits: Limits,
    /// Comes when every connection has to finish what it runs.
    pub(super) drain: Arc<End>,
    /// Comes when every connection has to end.
    pub(super) cut: Arc<End>,
    pub(super) tasks: TaskTracker,
    /// Where the connections are counted, if they are.
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) workers: &'w Workers,
}

/// Something that comes once, for all connections of a listener.
#[derive(Default)]
pub(super) struct End {
    /// Set before `token` is cancelled: asking that takes a lock.
    has_come: AtomicBool,
    token: CancellationToken,
}

impl End {
    /// Has it come.
    pub(super) fn come(&self) {
        self.has_come.store(true, Ordering::Release);
        self.token.cancel();
    }
}

impl<A: HttpApp> Connections<'_, A> {
    /// Starts the task of a connection; it keeps its slot until it ends.
    pub(super) fn start(&self, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        // The worker that it is put on has a poller of its own.
        let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection was gone before it began");
                return;
            }
        };
        let within = self
            .limits
            .handshake_timeout
            .min(self.limits.header_timeout);
        let ends = || [self.drain.token.child_token(), self.cut.token.child_token()];
        // Kinds of tasks, so that plain HTTP pays nothing for TLS, nor that for proofs.
        match (&self.certificate, slot) {
            (None, Slot::Taken(slot)) => {
                self.spawn(stream, peer, |stream, _| ready(Ok((stream, slot))));
            }
            (Some(certificate), Slot::Taken(slot)) => {
                let (acceptor, ends) = (TlsAcceptor::from(certificate.current()), ends());
                self.spawn(stream, peer, move |stream, standing| {
                    handshake(acceptor, stream, standing, within, ends)
                        .map_ok(|stream| (stream, slot))
                });
            }
            (Some(certificate), Slot::Unproven(unproven)) => {
                let (acceptor, ends) = (TlsAcceptor::from(certificate.current()), ends());
                self.spawn(stream, peer, move |stream, standing| {
                    let handshake = handshake(acceptor, stream, standing, within, ends);
                    unproven.prove(handshake, within)
                });
            }
            (None, Slot::Unproven(_)) => {
                tracing::debug!(%peer, "a connection that nothing proves was dropped");
            }
        }
    }

    /// Starts the task of a connection whose bytes are HTTP after `open`.
    fn spawn<S, F>(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        open: impl FnOnce(Watched, Standing) -> F + Send + 'static,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = io::Result<(S, OwnedSemaphorePermit)>> + Send + 'static,
    {
        let (drain, cut) = (Arc::clone(&self.drain), Arc::clone(&self.cut));
        // Of its own, so that waiting for it does not contend with other connections.
        let (drained, was_cut) = (drain.token.child_token(), cut.token.child_token());
        let activity = Arc::new(Activity::new(&self.limits, Instant::now()));
        let standing = Standing::of(&activity);
        let service = ConnectionService::new(
            self.app.serve(peer, standing.clone()),
            Arc::clone(&activity),
            &self.limits,
        );
        let builder = builder(
            &self.limits,
            Streams {
                tasks: self.tasks.clone(),
                cut: was_cut.clone(),
            },
        );
        let counted = self.metrics.as_ref().map(|metrics| metrics.connection());
        let place = self.workers.place();
        let runtime = place.runtime.clone();
        let connection = async move {
            // What HTTP/2 has spawned for single requests ends with their connection.
            let _streams = was_cut.clone().drop_guard();
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%peer, %error, "a connection cannot be polled");
                    return;
                }
            };
            let watched = Watched::new(stream, Arc::clone(&activity));
            let (io, slot) = match open(watched, standing).await {
                Ok((stream, slot)) => (TokioIo::new(stream), slot),
                Err(error) => {
                    tracing::debug!(%peer, %error, "a connection did not come to HTTP");
                    return;
                }
            };
            let connection = pin!(builder.serve_connection(io, service));
            let drained = CancelledOnce::of(&drain, &drained);
            let was_cut = CancelledOnce::of(&cut, &was_cut);
            match drive(connection, &activity, drained, was_cut).await {
                Ended::Itself(Ok(())) => {}
                Ended::Itself(Err(error)) => tracing::debug!(%peer, %error, "a connection broke"),
                Ended::Cut => tracing::debug!(%peer, "a connection was cut at shutdown"),
            }
            drop((slot, counted, place));
        };
        self.tasks.spawn_on(connection, &runtime);
    }
}

/// Agrees on keys with the peer, unless that takes too long or one of `ends` comes: nothing is lost
/// that the peer was promised.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: Watched,
    standing: Standing,
    within: Duration,
    ends: [CancellationToken; 2],
) -> io::Result<TlsStream<Watched>> {
    let [drain, cut] = &ends;
    let accepted = timeout(within, acceptor.accept(stream));
    let accepted = drain
        .run_until_cancelled(cut.run_until_cancelled(accepted))
        .await;
    match accepted.flatten() {
        Some(Ok(accepted)) => accepted.inspect(|stream| note_certificate(stream, &standing)),
        Some(Err(_)) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no TLS handshake in time",
        )),
        None => Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the gateway ends",
        )),
    }
}

/// Notes whose certificate the handshake has accepted, if it was asked for one.
fn note_certificate(stream: &TlsStream<Watched>, standing: &Standing) {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    if let Some(certificate) = certificate.and_then(|der| ClientCertificate::parse(der)) {
        standing.has_certificate(certificate);
    }
}

/// Where HTTP/2 puts the task of each request: they are counted, and end with their connection.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        self.tasks
            .spawn(async move { cut.run_until_cancelled_owned(stream).await });
    }
}

fn builder(limits: &Limits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    let mut http1 = builder.http1();
    http1
        // `Activity` has this deadline: hyper's does not cover the time before the version of
        // HTTP is known, and takes an idle connection for one that has begun a head.
        .header_read_timeout(None)
        .max_buf_size(limits.max_header_bytes.max(LEAST_BUFFER));
    // Setting the number, even to the same, costs an allocation for each request.
    if limits.max_headers != HYPER_MAX_HEADERS {
        http1.max_headers(limits.max_headers);
    }
    // Floods of resets, empty frames and CONTINUATION are bounded by the defaults of h2.
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams.max(1))
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Runs a connection to its end, which its own protocol, its deadlines, `drained` or `was_cut` bring
/// about. It borrows the connection: one that it took would lie twice in the task of each
/// connection, which is most of what an idle one costs.
async fn drive<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    activity: &Activity,
    drained: CancelledOnce<'_>,
    was_cut: CancelledOnce<'_>,
) -> Ended<C::Error> {
    let (mut drained, mut was_cut) = (pin!(drained), pin!(was_cut));
    let mut timer = pin!(sleep_until(activity.look_again(Instant::now())));
    let mut asked_to_finish = false;
    let ask_to_finish = |connection: Pin<&mut C>, asked: &mut bool| {
        *asked = true;
        activity.finishes();
        connection.graceful_shutdown();
    };
    poll_fn(|cx| {
        loop {
            if was_cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::Cut);
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ended::Itself(ended));
            }
            if !asked_to_finish && drained.as_mut().poll(cx).is_ready() {
                ask_to_finish(connection.as_mut(), &mut asked_to_finish);
                continue;
            }
            let due = activity.deadline();
            if let Some((at, _)) = due
                && at < timer.deadline()
            {
                timer.as_mut().reset(at);
            }
            poll_ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            match due {
                Some((at, Action::Cut)) if at <= now => return Poll::Ready(Ended::Itself(Ok(()))),
                Some((at, Action::Finish)) if at <= now => {
                    ask_to_finish(connection.as_mut(), &mut asked_to_finish);
                }
                Some((at, _)) => timer.as_mut().reset(at),
                None => timer.as_mut().reset(activity.look_again(now)),
            }
        }
    })
    .await
}

/// How a connection ended.
enum Ended<E> {
    /// By its protocol or its deadlines.
    Itself(Result<(), E>),
    /// The gateway could wait no longer.
    Cut,
}

pin_project! {
    /// Whether an end has come, asked at every poll of a connection: the token's own future takes
    /// locks each time, this one only where it is polled by another task than before.
    struct CancelledOnce<'a> {
        end: &'a End,
        #[pin]
        cancelled: WaitForCancellationFuture<'a>,
        waker: Option<Waker>,
    }
}

impl<'a> CancelledOnce<'a> {
    /// `token` is a child of that of `end`.
    fn of(end: &'a End, token: &'a CancellationToken) -> Self {
        Self {
            end,
            cancelled: token.cancelled(),
            waker: None,
        }
    }
}

impl Future for CancelledOnce<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            return match this.end.has_come.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            };
        }
        *this.waker = Some(cx.waker().clone());
        this.cancelled.poll(cx)
    }
}
