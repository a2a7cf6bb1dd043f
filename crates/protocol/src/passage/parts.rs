//! What can be handed on.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Parts up to this size are copied together: every part costs as much as this many bytes do.
const COPIED: usize = 4 * 1024;

/// Parts of a text in their order, of which the small ones are put together.
#[derive(Debug, Default)]
pub struct Parts {
    whole: VecDeque<Bytes>,
    /// Small ones, behind the others.
    small: BytesMut,
    length: usize,
}

impl Parts {
    /// Adds a part at the end.
    pub fn push(&mut self, part: Bytes) {
        self.length += part.len();
        if part.len() <= COPIED {
            self.small.extend_from_slice(&part);
            return;
        }
        if !self.small.is_empty() {
            self.whole.push_back(self.small.split().freeze());
        }
        self.whole.push_back(part);
    }

    /// Takes the first part; never an empty one.
    pub fn pop(&mut self) -> Option<Bytes> {
        let part = match self.whole.pop_front() {
            Some(part) => part,
            None if self.small.is_empty() => return None,
            None => self.small.split().freeze(),
        };
        self.length -= part.len();
        Some(part)
    }

    /// The length of all of them, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}
