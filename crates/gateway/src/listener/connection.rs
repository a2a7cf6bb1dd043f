//! One connection from its acceptance to its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use switchboard_telemetry::Metrics;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::activity::{Action, Activity};
use super::io_watch::Watched;
use super::service::{ConnectionService, HttpService};
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
pub(super) struct Connections<'w, S> {
    service: S,
    limits: Limits,
    drain: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
    /// Where the connections are counted, if they are.
    metrics: Option<Arc<Metrics>>,
    workers: &'w Workers,
}

impl<'w, S: HttpService> Connections<'w, S> {
    pub(super) fn new(
        service: S,
        limits: Limits,
        drain: CancellationToken,
        cut: CancellationToken,
        tasks: TaskTracker,
        metrics: Option<Arc<Metrics>>,
        workers: &'w Workers,
    ) -> Self {
        Self {
            service,
            limits,
            drain,
            cut,
            tasks,
            metrics,
            workers,
        }
    }

    /// Starts the task of a connection; it keeps `slot` until it ends.
    pub(super) fn start(&self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        // The worker that it is put on has a poller of its own.
        let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection was gone before it began");
                return;
            }
        };
        let cut = self.cut.child_token();
        let activity = Arc::new(Activity::new(&self.limits, Instant::now()));
        let service = ConnectionService::new(
            self.service.clone(),
            peer,
            Arc::clone(&activity),
            &self.limits,
        );
        let builder = builder(
            &self.limits,
            Streams {
                tasks: self.tasks.clone(),
                cut: cut.clone(),
            },
        );
        let drain = self.drain.clone();
        let counted = self.metrics.as_ref().map(|metrics| metrics.connection());
        let place = self.workers.place();
        let runtime = place.runtime.clone();
        let connection = async move {
            // What HTTP/2 has spawned for single requests ends with their connection.
            let _streams = cut.clone().drop_guard();
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%peer, %error, "a connection cannot be polled");
                    return;
                }
            };
            let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
            let connection = builder.serve_connection(io, service);
            let driven = drive(connection, &activity, &drain);
            match cut.run_until_cancelled(driven).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%peer, %error, "a connection broke"),
                None => tracing::debug!(%peer, "a connection was cut at shutdown"),
            }
            drop((slot, counted, place));
        };
        self.tasks.spawn_on(connection, &runtime);
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

/// Runs a connection to its end, which its own protocol, its deadlines or `drain` bring about.
async fn drive<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    drain: &CancellationToken,
) -> Result<(), C::Error> {
    let mut connection = pin!(connection);
    let mut drained = pin!(drain.cancelled());
    let mut timer = pin!(sleep_until(activity.look_again()));
    let mut told = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if !told && drained.as_mut().poll(cx).is_ready() {
                told = true;
                activity.finishes();
                connection.as_mut().graceful_shutdown();
                continue;
            }
            let due = activity.deadline();
            if let Some((at, _)) = due
                && at < timer.deadline()
            {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            match due {
                Some((at, Action::Cut)) if at <= Instant::now() => return Poll::Ready(Ok(())),
                Some((at, Action::Finish)) if at <= Instant::now() => {
                    told = true;
                    activity.finishes();
                    connection.as_mut().graceful_shutdown();
                }
                Some((at, _)) => timer.as_mut().reset(at),
                None => timer.as_mut().reset(activity.look_again()),
            }
        }
    })
    .await
}
