//! A result that is kept once it has arrived.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::error::CallError;

use super::Seat;

/// A result under way, of which a copy is kept when it was whole, no error, and not too large.
pub(super) struct Recording {
    result: Box<dyn ResultStream>,
    /// `None`: it is not kept.
    tape: Option<Tape>,
}

struct Tape {
    seat: Box<Seat>,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Recording {
    pub(super) fn new(result: Box<dyn ResultStream>, seat: Box<Seat>) -> Self {
        let tape = Tape {
            seat,
            pieces: Vec::new(),
            bytes: 0,
        };
        Self {
            result,
            tape: Some(tape),
        }
    }

    fn record(&mut self, bytes: &Bytes) {
        let Some(tape) = &mut self.tape else { return };
        tape.bytes = tape.bytes.saturating_add(bytes.len());
        if tape.bytes > tape.seat.max_entry {
            self.give_up();
        } else {
            tape.pieces.push(bytes.clone());
        }
    }

    /// It is for nobody else.
    fn give_up(&mut self) {
        if let Some(mut tape) = self.tape.take() {
            tape.seat.keep(None);
        }
    }

    fn keep(&mut self) {
        if let Some(mut tape) = self.tape.take() {
            let text = Bytes::from(tape.pieces.concat());
            tape.seat.keep(Some(text));
        }
    }
}

/// Dropped before its end it goes to the next of those that wait for it.
impl ResultStream for Recording {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let piece = ready!(self.result.poll_piece(context));
        match &piece {
            Ok(Piece::Bytes(bytes)) => self.record(bytes),
            Ok(Piece::End { is_error: false }) => self.keep(),
            Ok(Piece::End { is_error: true }) | Err(_) => self.give_up(),
        }
        Poll::Ready(piece)
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }
}
