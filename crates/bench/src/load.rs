//! The load: modern `tools/call` requests, each answer checked.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Failure;
use crate::wire::{MAX_MESSAGE_BYTES, PATH, call_body, call_headers, check_answer};

/// The next id of all loads: no two calls of a run have the same.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A closed loop: each connection sends its next call when the last one is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Calls in all.
    pub(crate) calls: u64,
    /// Keep-alive connections, one call at a time on each.
    pub(crate) connections: usize,
    /// The longest that the whole load may take.
    pub(crate) limit: Duration,
}

/// What a load took.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// From before the first connection to after the last answer.
    pub(crate) elapsed: Duration,
    /// Of each call in nanoseconds, in rising order.
    latencies: Vec<u64>,
}

impl Loaded {
    /// The latency that this share of the calls, between 0 and 1, did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let rank = (share * last as f64).round() as usize;
        Duration::from_nanos(self.latencies.get(rank).copied().unwrap_or_default())
    }
}

impl Load {
    /// Runs the load against `subject`.
    ///
    /// # Errors
    /// At the first call that is not answered as it should be, or if the limit is exceeded.
    pub(crate) async fn run(&self, subject: SocketAddr) -> Result<Loaded, Failure> {
        timeout(self.limit, self.calls(subject))
            .await
            .map_err(|_| {
                Failure(format!(
                    "{} calls took longer than {:?}",
                    self.calls, self.limit
                ))
            })?
    }

    async fn calls(&self, subject: SocketAddr) -> Result<Loaded, Failure> {
        let left = Arc::new(AtomicU64::new(self.calls));
        let headers = call_headers(&subject.to_string())?;
        let start = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            let (left, headers) = (Arc::clone(&left), headers.clone());
            connections.spawn(connected(subject, async move |sender| {
                call_until_done(sender, &headers, &left).await
            }));
        }
        let mut latencies = Vec::with_capacity(usize::try_from(self.calls).unwrap_or_default());
        while let Some(ended) = connections.join_next().await {
            latencies.extend(ended.map_err(Failure::at("a connection's task failed"))??);
        }
        let elapsed = start.elapsed();
        latencies.sort_unstable();
        Ok(Loaded { elapsed, latencies })
    }
}

/// Makes one call on a connection of its own.
///
/// # Errors
/// If it is not answered as it should be.
pub(crate) async fn call_once(subject: SocketAddr) -> Result<(), Failure> {
    let headers = call_headers(&subject.to_string())?;
    connected(subject, async move |mut sender: Sender| {
        call(&mut sender, &headers).await
    })
    .await
}

type Sender = SendRequest<Full<Bytes>>;

/// Opens a connection, and drives it for as long as `work` takes.
async fn connected<T, F>(subject: SocketAddr, work: impl FnOnce(Sender) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let stream = TcpStream::connect(subject)
        .await
        .map_err(Failure::at("cannot connect"))?;
    stream
        .set_nodelay(true)
        .map_err(Failure::at("cannot set TCP_NODELAY"))?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::at("cannot connect"))?;
    let work = work(sender);
    tokio::pin!(connection, work);
    tokio::select! {
        biased;
        done = &mut work => done,
        // The work then learns from its sender what became of its call.
        _ = &mut connection => work.await,
    }
}

async fn call_until_done(
    mut sender: Sender,
    headers: &HeaderMap,
    left: &AtomicU64,
) -> Result<Vec<u64>, Failure> {
    let take = |left: u64| left.checked_sub(1);
    let mut latencies = Vec::new();
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let start = Instant::now();
        call(&mut sender, headers).await?;
        latencies.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(latencies)
}

async fn call(sender: &mut Sender, headers: &HeaderMap) -> Result<(), Failure> {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    let mut request = Request::new(Full::new(call_body(id)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(PATH);
    *request.headers_mut() = headers.clone();
    sender
        .ready()
        .await
        .map_err(Failure::at("the connection was closed"))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(Failure::at("a call was not answered"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_MESSAGE_BYTES)
        .collect()
        .await
        .map_err(Failure::at("an answer broke off"))?
        .to_bytes();
    check_answer(status, &body, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_calls() {
        let loaded = Loaded {
            elapsed: Duration::from_secs(1),
            latencies: (1..=101).collect(),
        };
        assert_eq!(loaded.quantile(0.5), Duration::from_nanos(51));
        assert_eq!(loaded.quantile(0.99), Duration::from_nanos(100));
        assert_eq!(loaded.quantile(1.0), Duration::from_nanos(101));
        let none = Loaded {
            latencies: Vec::new(),
            ..loaded
        };
        assert_eq!(none.quantile(0.5), Duration::ZERO);
    }
}
