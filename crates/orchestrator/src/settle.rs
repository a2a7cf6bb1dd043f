//! The end of what a call holds of limits and budgets: with its last byte.

use std::task::{Context, Poll, ready};

use switchboard_protocol::call::{Outcome, Piece, ResultStream};
use switchboard_protocol::error::{CallError, code};
use switchboard_protocol::policy::{Ending, Permit};

/// Gives back what a call held when it has ended: now, or with the last byte of a result that is
/// still arriving. `is_answered`: whether its server answered, whatever the gateway made of it.
pub(crate) fn settle(permit: Permit, outcome: Outcome, is_answered: bool) -> Outcome {
    if permit.is_free() {
        return outcome;
    }
    let ending = match outcome {
        Outcome::Arriving(result) => {
            return Outcome::Arriving(Box::new(SettlingStream {
                result,
                permit: Some(permit),
                bytes: 0,
            }));
        }
        Outcome::Complete(ref completed) => did(completed.result.len()),
        Outcome::InputRequired(ref result) => did(result.len()),
        // It refused before it did anything (specification: `basic/transports/streamable-http`, Client
        // Behavior), and the call is made again.
        Outcome::Failed(CallError::Backend {
            code: code::HEADER_MISMATCH,
            ..
        }) => Ending {
            did_something: false,
            bytes: 0,
        },
        Outcome::Failed(CallError::Backend { ref error, .. }) => did(error.len()),
        Outcome::Failed(CallError::Fault(ref fault)) => Ending {
            did_something: is_answered || !fault.did_nothing(),
            bytes: 0,
        },
        Outcome::Failed(CallError::Protocol(_)) => Ending {
            did_something: is_answered,
            bytes: 0,
        },
    };
    permit.settle(ending);
    outcome
}

/// As [`settle`], of a call that was answered without its backend: what was charged is given back.
pub(crate) fn settle_unexecuted(permit: Permit, outcome: Outcome) -> Outcome {
    permit.settle(Ending {
        did_something: false,
        bytes: 0,
    });
    outcome
}

fn did(bytes: usize) -> Ending {
    Ending {
        did_something: true,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

/// A result under way, whose permit is held to its last byte.
struct SettlingStream {
    result: Box<dyn ResultStream>,
    permit: Option<Permit>,
    bytes: usize,
}

impl ResultStream for SettlingStream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let piece = ready!(self.result.poll_piece(context));
        match &piece {
            Ok(Piece::Bytes(bytes)) => self.bytes = self.bytes.saturating_add(bytes.len()),
            Ok(Piece::End { .. }) | Err(_) => self.end(),
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

impl SettlingStream {
    fn end(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.settle(did(self.bytes));
        }
    }
}

/// What its reader left unread was made all the same.
impl Drop for SettlingStream {
    fn drop(&mut self) {
        self.end();
    }
}
