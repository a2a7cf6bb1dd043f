//! What follows of a large response of which the beginning was read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::Body as _;

use super::LinkError;
use super::pool::ResponseBody;
use super::sse::Tail;

/// The rest of a response: that of a body, or of an event.
pub(crate) struct Rest {
    body: ResponseBody,
    /// How the event goes on that it is in, if it is in one.
    event: Option<Box<Tail>>,
}

/// The next chunk, if there is one, and whether it is the last.
pub(crate) type Chunk = (Option<Bytes>, bool);

impl Rest {
    pub(crate) fn of_body(body: ResponseBody) -> Self {
        Self { body, event: None }
    }

    pub(crate) fn of_event(body: ResponseBody, event: Tail) -> Self {
        let event = Some(Box::new(event));
        Self { body, event }
    }

    pub(crate) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Chunk, LinkError>> {
        let broken = |text: &str| Poll::Ready(Err(LinkError::Lost(text.to_owned())));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let chunk = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return broken("the connection broke in the middle of the answer"),
            None if self.event.is_some() => {
                return broken("the stream ended in the middle of the answer");
            }
            None => return Poll::Ready(Ok((None, true))),
        };
        let Some(event) = &mut self.event else {
            return Poll::Ready(Ok((Some(chunk), self.body.is_end_stream())));
        };
        let data = event.read(chunk);
        Poll::Ready(Ok((Some(data), event.has_ended())))
    }

    /// How many bytes are to come, if that is known, and nobody else uses the connection that they come
    /// on.
    pub(crate) fn length_on_own_connection(&self) -> Option<u64> {
        let is_own = self.event.is_none() && self.body.has_own_connection();
        is_own.then(|| self.body.size_hint().exact()).flatten()
    }

    /// Whether nothing is there of it right now.
    pub(crate) fn is_waited_for(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        Pin::new(&mut self.body)
            .poll_frame(&mut context)
            .is_pending()
    }

    /// Whether its event is in a stream that has not ended.
    pub(crate) fn is_in_stream(&self) -> bool {
        self.event.is_some() && !self.body.is_end_stream()
    }

    /// Waits for the end of the stream, so that its connection is used again.
    pub(crate) async fn reach_end(self) {
        self.body.reach_end().await;
    }
}

/// Data in one piece, mostly without a copy.
#[derive(Default)]
pub(super) struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    pub(super) fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.all.is_empty() {
            true => self.first,
            false => self.all.freeze(),
        }
    }
}
