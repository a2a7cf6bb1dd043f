//! What stands after the content of a large tool result, noted as it goes by: its structured content, and
//! whether it is an error.

use std::borrow::Cow;

use switchboard_protocol::json::{self, ChunkScanner, Event};

use self::excerpt::Excerpt;
pub(crate) use self::excerpt::Structured;

mod excerpt;
#[cfg(test)]
mod tests;

/// The longest key that is read, in bytes.
const MAX_KEY: usize = 64 * 1024;

/// Reads a tool result piece by piece.
#[derive(Debug)]
pub(crate) struct Skimmer {
    scanner: ChunkScanner,
    place: Place,
    /// What the member of the result is that is read.
    role: Role,
    /// Where in the piece begins what is copied of the value that is read, if it is copied.
    copied_from: Option<usize>,
    /// How much of the result came before the piece.
    before: u64,
    /// How much of the structured content is noted, in bytes.
    max_noted: usize,
    structured: Excerpt,
    /// Where it begins and ends in the result.
    structured_from: u64,
    structured_until: Option<u64>,
    is_error: bool,
}

/// What a result has besides its content, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Skimmed {
    /// Whether it has structured content.
    pub(crate) has_structured: bool,
    /// What was noted of that, if that is of use.
    pub(crate) structured: Option<Structured>,
    /// Whether it says `isError: true`.
    pub(crate) is_error: bool,
    /// Whether it was read to its end.
    pub(crate) has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the result.
    Start,
    /// Between its members.
    Result,
    /// In its structured content.
    Structured,
    /// After it.
    End,
    /// It is no object, or nothing that can be read.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Structured,
    IsError,
    Other,
}

impl Skimmer {
    /// One that notes so many bytes of structured content, and a quarter more at most.
    pub(crate) fn new(max_noted: usize) -> Self {
        Self {
            scanner: ChunkScanner::default(),
            place: Place::Start,
            role: Role::Other,
            copied_from: None,
            before: 0,
            max_noted,
            structured: Excerpt::default(),
            structured_from: 0,
            structured_until: None,
            is_error: false,
        }
    }

    /// Whether nothing more of the result is of use: its structured content was read, or as much as can
    /// be noted, or it is an error, which needs none, or it has ended.
    pub(crate) fn has_all(&self) -> bool {
        self.structured_until.is_some()
            || self.structured.is_full()
            || self.is_error
            || matches!(self.place, Place::End | Place::Lost)
    }

    /// How many bytes of memory it takes.
    pub(crate) fn held(&self) -> usize {
        self.structured.held()
    }

    /// Where the structured content begins in the result, and where it ends, as far as it was read.
    pub(crate) fn structured_at(&self) -> Option<(u64, Option<u64>)> {
        let has_begun = self.structured.has_begun();
        has_begun.then_some((self.structured_from, self.structured_until))
    }

    /// Reads the next piece of the result.
    pub(crate) fn read(&mut self, piece: &[u8]) {
        if matches!(self.place, Place::End | Place::Lost) {
            return;
        }
        if self.scanner.begin(piece).is_err() {
            self.place = Place::Lost;
            return;
        }
        // A value that goes on is copied from the start of this piece.
        self.copied_from = self.copied_from.map(|_| 0);
        while !matches!(self.place, Place::End | Place::Lost) {
            match self.scanner.next(piece) {
                Ok(Event::More) => break,
                Ok(Event::Key) => self.key(),
                Ok(Event::Value(first)) => self.value(first),
                Ok(Event::End) => self.end(piece),
                Ok(Event::Closed) => self.closed(),
                Err(_) => self.place = Place::Lost,
            }
        }
        self.copy(piece);
        self.before += piece.len() as u64;
        if self.scanner.key().len() > MAX_KEY {
            self.place = Place::Lost;
        }
    }

    /// What was found.
    pub(crate) fn finish(self) -> Skimmed {
        Skimmed {
            has_structured: self.structured.has_begun(),
            structured: self.structured.finish(),
            is_error: self.is_error,
            has_ended: self.place == Place::End,
        }
    }

    fn key(&mut self) {
        let written = self.scanner.key();
        if self.place == Place::Structured {
            return self.structured.key(written);
        }
        let name = match memchr::memchr(b'\\', written) {
            None => Cow::Borrowed(written),
            Some(_) => Cow::Owned(json::unescape(written).into_owned().into_bytes()),
        };
        self.role = match &*name {
            b"structuredContent" if !self.structured.has_begun() => Role::Structured,
            b"isError" => Role::IsError,
            _ => Role::Other,
        };
    }

    fn value(&mut self, first: u8) {
        match (self.place, self.role) {
            (Place::Start, _) if first == b'{' => {
                self.place = Place::Result;
                self.scanner.enter();
            }
            (Place::Start, _) => self.place = Place::Lost,
            (Place::Result, Role::IsError) => self.is_error = first == b't',
            (Place::Result, Role::Structured) => {
                // The content before it is held as well: both share the room, and each gets half of it at
                // least.
                self.structured_from = self.place_in_result();
                let before = usize::try_from(self.structured_from).unwrap_or(usize::MAX);
                let left = self.max_noted.saturating_sub(before);
                self.structured = Excerpt::new(left.max(self.max_noted / 2));
                self.part(first);
            }
            (Place::Structured, _) => self.part(first),
            _ => {}
        }
    }

    /// A value in the structured content, or that itself.
    fn part(&mut self, first: u8) {
        if !self.structured.begin(first) {
            return;
        }
        if matches!(first, b'{' | b'[') {
            self.place = Place::Structured;
            self.scanner.enter();
        } else {
            self.copied_from = Some(self.scanner.position());
        }
    }

    fn end(&mut self, piece: &[u8]) {
        self.copy(piece);
        if self.copied_from.take().is_some() {
            self.structured.end();
        }
        if self.place == Place::Result && self.role == Role::Structured {
            self.structured_until = Some(self.place_in_result());
        }
    }

    fn closed(&mut self) {
        if self.place != Place::Structured {
            self.place = Place::End;
        } else if self.structured.close() {
            self.place = Place::Result;
            self.role = Role::Other;
            self.structured_until = Some(self.place_in_result());
        }
    }

    fn place_in_result(&self) -> u64 {
        self.before + self.scanner.position() as u64
    }

    /// Copies the piece up to the position, if that is part of a value that is copied.
    fn copy(&mut self, piece: &[u8]) {
        if let Some(from) = &mut self.copied_from {
            let position = self.scanner.position();
            self.structured.copy(&piece[*from..position]);
            *from = position;
        }
    }
}
