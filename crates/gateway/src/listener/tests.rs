//! Real sockets with short limits. What must not happen early is measured against the server's own
//! limit, so a slow machine cannot break it; what must happen is waited for with a generous bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Limits, serve};
use crate::workers::Workers;

mod deadlines;
mod heads;
mod lifecycle;

/// How long a test waits for what must happen.
const GENEROUS: Duration = Duration::from_secs(20);

/// A limit that no test reaches.
const NEVER: Duration = Duration::from_secs(600);

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn patient() -> Limits {
    Limits {
        header_timeout: NEVER,
        idle_timeout: NEVER,
        drain_timeout: NEVER,
        ..Limits::default()
    }
}

/// What the handlers of a test share with it.
#[derive(Default)]
struct Probe {
    running: AtomicUsize,
    started: Notify,
    go_on: Notify,
}

/// Counts a handler as running until its future is dropped.
struct Running(Arc<Probe>);

impl Running {
    fn new(probe: &Arc<Probe>) -> Self {
        probe.running.fetch_add(1, Ordering::SeqCst);
        probe.started.notify_one();
        Self(Arc::clone(probe))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Server {
    address: SocketAddr,
    drain: CancellationToken,
    probe: Arc<Probe>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = CancellationToken::new();
        let probe = Arc::new(Probe::default());
        let (app, told) = (router(&probe), drain.clone());
        let task = tokio::spawn(async move {
            serve(listener, None, app, limits, None, &Workers::here(), told).await;
        });
        Self {
            address,
            drain,
            probe,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Drains and waits for the end; tells how long that took.
    async fn stop(self) -> Duration {
        let start = Instant::now();
        self.drain.cancel();
        within(self.task).await.unwrap();
        start.elapsed()
    }

    async fn until_running(&self, count: usize) {
        let settled = async {
            while self.probe.running.load(Ordering::SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(settled).await;
    }
}

/// `/` answers, `/peer` names the peer, `/wait` answers when told, `/stuck` never does, `/drip`
/// sends a byte each time it is told, `/flood` sends without end, `/refuse` reads no body.
fn router(probe: &Arc<Probe>) -> Router {
    let waiting = Arc::clone(probe);
    let stuck = Arc::clone(probe);
    let dripping = Arc::clone(probe);
    let flooding = Arc::clone(probe);
    Router::new()
        .route("/", get(|| async { "ok" }))
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .route(
            "/wait",
            get(move || async move {
                let running = Running::new(&waiting);
                running.0.go_on.notified().await;
                "done"
            }),
        )
        .route(
            "/stuck",
            get(move || async move {
                let _running = Running::new(&stuck);
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/drip",
            get(move || async move {
                let running = Running::new(&dripping);
                Body::from_stream(stream::unfold(running, |running| async {
                    running.0.go_on.notified().await;
                    Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), running))
                }))
            }),
        )
        .route(
            "/flood",
            get(move || async move {
                let running = Running::new(&flooding);
                let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
                Body::from_stream(stream::unfold((running, chunk), |(running, chunk)| async {
                    Some((Ok::<_, std::io::Error>(chunk.clone()), (running, chunk)))
                }))
            }),
        )
        .route("/refuse", post(|| async { StatusCode::PAYLOAD_TOO_LARGE }))
}

async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(GENEROUS, what)
        .await
        .expect("happens in time")
}

/// Reads until `end` was read, or the peer closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let read = async {
        let mut byte = [0];
        while !seen.ends_with(end.as_bytes()) && stream.read(&mut byte).await.unwrap_or(0) > 0 {
            seen.push(byte[0]);
        }
    };
    within(read).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// Reads the rest; a reset is an end too.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let _ = within(stream.read_to_end(&mut seen)).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// Sends `GET /` and reads its answer.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(GET).await.unwrap();
    let answer = read_until(stream, "\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").into_bytes()
}

/// An HTTP/2 client.
mod h2_client {
    use http_body_util::Empty;
    use hyper::client::conn::http2::{self, SendRequest};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    use super::*;

    pub(super) type Sender = SendRequest<Empty<Bytes>>;

    /// The client, and its connection, which ends when the server closes it.
    pub(super) async fn connect(server: &Server) -> (Sender, JoinHandle<hyper::Result<()>>) {
        let io = TokioIo::new(server.connect().await);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(1024 * 1024)
            .handshake(io)
            .await
            .unwrap();
        (sender, tokio::spawn(connection))
    }

    pub(super) fn request(uri: &str) -> http::Request<Empty<Bytes>> {
        http::Request::get(format!("http://test{uri}"))
            .body(Empty::new())
            .unwrap()
    }

    pub(super) async fn status(
        sender: &mut Sender,
        request: http::Request<Empty<Bytes>>,
    ) -> StatusCode {
        within(sender.send_request(request)).await.unwrap().status()
    }
}
