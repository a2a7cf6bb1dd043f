//! Making JSON of the beginning of JSON.

use memchr::{memchr, memchr2};

/// What was done to the beginning of a text to make it whole.
#[derive(Debug)]
pub(crate) struct Mended {
    /// Every value that ends by here is as it was written; those that end behind were cut.
    pub(crate) sound: usize,
    /// Where the text was changed, and what stood there.
    at: usize,
    tail: Vec<u8>,
}

impl Mended {
    /// The same, once something in the sound part of the text was exchanged: it had `before` bytes, has
    /// `after` now, and is sound up to `sound`.
    pub(crate) fn changed(self, before: usize, after: usize, sound: usize) -> Self {
        Self {
            sound,
            at: (self.at + after).saturating_sub(before),
            tail: self.tail,
        }
    }

    /// Takes back what was done, so that the text can go on.
    pub(crate) fn undo(self, text: &mut Vec<u8>) {
        text.truncate(self.at);
        text.extend_from_slice(&self.tail);
    }
}

/// Makes valid JSON of the beginning of a valid JSON object, which may end anywhere: within a
/// character, an escape or a number too. Strings are cut at a character, everything else is kept
/// while it is whole, and what is open is closed. Of nothing it makes an empty object.
pub(crate) fn mend(text: &mut Vec<u8>) -> Mended {
    let (open, end) = Reader::default().read(text);
    let (at, sound, is_in_string) = match end {
        End::Between { safe } => (safe, safe, false),
        End::InString { start, cut } => (cut, start, true),
    };
    let tail = text.split_off(at);
    if text.is_empty() {
        text.extend_from_slice(b"{}");
        return Mended { sound: 0, at, tail };
    }
    if is_in_string {
        text.push(b'"');
    }
    let closing = open.iter().rev();
    text.extend(closing.map(|open| if *open == b'{' { b'}' } else { b']' }));
    // One that was whole stays so.
    let sound = if open.is_empty() { text.len() } else { sound };
    Mended { sound, at, tail }
}

/// Where a text ends.
enum End {
    /// Not in a string that is a value: whatever stands behind `safe` is not whole.
    Between { safe: usize },
    /// In a string that begins at `start`; up to `cut` it has whole characters.
    InString { start: usize, cut: usize },
}

#[derive(Default)]
struct Reader {
    /// The brackets that are open.
    open: Vec<u8>,
    expects_key: bool,
    /// Up to here the text is whole, once what is open is closed.
    safe: usize,
}

impl Reader {
    fn read(mut self, text: &[u8]) -> (Vec<u8>, End) {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match byte {
                b'{' | b'[' => {
                    self.open.push(byte);
                    self.expects_key = byte == b'{';
                    at += 1;
                    self.safe = at;
                }
                b'}' | b']' => {
                    self.open.pop();
                    at += 1;
                    self.safe = at;
                    self.expects_key = false;
                }
                b',' => {
                    self.expects_key = self.open.last() == Some(&b'{');
                    at += 1;
                }
                b':' => {
                    self.expects_key = false;
                    at += 1;
                }
                b'"' => match string_end(text, at) {
                    Some(end) => {
                        at = end;
                        if !self.expects_key {
                            self.safe = at;
                        }
                    }
                    None if self.expects_key => break,
                    None => {
                        let cut = at + 1 + whole_characters(&text[at + 1..]);
                        return (self.open, End::InString { start: at, cut });
                    }
                },
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                // A number or a word, which is whole once something follows.
                _ => {
                    let rest = &text[at..];
                    let is_part = |byte: &u8| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
                    };
                    match rest.iter().position(|byte| !is_part(byte)) {
                        // Nothing that JSON has; whoever reads it will say so.
                        Some(0) | None => break,
                        Some(length) => at += length,
                    }
                    self.safe = at;
                }
            }
        }
        let safe = self.safe;
        (self.open, End::Between { safe })
    }
}

/// Where the string ends that begins at `start`, if it does.
pub(super) fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// How much of the inside of a string is whole characters, pairs of surrogates included.
pub(crate) fn whole_characters(inside: &[u8]) -> usize {
    let mut at = 0;
    while let Some(plain) = memchr(b'\\', &inside[at..]) {
        at += plain;
        match character(&inside[at..]) {
            Some(length) => at += length,
            None => return at,
        }
    }
    match std::str::from_utf8(&inside[at..]) {
        Ok(_) => inside.len(),
        Err(error) => at + error.valid_up_to(),
    }
}

/// How long the first character is, as it is written, if it is whole; `None` too at the end.
pub(crate) fn character(inside: &[u8]) -> Option<usize> {
    let length = match inside.first()? {
        b'\\' => match inside.get(1)? {
            b'u' => return escaped(inside),
            _ => 2,
        },
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    (inside.len() >= length).then_some(length)
}

/// The same of one that begins with `\u`.
fn escaped(inside: &[u8]) -> Option<usize> {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(inside.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    if !(0xd800..0xdc00).contains(&unit(2)?) {
        return Some(6);
    }
    match inside.get(6..8) {
        Some(b"\\u") => {
            let is_pair = (0xdc00..0xe000).contains(&unit(8)?);
            Some(if is_pair { 12 } else { 6 })
        }
        // A lone one, which stays as lone as it was.
        Some(_) => Some(6),
        None if inside.len() == 7 && inside[6] != b'\\' => Some(6),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::mend;
    use crate::delivery::tests::json;
    use proptest::prelude::*;
    use serde_json::Value;

    fn mended(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        mend(&mut bytes);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_text_that_ends_anywhere_becomes_whole() {
        for (beginning, whole) in [
            ("", "{}"),
            ("{", "{}"),
            (r#"{"a"#, "{}"),
            (r#"{"a":"#, "{}"),
            (r#"{"a":1"#, "{}"),
            (r#"{"a":1,"#, r#"{"a":1}"#),
            (r#"{"a":tru"#, "{}"),
            (r#"{"a":[1,2"#, r#"{"a":[1]}"#),
            (r#"{"a":["x","y"#, r#"{"a":["x","y"]}"#),
            (r#"{"a":"\"#, r#"{"a":""}"#),
            (r#"{"a":"x\u00e"#, r#"{"a":"x"}"#),
            (r#"{"a":"x\ud83d"#, r#"{"a":"x"}"#),
            (r#"{"a":"x\ud83d\ude"#, r#"{"a":"x"}"#),
            (r#"{"a":"x\ud83d\ude00"#, r#"{"a":"x\ud83d\ude00"}"#),
            (r#"{"a":"x\ud83dy"#, r#"{"a":"x\ud83dy"}"#),
            (r#"{"a":{"b":[]"#, r#"{"a":{"b":[]}}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(mended(beginning), whole, "{beginning}");
        }
    }

    /// The same JSON with every character beyond ASCII as an escape.
    fn escaped(text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn any_beginning_becomes_json_and_can_go_on(value in json(), cut in 0_usize..400, escape in any::<bool>()) {
            let text = serde_json::json!({ "a": value }).to_string();
            let text = if escape { escaped(&text) } else { text };
            let cut = cut.min(text.len());
            let mut bytes = text.as_bytes()[..cut].to_vec();
            let done = mend(&mut bytes);
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
            if cut == text.len() {
                prop_assert_eq!(done.sound, text.len());
            }
            done.undo(&mut bytes);
            prop_assert_eq!(&bytes, &text.as_bytes()[..cut]);
        }
    }
}
