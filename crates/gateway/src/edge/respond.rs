//! From an outcome to an HTTP response.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use switchboard_protocol::call::{Outcome, Payload};
use switchboard_protocol::error::{CallError, Fault, ProtocolError, code};
use switchboard_protocol::json::write_str;
use switchboard_protocol::method::Method;

use super::arriving::ArrivingResponse;
use super::decode::Rejection;

/// Answers up to this size are sent in one piece; the parts of larger ones are not copied together.
const ONE_PIECE: usize = 16 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A JSON-RPC response and the HTTP status that it goes with.
pub(crate) struct Message {
    pub(crate) status: StatusCode,
    pub(crate) body: Payload,
}

/// The response to a call, of one JSON object; `id` is that of its request, as written.
pub(crate) fn response(method: Method, id: &[u8], outcome: Outcome) -> Response {
    match outcome {
        Outcome::Arriving(result) => {
            let mut response = Response::new(Body::new(ArrivingResponse::json(id, result)));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        outcome => json(message(method, id, outcome)),
    }
}

/// Puts an outcome into the response to the request of this id (as written).
pub(crate) fn message(method: Method, id: &[u8], outcome: Outcome) -> Message {
    let (status, key, value) = member(method, outcome);
    Message {
        status,
        body: enveloped(Some(id), key, &value),
    }
}

/// The member of a response that says how a call ended, and the HTTP status that goes with it.
pub(crate) fn member(method: Method, outcome: Outcome) -> (StatusCode, &'static str, Payload) {
    match outcome {
        Outcome::Complete(completed) => (StatusCode::OK, "result", completed.result),
        Outcome::InputRequired(result) => (StatusCode::OK, "result", result),
        // Its caller did not say that it takes one.
        Outcome::Arriving(_) => {
            let error = ProtocolError::new(code::INTERNAL_ERROR, "the result is not there yet");
            (StatusCode::OK, "error", error.to_json().into())
        }
        Outcome::Failed(CallError::Fault(fault)) if method == Method::ToolsCall => {
            (StatusCode::OK, "result", tool_fault(&fault).into())
        }
        Outcome::Failed(CallError::Fault(fault)) => {
            (StatusCode::OK, "error", fault_error(&fault).into())
        }
        Outcome::Failed(CallError::Protocol(error)) => {
            (status_of(error.code), "error", error.to_json().into())
        }
        Outcome::Failed(CallError::Backend { code, error, .. }) => {
            // Of a backend's own errors only those keep a status that say what is wrong with the
            // client's request.
            let status = if code == code::METHOD_NOT_FOUND {
                StatusCode::OK
            } else {
                status_of(code)
            };
            (status, "error", error.into())
        }
    }
}

fn status_of(code: i64) -> StatusCode {
    match code {
        code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY | code::UNSUPPORTED_VERSION => {
            StatusCode::BAD_REQUEST
        }
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

/// A JSON-RPC response with this member, `"result"` or `"error"`.
pub(crate) fn enveloped(id: Option<&[u8]>, key: &str, value: &Payload) -> Payload {
    let one_piece = value.len() <= ONE_PIECE;
    // Exactly what is written: `Bytes` keeps a larger buffer behind one more allocation.
    let length = b"{\"jsonrpc\":\"2.0\",\"\":".len()
        + key.len()
        + id.map_or(0, |id| b"\"id\":,".len() + id.len())
        + if one_piece { value.len() + 1 } else { 0 };
    let mut head = Vec::with_capacity(length);
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",");
    if let Some(id) = id {
        head.extend_from_slice(b"\"id\":");
        head.extend_from_slice(id);
        head.push(b',');
    }
    head.push(b'"');
    head.extend_from_slice(key.as_bytes());
    head.extend_from_slice(b"\":");
    if one_piece {
        for segment in value.segments() {
            head.extend_from_slice(segment);
        }
        head.push(b'}');
        return head.into();
    }
    let mut body = Payload::default();
    body.push(head);
    for segment in value.segments() {
        body.push(segment.clone());
    }
    body.push(Bytes::from_static(b"}"));
    body
}

/// A tool call that could not be brought to an answer: a result that tells a model what happened
/// and what to do next.
fn tool_fault(fault: &Fault) -> Vec<u8> {
    let mut out =
        b"{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":".to_vec();
    write_str(&mut out, &fault.message);
    out.extend_from_slice(b"}],\"isError\":true,\"_meta\":{\"dev.switchboard/error\":");
    out.extend_from_slice(&fault.to_json());
    out.extend_from_slice(b"}}");
    out
}

fn fault_error(fault: &Fault) -> Vec<u8> {
    let mut out = format!("{{\"code\":{},\"message\":", fault.code).into_bytes();
    write_str(&mut out, &fault.message);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(&fault.to_json());
    out.push(b'}');
    out
}

/// The response to a request that nobody looked at, for want of something that may be there soon.
pub(crate) fn unavailable(fault: &Fault) -> Response {
    json(Message {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: enveloped(None, "error", &fault_error(fault).into()),
    })
}

/// The response to a request that did not become a call.
pub(crate) fn rejected(rejection: &Rejection) -> Response {
    let body = enveloped(
        rejection.id.as_deref(),
        "error",
        &rejection.error.to_json().into(),
    );
    json(Message {
        status: rejection.status,
        body,
    })
}

/// A response of one JSON object.
pub(crate) fn json(message: Message) -> Response {
    let mut response = Response::new(body_of(message.body));
    *response.status_mut() = message.status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Most answers are one piece, which needs no list of pieces.
fn body_of(payload: Payload) -> Body {
    if payload.segments().len() > 1 {
        return Body::new(Chunks::of(payload));
    }
    payload
        .into_segments()
        .next()
        .map_or_else(Body::empty, Body::from)
}

/// The response to a notification.
pub(crate) fn accepted() -> Response {
    empty(StatusCode::ACCEPTED)
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An event stream. Buffering proxies are told to let events through (specification:
/// `basic/transports/streamable-http`, Receiving Messages).
pub(crate) fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// A body of known length in a few pieces.
struct Chunks {
    rest: VecDeque<Bytes>,
}

impl Chunks {
    fn of(payload: Payload) -> Self {
        Self {
            rest: payload.into_segments().collect(),
        }
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.rest.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.iter().map(|chunk| chunk.len() as u64).sum())
    }
}
