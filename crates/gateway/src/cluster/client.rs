//! Requests to other replicas.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts as Head;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper_rustls::{
    FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use switchboard_protocol::call::Principal;
use switchboard_telemetry::{ForwardOutcome, Metrics};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

use super::identity::{Identity, IdentityError, NAME, error};
use super::origin::{FORWARDED, Origin};
use super::places::{Place, Places};
use super::unconnected::{Silence, Unconnected, may_be_crowded_out};

/// How long it may take until a replica has proved itself: long enough for a lost packet to be sent
/// again, which is done after a second.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Connections to one replica that are being made: as many as four may make at once is what it takes
/// before it ends the oldest, so no burst of requests crowds out its own.
pub(crate) const MAX_CONNECTING: usize = 128;
/// Connections that wait for the next request to a replica, and how long: less than the replica keeps
/// one that is idle.
const MAX_IDLE: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// When a host is asked whether it is still there, how often, and after how many times it is not: a
/// stream may be silent for long, and one that vanished says nothing.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes that were sent may stay unacknowledged (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of an answer that is read as soon as it comes, whenever the client does: so no
/// client keeps a place by not reading.
const READ_AT_ONCE: u64 = 64 * 1024;

/// What concerns one hop alone (RFC 9110, section 7.6.1), and what each hop says anew.
const HOP_BY_HOP: [HeaderName; 13] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
    EXPECT,
    DATE,
    FORWARDED,
];

/// The way to the other replicas. One for the process.
pub(crate) struct Cluster {
    client: Client<Connector, Full<Bytes>>,
    places: Places,
    silence: Silence,
    metrics: Arc<Metrics>,
}

/// Why another replica did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// There is nobody at the address that belongs to this cluster: nothing was sent.
    Gone,
    /// There was no connection in time, or none could be made from here: nothing was sent.
    Unreachable,
    /// As many requests are on their way as may be: nothing was sent.
    Overloaded,
    /// It may have got the request.
    Lost,
}

impl Cluster {
    /// # Errors
    /// If the name of replicas is none.
    pub(crate) fn new(identity: &Identity, metrics: Arc<Metrics>) -> Result<Self, IdentityError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_TIME));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
        let name = ServerName::try_from(NAME).map_err(error)?;
        let tls = HttpsConnectorBuilder::new()
            .with_tls_config(identity.client.clone())
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(Connector {
                tls,
                connecting: Arc::default(),
            });
        Ok(Self {
            client,
            places: Places::default(),
            silence: Silence::default(),
            metrics,
        })
    }

    /// Sends a request as it came to the replica at this address. Dropping the future, or the body of
    /// the answer, closes the connection, which tells the replica that nobody waits any more.
    pub(super) async fn send(
        &self,
        replica: &Arc<str>,
        head: &Head,
        body: Bytes,
        (principal, origin): (&Arc<Principal>, &Origin),
    ) -> Result<Response, NoAnswer> {
        let sent = self
            .try_send(replica, head, body, (principal, origin))
            .await;
        self.metrics.forwarded(match &sent {
            Ok(_) => ForwardOutcome::Answered,
            Err(NoAnswer::Gone | NoAnswer::Unreachable) => ForwardOutcome::Unreachable,
            Err(NoAnswer::Overloaded) => ForwardOutcome::Overloaded,
            Err(NoAnswer::Lost) => ForwardOutcome::Lost,
        });
        sent
    }

    async fn try_send(
        &self,
        replica: &Arc<str>,
        head: &Head,
        body: Bytes,
        (principal, origin): (&Arc<Principal>, &Origin),
    ) -> Result<Response, NoAnswer> {
        let place = self.places.take(replica, principal);
        let place = place.ok_or(NoAnswer::Overloaded)?;
        let request = request(replica, head, body, origin).ok_or(NoAnswer::Gone)?;
        let answered = self.client.request(request).await;
        let answered = answered.map_err(|error| self.no_answer(replica, &error))?;
        self.silence.end(replica);
        let (mut head, body) = answered.into_parts();
        drop_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        let length = body.size_hint().exact();
        if length.is_some_and(|length| length <= READ_AT_ONCE) {
            let read = body.collect().await.map_err(|error| {
                tracing::warn!(%replica, %error, "another replica did not end its answer");
                NoAnswer::Lost
            })?;
            return Ok(Response::from_parts(head, Body::from(read.to_bytes())));
        }
        let place = Some(place);
        let body = Relayed { body, place };
        Ok(Response::from_parts(head, Body::new(body)))
    }

    fn no_answer(&self, replica: &Arc<str>, error: &Error) -> NoAnswer {
        let why = error.source();
        let source = why.map(ToString::to_string);
        tracing::warn!(%replica, %error, source, "another replica gave no answer");
        if !error.is_connect() {
            return NoAnswer::Lost;
        }
        match why.map_or(Unconnected::Silent, Unconnected::of) {
            Unconnected::Gone => NoAnswer::Gone,
            Unconnected::Silent if self.silence.note(replica, Instant::now()) => NoAnswer::Gone,
            Unconnected::Silent | Unconnected::Here => NoAnswer::Unreachable,
        }
    }
}

