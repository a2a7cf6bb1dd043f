//! The body of a response that reads an [`EventLog`](super::events::EventLog).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use switchboard_telemetry::{GaugeGuard, Metrics};

use super::events::Reader;
use super::session::{InUse, Session};
use super::watched::{self, Heard};
use crate::edge::respond;

/// An event stream that reads.
pub(super) fn response(reader: Reader, session: &Arc<Session>, metrics: &Metrics) -> Response {
    respond::event_stream(Body::new(SessionStream::new(reader, session, metrics)))
}

/// One open stream. It costs memory, not a task: the connection polls it.
pub(super) struct SessionStream {
    reader: Reader,
    /// Set on the stream of what is said outside of any call, which also tells of changes.
    outside: Option<Arc<Session>>,
    _in_use: InUse,
    _counted: Option<GaugeGuard>,
}

impl SessionStream {
    pub(super) fn new(reader: Reader, session: &Arc<Session>, metrics: &Metrics) -> Self {
        let is_outside = reader.is_of(session.outside());
        Self {
            _counted: is_outside.then(|| metrics.legacy_stream()),
            _in_use: session.in_use(),
            outside: is_outside.then(|| Arc::clone(session)),
            reader,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let heard = match &self.outside {
            Some(session) => watched::hear(session, context),
            None => Heard::Open,
        };
        let read = self.reader.poll_bytes(context);
        // The gateway ends: the stream does too, when all was said.
        let is_quiet = || {
            self.outside
                .as_ref()
                .is_some_and(|session| session.is_quiet())
        };
        match (heard, read) {
            (Heard::Closed, Poll::Pending) if is_quiet() => Poll::Ready(None),
            (_, read) => read,
        }
    }
}

impl hyper::body::Body for SessionStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_bytes(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
