//! A response whose result is still arriving.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use switchboard_protocol::call::{Piece, ResultStream};

use crate::shed::answer_memory::bytes_in_place_of;

/// The result will not be whole. As the error of a body it makes hyper break the HTTP response off,
/// so that nobody takes what was sent for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result broke off")]
pub(crate) struct BrokenOff;

/// The text of a response, sent while its result arrives.
pub(crate) struct ArrivingResponse {
    /// What stands before the result.
    head: Option<Bytes>,
    /// The result; none once it has ended.
    result: Option<Box<dyn ResultStream>>,
    form: Form,
}

/// In which form a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As the whole body.
    Json,
    /// As an event.
    Event,
}

impl ArrivingResponse {
    /// The response to the request of this id (as written), as a body.
    pub(crate) fn json(id: &[u8], result: Box<dyn ResultStream>) -> Self {
        Self::new(id, result, Form::Json)
    }

    /// The same, as an event.
    pub(crate) fn event(id: &[u8], result: Box<dyn ResultStream>) -> Self {
        Self::new(id, result, Form::Event)
    }

    fn new(id: &[u8], result: Box<dyn ResultStream>, form: Form) -> Self {
        let mut head = Vec::with_capacity(48 + id.len());
        if form == Form::Event {
            head.extend_from_slice(b"data: ");
        }
        head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        head.extend_from_slice(id);
        head.extend_from_slice(b",\"result\":");
        Self {
            head: Some(head.into()),
            result: Some(result),
            form,
        }
    }

    /// The next bytes of it; none after the last.
    pub(crate) fn poll_bytes(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        let Some(result) = &mut self.result else {
            return Poll::Ready(None);
        };
        let bytes = match ready!(result.poll_piece(context)) {
            Ok(Piece::Bytes(bytes)) if self.form == Form::Event => one_line(bytes),
            Ok(Piece::Bytes(bytes)) => bytes,
            Ok(Piece::End { .. }) => {
                self.result = None;
                Bytes::from_static(match self.form {
                    Form::Json => b"}",
                    Form::Event => b"}\n\n",
                })
            }
            Err(_) => {
                self.result = None;
                return Poll::Ready(Some(Err(BrokenOff)));
            }
        };
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl hyper::body::Body for ArrivingResponse {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.poll_bytes(context)
            .map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.result.is_none()
    }
}

/// A part of an event's data, which is one line: line ends that a server put between the tokens of
/// its JSON become spaces.
pub(crate) fn one_line(part: Bytes) -> Bytes {
    let is_line_end = |byte: u8| matches!(byte, b'\n' | b'\r');
    if memchr::memchr2(b'\n', b'\r', &part).is_none() {
        return part;
    }
    let line = part
        .iter()
        .map(|&byte| if is_line_end(byte) { b' ' } else { byte })
        .collect();
    bytes_in_place_of(part, line)
}
