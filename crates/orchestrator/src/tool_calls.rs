//! Counts the calls of a tool, each with its last byte.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use switchboard_protocol::call::{Outcome, Piece, ResultStream};
use switchboard_protocol::error::CallError;
use switchboard_telemetry::{ToolCalls, ToolOutcome};
use tokio::time::Instant;

/// A call of a tool that is counted when its end is seen, or as cancelled when this is dropped before.
pub(crate) struct CountedCall<'c> {
    calls: Option<&'c Arc<ToolCalls>>,
    began: Instant,
}

impl<'c> CountedCall<'c> {
    /// `calls`: where it is counted, if anywhere.
    pub(crate) const fn new(calls: Option<&'c Arc<ToolCalls>>, began: Instant) -> Self {
        Self { calls, began }
    }

    /// Counts how the call ended; a result that is arriving, with its end. An error beside the outcome
    /// says that the call was not made.
    pub(crate) fn end(mut self, outcome: Result<Outcome, CallError>) -> Result<Outcome, CallError> {
        let Some(calls) = self.calls.take() else {
            return outcome;
        };
        let ended = match outcome {
            Ok(Outcome::Arriving(result)) => {
                return Ok(Outcome::Arriving(Box::new(CountedStream {
                    result,
                    counted: CountedEnd {
                        calls: Arc::clone(calls),
                        began: self.began,
                        outcome: ToolOutcome::Cancelled,
                    },
                })));
            }
            Ok(Outcome::Complete(ref completed)) => of_result(completed.is_error),
            Ok(Outcome::InputRequired(_)) => ToolOutcome::Ok,
            Ok(Outcome::Failed(_)) => ToolOutcome::Failed,
            Err(_) => ToolOutcome::Refused,
        };
        calls.ended(ended, self.began.elapsed());
        outcome
    }
}

impl Drop for CountedCall<'_> {
    fn drop(&mut self) {
        if let Some(calls) = self.calls {
            calls.ended(ToolOutcome::Cancelled, self.began.elapsed());
        }
    }
}

const fn of_result(is_error: bool) -> ToolOutcome {
    match is_error {
        true => ToolOutcome::ToolError,
        false => ToolOutcome::Ok,
    }
}

/// A result under way, of a call that is counted with its last byte.
struct CountedStream {
    // Dropped before the count.
    result: Box<dyn ResultStream>,
    counted: CountedEnd,
}

/// The end of such a result, which is counted when this is dropped.
struct CountedEnd {
    calls: Arc<ToolCalls>,
    began: Instant,
    outcome: ToolOutcome,
}

impl Drop for CountedEnd {
    fn drop(&mut self) {
        self.calls.ended(self.outcome, self.began.elapsed());
    }
}

impl ResultStream for CountedStream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let piece = ready!(self.result.poll_piece(context));
        match &piece {
            Ok(Piece::Bytes(_)) => {}
            Ok(Piece::End { is_error }) => self.counted.outcome = of_result(*is_error),
            Err(_) => self.counted.outcome = ToolOutcome::Failed,
        }
        Poll::Ready(piece)
    }

    fn upper_bound(&self) -> Option<u64> {
        self.result.upper_bound()
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }

    fn cut_off(&mut self) {
        self.result.cut_off();
    }
}
