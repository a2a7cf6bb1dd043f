//! Outcomes without secrets.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream, Sink};
use switchboard_protocol::delivery::{Redaction, Redactor};
use switchboard_protocol::error::{CallError, Fault};
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
        Outcome::Failed(CallError::Fault(fault)) => {
            Outcome::Failed(CallError::Fault(Box::new(of_fault(&**redactor, *fault))))
        }
        Outcome::Failed(error) => Outcome::Failed(error),
    }
}

/// A fault may quote what a server said last.
fn of_fault(redactor: &dyn Redactor, fault: Fault) -> Fault {
    let without = |text: String| redactor.redact_text(&text).into_owned();
    Fault {
        message: without(fault.message),
        detail: fault.detail.map(without),
        ..fault
    }
}

/// The sink that hands on what it is offered without what the redactor finds.
pub(crate) fn redacting(redactor: &Arc<dyn Redactor>, sink: &Arc<dyn Sink>) -> Arc<dyn Sink> {
    Arc::new(RedactingSink {
        redactor: Arc::clone(redactor),
        sink: Arc::clone(sink),
    })
}

struct RedactingSink {
    redactor: Arc<dyn Redactor>,
    sink: Arc<dyn Sink>,
}

impl Sink for RedactingSink {
    fn offer(&self, notification: Bytes) -> bool {
        self.sink.offer(self.redactor.redact(notification))
    }

    fn rises(&self, progress: f64) -> bool {
        self.sink.rises(progress)
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

    fn cut_off(&mut self) {
        self.result.cut_off();
    }
}
