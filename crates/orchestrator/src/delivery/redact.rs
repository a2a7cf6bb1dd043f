//! Outcomes without secrets.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream};
use switchboard_protocol::delivery::{Redaction, Redactor};
use switchboard_protocol::error::CallError;
use switchboard_protocol::passage::Parts;

/// The outcome without what the redactor finds in it.
pub(crate) fn redacted(redactor: &Arc<dyn Redactor>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Complete(completed) => Outcome::Complete(Completed {
            result: payload(&**redactor, completed.result),
            ..completed
        }),
        Outcome::InputRequired(result) => Outcome::InputRequired(payload(&**redactor, result)),
        Outcome::Arriving(result) => Outcome::Arriving(Box::new(RedactedStream {
            result,
            redaction: redactor.begin(),
            parts: Parts::default(),
            end: None,
        })),
        Outcome::Failed(CallError::Backend {
            code,
            error,
            is_failure,
        }) => Outcome::Failed(CallError::Backend {
            code,
            error: redactor.redact(error),
            is_failure,
        }),
        Outcome::Failed(error) => Outcome::Failed(error),
    }
}

/// A secret may lie across the slices that a payload is made of.
fn payload(redactor: &dyn Redactor, payload: Payload) -> Payload {
    let mut segments = payload.into_segments();
    let Some(first) = segments.next() else {
        return Payload::default();
    };
    let Some(second) = segments.next() else {
        return redactor.redact(first).into();
    };
    let mut redaction = redactor.begin();
    let mut parts = Parts::default();
    for segment in [first, second].into_iter().chain(segments) {
        redaction.push(segment, &mut parts);
    }
    redaction.finish(&mut parts);
    let mut redacted = Payload::default();
    while let Some(part) = parts.pop() {
        redacted.push(part);
    }
    redacted
}

/// A result under way, without secrets.
struct RedactedStream {
    result: Box<dyn ResultStream>,
    redaction: Box<dyn Redaction>,
    parts: Parts,
    /// How the result ended, once all of it was read.
    end: Option<bool>,
}

impl ResultStream for RedactedStream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        loop {
            if let Some(bytes) = self.parts.pop() {
                return Poll::Ready(Ok(Piece::Bytes(bytes)));
            }
            if let Some(is_error) = self.end {
                return Poll::Ready(Ok(Piece::End { is_error }));
            }
            match ready!(self.result.poll_piece(context))? {
                Piece::Bytes(bytes) => self.redaction.push(bytes, &mut self.parts),
                Piece::End { is_error } => {
                    self.redaction.finish(&mut self.parts);
                    self.end = Some(is_error);
                }
            }
        }
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }
}
