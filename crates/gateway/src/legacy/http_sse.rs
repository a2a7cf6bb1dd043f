//! HTTP+SSE, the transport of 2024-11-05: one stream on which everything is said, and a path beside
//! it where messages are posted (2024-11-05 `basic/transports`, HTTP with SSE).

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts as Head;
use http::{StatusCode, Uri};
use hyper::body::Frame;
use switchboard_protocol::call::Principal;
use switchboard_protocol::credentials::SubjectToken;
use switchboard_protocol::envelope::{Envelope, Message};
use switchboard_protocol::error::code;

use super::session::{Session, Transport};
use super::stream::SessionStream;
use super::{
    Caller, Inner, MESSAGES, cannot_begin, cannot_listen, handshake, no_session, post, watched,
};
use crate::edge::decode::{self, Rejection};
use crate::edge::respond;

/// The session that a message is posted to.
pub(super) fn session_id(uri: &Uri) -> Option<&str> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("sessionId="))
}

impl Inner {
    /// Opens a stream, and a session that ends with it.
    pub(super) async fn open_sse(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
    ) -> Result<Response, Rejection> {
        // This transport has paths of its own, and none of a profile.
        let caller = Caller {
            principal,
            profile: None,
        };
        let session = self
            .sessions
            .begin(caller, Transport::HttpSse, None)
            .map_err(cannot_begin)?;
        let id = session.sealed_id();
        let endpoint = format!("event: endpoint\ndata: {MESSAGES}?sessionId={id}\n\n");
        let stream = SseStream {
            endpoint: Some(endpoint.into()),
            stream: SessionStream::new(session.outside().read(), &session, &self.metrics),
            _end: EndWithStream {
                edge: Arc::clone(self),
                session: Arc::clone(&session),
            },
        };
        watched::listen(&session, &self.orchestrator)
            .await
            .map_err(cannot_listen)?;
        Ok(respond::event_stream(Body::new(stream)))
    }

    /// Takes a posted message; what answers it is said on the stream.
    pub(super) async fn message(
        self: &Arc<Self>,
        head: &Head,
        body: Body,
        principal: &Arc<Principal>,
        peer: Option<IpAddr>,
        subject_token: Option<Arc<SubjectToken>>,
    ) -> Result<Response, Rejection> {
        decode::check_content_type(&head.headers)?;
        let session = session_id(&head.uri)
            .and_then(|id| self.sessions.find(principal, id))
            .filter(|session| session.transport() == Transport::HttpSse)
            .ok_or_else(no_session)?;
        session.used();
        session.shows(subject_token);
        let _in_use = session.in_use();
        let body = decode::read_body(body, self.limits).await?;
        let message = Message::parse(body).map_err(|error| {
            Rejection::new(
                StatusCode::BAD_REQUEST,
                code::INVALID_REQUEST,
                error.to_string(),
            )
        })?;
        if let Some(request) = self.unless_request(&session, &message).await {
            if session.outside().is_behind() {
                return Err(Rejection::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    code::INTERNAL_ERROR,
                    "what was answered before has to be read first: too much waits on the stream of this session",
                ));
            }
            self.answer_on_stream(&session, request, peer).await;
        }
        Ok(respond::accepted())
    }

    async fn answer_on_stream(
        self: &Arc<Self>,
        session: &Arc<Session>,
        request: &Envelope,
        peer: Option<IpAddr>,
    ) {
        let log = session.outside();
        if request.method() == "initialize" && session.agreed().is_none() {
            let answer = match handshake::agree(request) {
                Ok(agreed) => {
                    self.orchestrator.first_moments().await;
                    let version = agreed.version();
                    session.agree(self.sessions.agreed(agreed));
                    let catalogue = self.orchestrator.catalogue().load();
                    let result = handshake::result(version, &catalogue, session);
                    respond::enveloped(request.id(), "result", &result.into())
                }
                Err(error) => post::error_answer(request, &error),
            };
            log.answer(answer);
        } else {
            self.begin_apart(session, log, request, peer).await;
        }
    }
}

/// Ends a session when its stream goes.
struct EndWithStream {
    edge: Arc<Inner>,
    session: Arc<Session>,
}

impl Drop for EndWithStream {
    fn drop(&mut self) {
        self.edge.end(&self.session);
    }
}

/// The stream: where to post to, then everything else.
struct SseStream {
    endpoint: Option<Bytes>,
    stream: SessionStream,
    _end: EndWithStream,
}

impl hyper::body::Body for SseStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(endpoint) = self.endpoint.take() {
            return Poll::Ready(Some(Ok(Frame::data(endpoint))));
        }
        self.stream
            .poll_bytes(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
