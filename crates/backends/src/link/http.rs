//! Streamable HTTP: every request its own exchange (specification:
//! `basic/transports/streamable-http`).

mod authorized;
mod collect;
mod resume;

use ::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use ::http::uri::Authority;
use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request, Response as HttpResponse,
    StatusCode, Uri,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use switchboard_protocol::credentials::{Credentials, OnBehalf};
use switchboard_protocol::envelope::{Envelope, Message, Response};
use switchboard_protocol::header;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::{MAX_HELD, Refusal, may_pass};
use switchboard_protocol::version::Version;
use switchboard_telemetry::IgnoredMessage;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::collect::{Collected, Limit, collect};
use self::resume::Resumption;
use super::inbox::Inbox;
use super::pool::{Pool, PoolError, ResponseBody};
use super::rest::Rest;
use super::sse::Decoder;
use super::watch::{Asked, Hear, Watch};
use super::{LinkError, MayArrive, Outgoing, Reply, WRITE_DEADLINE, Wire, refuse_request};
use crate::config::{BackendConfig, duration};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static(EVENT_STREAM_TYPE);
const EVENT_STREAM_TYPE: &str = "text/event-stream";
const JSON_OR_EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");
/// How much of the body of an error is read.
const OF_ERROR: Limit = Limit {
    bytes: 64 * 1024,
    silence: None,
};
/// The method of nearly every request.
const USUAL_METHOD: &str = Method::ToolsCall.as_str();
/// The id of no request of ours.
const NO_REQUEST: u64 = 0;
/// How long ending a session may take.
const DELETE_DEADLINE: Duration = Duration::from_secs(2);

/// A large response that can be handed on while it arrives.
pub(crate) struct Large {
    /// What was read of it.
    pub(crate) beginning: Bytes,
    /// What follows.
    pub(crate) rest: Rest,
    /// The id of the request that it has to answer.
    pub(crate) id: u64,
    /// The method of that.
    pub(crate) method: Method,
    /// The most bytes that it may have.
    pub(crate) max_message: usize,
}

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

/// The headers that every request of a session has.
struct SessionHeaders {
    wire: Wire,
    headers: HeaderMap,
}

impl SessionHeaders {
    fn is_of(&self, wire: &Wire) -> bool {
        self.wire.version == wire.version && self.wire.session == wire.session
    }
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
            match Box::pin(self.read_stream(wire, body, id, &mut watch, None)).await? {
                Reply::Whole(response) => response,
                Reply::Large(_) => return Err(LinkError::TooLarge),
            }
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
                rest: Rest::of_body(body),
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

