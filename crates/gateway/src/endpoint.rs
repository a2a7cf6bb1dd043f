//! The endpoint: where the HTTP storey ends and the call storey begins.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::ALLOW;
use http::request::Parts as Head;
use http::{HeaderValue, Method as HttpMethod, StatusCode, Version};
use switchboard_orchestrator::Orchestrator;
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::method::Method;
use switchboard_telemetry::Metrics;
use tower::Service;

use crate::access::AccessInForce;
use crate::audit::AuditLog;
use crate::authenticate::Authenticated;
use crate::cluster::{InSession, Relay, Unanswered};
use crate::edge::decode::{self, BodyLimits, Incoming, Parsed, Rejection};
use crate::edge::stream::{self, Running};
use crate::edge::{listen, refuse, respond};
use crate::in_place;
use crate::legacy::{self, Posted};
use crate::paths;
use crate::stack::CallService;
use crate::subject;

/// Serves `/mcp`, and every profile below it, to one peer. One reference count a request, whatever it is made of.
#[derive(Clone)]
pub(crate) struct Endpoint {
    parts: Arc<EndpointParts>,
    peer: IpAddr,
    /// `None`: there are no other replicas, or none that a request may be passed on to.
    relay: Option<Relay>,
}

/// What the endpoint is made of.
pub(crate) struct EndpointParts {
    pub(crate) access: AccessInForce,
    pub(crate) limits: BodyLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) calls: CallService,
    pub(crate) legacy: legacy::Edge,
    /// Where subscriptions are noted; `None`: nowhere.
    pub(crate) audit: Option<AuditLog>,
}

impl Endpoint {
    pub(crate) fn new(parts: Arc<EndpointParts>, peer: IpAddr, relay: Option<Relay>) -> Self {
        Self { parts, peer, relay }
    }
}

impl Service<Authenticated> for Endpoint {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Authenticated) -> Self::Future {
        let (parts, peer) = (Arc::clone(&self.parts), self.peer);
        let relay = self.relay.clone();
        Answering(in_place::pinned(|| parts.serve(request, peer, relay)))
    }
}

/// The answer to come. No `async` block around what makes it, which would be moved into the future of
/// the block.
pub(crate) struct Answering(BoxFuture<'static, Result<Response, Rejection>>);

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.0.as_mut().poll(context);
        answer.map(|answer| Ok(answer.unwrap_or_else(|rejection| respond::rejected(&rejection))))
    }
}

/// What a client learns of its session is the legacy edge's to say.
impl From<Unanswered> for Rejection {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NoSession => legacy::no_session(),
            Unanswered::Lost(rejection) => rejection,
        }
    }
}

impl EndpointParts {
    async fn serve(
        self: Arc<Self>,
        asked: Authenticated,
        peer: IpAddr,
        relay: Option<Relay>,
    ) -> Result<Response, Rejection> {
        let Authenticated {
            principal,
            profile,
            request,
        } = asked;
        let is_post =
            request.method() == HttpMethod::POST && paths::is_endpoint(request.uri().path());
        let is_legacy = !is_post && legacy::takes(&request);
        // GET and DELETE belong to sessions, which 2026-07-28 does not have (specification:
        // `basic/transports/streamable-http`, Earlier Streamable HTTP Revisions).
        if !is_post && !is_legacy {
            let mut response = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let (mut head, body) = request.into_parts();
        let relay = relay.as_ref().map(|relay| (relay, peer));
        let peer = Some(peer);
        let subject_token = subject::take(&mut head.extensions);
        let caller = legacy::Caller {
            principal: &principal,
            profile: profile.as_ref(),
        };
        if is_legacy {
            if let Some(relay) = relay
                && let Some(replica) = self.legacy.replica_of(&head, &principal)
            {
                let sending = self.pass_on_unread(relay, &replica, (&head, body), &principal);
                return Box::pin(sending).await;
            }
            let serving = self.legacy.serve(head, body, caller, peer, subject_token);
            return Box::pin(serving).await;
        }
        if let Err(rejection) = decode::check_media_types(&head.headers) {
            if head.version == Version::HTTP_2 {
                refuse::discard(body).await;
            }
            return Err(rejection);
        }
        let body = decode::read_body(body, self.limits).await?;
        let request = match decode::parse(&head.headers, &body)? {
            Parsed::Modern(request) => request,
            Parsed::Legacy(posted) => {
                if let Some((relay, peer)) = relay
                    && legacy::is_of_a_session(&posted)
                    && let Some(replica) = self.legacy.replica_of(&head, &principal)
                {
                    let posted = match &posted {
                        Posted::One(message) => InSession::of_message(message),
                        Posted::Batch(_) => InSession::Batch,
                    };
                    let sending =
                        relay.in_session(&replica, &head, body, &posted, (&principal, peer));
                    return Ok(Box::pin(sending).await?);
                }
                let answer = in_place::pinned(|| {
                    self.legacy
                        .post(&head.headers, caller, peer, subject_token, posted)
                });
                return answer.await;
            }
        };
        match decode::decode(&head.headers, request, principal, peer)? {
            Incoming::Notification => Ok(respond::accepted()),
            Incoming::Call(mut call) => {
                call.profile = profile;
                if let Some((relay, peer)) = relay
                    && let Some(replica) = self.orchestrator.replica_of(&call)
                    && let Some(answer) = Box::pin(relay.call(&replica, &head, &call, peer)).await
                {
                    return Ok(answer);
                }
                if call.method == Method::Listen {
                    return listen::respond(&self, &call).await;
                }
                call.headers = std::mem::take(&mut head.headers);
                call.subject_token = subject_token;
                Ok(stream::respond(self.run(call)).await)
            }
        }
    }

    /// Passes on a request of a session that is another replica's, and not a message posted to the
    /// endpoint.
    async fn pass_on_unread(
        &self,
        (relay, peer): (&Relay, IpAddr),
        replica: &Arc<str>,
        (head, body): (&Head, Body),
        principal: &Arc<Principal>,
    ) -> Result<Response, Rejection> {
        let body = match head.method {
            HttpMethod::POST => decode::read_body(body, self.limits).await?,
            _ => Bytes::new(),
        };
        // What is posted beside the stream of a session is answered on that.
        let posted = InSession::Nothing;
        let sending = relay.in_session(replica, head, body, &posted, (principal, peer));
        Ok(sending.await?)
    }

    fn run(&self, mut call: Box<Call>) -> Running {
        let method = call.method;
        let id = call.request.id_bytes();
        let mut notifications = None;
        if call.request.meta.progress_token.is_some() || call.log_level.is_some() {
            let (sink, receiver) = stream::notifications();
            call.sink = Some(sink);
            notifications = Some(receiver);
        }
        let outcome = self.calls.clone().call(call);
        Running {
            method,
            id,
            outcome,
            notifications,
        }
    }
}
