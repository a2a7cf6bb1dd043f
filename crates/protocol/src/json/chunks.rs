//! The scanner of [`super`] for a text that comes in chunks, cut anywhere.
//!
//! It accepts exactly what [`super::Scanner`] accepts, and remembers of what went by no more than
//! the kinds of the containers around the next byte.

use super::{JsonError, MAX_DEPTH, plain_prefix};

// One bit a level.
const _: () = assert!(MAX_DEPTH <= u128::BITS as usize);

/// What [`ChunkScanner::next`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The chunk is used up.
    More,
    /// A key was read, [`ChunkScanner::key`]; its value follows.
    Key,
    /// A value begins at the position, with this byte. If [`ChunkScanner::enter`] is called now,
    /// what is in it is reported; else it is read as a whole, and [`Event::End`] follows.
    Value(u8),
    /// The value that was read as a whole ends before the position. A number ends only with the
    /// byte behind it, which may stand in the next chunk.
    End,
    /// The container entered last ends before the position.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value.
    Value,
    /// At the first byte of a value that was reported.
    Reported,
    /// Behind `[`: an item, or the end.
    FirstItem,
    /// Behind `{`: a key, or the end.
    FirstKey,
    /// Behind a comma in an object.
    Key,
    /// Behind a key.
    Colon,
    /// Behind a value.
    After,
    String,
    /// Behind a backslash.
    Escape,
    /// This many hexadecimal digits of an escape are missing.
    Unicode(u8),
    /// This is missing of a literal.
    Literal(&'static [u8]),
    Number(Number),
}

/// What was read of a number last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    /// The state behind `byte`; `None` if it does not belong to the number.
    fn step(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus | Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                Self::ExponentDigits
            }
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits
        )
    }
}

/// Walks over a JSON text chunk by chunk: [`ChunkScanner::begin`] each, then
/// [`ChunkScanner::next`] until it says [`Event::More`]; at the end [`ChunkScanner::finish`].
#[derive(Debug)]
pub struct ChunkScanner {
    state: State,
    /// The containers around the position: the lowest bit is the innermost, 1 is an object.
    objects: u128,
    depth: usize,
    /// The depth of the value that is read as a whole.
    whole: Option<usize>,
    /// Whether the string being read is a key.
    in_key: bool,
    key: Vec<u8>,
    utf8: Utf8,
    /// How much of the text came before the chunk.
    before: usize,
    position: usize,
    length: usize,
}

impl Default for ChunkScanner {
    fn default() -> Self {
        Self {
            state: State::Value,
            objects: 0,
            depth: 0,
            whole: None,
            in_key: false,
            key: Vec::new(),
            utf8: Utf8::default(),
            before: 0,
            position: 0,
            length: 0,
        }
    }
}

impl ChunkScanner {
    /// Begins with the next chunk.
    ///
    /// # Errors
    /// [`JsonError::Utf8`].
    pub fn begin(&mut self, chunk: &[u8]) -> Result<(), JsonError> {
        self.before += self.length;
        self.position = 0;
        self.length = chunk.len();
        self.utf8
            .check(chunk)
            .map_err(|at| JsonError::Utf8(self.before + at))
    }

    /// The offset in the chunk of the next byte to be read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The key read last that was reported, as written but without its quotes; as much of it as was
    /// read, within one.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Has the members or items reported of the object or array that [`Event::Value`] spoke of; of no
    /// use otherwise.
    pub fn enter(&mut self) {
        self.whole = None;
    }

