//! The endpoint: where the HTTP storey ends and the call storey begins.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::header::ALLOW;
use http::{HeaderValue, Method as HttpMethod, StatusCode, Version};
use switchboard_orchestrator::Orchestrator;
use switchboard_protocol::call::Call;
use switchboard_protocol::method::Method;
use switchboard_telemetry::Metrics;
use tower::Service;

use crate::access::AccessInForce;
use crate::audit::AuditLog;
use crate::authenticate::Authenticated;
use crate::edge::decode::{self, BodyLimits, Incoming, Parsed, Rejection};
use crate::edge::stream::{self, Running};
use crate::edge::{listen, refuse, respond};
use crate::in_place;
use crate::legacy;
use crate::paths;
use crate::stack::CallService;
use crate::subject;

/// Serves `/mcp`, and every profile below it, to one peer. One reference count a request, whatever it is made of.
#[derive(Clone)]
pub(crate) struct Endpoint {
    parts: Arc<EndpointParts>,
    peer: IpAddr,
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
    pub(crate) fn new(parts: Arc<EndpointParts>, peer: IpAddr) -> Self {
        Self { parts, peer }
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
        Answering(in_place::pinned(|| parts.serve(request, peer)))
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

impl EndpointParts {
    async fn serve(
        self: Arc<Self>,
        asked: Authenticated,
        peer: IpAddr,
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
        let peer = Some(peer);
        let subject_token = subject::take(&mut head.extensions);
        let caller = legacy::Caller {
            principal: &principal,
            profile: profile.as_ref(),
        };
        if is_legacy {
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
                let answer = in_place::pinned(|| {
                    self.legacy
                        .post(&head.headers, caller, peer, subject_token, posted)
                });
                return answer.await;
            }
        };
        match decode::decode(&head.headers, request, principal, peer)? {
            Incoming::Notification => Ok(respond::accepted()),
            Incoming::Call(mut call) if call.method == Method::Listen => {
                call.profile = profile;
                listen::respond(&self, &call).await
            }
            Incoming::Call(mut call) => {
                call.profile = profile;
                call.headers = std::mem::take(&mut head.headers);
                call.subject_token = subject_token;
                Ok(stream::respond(self.run(call)).await)
            }
        }
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
