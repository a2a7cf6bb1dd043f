//! A large result, handed on while it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Body;
use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::{Edit, Parts, Passage};
use switchboard_telemetry::ErrorType;
use tokio::time::{Sleep, sleep_until};

use crate::answer::{self, Answer};
use crate::attempt::AttemptSpan;
use crate::backend::Inner;
use crate::link::LinkError;
use crate::link::http::Large;
use crate::link::pool::ResponseBody;

/// As soon as this many bytes can be handed on, they are, without a look for more.
const ENOUGH: usize = 16 * 1024;

/// What a call is answered with.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every answer is whole, and not worth an allocation"
)]
pub enum Reply {
    /// The whole answer.
    Whole(Answer),
    /// A complete result of which the beginning is there.
    Arriving(Box<Arriving>),
}

/// A complete result of which the beginning is there. Dropping it cancels the call.
pub struct Arriving {
    large: Large,
    account: Account,
    limit: Duration,
}

impl Arriving {
    /// `limit` is how long the call may take in all.
    pub(crate) fn new(
        inner: Arc<Inner>,
        started: Instant,
        limit: Duration,
        large: Large,
        span: AttemptSpan,
    ) -> Self {
        Self {
            account: Account {
                inner,
                method: large.method,
                started,
                span,
                ended: false,
            },
            large,
            limit,
        }
    }

    /// The result with these changes.
    #[must_use]
    pub fn edited(self, edit: impl Edit + Send + Unpin + 'static) -> Box<dyn ResultStream> {
        let Large {
            beginning,
            rest,
            id,
            method,
            max_message,
        } = self.large;
        let deadline = self.account.started + self.limit;
        Box::new(Edited {
            passage: Passage::new(id, method, edit),
            parts: Parts::default(),
            beginning: Some(beginning),
            rest,
            received: 0,
            max_message,
            response_ended: false,
            deadline: Box::pin(sleep_until(deadline.into())),
            limit: self.limit,
            account: self.account,
        })
    }
}

/// See [`Arriving::edited`].
struct Edited<E> {
    passage: Passage<E>,
    parts: Parts,
    /// What was read of the response before it was known that it is large.
    beginning: Option<Bytes>,
    rest: ResponseBody,
    received: usize,
    max_message: usize,
    response_ended: bool,
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
    account: Account,
}

impl<E: Edit + Send + Unpin> ResultStream for Edited<E> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        if self.deadline.as_mut().poll(context).is_ready() {
            let fault = answer::timed_out(&self.account.inner.name, self.limit);
            return Poll::Ready(Err(self.account.broke_off(fault.into())));
        }
        match self.poll_parts(context) {
            Poll::Ready(Err(error)) => {
                let fault = answer::fault(&self.account.inner.name, &error);
                Poll::Ready(Err(self.account.broke_off(fault.into())))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(match self.parts.pop() {
                Some(bytes) => Piece::Bytes(bytes),
                None => {
                    let is_error = self.passage.is_error();
                    self.account.arrived(is_error);
                    Piece::End { is_error }
                }
            })),
            Poll::Pending => match self.parts.pop() {
                Some(bytes) => Poll::Ready(Ok(Piece::Bytes(bytes))),
                None => Poll::Pending,
            },
        }
    }
}

impl<E: Edit> Edited<E> {
    /// Reads on until there is enough to hand on, or to the end of the response.
    fn poll_parts(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        while !self.response_ended && self.parts.len() < ENOUGH {
            let chunk = match self.beginning.take() {
                Some(beginning) => Some(beginning),
                None => match Pin::new(&mut self.rest).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => Some(frame.into_data().unwrap_or_default()),
                    Poll::Ready(None) => None,
                    Poll::Ready(Some(Err(_))) => {
                        let lost = "the connection broke in the middle of the answer";
                        return Poll::Ready(Err(LinkError::Lost(lost.to_owned())));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            };
            self.response_ended = chunk.is_none() || self.rest.is_end_stream();
            if let Some(chunk) = chunk {
                self.received += chunk.len();
                if self.received > self.max_message {
                    return Poll::Ready(Err(LinkError::TooLarge));
                }
                self.passage.push(&chunk, &mut self.parts)?;
            }
            if self.response_ended {
                self.passage.finish()?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Counts the call that a result answers, when that has arrived, broke off or is given up.
struct Account {
    inner: Arc<Inner>,
    method: Method,
    started: Instant,
    span: AttemptSpan,
    ended: bool,
}

impl Account {
    fn arrived(&mut self, is_error: bool) {
        self.ended = true;
        let error = is_error.then_some(ErrorType::ToolError);
        self.span.record_arrived(error.map(ErrorType::as_str));
        self.inner.count(self.method, self.started, error);
    }

    /// The client cannot be told why, so the log is.
    fn broke_off(&mut self, mut error: CallError) -> CallError {
        self.ended = true;
        self.span.record_arrived(Some("_OTHER"));
        self.inner
            .count_failed(self.method, self.started, &mut error);
        if let CallError::Fault(fault) = &error {
            tracing::warn!(
                backend = %self.inner.name,
                reason = fault.reason,
                detail = fault.detail.as_deref().unwrap_or_default(),
                "a large result broke off on its way to the client"
            );
        }
        error
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.ended {
            let cancelled = Some(ErrorType::Cancelled);
            self.inner.count(self.method, self.started, cancelled);
        }
    }
}
