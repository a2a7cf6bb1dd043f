//! Outcomes without secrets.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream, Sink};
use switchboard_protocol::delivery::{Redaction, Redactor, STEP};
use switchboard_protocol::error::{CallError, Fault};
use switchboard_protocol::passage::Parts;
use tokio::task::yield_now;

/// The outcome without what the redactor finds in it.
///
/// # Errors
/// A large one, which others on the thread are not held up by: the future looks through it step by step.
pub(crate) fn redacted(
    redactor: &Arc<dyn Redactor>,
    outcome: Outcome,
) -> Result<Outcome, BoxFuture<'static, Outcome>> {
    let length = match &outcome {
        Outcome::Complete(completed) => completed.result.len(),
        Outcome::InputRequired(result) => result.len(),
        Outcome::Failed(CallError::Backend { error, .. }) => error.len(),
        Outcome::Arriving(_) | Outcome::Failed(_) => 0,
    };
    if length > STEP {
        return Err(Box::pin(redacted_in_steps(Arc::clone(redactor), outcome)));
    }
    Ok(match outcome {
        Outcome::Complete(completed) => Outcome::Complete(Completed {
            result: payload(&**redactor, completed.result),
            ..completed
        }),
        Outcome::InputRequired(result) => Outcome::InputRequired(payload(&**redactor, result)),
        Outcome::Arriving(result) => Outcome::Arriving(Box::new(RedactedStream {
            result,
            redaction: redactor.begin(),
            unread: Bytes::new(),
            has_waited: false,
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
    })
}

/// The same, with others on the thread having their turn between steps.
async fn redacted_in_steps(redactor: Arc<dyn Redactor>, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Complete(completed) => Outcome::Complete(Completed {
            result: payload_in_steps(&*redactor, completed.result).await,
            ..completed
        }),
        Outcome::InputRequired(result) => {
            Outcome::InputRequired(payload_in_steps(&*redactor, result).await)
        }
        Outcome::Failed(CallError::Backend {
            code,
            error,
            is_failure,
        }) => Outcome::Failed(CallError::Backend {
            code,
            error: text_in_steps(&*redactor, error).await,
            is_failure,
        }),
        // Nothing else is large.
        other => other,
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
    finished(redaction, parts)
}

async fn payload_in_steps(redactor: &dyn Redactor, payload: Payload) -> Payload {
    if let [text] = payload.segments() {
        return text_in_steps(redactor, text.clone()).await.into();
    }
    let mut redaction = redactor.begin();
    let mut parts = Parts::default();
    for mut segment in payload.into_segments() {
        while !segment.is_empty() {
            let step = segment.split_to(segment.len().min(STEP));
            let is_long = step.len() == STEP;
            redaction.push(step, &mut parts);
            if is_long {
                yield_now().await;
            }
        }
    }
    finished(redaction, parts)
}

async fn text_in_steps(redactor: &dyn Redactor, text: Bytes) -> Bytes {
    let mut redaction = redactor.begin_whole(text);
    loop {
        if let Some(text) = redaction.step() {
            return text;
        }
        yield_now().await;
    }
}

fn finished(mut redaction: Box<dyn Redaction>, mut parts: Parts) -> Payload {
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
    /// What came with the last piece and was not looked through yet.
    unread: Bytes,
    /// Whether others had their turn since the last step.
    has_waited: bool,
    parts: Parts,
    /// How the result ended, once all of it was read.
    end: Option<bool>,
}

impl RedactedStream {
    fn step(&mut self) {
        let step = self.unread.split_to(self.unread.len().min(STEP));
        self.redaction.push(step, &mut self.parts);
        self.has_waited = false;
    }
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
            if !self.unread.is_empty() {
                if !std::mem::replace(&mut self.has_waited, true) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.step();
                continue;
            }
            match ready!(self.result.poll_piece(context))? {
                Piece::Bytes(bytes) => {
                    self.unread = bytes;
                    self.step();
                }
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
