//! What stands behind the content of a large tool result, taken note of as it goes by: its structured
//! content, and whether it is an error.

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
    role: Role,
    /// How many containers of the structured content are open.
    depth: usize,
    /// Where in the piece begins what is copied of the value that is read, if it is copied.
    copied_from: Option<usize>,
    /// How much of the result came before the piece.
    before: u64,
    /// How much is noted of structured content, in bytes.
    most: usize,
    structured: Option<Excerpt>,
    /// Whether the structured content has ended.
    has_structured: bool,
    is_error: bool,
}

/// What a result has besides its content, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Skimmed {
    /// What is there of its structured content.
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
    /// Behind it.
    End,
    /// It is no object, or nothing that can be read.
    Lost,
}

/// What a member of the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Structured,
    IsError,
    Other,
}

impl Skimmer {
    /// One that notes about so many bytes of structured content, a quarter more at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            scanner: ChunkScanner::default(),
            place: Place::Start,
            role: Role::Other,
            depth: 0,
            copied_from: None,
            before: 0,
            most,
            structured: None,
            has_structured: false,
            is_error: false,
        }
    }

    /// Whether nothing more of the result is of use: its structured content was read, or it is an error,
    /// which needs none, or it has ended.
    pub(crate) fn has_all(&self) -> bool {
        self.has_structured || self.is_error || matches!(self.place, Place::End | Place::Lost)
    }

    /// How many bytes of memory it takes.
    pub(crate) fn held(&self) -> usize {
        self.structured.as_ref().map_or(0, Excerpt::held)
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
        self.copied_from = self.copied_from.map(|_| 0);
        while self.place != Place::End {
            match self.scanner.next(piece) {
                Ok(Event::More) => break,
                Ok(Event::Key) => self.key(),
                Ok(Event::Value(first)) => self.value(first),
                Ok(Event::End) => self.end(piece),
                Ok(Event::Closed) => self.closed(),
                Err(_) => self.place = Place::Lost,
            }
            if self.place == Place::Lost {
                return;
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
            structured: self.structured.and_then(Excerpt::finish),
            is_error: self.is_error,
            has_ended: self.place == Place::End,
        }
    }

    fn key(&mut self) {
        let written = self.scanner.key();
        if self.place == Place::Structured {
            if let Some(excerpt) = &mut self.structured {
                excerpt.key(written);
            }
            return;
        }
        let name = match memchr::memchr(b'\\', written) {
            None => Cow::Borrowed(written),
            Some(_) => Cow::Owned(json::unescape(written).into_owned().into_bytes()),
        };
        self.role = match &*name {
            b"structuredContent" if self.structured.is_none() => Role::Structured,
            b"isError" => Role::IsError,
            _ => Role::Other,
        };
    }

    fn value(&mut self, first: u8) {
        let is_container = matches!(first, b'{' | b'[');
        match (self.place, self.role) {
            (Place::Start, _) if first == b'{' => {
                self.place = Place::Result;
                self.scanner.enter();
            }
            (Place::Start, _) => self.place = Place::Lost,
            (Place::Result, Role::IsError) => self.is_error = first == b't',
            (Place::Result, Role::Structured) => {
                // What stands before it was held by whoever reads it, up to a half.
                let before = self.before + self.scanner.position() as u64;
                let before = usize::try_from(before).unwrap_or(usize::MAX);
                let most = self.most.saturating_sub(before).max(self.most / 2);
                self.structured = Some(Excerpt::new(most));
                self.part(first, is_container);
            }
            (Place::Structured, _) => self.part(first, is_container),
            _ => {}
        }
    }

    /// A value in the structured content, or that itself.
    fn part(&mut self, first: u8, is_container: bool) {
        let Some(excerpt) = &mut self.structured else {
            return;
        };
        if !excerpt.begin(first) {
            return;
        }
        if is_container {
            self.place = Place::Structured;
            self.depth += 1;
            self.scanner.enter();
        } else {
            self.copied_from = Some(self.scanner.position());
        }
    }

    fn end(&mut self, piece: &[u8]) {
        self.copy(piece);
        if self.copied_from.take().is_some()
            && let Some(excerpt) = &mut self.structured
        {
            excerpt.end();
        }
        if self.place == Place::Result && self.role == Role::Structured {
            self.has_structured = true;
        }
    }

    fn closed(&mut self) {
        if self.depth == 0 {
            self.place = Place::End;
            return;
        }
        self.depth -= 1;
        if let Some(excerpt) = &mut self.structured {
            excerpt.close();
        }
        if self.depth == 0 {
            self.place = Place::Result;
            self.has_structured = true;
        }
    }

    /// Copies the piece up to the position, if that is part of a value that is copied.
    fn copy(&mut self, piece: &[u8]) {
        let Some(from) = &mut self.copied_from else {
            return;
        };
        let position = self.scanner.position();
        if let Some(excerpt) = &mut self.structured {
            excerpt.copy(&piece[*from..position]);
        }
        *from = position;
    }
}
