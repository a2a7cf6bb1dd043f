//! Text as it stands on the wire, read through its escapes: those of JSON, of JSON in JSON, and of URLs.

use super::memory::Memory;
use super::token::Chars;
use super::work;

/// How many backslashes in a row are looked at: those of a quote in JSON in JSON in JSON are seven, of a backslash
/// there eight.
const MAX_BACKSLASHES: usize = 63;

/// How many URLs in URLs are looked through.
const MAX_LAYERS: usize = 4;

/// What is looked through, and whether there is more of it.
#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    /// What stood before, at least the last [`CONTEXT`] bytes of it, if there was so much.
    pub(super) before: &'t [u8],
    /// What is looked through.
    pub(super) bytes: &'t [u8],
    /// Whether nothing comes behind it.
    pub(super) is_whole: bool,
    /// What is known of it.
    pub(super) memory: &'t Memory,
}

/// How many bytes before a text have to be known, to tell what something in it is.
pub(super) const CONTEXT: usize = 64;

/// Why there is no next character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends here.
    End,
    /// It is not known yet how the text goes on.
    More,
}

/// A character, and where the next one begins. A character beyond Latin-1 in an escape is 255.
pub(super) type Char = (u8, usize);

impl<'t> Text<'t> {
    /// All of a text.
    pub(super) fn whole(bytes: &'t [u8], memory: &'t Memory) -> Self {
        Self {
            before: &[],
            bytes,
            is_whole: true,
            memory,
        }
    }

    /// Why nothing comes behind the last byte.
    pub(super) fn stop(&self) -> Stop {
        if self.is_whole { Stop::End } else { Stop::More }
    }

    /// The byte that stands `back` bytes before this place, at least 1.
    pub(super) fn back(&self, at: usize, back: usize) -> Option<u8> {
        work::note(1);
        match at.checked_sub(back) {
            Some(at) => self.bytes.get(at).copied(),
            None => {
                let missing = back - at;
                let at = self.before.len().checked_sub(missing)?;
                self.before.get(at).copied()
            }
        }
    }

    /// How many backslashes stand right before this place.
    pub(super) fn backslashes_before(&self, at: usize) -> usize {
        let is_one = |back: &usize| self.back(at, *back) == Some(b'\\');
        (1..=MAX_BACKSLASHES).take_while(is_one).count()
    }

    /// The character at this place, through its escape.
    pub(super) fn char_at(&self, at: usize) -> Result<Char, Stop> {
        let found = match self.bytes.get(at) {
            None => Err(self.stop()),
            Some(b'\\') => self.escaped(at),
            Some(b'%') => self.url_escaped(at),
            Some(&byte) => Ok((byte, at + 1)),
        };
        work::note(found.map_or(1, |(_, next)| next - at));
        found
    }

    /// The characters between these places, at most so many, and where the last of them ends.
    pub(super) fn chars(&self, from: usize, end: usize, most: usize) -> (Chars, usize) {
        let mut chars = Chars::new();
        let mut at = from;
        while at < end && chars.len() < most {
            let Ok((found, next)) = self.char_at(at) else {
                break;
            };
            chars.push(found);
            at = next;
        }
        (chars, at)
    }

    fn escaped(&self, at: usize) -> Result<Char, Stop> {
        let rest = &self.bytes[at..];
        let is_one = |byte: &&u8| **byte == b'\\';
        let count = rest.iter().take(MAX_BACKSLASHES).take_while(is_one).count();
        let behind = at + count;
        let Some(&name) = self.bytes.get(behind) else {
            return match self.stop() {
                Stop::More => Err(Stop::More),
                Stop::End => Ok((b'\\', behind)),
            };
        };
        let is_odd = count % 2 == 1;
        match name {
            b'u' => {
                let digits = self.bytes.get(behind + 1..behind + 5);
                match digits.map(hex) {
                    Some(Some(code)) => Ok((u8::try_from(code).unwrap_or(u8::MAX), behind + 5)),
                    None if !self.is_whole => Err(Stop::More),
                    _ => Ok((b'\\', behind)),
                }
            }
            // Behind an even number of backslashes it ends the string.
            b'"' if is_odd => Ok((b'"', behind + 1)),
            b'/' => Ok((b'/', behind + 1)),
            b'n' => Ok((b'\n', behind + 1)),
            b'r' => Ok((b'\r', behind + 1)),
            b't' => Ok((b'\t', behind + 1)),
            b'b' | b'f' => Ok((b' ', behind + 1)),
            _ => Ok((b'\\', behind)),
        }
    }

    /// Through any number of layers: `%2B`, `%252B`, …
    fn url_escaped(&self, at: usize) -> Result<Char, Stop> {
        let mut digits = at + 1;
        while self.bytes[digits..].starts_with(b"25") && digits - at < MAX_LAYERS * 2 {
            digits += 2;
        }
        match self.bytes.get(digits..digits + 2).map(hex) {
            Some(Some(code)) => Ok((u8::try_from(code).unwrap_or(u8::MAX), digits + 2)),
            None if !self.is_whole => Err(Stop::More),
            // One that stands for itself.
            _ if digits > at + 1 => Ok((b'%', digits)),
            _ => Ok((b'%', at + 1)),
        }
    }

