//! Counts the calls of a tool, each with its last byte.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use switchboard_protocol::call::{Outcome, Piece, ResultStream};
use switchboard_protocol::error::CallError;
use switchboard_telemetry::{ToolCalls, ToolOutcome};
use tokio::time::Instant;

/// A call of a tool that is counted when this is dropped: as cancelled, unless its end was seen.
pub(crate) struct CountedCall {
    calls: Arc<ToolCalls>,
    began: Instant,
    outcome: ToolOutcome,
}

impl CountedCall {
    pub(crate) fn new(calls: &Arc<ToolCalls>, began: Instant) -> Self {
        Self {
            calls: Arc::clone(calls),
            began,
            outcome: ToolOutcome::Cancelled,
        }
    }

    /// Takes note of how the call ended; of a result that is arriving, with its end. An error beside
    /// the outcome says that the call was not made.
    pub(crate) fn end(mut self, outcome: Result<Outcome, CallError>) -> Result<Outcome, CallError> {
        self.outcome = match outcome {
            Ok(Outcome::Arriving(result)) => {
                return Ok(Outcome::Arriving(Box::new(CountedStream {
                    result,
                    counted: self,
                })));
            }
            Ok(Outcome::Complete(ref completed)) => of_result(completed.is_error),
            Ok(Outcome::InputRequired(_)) => ToolOutcome::Ok,
            Ok(Outcome::Failed(_)) => ToolOutcome::Failed,
            Err(_) => ToolOutcome::Refused,
        };
        outcome
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        self.calls.ended(self.outcome, self.began.elapsed());
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
    counted: CountedCall,
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

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }

    fn cut_off(&mut self) {
        self.result.cut_off();
    }
}