    /// The request that is posted, and whose it is. Apart, since what is borrowed where is waited makes
    /// the future of every call larger.
    fn posted(
        &self,
        wire: &Wire,
        mut out: Outgoing,
    ) -> (Request<Full<Bytes>>, Option<Arc<OnBehalf>>) {
        let caller = out.on_behalf.take();
        let trace = out.trace.take();
        let mut request = if wire.version.is_modern() {
            self.modern_request(wire, out)
        } else {
            self.request_of(HttpMethod::POST, wire, out.body)
        };
        if let Some(trace) = trace {
            trace.put_into(request.headers_mut());
        }
        (request, caller)
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

    /// A request of 2026-07-28, with what it mirrors of its body (specification:
    /// `basic/transports/streamable-http`, Request Metadata).
    fn modern_request(&self, wire: &Wire, out: Outgoing) -> Request<Full<Bytes>> {
        let mut headers = self.inner.modern_headers.clone();
        if wire.version != Version::LATEST {
            let version = HeaderValue::from_static(wire.version.as_str());
            headers.insert(header::PROTOCOL_VERSION, version);
        }
        if out.method != USUAL_METHOD {
            headers.insert(header::METHOD, HeaderValue::from_static(out.method));
        }
        match out.name {
            Some(name) => headers.insert(header::NAME, name),
            None => headers.remove(header::NAME),
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(out.body.len()));
        // Extending makes room again, even for none.
        if !out.param_headers.is_empty() {
            headers.extend(out.param_headers);
        }
        self.request_with(HttpMethod::POST, headers, out.body)
    }

    fn request_with(
        &self,
        method: HttpMethod,
        headers: HeaderMap,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.inner.target.clone();
        *request.headers_mut() = headers;
        request
    }

    fn request_of(&self, method: HttpMethod, wire: &Wire, body: Bytes) -> Request<Full<Bytes>> {
        let known = self.inner.session.get();
        let headers = match known.filter(|session| session.is_of(wire)) {
            Some(session) => session.headers.clone(),
            None => self.headers_of(wire),
        };
        self.request_with(method, headers, body)
    }

    fn headers_of(&self, wire: &Wire) -> HeaderMap {
        let mut headers = self.inner.headers.clone();
        if wire.version.has_version_header() {
            headers.insert(
                header::PROTOCOL_VERSION,
                HeaderValue::from_static(wire.version.as_str()),
            );
        }
        if let Some(session) = &wire.session {
            headers.insert(header::SESSION_ID, session.clone());
        }
        headers
    }

    /// Makes the headers once that all requests of a legacy session have, which is the link's from
    /// here on.
    pub(crate) fn speak_legacy(&self, wire: &Wire) {
        self.inner.session.get_or_init(|| SessionHeaders {
            wire: wire.clone(),
            headers: self.headers_of(wire),
        });
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

    async fn read_stream(
        &self,
        wire: &Wire,
        mut body: ResponseBody,
        id: u64,
        hearer: &mut (impl Hear + Send),
        arriving: Option<MayArrive>,
    ) -> Result<Reply, LinkError> {
        let mut events = Decoder::new(self.inner.bounds.max_message);
        let mut resumption = Resumption::default();
        let mut arriving = arriving;
        loop {
            while let Some(event) = events.next_event().map_err(|_| LinkError::TooLarge)? {
                // An event without data primes the stream's id (2025-11-25) and says nothing.
                if event.data.is_empty() {
                    continue;
                }
                match Message::parse(event.data) {
                    Ok(Message::Response(response))
                        if response.id_number() == Some(id) || response.names_no_request() =>
                    {
                        if !body.is_end_stream() {
                            self.inner.inbox.tasks.spawn(body.reach_end());
                        }
                        return Ok(Reply::Whole(response));
                    }
                    Ok(Message::Response(_)) => self.inner.inbox.ignored(IgnoredMessage::UnknownId),
                    Ok(Message::Request(request)) if request.is_request() => {
                        self.asked(wire, &request, hearer).await
                    }
                    Ok(Message::Request(notification)) => self.notified(&notification, hearer),
                    Err(_) => self.inner.inbox.ignored(IgnoredMessage::Banner),
                }
            }
            if let Some(method) = arriving.and_then(|arriving| method_of(arriving, &body))
                && let Some((beginning, tail)) = events.large(MAX_HELD)
            {
                if let Ok(true) = may_pass(&beginning, id, method) {
                    return Ok(Reply::Large(Large {
                        beginning,
                        rest: Rest::of_event(body, tail),
                        id,
                        method,
                        max_message: self.inner.bounds.max_message,
                    }));
                }
                // It is none that can be judged by its beginning, and is read as a whole.
                arriving = None;
            }
            let frame = match self.inner.bounds.stream_idle {
                Some(bound) if id != NO_REQUEST => timeout(bound, body.frame())
                    .await
                    .map_err(|_| LinkError::Silent)?,
                _ => body.frame().await,
            };
            let lost = match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        events.push(&data);
                    }
                    continue;
                }
                Some(Err(_)) => "the stream broke before the answer came",
                None => "the stream ended before the answer came",
            };
            let resumed = resumption.resume(self, wire, &mut events).await;
            let Some(resumed) = resumed else {
                return Err(LinkError::Lost(lost.to_owned()));
            };
            body = resumed;
        }
    }

    fn notified(&self, notification: &Envelope, hearer: &mut impl Hear) {
        match &*notification.method() {
            "notifications/subscriptions/acknowledged" => {
                hearer.hear(notification);
                self.inner.inbox.put(notification);
            }
            "notifications/progress" | "notifications/message" | "notifications/tasks" => {
                if !hearer.hear(notification) {
                    self.inner
                        .inbox
                        .ignored(IgnoredMessage::DroppedNotification);
                }
            }
            // One that comes late withdraws nothing any more.
            "notifications/cancelled" => drop(hearer.withdrawn(notification)),
            "notifications/elicitation/complete" => hearer.aside(notification),
            _ => self.inner.inbox.put(notification),
        }
    }

    async fn asked(&self, wire: &Wire, request: &Envelope, hearer: &mut impl Hear) {
        let method = request.method();
        // A client of 2026-07-28 sends no responses.
        if wire.version.is_modern() {
            if method != "ping" {
                self.inner.inbox.ignored(IgnoredMessage::UnexpectedRequest);
            }
            return;
        }
        let answer = match &*method {
            "ping" => refuse_request(&request.id_bytes(), &method),
            _ => match self.attribute(wire, request, hearer) {
                Some(refusal) => {
                    self.inner.inbox.ignored(IgnoredMessage::UnexpectedRequest);
                    refusal
                }
                None => return,
            },
        };
        let _ = self.notify(wire, answer).await;
    }

    /// Finds somebody to ask, or gives the refusal.
    fn attribute(&self, wire: &Wire, request: &Envelope, hearer: &mut impl Hear) -> Option<Bytes> {
        match hearer.asked(request) {
            Asked::Taken => None,
            Asked::Refused(refusal) => Some(refusal),
            Asked::Relay(relay) => {
                let (link, wire) = (self.clone(), wire.clone());
                let tell = |answer| async move { link.notify(&wire, answer).await };
                relay.ask(request, &self.inner.inbox.tasks, tell).err()
            }
        }
    }
}

/// The method of a result that may arrive from there. On a connection that others share, a client that
/// does not read would hold up theirs too.
fn method_of(arriving: MayArrive, body: &ResponseBody) -> Option<Method> {
    (arriving.at_once || body.has_own_connection()).then_some(arriving.method)
}

/// Those headers, with the latest version and the usual method, and all others that a modern POST
/// has, whose values are still to come.
fn with_modern_places(mut headers: HeaderMap) -> HeaderMap {
    let latest = HeaderValue::from_static(Version::LATEST.as_str());
    headers.insert(header::PROTOCOL_VERSION, latest);
    headers.insert(header::METHOD, HeaderValue::from_static(USUAL_METHOD));
    for name in [header::NAME, CONTENT_LENGTH] {
        headers.insert(name, HeaderValue::from_static(""));
    }
    headers
}

fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .cloned()
        .map_or_else(Uri::default, Uri::from)
}

/// The value of `Host`: an authority without what stands before an `@`.
fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let host = authority.as_str().rsplit('@').next()?;
    HeaderValue::from_str(host).ok()
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

async fn refused(answer: HttpResponse<ResponseBody>) -> LinkError {
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers());
    let error = match collect(answer.into_body(), OF_ERROR)
        .await
        .map(Message::parse)
    {
        Ok(Ok(Message::Response(response))) if response.error.is_some() => Some(Box::new(response)),
        _ => None,
    };
    LinkError::of_status(status, retry_after, error)
}

/// When the server wants to be asked again: a number of seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(after.min(duration::LONGEST))
}

#[cfg(test)]
mod tests;
