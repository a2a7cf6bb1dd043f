//! What a JSON value looks like, in few words, found out while it goes by.

use std::fmt::Write as _;

use switchboard_protocol::json;

/// The most keys of an object that are noted.
const MAX_KEYS: usize = 8;
/// The longest key that is noted, in bytes.
const MAX_KEY: usize = 40;
/// How deep it is looked into.
const MAX_DEPTH: usize = 3;

/// What is known of a value.
#[derive(Debug)]
enum Known {
    /// A scalar, or something that is not looked into.
    Word(&'static str),
    Object {
        members: Vec<(String, Known)>,
        /// All of them, also those that are not noted.
        count: u64,
    },
    Array {
        count: u64,
        /// Of the first one.
        item: Option<Box<Known>>,
    },
}

impl Known {
    fn of(first: u8) -> Self {
        Self::Word(match first {
            b'"' => "string",
            b't' | b'f' => "boolean",
            b'n' => "null",
            b'{' => "object",
            b'[' => "array",
            _ => "number",
        })
    }

    fn container(first: u8) -> Option<Self> {
        match first {
            b'{' => Some(Self::Object {
                members: Vec::new(),
                count: 0,
            }),
            b'[' => Some(Self::Array {
                count: 0,
                item: None,
            }),
            _ => None,
        }
    }
}

/// The outline of one value.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// The containers around the position, and the key that each has in the one around it.
    open: Vec<(String, Known)>,
    whole: Option<Known>,
}

impl Outline {
    /// A value begins with this byte, as the member of this key, as written, of the innermost object,
    /// or as an item. Answers whether it is to be looked into; if so [`Outline::close`] follows.
    pub(super) fn value(&mut self, first: u8, key: &[u8]) -> bool {
        let depth = self.open.len();
        let is_noted = match self.open.last_mut() {
            None => true,
            Some((_, Known::Object { members, count })) => {
                *count += 1;
                members.len() < MAX_KEYS
            }
            Some((_, Known::Array { count, .. })) => {
                *count += 1;
                *count == 1
            }
            Some((_, Known::Word(_))) => false,
        };
        if !is_noted {
            return false;
        }
        let key = json::unescape(key);
        let key = key[..key.floor_char_boundary(MAX_KEY)].to_owned();
        match Known::container(first).filter(|_| depth < MAX_DEPTH) {
            Some(container) => {
                self.open.push((key, container));
                true
            }
            None => {
                self.put(key, Known::of(first));
                false
            }
        }
    }

    /// The container entered last has ended.
    pub(super) fn close(&mut self) {
        if let Some((key, known)) = self.open.pop() {
            self.put(key, known);
        }
    }

    /// Whether the value has ended.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.is_some()
    }

    fn put(&mut self, key: String, known: Known) {
        match self.open.last_mut() {
            None => self.whole = Some(known),
            Some((_, Known::Object { members, .. })) => members.push((key, known)),
            Some((_, Known::Array { item, .. })) => *item = Some(Box::new(known)),
            Some((_, Known::Word(_))) => {}
        }
    }

    /// In few words, such as `object {items: array of 3 objects {id, name}}`.
    pub(super) fn words(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        let mut out = String::new();
        if let Some(known) = &self.whole {
            write(known, 0, &mut out);
        }
        out
    }
}

fn write(known: &Known, depth: usize, out: &mut String) {
    match known {
        Known::Word(word) => out.push_str(word),
        Known::Object { members, count } => {
            out.push_str("object ");
            write_members(members, *count, depth, out);
        }
        Known::Array { count, item } => {
            let _ = write!(out, "array of {}", thousands(*count));
            let Some(item) = item else { return };
            out.push(' ');
            let word = match &**item {
                Known::Word(word) => word,
                Known::Object { .. } => "object",
                Known::Array { .. } => "array",
            };
            out.push_str(word);
            if *count != 1 && word != "null" {
                out.push('s');
            }
            if let Known::Object { members, count } = &**item {
                out.push(' ');
                write_members(members, *count, depth + 1, out);
            }
        }
    }
}

/// The members of an object: further inside of the value their names alone.
fn write_members(members: &[(String, Known)], count: u64, depth: usize, out: &mut String) {
    out.push('{');
    for (at, (key, known)) in members.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        // What a server wrote is not to look like what the gateway says.
        out.extend(key.chars().map(|it| if it.is_control() { ' ' } else { it }));
        if depth == 0 {
            out.push_str(": ");
            write(known, depth + 1, out);
        }
    }
    if count > members.len() as u64 {
        out.push_str(if members.is_empty() { "…" } else { ", …" });
    }
    out.push('}');
}

/// A number with its thousands set apart.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (14_032, "14,032"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
