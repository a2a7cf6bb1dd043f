//! Streamable HTTP: every request its own exchange (specification:
//! `basic/transports/streamable-http`).

mod authorized;
mod collect;
mod events;
mod refusal;
mod request;
mod resume;

use ::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request, Response as HttpResponse,
    StatusCode, Uri,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http_body_util::Full;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchboard_protocol::credentials::{Credentials, OnBehalf};
use switchboard_protocol::envelope::{Message, Response};
use switchboard_protocol::header;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::{MAX_HELD, Refusal, may_pass};
use switchboard_telemetry::IgnoredMessage;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::collect::{Collected, Limit, collect};
use self::refusal::{OF_ERROR, refused};
use self::request::{SessionHeaders, host_of, origin_form, with_modern_places};
use super::inbox::Inbox;
use super::pool::{Pool, PoolError, ResponseBody};
use super::rest::{Large, Rest};
use super::watch::{Hear, Watch};
use super::{LinkError, MayArrive, Outgoing, Reply, WRITE_DEADLINE, Wire};
use crate::config::BackendConfig;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static(EVENT_STREAM_TYPE);
const EVENT_STREAM_TYPE: &str = "text/event-stream";
const JSON_OR_EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");
/// The id of no request of ours.
const NO_REQUEST: u64 = 0;
/// How long ending a session may take.
const DELETE_DEADLINE: Duration = Duration::from_secs(2);

/// The bounds of what is exchanged with a server over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpBounds {
    /// The largest answer, in bytes; the largest event of a stream.
    pub(crate) max_message: usize,
    /// How long a connection may take to be made.
    pub(crate) connect: Duration,
    /// How long the head of an answer may take, if that has a bound of its own.
    pub(crate) first_byte: Option<Duration>,
    /// How long nothing may come of an answer that has begun, or of an event stream before its
    /// answer, if that has a bound of its own.
    pub(crate) stream_idle: Option<Duration>,
}

impl HttpBounds {
    #[cfg(test)]
    fn for_test(max_message: usize) -> Self {
        Self {
            max_message,
            connect: Duration::from_secs(10),
            first_byte: None,
            stream_idle: None,
        }
    }

    fn of_body(&self) -> Limit {
        Limit {
            bytes: self.max_message,
            silence: self.stream_idle,
        }
    }

    pub(crate) fn of(config: &BackendConfig) -> Self {
        Self {
            max_message: config.max_message_bytes,
            connect: config.connect_timeout,
            first_byte: config.first_byte_timeout,
            stream_idle: config.stream_idle_timeout,
        }
    }
}

/// One HTTP endpoint of a server. Cheap to clone; connections are pooled.
#[derive(Clone)]
pub(crate) struct HttpLink {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<Pool>,
    uri: Uri,
    /// Path and query of it, as HTTP/1 has them in its request line.
    target: Uri,
    /// Those that every request has, the configured ones among them.
    headers: HeaderMap,
    /// These, with a place for each that a modern POST has beside them: a copy is filled in and
    /// never grows.
    modern_headers: HeaderMap,
    /// Those of the legacy session that began on this link.
    session: OnceLock<SessionHeaders>,
    bounds: HttpBounds,
    inbox: Arc<Inbox>,
    /// What it is shown beside the configured headers.
    credentials: Option<Arc<dyn Credentials>>,
    /// On whose behalf everything is sent that belongs to no call, where each caller has a credential:
    /// what that caller showed last. `None`: the gateway's own.
    caller: Option<Arc<ArcSwap<OnBehalf>>>,
    /// What is being told without anybody waiting for it.
    told_later: TaskTracker,
}

