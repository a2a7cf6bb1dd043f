//! Outcomes without secrets.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use switchboard_backends::redaction::in_steps;
use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream};
use switchboard_protocol::delivery::{Redaction, Redactor, STEP};
use switchboard_protocol::error::{CallError, Fault};
use switchboard_protocol::passage::Parts;
use tokio::task::yield_now;

/// An outcome without secrets.
pub(crate) enum Redacted {
    /// It was small enough to be looked through at once.
    Now(Outcome),
    /// It is large: the future looks through it step by step, so that it holds up no others on the
    /// thread.
    InSteps(BoxFuture<'static, Outcome>),
}

impl Redacted {
    pub(crate) async fn outcome(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::InSteps(outcome) => outcome.await,
        }
    }
}

/// The outcome without what the redactor finds in it.
pub(crate) fn redacted(redactor: &Arc<dyn Redactor>, outcome: Outcome) -> Redacted {
    let length = match &outcome {
        Outcome::Complete(completed) => completed.result.len(),
        Outcome::InputRequired(result) => result.len(),
        Outcome::Failed(CallError::Backend { error, .. }) => error.len(),
        Outcome::Arriving(_) | Outcome::Failed(_) => 0,
    };
    if length > STEP {
        return Redacted::InSteps(Box::pin(redacted_in_steps(Arc::clone(redactor), outcome)));
    }
    Redacted::Now(match outcome {
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
            error: in_steps(redactor.begin_whole(error)).await,
            is_failure,
        }),
        // Nothing else is large.
        other => other,
    }
}

/// A fault may quote what a server said last. At once, since that is short: of a process no more than
/// a line of 200 characters (`backends/process/summary.rs`), of other servers what the gateway words itself.
fn of_fault(redactor: &dyn Redactor, fault: Fault) -> Fault {
    let without = |text: String| redactor.redact_text(&text).into_owned();
    Fault {
        message: without(fault.message),
        detail: fault.detail.map(without),
        ..fault
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
        return in_steps(redactor.begin_whole(text.clone())).await.into();
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

    // What is put in the place of secrets may be longer.
    fn upper_bound(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }

    fn cut_off(&mut self) {
        self.result.cut_off();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use futures_util::FutureExt as _;
    use futures_util::future::poll_fn;
    use futures_util::task::noop_waker_ref;
    use switchboard_protocol::delivery::StepwiseRedaction;

    use super::*;

    /// Looks for nothing, and never through more than a step at once.
    #[derive(Debug)]
    pub(in crate::delivery) struct Nothing;

    struct Steps(Bytes, usize);

    impl StepwiseRedaction for Steps {
        fn step(&mut self) -> Option<Bytes> {
            self.1 += STEP;
            (self.1 >= self.0.len()).then(|| self.0.clone())
        }
    }

    struct Pieces;

    impl Redaction for Pieces {
        fn push(&mut self, piece: Bytes, out: &mut Parts) {
            assert!(piece.len() <= STEP, "a piece of {}", piece.len());
            out.push(piece);
        }

        fn finish(&mut self, _: &mut Parts) {}
    }

    impl Redactor for Nothing {
        fn rules(&self) -> &[u8; 32] {
            &[0; 32]
        }

        fn redact(&self, text: Bytes) -> Bytes {
            assert!(text.len() <= STEP, "{} at once", text.len());
            text
        }

        fn begin_whole(&self, text: Bytes) -> Box<dyn StepwiseRedaction> {
            Box::new(Steps(text, 0))
        }

        fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
            Cow::Borrowed(text)
        }

        fn begin(&self) -> Box<dyn Redaction> {
            Box::new(Pieces)
        }
    }

    fn complete(segments: impl IntoIterator<Item = Bytes>) -> Outcome {
        let mut result = Payload::default();
        for segment in segments {
            result.push(segment);
        }
        Outcome::Complete(Completed {
            result,
            is_error: false,
        })
    }

    /// How often others had their turn, and what became of it.
    fn delivered(outcome: Outcome) -> (usize, Outcome) {
        let redactor: Arc<dyn Redactor> = Arc::new(Nothing);
        let mut large = match redacted(&redactor, outcome) {
            Redacted::Now(outcome) => return (0, outcome),
            Redacted::InSteps(outcome) => outcome,
        };
        let mut turns = 0;
        // Outside of a runtime one that has its turn is woken at once.
        loop {
            match large.poll_unpin(&mut Context::from_waker(noop_waker_ref())) {
                Poll::Ready(outcome) => return (turns, outcome),
                Poll::Pending => turns += 1,
            }
        }
    }

    #[test]
    fn others_have_their_turn_between_the_steps_of_a_large_result() {
        let text = Bytes::from(vec![b'1'; 10 * STEP]);
        let half = text.slice(..5 * STEP);
        let error = Outcome::Failed(CallError::Backend {
            code: -32000,
            error: text.clone(),
            is_failure: false,
        });
        for (outcome, least) in [
            (complete([text.slice(..STEP)]), 0),
            (complete([half.slice(..9), half.slice(..9)]), 0),
            (complete([text.clone()]), 9),
            (complete([half.clone(), half]), 9),
            (Outcome::InputRequired(text.clone().into()), 9),
            (error, 9),
        ] {
            let (turns, outcome) = delivered(outcome);
            assert!((least..=least + 1).contains(&turns), "{turns}: {outcome:?}");
            let length = match outcome {
                Outcome::Complete(completed) => completed.result.len(),
                Outcome::InputRequired(result) => result.len(),
                Outcome::Failed(CallError::Backend { error, .. }) => error.len(),
                other => panic!("{other:?}"),
            };
            assert!(least == 0 || length == text.len(), "{length}");
        }
    }

    /// Comes as one piece.
    #[derive(Debug)]
    struct OnePiece(Option<Bytes>);

    impl ResultStream for OnePiece {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
            Poll::Ready(Ok(match self.0.take() {
                Some(piece) => Piece::Bytes(piece),
                None => Piece::End { is_error: false },
            }))
        }

        fn upper_bound(&self) -> Option<u64> {
            None
        }

        fn keep(&mut self, _: Box<dyn Send>) {}

        fn cut_off(&mut self) {}
    }

    #[tokio::test]
    async fn others_have_their_turn_within_a_large_piece() {
        let text = Bytes::from(vec![b'1'; 10 * STEP]);
        let redactor: Arc<dyn Redactor> = Arc::new(Nothing);
        let arriving = Outcome::Arriving(Box::new(OnePiece(Some(text.clone()))));
        let Redacted::Now(Outcome::Arriving(mut result)) = redacted(&redactor, arriving) else {
            panic!("it arrives");
        };
        let (mut turns, mut read) = (0, 0);
        loop {
            let piece = poll_fn(|context| {
                let polled = result.poll_piece(context);
                turns += usize::from(polled.is_pending());
                polled
            });
            match piece.await.expect("a piece") {
                Piece::Bytes(bytes) => read += bytes.len(),
                Piece::End { .. } => break,
            }
        }
        assert_eq!((turns, read), (9, text.len()));
    }
}
