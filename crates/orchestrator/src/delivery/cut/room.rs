//! How much still fits.

use switchboard_protocol::size::Size;

use crate::delivery::mend::{character, whole_characters};

/// Text is counted in blocks of this many bytes, and only what is left of the room by characters.
const BLOCK: usize = 4 * 1024;

/// What is left of a cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room(Size);

impl Room {
    pub(super) fn new(all: Size) -> Self {
        Self(all)
    }

    /// Takes this much if there is as much.
    pub(super) fn take(&mut self, size: Size) -> bool {
        let fits = size.is_within(self.0);
        if fits {
            self.0 = self.0 - size;
        }
        fits
    }

    /// Takes this much, whatever there is.
    pub(super) fn reserve(&mut self, size: Size) {
        self.0 = self.0 - size;
    }

    pub(super) fn left(&self) -> Size {
        self.0
    }
}

/// How much of the inside of a JSON string fits, up to the end of a character.
pub(crate) fn longest(inside: &[u8], most: Size) -> usize {
    let all = Size::of_text(inside);
    if all.is_within(most) {
        return inside.len();
    }
    let mut left = Room::new(most);
    let mut at = 0;
    while let Some(block) = inside.get(at..at + BLOCK) {
        let length = whole_characters(block);
        if length == 0 || !left.take(Size::of_text(&block[..length])) {
            break;
        }
        at += length;
    }
    while let Some(length) = character(&inside[at..]) {
        if !left.take(Size::of_text(&inside[at..at + length])) {
            break;
        }
        at += length;
    }
    at
}