impl HttpLink {
    /// The endpoint at this URI; reached at `address`, or else where the URI's name leads.
    pub(crate) fn new(
        uri: Uri,
        address: Option<SocketAddr>,
        headers: Vec<(HeaderName, HeaderValue)>,
        bounds: HttpBounds,
        inbox: Arc<Inbox>,
        credentials: Option<Arc<dyn Credentials>>,
    ) -> Self {
        let pool = Pool::new(uri.clone(), address, bounds.connect, inbox.tasks.clone());
        let mut common = HeaderMap::with_capacity(8 + headers.len());
        common.insert(CONTENT_TYPE, JSON);
        common.insert(ACCEPT, JSON_OR_EVENT_STREAM);
        if let Some(host) = uri.authority().and_then(host_of) {
            common.insert(HOST, host);
        }
        common.extend(headers);
        Self {
            inner: Arc::new(Inner {
                pool,
                target: origin_form(&uri),
                uri,
                modern_headers: with_modern_places(common.clone()),
                headers: common,
                session: OnceLock::new(),
                bounds,
                inbox,
                credentials,
                caller: None,
                told_later: TaskTracker::new(),
            }),
        }
    }

    /// The same endpoint, and all that is sent there is sent on behalf of this caller.
    pub(crate) fn on_behalf_of(self, caller: Option<Arc<OnBehalf>>) -> Self {
        let Some(caller) = caller else {
            return self;
        };
        let caller = Some(Arc::new(ArcSwap::new(caller)));
        let (uri, inbox) = (self.inner.uri.clone(), Arc::clone(&self.inner.inbox));
        self.sharing_connections(uri, inbox, caller)
    }

    /// What the caller showed last that this link was made for.
    pub(crate) fn renew_caller(&self, caller: Arc<OnBehalf>) {
        if let Some(known) = &self.inner.caller {
            known.store(caller);
        }
    }

    /// The same endpoint under another URI, with the same connections.
    pub(crate) fn at(&self, uri: Uri) -> Self {
        let caller = self.inner.caller.clone();
        self.sharing_connections(uri, Arc::clone(&self.inner.inbox), caller)
    }

    /// The same endpoint with the same connections, but what belongs to no call goes to `inbox`.
    pub(crate) fn with_inbox(&self, inbox: Arc<Inbox>) -> Self {
        let caller = self.inner.caller.clone();
        self.sharing_connections(self.inner.uri.clone(), inbox, caller)
    }

