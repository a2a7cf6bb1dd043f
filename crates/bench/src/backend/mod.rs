//! The MCP servers that everything is measured against: one process, which is as many servers as
//! it is asked for by path, and as cheap as hyper is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use self::fake::{Fake, Form};
use self::prepared::{Prepared, Reply};
use crate::wire::{EVENT_STREAM, JSON, MAX_MESSAGE_BYTES, SESSION};
use crate::{Failure, listener};

pub(crate) mod fake;
pub(crate) mod prepared;
pub(crate) mod stdio;

/// Where traces are sent to, and thrown away.
pub(crate) const TRACES_PATH: &str = "/v1/traces";
/// How many kinds of servers one process can be.
const MAX_KINDS: usize = 256;

/// The kinds of servers that were asked for so far.
#[derive(Clone, Default)]
struct Fakes(Arc<Mutex<HashMap<Fake, Arc<Prepared>>>>);

impl Fakes {
    /// The answers of the server at this path.
    fn at(&self, path: &str) -> Option<(Fake, Arc<Prepared>)> {
        let fake = Fake::at(path)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = known.len() >= MAX_KINDS;
        let prepared = match known.entry(fake) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(_) if is_full => return None,
            Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(Prepared::new(fake)))),
        };
        Some((fake, prepared))
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Parts> {
        let path = request.uri().path();
        if path == TRACES_PATH {
            // Read to the end, so that the connection can be used again.
            let _ = Limited::new(request.into_body(), MAX_MESSAGE_BYTES)
                .collect()
                .await;
            return empty(StatusCode::OK);
        }
        let Some((fake, prepared)) = self.at(path) else {
            return empty(StatusCode::NOT_FOUND);
        };
        if request.method() == Method::DELETE {
            return empty(StatusCode::OK);
        }
        if request.method() != Method::POST {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let body = Limited::new(request.into_body(), MAX_MESSAGE_BYTES);
        match body.collect().await {
            Ok(body) => respond(fake.form, prepared.answer(&body.to_bytes())),
            Err(_) => empty(StatusCode::BAD_REQUEST),
        }
    }
}

/// Answers MCP requests until the process ends.
///
/// # Errors
/// As [`listener::serve`].
pub(crate) async fn serve(listen: SocketAddr) -> Result<(), Failure> {
    let fakes = Fakes::default();
    listener::serve(listen, move |request| {
        let fakes = fakes.clone();
        async move { fakes.answer(request).await }
    })
    .await
}

fn respond(form: Form, reply: Reply) -> Response<Parts> {
    let Reply::Message {
        status,
        mut parts,
        begins_session,
    } = reply
    else {
        return empty(StatusCode::ACCEPTED);
    };
    let is_stream = form == Form::Sse && status == StatusCode::OK;
    if is_stream {
        parts = event(parts);
    }
    let mut response = Response::new(Parts::new(parts, !is_stream));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, if is_stream { EVENT_STREAM } else { JSON });
    if begins_session {
        headers.insert(
            HeaderName::from_static(SESSION),
            HeaderValue::from_static("one-for-all"),
        );
    }
    response
}

/// The one event of a stream.
fn event(parts: Vec<Bytes>) -> Vec<Bytes> {
    const BEFORE: &[u8] = b"event: message\ndata: ";
    const AFTER: &[u8] = b"\n\n";
    if let [whole] = parts.as_slice() {
        return vec![[BEFORE, whole, AFTER].concat().into()];
    }
    let mut all = Vec::with_capacity(parts.len() + 2);
    all.push(Bytes::from_static(BEFORE));
    all.extend(parts);
    all.push(Bytes::from_static(AFTER));
    all
}

fn empty(status: StatusCode) -> Response<Parts> {
    let mut response = Response::new(Parts::new(Vec::new(), true));
    *response.status_mut() = status;
    response
}

/// A body of parts that are not copied on their way to the socket.
struct Parts {
    parts: vec::IntoIter<Bytes>,
    /// Whether its length is told beforehand.
    sized: bool,
}

impl Parts {
    fn new(parts: Vec<Bytes>, sized: bool) -> Self {
        Self {
            parts: parts.into_iter(),
            sized,
        }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.parts.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let length: usize = self.parts.as_slice().iter().map(Bytes::len).sum();
        SizeHint::with_exact(length as u64)
    }
}
