//! Where strings begin and end in JSON.

use memchr::memchr2;

/// Whether a place in a JSON text is inside of a string: moves on with the text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strings {
    /// How far was looked.
    at: usize,
    inside: bool,
    /// Whether the next byte belongs to an escape that has begun.
    in_escape: bool,
}

impl Strings {
    /// Whether this place is inside of a string, or between its quotes and nothing. No place before
    /// one that was asked about.
    pub(super) fn inside(&mut self, text: &[u8], place: usize) -> bool {
        let place = place.min(text.len());
        while self.at < place {
            if std::mem::take(&mut self.in_escape) {
                self.at += 1;
                continue;
            }
            match memchr2(b'"', b'\\', &text[self.at..place]) {
                None => self.at = place,
                Some(found) => {
                    self.at += found + 1;
                    if text[self.at - 1] == b'"' {
                        self.inside = !self.inside;
                    } else {
                        self.in_escape = self.inside;
                    }
                }
            }
        }
        self.inside
    }

    /// The same where so much was taken from the front of the text, which was all looked at.
    pub(super) fn forget(&mut self, length: usize) {
        self.at = self.at.saturating_sub(length);
    }
}