    fn sharing_connections(
        &self,
        uri: Uri,
        inbox: Arc<Inbox>,
        caller: Option<Arc<ArcSwap<OnBehalf>>>,
    ) -> Self {
        let Inner {
            pool,
            headers,
            modern_headers,
            bounds,
            credentials,
            ..
        } = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                pool: Arc::clone(pool),
                target: origin_form(&uri),
                uri,
                headers: headers.clone(),
                modern_headers: modern_headers.clone(),
                session: OnceLock::new(),
                bounds: *bounds,
                inbox,
                credentials: credentials.clone(),
                caller,
                told_later: TaskTracker::new(),
            }),
        }
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.inner.uri
    }

    pub(crate) fn max_message(&self) -> usize {
        self.inner.bounds.max_message
    }

    pub(crate) async fn request(
        &self,
        wire: &Wire,
        out: Outgoing,
        watch: Watch,
    ) -> Result<Response, LinkError> {
        self.request_with_session(wire, out, watch)
            .await
            .map(|(response, _)| response)
    }

    /// As [`HttpLink::request`], and gives the session that the server assigned.
    pub(crate) async fn request_with_session(
        &self,
        wire: &Wire,
        out: Outgoing,
        mut watch: Watch,
    ) -> Result<(Response, Option<HeaderValue>), LinkError> {
        let id = out.id;
        let answer = self.post(wire, out).await?;
        let session = answer.headers().get(header::SESSION_ID).cloned();
        let response = if has_media_type(&answer, EVENT_STREAM_TYPE) {
            let body = answer.into_body();
            let reply = self.read_stream(wire, body, id, &mut watch, None);
            Box::pin(reply).await?.whole().await?
        } else {
            let body = collect(answer.into_body(), self.inner.bounds.of_body()).await?;
            self.response(body, id)?
        };
        Ok((response, session))
    }

    /// As [`HttpLink::request`]; a large result may be given while it arrives, if `arriving` says so.
    pub(crate) async fn reply(
        &self,
        wire: &Wire,
        out: Outgoing,
        mut watch: Watch,
        arriving: Option<MayArrive>,
    ) -> Result<Reply, LinkError> {
        let id = out.id;
        let answer = self.post(wire, out).await?;
        if has_media_type(&answer, EVENT_STREAM_TYPE) {
            let reply = self.read_stream(wire, answer.into_body(), id, &mut watch, arriving);
            return Box::pin(reply).await;
        }
        let mut body = answer.into_body();
        let arriving = arriving.and_then(|arriving| method_of(arriving, &body));
        let mut read = Collected::default();
        let enough = arriving.map_or(usize::MAX, |_| MAX_HELD);
        let limit = self.inner.bounds.of_body();
        let ended = read.fill(&mut body, enough, limit).await?;
        match arriving {
            Some(method) if !ended => Box::pin(self.large(read, body, id, method)).await,
            _ => self.response(read.into_bytes(), id).map(Reply::Whole),
        }
    }

    /// Hands over what is more than enough to judge it by, or collects the rest where that cannot
    /// be.
    async fn large(
        &self,
        read: Collected,
        mut body: ResponseBody,
        id: u64,
        method: Method,
    ) -> Result<Reply, LinkError> {
        let max_message = self.inner.bounds.max_message;
        let beginning = read.into_bytes();
        match may_pass(&beginning, id, method) {
            Ok(true) => Ok(Reply::Large(Large {
                beginning,
                rest: Rest::of_body(body, self.inner.bounds.stream_idle),
                id,
                method,
                max_message,
            })),
            Ok(false) => {
                let mut read = Collected::from(beginning);
                let limit = self.inner.bounds.of_body();
                read.fill(&mut body, usize::MAX, limit).await?;
                self.response(read.into_bytes(), id).map(Reply::Whole)
            }
            Err(refusal) => {
                if refusal == Refusal::OtherId {
                    self.inner.inbox.ignored(IgnoredMessage::UnknownId);
                }
                Err(refusal.into())
            }
        }
    }

    /// Sends a request; gives the answer if its status is one of success.
    async fn post(
        &self,
        wire: &Wire,
        out: Outgoing,
    ) -> Result<HttpResponse<ResponseBody>, LinkError> {
        let (request, caller) = self.posted(wire, out);
        // Sent in each arm: the future is large, and would be moved from one place to the next.
        let answer = match (self.inner.bounds.first_byte, &self.inner.credentials) {
            (None, None) => self.send_bare(request).await?,
            (None, Some(_)) => Box::pin(self.send_for(request, caller)).await?,
            (Some(bound), _) => Box::pin(timeout(bound, self.send_for(request, caller)))
                .await
                .map_err(|_| LinkError::Silent)??,
        };
        if !answer.status().is_success() {
            return Err(Box::pin(refused(answer)).await);
        }
        Ok(answer)
    }

    /// Reads the response to the request of this id.
    fn response(&self, body: Bytes, id: u64) -> Result<Response, LinkError> {
        let response = match Message::parse(body) {
            Ok(Message::Response(response)) => response,
            Ok(Message::Request(_)) => {
                return Err(LinkError::Invalid("it answered with a request".to_owned()));
            }
            Err(error) => return Err(LinkError::Invalid(error.to_string())),
        };
        // A server that could not read the id answers with an error without one.
        if response.id_number() == Some(id) || response.names_no_request() {
            Ok(response)
        } else {
            self.inner.inbox.ignored(IgnoredMessage::UnknownId);
            Err(Refusal::OtherId.into())
        }
    }

    pub(crate) async fn notify(&self, wire: &Wire, body: Bytes) -> Result<(), LinkError> {
        let exchange = async {
            let answer = self
                .send(self.request_of(HttpMethod::POST, wire, body))
                .await?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(refused(answer).await)
            }
        };
        match timeout(WRITE_DEADLINE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::Lost("no answer to a notification".to_owned())),
        }
    }

    /// As [`HttpLink::notify`], by a task of the backend's, for when nobody can wait.
    pub(crate) fn notify_later(&self, wire: Wire, body: Bytes) {
        let link = self.clone();
        let telling = async move { link.notify(&wire, body).await };
        let telling = self.inner.told_later.track_future(telling);
        self.inner.inbox.tasks.spawn(telling);
    }

    /// Opens the stream on which a legacy server says what belongs to no request, and reads it
    /// until it ends. `Ok(false)`: the server has no such stream.
    pub(crate) async fn listen(
        &self,
        wire: &Wire,
        hearer: &mut (impl Hear + Send),
    ) -> Result<bool, LinkError> {
        let answer = self.get(wire).await;
        hearer.opened();
        let answer = answer?;
        if answer.status() == StatusCode::METHOD_NOT_ALLOWED {
            return Ok(false);
        }
        if !answer.status().is_success() {
            return Err(Box::pin(refused(answer)).await);
        }
        if !has_media_type(&answer, EVENT_STREAM_TYPE) {
            return Ok(false);
        }
        let body = answer.into_body();
        let read = self.read_stream(wire, body, NO_REQUEST, hearer, None);
        match read.await {
            Err(LinkError::Lost(_)) | Ok(_) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether a GET of this path on the same server succeeds.
    pub(crate) async fn is_well(&self, path: &str) -> Result<(), LinkError> {
        let mut headers = self.inner.headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.remove(ACCEPT);
        let mut request = self.request_with(HttpMethod::GET, headers, Bytes::new());
        *request.uri_mut() = path
            .parse()
            .map_err(|_| LinkError::NotSent("its health path cannot be used".to_owned()))?;
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(Box::pin(refused(answer)).await);
        }
        // Read, so that the connection can be used again.
        collect(answer.into_body(), OF_ERROR).await?;
        Ok(())
    }

    /// A GET of the endpoint, for an event stream.
    pub(crate) async fn get(&self, wire: &Wire) -> Result<HttpResponse<ResponseBody>, LinkError> {
        let mut request = self.request_of(HttpMethod::GET, wire, Bytes::new());
        request.headers_mut().remove(CONTENT_TYPE);
        request.headers_mut().insert(ACCEPT, EVENT_STREAM);
        self.send(request).await
    }

    /// Ends a legacy session, best effort (2025-11-25: `basic/transports`, Session Management).
    pub(crate) async fn delete_session(&self, wire: &Wire) {
        let told_later = &self.inner.told_later;
        told_later.close();
        // A server that forgets the session first is not told any more that a call was cancelled.
        let _ = timeout(DELETE_DEADLINE, told_later.wait()).await;
        let request = self.request_of(HttpMethod::DELETE, wire, Bytes::new());
        let _ = timeout(DELETE_DEADLINE, self.send(request)).await;
    }

    fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<HttpResponse<ResponseBody>, LinkError>> {
        self.send_for(request, None)
    }

    // No `async fn`: its future would hold the request once more.
    fn send_for(
        &self,
        request: Request<Full<Bytes>>,
        caller: Option<Arc<OnBehalf>>,
    ) -> impl Future<Output = Result<HttpResponse<ResponseBody>, LinkError>> {
        match &self.inner.credentials {
            None => Either::Left(self.send_bare(request)),
            Some(credentials) => {
                let caller = caller.or_else(|| Some(self.inner.caller.as_ref()?.load_full()));
                Either::Right(Box::pin(self.send_authorized(credentials, request, caller)))
            }
        }
    }

    fn send_bare(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<HttpResponse<ResponseBody>, LinkError>> {
        self.inner.pool.send(request).map_err(|error| match error {
            PoolError::NotSent(cause) => LinkError::Unreachable(cause),
            PoolError::Lost => {
                LinkError::Lost("the connection broke before an answer came".to_owned())
            }
        })
    }
}

/// The method of a result that may arrive from there. On a connection that others share, a client that
/// does not read would hold up theirs too.
fn method_of(arriving: MayArrive, body: &ResponseBody) -> Option<Method> {
    (arriving.at_once || body.has_own_connection()).then_some(arriving.method)
}

/// Whether the content is of this type, whatever its parameters.
fn has_media_type<B>(answer: &HttpResponse<B>, media_type: &str) -> bool {
    let value = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    // What nearly every answer says needs no parsing.
    if value == b"application/json" {
        return media_type == "application/json";
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(media_type.as_bytes())
}

#[cfg(test)]
mod tests;