/// The request that goes to a replica: the same, but for what concerns the hop alone.
fn request(
    replica: &str,
    head: &Head,
    body: Bytes,
    origin: &Origin,
) -> Option<Request<Full<Bytes>>> {
    let path = head.uri.path_and_query()?;
    let uri: Uri = format!("{replica}{path}").parse().ok()?;
    let mut headers = head.headers.clone();
    drop_hop_by_hop(&mut headers);
    // That of the body, which is here as a whole, is written anew.
    headers.remove(CONTENT_LENGTH);
    headers.insert(FORWARDED, origin.to_header()?);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Some(request)
}

/// Takes out what concerns one hop alone, also what `Connection` names so.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The body of an answer on its way; its place is free again when it has ended.
struct Relayed {
    body: Incoming,
    place: Option<Place>,
}

impl hyper::body::Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.place = None;
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

type Connection = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Connects, and proves itself, within a time.
#[derive(Clone)]
struct Connector {
    tls: HttpsConnector<HttpConnector>,
    /// How many may still begin to connect to each replica; only replicas that somebody connects to.
    connecting: Arc<Mutex<HashMap<Authority, Arc<Semaphore>>>>,
}

impl Connector {
    fn connecting_to(&self, uri: &Uri) -> Option<Arc<Semaphore>> {
        let authority = uri.authority()?;
        let mut connecting = self.connecting.lock();
        if let Some(places) = connecting.get(authority) {
            return Some(Arc::clone(places));
        }
        connecting.retain(|_, places| Arc::strong_count(places) > 1);
        let places = Arc::new(Semaphore::new(MAX_CONNECTING));
        connecting.insert(authority.clone(), Arc::clone(&places));
        Some(places)
    }
}

/// Connects, once more if the replica had too many that were connecting.
async fn connect(
    mut tls: HttpsConnector<HttpConnector>,
    uri: Uri,
) -> Result<Connection, Box<dyn StdError + Send + Sync>> {
    match tls.call(uri.clone()).await {
        Err(error) if may_be_crowded_out(&*error) => tls.call(uri).await,
        connected => connected,
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = BoxFuture<'static, Result<Connection, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tls.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (places, tls) = (self.connecting_to(&uri), self.tls.clone());
        Box::pin(async move {
            let deadline = Instant::now() + CONNECT_WITHIN;
            let place = match &places {
                Some(places) => timeout_at(deadline, places.acquire()).await,
                None => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
            };
            let Ok(_place) = place else {
                return Err(io::Error::from(io::ErrorKind::ResourceBusy).into());
            };
            match timeout_at(deadline, connect(tls, uri)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Head {
        let mut request = Request::post("/mcp/coding?x=1").body(()).expect("valid");
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            request
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    #[test]
    fn a_request_goes_on_as_it_came_but_for_the_hop() {
        let head = head(&[
            ("authorization", "Bearer key"),
            ("mcp-session-id", "s"),
            ("host", "mcp.example.com"),
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("content-length", "2"),
            ("transfer-encoding", "chunked"),
            ("switchboard-forwarded", "invented"),
        ]);
        let origin = Origin {
            peer: [203, 0, 113, 9].into(),
            certificate: None,
        };
        let sent = request("https://10.0.0.7:8082", &head, Bytes::from("{}"), &origin);
        let mut sent = sent.expect("a request");
        assert_eq!(sent.uri(), "https://10.0.0.7:8082/mcp/coding?x=1");
        assert_eq!(Origin::take(sent.headers_mut()), Some(origin));
        let mut left: Vec<_> = sent.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "mcp-session-id"]);
    }
}