    /// Reads on until there is something to report. `chunk` is the one that was begun last.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] or [`JsonError::Depth`].
    pub fn next(&mut self, chunk: &[u8]) -> Result<Event, JsonError> {
        while let Some(&byte) = chunk.get(self.position) {
            let event = match self.state {
                State::String => self.string(chunk)?,
                State::Escape | State::Unicode(_) => self.escape(byte)?,
                State::Literal(rest) => self.literal(rest, byte)?,
                State::Number(number) => self.number(number, byte)?,
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {
                    self.position += 1;
                    None
                }
                State::Value => self.value(byte)?,
                State::Reported => self.begin_value(byte)?,
                State::FirstItem if byte == b']' => self.close(),
                State::FirstItem => self.value(byte)?,
                State::FirstKey if byte == b'}' => self.close(),
                State::FirstKey | State::Key => self.begin_key(byte)?,
                State::Colon => self.colon(byte)?,
                State::After => self.after(byte)?,
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
        Ok(Event::More)
    }

    /// Fails unless the text was whole.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] or [`JsonError::Utf8`].
    pub fn finish(&self) -> Result<(), JsonError> {
        let is_whole = match self.state {
            State::After => self.depth == 0,
            State::Number(number) => self.depth == 0 && number.may_end(),
            _ => false,
        };
        if !self.utf8.is_whole() {
            return Err(JsonError::Utf8(self.before + self.length));
        }
        if is_whole { Ok(()) } else { Err(self.syntax()) }
    }

    fn value(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        self.state = State::Reported;
        if self.whole.is_none() {
            self.whole = Some(self.depth);
            return Ok(Some(Event::Value(byte)));
        }
        self.begin_value(byte)
    }

    fn begin_value(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        match byte {
            b'{' | b'[' => {
                if self.depth == MAX_DEPTH {
                    return Err(JsonError::Depth(self.before + self.position));
                }
                let is_object = byte == b'{';
                self.depth += 1;
                self.objects = self.objects << 1 | u128::from(is_object);
                self.state = if is_object {
                    State::FirstKey
                } else {
                    State::FirstItem
                };
            }
            b'"' => {
                self.in_key = false;
                self.state = State::String;
            }
            b't' => self.state = State::Literal(b"rue"),
            b'f' => self.state = State::Literal(b"alse"),
            b'n' => self.state = State::Literal(b"ull"),
            b'-' => self.state = State::Number(Number::Minus),
            b'0' => self.state = State::Number(Number::Zero),
            b'1'..=b'9' => self.state = State::Number(Number::Integer),
            _ => return Err(self.syntax()),
        }
        self.position += 1;
        Ok(None)
    }

    fn begin_key(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        self.expect(b'"', byte)?;
        self.in_key = true;
        if self.whole.is_none() {
            self.key.clear();
        }
        self.state = State::String;
        Ok(None)
    }

    fn colon(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        self.expect(b':', byte)?;
        self.state = State::Value;
        Ok(None)
    }

    fn after(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        let in_object = self.objects & 1 == 1;
        match byte {
            _ if self.depth == 0 => Err(self.syntax()),
            b',' => {
                self.position += 1;
                self.state = if in_object { State::Key } else { State::Value };
                Ok(None)
            }
            b'}' if in_object => Ok(self.close()),
            b']' if !in_object => Ok(self.close()),
            _ => Err(self.syntax()),
        }
    }

    fn close(&mut self) -> Option<Event> {
        self.position += 1;
        self.depth -= 1;
        self.objects >>= 1;
        match self.whole {
            None => {
                self.state = State::After;
                Some(Event::Closed)
            }
            Some(_) => self.end(),
        }
    }

    /// A value has ended.
    fn end(&mut self) -> Option<Event> {
        self.state = State::After;
        if self.whole != Some(self.depth) {
            return None;
        }
        self.whole = None;
        Some(Event::End)
    }

    fn string(&mut self, chunk: &[u8]) -> Result<Option<Event>, JsonError> {
        let start = self.position;
        self.position += plain_prefix(&chunk[start..]);
        self.keep_of_key(&chunk[start..self.position]);
        match chunk.get(self.position) {
            None => Ok(None),
            Some(b'\\') => {
                self.keep_of_key(b"\\");
                self.position += 1;
                self.state = State::Escape;
                Ok(None)
            }
            Some(b'"') => {
                self.position += 1;
                if !self.in_key {
                    return Ok(self.end());
                }
                self.state = State::Colon;
                Ok(self.whole.is_none().then_some(Event::Key))
            }
            Some(_) => Err(self.syntax()),
        }
    }

    fn escape(&mut self, byte: u8) -> Result<Option<Event>, JsonError> {
        self.state = match (self.state, byte) {
            (State::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                State::String
            }
            (State::Escape, b'u') => State::Unicode(4),
            (State::Unicode(1), digit) if digit.is_ascii_hexdigit() => State::String,
            (State::Unicode(missing), digit) if digit.is_ascii_hexdigit() => {
                State::Unicode(missing - 1)
            }
            _ => return Err(self.syntax()),
        };
        self.keep_of_key(&[byte]);
        self.position += 1;
        Ok(None)
    }

    fn keep_of_key(&mut self, part: &[u8]) {
        if self.in_key && self.whole.is_none() {
            self.key.extend_from_slice(part);
        }
    }

    fn literal(&mut self, rest: &'static [u8], byte: u8) -> Result<Option<Event>, JsonError> {
        match rest {
            [expected, rest @ ..] if *expected == byte => {
                self.position += 1;
                self.state = State::Literal(rest);
                Ok(if rest.is_empty() { self.end() } else { None })
            }
            _ => Err(self.syntax()),
        }
    }

    fn number(&mut self, number: Number, byte: u8) -> Result<Option<Event>, JsonError> {
        match number.step(byte) {
            Some(number) => {
                self.position += 1;
                self.state = State::Number(number);
                Ok(None)
            }
            None if number.may_end() => Ok(self.end()),
            None => Err(self.syntax()),
        }
    }

    fn expect(&mut self, expected: u8, byte: u8) -> Result<(), JsonError> {
        if byte != expected {
            return Err(self.syntax());
        }
        self.position += 1;
        Ok(())
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax(self.before + self.position)
    }
}

/// Checks that chunks make up one text in UTF-8.
#[derive(Debug, Default)]
struct Utf8 {
    /// The beginning of a character that a chunk ended in.
    cut: [u8; 4],
    cut_length: usize,
}

impl Utf8 {
    fn is_whole(&self) -> bool {
        self.cut_length == 0
    }

    /// Gives the offset of the first byte that is wrong.
    fn check(&mut self, chunk: &[u8]) -> Result<(), usize> {
        let mut start = 0;
        while self.cut_length > 0 {
            let Some(&byte) = chunk.get(start) else {
                return Ok(());
            };
            self.cut[self.cut_length] = byte;
            start += 1;
            match std::str::from_utf8(&self.cut[..=self.cut_length]) {
                Ok(_) => self.cut_length = 0,
                Err(error) if error.error_len().is_none() => self.cut_length += 1,
                Err(_) => return Err(start - 1),
            }
        }
        let Err(error) = std::str::from_utf8(&chunk[start..]) else {
            return Ok(());
        };
        let valid = start + error.valid_up_to();
        if error.error_len().is_some() {
            return Err(valid);
        }
        let cut = &chunk[valid..];
        self.cut[..cut.len()].copy_from_slice(cut);
        self.cut_length = cut.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