    /// What stands before this place.
    pub(super) fn before(&self, at: usize) -> Before {
        let backslashes = self.backslashes_before(at);
        if backslashes > 0 {
            return match backslashes % 2 {
                1 => Before::InEscape,
                _ => Before::Backslashes(backslashes),
            };
        }
        let Some(last) = self.back(at, 1) else {
            return Before::Boundary;
        };
        if !last.is_ascii_alphanumeric() {
            return Before::Boundary;
        }
        match self.escape_before(at) {
            Some(before) => before,
            None if self.ends_colour(at) => Before::Boundary,
            None => Before::Word,
        }
    }

    /// What the escape is that ends or is under way before this place, which stands behind a letter or
    /// digit.
    fn escape_before(&self, at: usize) -> Option<Before> {
        let last = self.back(at, 1)?;
        if matches!(last, b'n' | b'r' | b't' | b'b' | b'f') && self.back(at, 2) == Some(b'\\') {
            return Some(Before::Boundary);
        }
        if let Some(code) = self.url_escape_before(at, 0) {
            return Some(Before::of(code));
        }
        if self.back(at, 5) == Some(b'u')
            && self.back(at, 6) == Some(b'\\')
            && let Some(code) = self.hex_before::<4>(at, 0)
        {
            return Some(Before::of(code));
        }
        // `\u`, `\u0`, `\u00`, `\u004`: the escape goes on here.
        for digits in 0..4 {
            let is_hex = |back: usize| self.back(at, back).is_some_and(|b| b.is_ascii_hexdigit());
            if self.back(at, digits + 1) == Some(b'u')
                && (1..=digits).all(is_hex)
                && self.odd_backslashes_back(at, digits + 2)
            {
                return Some(Before::InEscape);
            }
        }
        None
    }

    /// Whether an odd number of backslashes ends with the byte that stands so far before this place.
    fn odd_backslashes_back(&self, at: usize, back: usize) -> bool {
        let is_one = |more: &usize| self.back(at, back + more) == Some(b'\\');
        (0..MAX_BACKSLASHES).take_while(is_one).count() % 2 == 1
    }

    /// The code of the escape of a URL that ends so many bytes before a place.
    pub(super) fn url_escape_before(&self, at: usize, skipped: usize) -> Option<u16> {
        let code = self.hex_before::<2>(at, skipped)?;
        let mut back = skipped + 3;
        while self.back(at, back) == Some(b'5')
            && self.back(at, back + 1) == Some(b'2')
            && back < skipped + MAX_LAYERS * 2
        {
            back += 2;
        }
        (self.back(at, back) == Some(b'%')).then_some(code)
    }

    fn hex_before<const N: usize>(&self, at: usize, skipped: usize) -> Option<u16> {
        let mut digits = [0; N];
        for (index, digit) in digits.iter_mut().enumerate() {
            *digit = self.back(at, skipped + N - index)?;
        }
        hex(&digits)
    }

    /// Whether a sequence that tells a terminal a colour ends here.
    fn ends_colour(&self, at: usize) -> bool {
        if self.back(at, 1) != Some(b'm') {
            return false;
        }
        let digits = |back: &usize| {
            let byte = self.back(at, *back);
            byte.is_some_and(|byte| byte.is_ascii_digit() || byte == b';')
        };
        let count = (2..16).take_while(digits).count();
        self.back(at, count + 2) == Some(b'[')
            || self.url_escape_before(at, count + 1) == Some(u16::from(b'['))
    }

    /// Where the escape ends in whose middle this place is; this place if it is in none.
    pub(super) fn end_of_escape(&self, at: usize) -> Result<usize, Stop> {
        // However many there are: else the string would end elsewhere.
        let is_one = |back: &usize| self.back(at, *back) == Some(b'\\');
        if (1..).take_while(is_one).count() % 2 == 1 {
            return match self.bytes.get(at) {
                None => Err(self.stop()),
                Some(b'u') if at + 5 > self.bytes.len() => Err(self.stop()),
                Some(b'u') => Ok(at + 5),
                Some(byte) => Ok(at + usize::from(byte.is_ascii())),
            };
        }
        let in_code = (0..4).find(|digits| {
            self.back(at, digits + 1) == Some(b'u')
                && (1..=*digits).all(|b| self.back(at, b).is_some_and(|b| b.is_ascii_hexdigit()))
                && self.odd_backslashes_back(at, digits + 2)
        });
        match in_code {
            None => Ok(at),
            Some(digits) if at + 4 - digits > self.bytes.len() => Err(self.stop()),
            Some(digits) => Ok(at + 4 - digits),
        }
    }
}

/// What stands before a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or no letter and no digit.
    Boundary,
    /// A letter or digit.
    Word,
    /// So many backslashes, an even number: the first byte may belong to an escape of JSON in JSON.
    Backslashes(usize),
    /// The first byte belongs to an escape.
    InEscape,
}

impl Before {
    fn of(code: u16) -> Self {
        let is_word = u8::try_from(code).is_ok_and(|byte| byte.is_ascii_alphanumeric());
        if is_word { Self::Word } else { Self::Boundary }
    }
}

fn hex(digits: &[u8]) -> Option<u16> {
    let mut code = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16)?;
        code = (code << 4) | u16::try_from(digit).ok()?;
    }
    Some(code)
}
