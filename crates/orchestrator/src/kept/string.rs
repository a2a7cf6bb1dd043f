//! The text of a JSON string that comes in pieces, cut anywhere.

/// Undoes the escapes of one string, as [`json::unescape`](switchboard_protocol::json::unescape)
/// does of a whole one: half of a surrogate pair becomes U+FFFD.
#[derive(Debug, Default)]
pub(super) struct StringDecoder {
    state: State,
    /// The first half of a surrogate pair, whose second half should follow.
    high: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the opening quote.
    #[default]
    Before,
    Plain,
    Escape,
    /// Behind `\u` and so many digits, which make this.
    Unicode(u8, u32),
    /// Behind the closing quote.
    Behind,
}

impl StringDecoder {
    /// Takes the next bytes of the string, which is valid JSON with its quotes, and adds its text.
    pub(super) fn push(&mut self, written: &[u8], out: &mut Vec<u8>) {
        let mut rest = written;
        while let Some((&byte, behind)) = rest.split_first() {
            match self.state {
                State::Before => self.state = State::Plain,
                State::Plain => {
                    let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    if plain > 0 {
                        self.end_pair(out);
                        out.extend_from_slice(&rest[..plain]);
                        rest = &rest[plain..];
                        continue;
                    }
                    match byte {
                        b'\\' => self.state = State::Escape,
                        _ => {
                            self.end_pair(out);
                            self.state = State::Behind;
                        }
                    }
                }
                State::Escape if byte == b'u' => self.state = State::Unicode(0, 0),
                State::Escape => {
                    self.end_pair(out);
                    out.push(match byte {
                        b'b' => 0x8,
                        b'f' => 0xc,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        other => other,
                    });
                    self.state = State::Plain;
                }
                State::Unicode(digits, value) => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    let value = value << 4 | digit;
                    self.state = match digits {
                        3 => {
                            self.unit(value, out);
                            State::Plain
                        }
                        digits => State::Unicode(digits + 1, value),
                    };
                }
                State::Behind => return,
            }
            rest = behind;
        }
    }

    /// Nothing more comes, whether or not the string has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_pair(out);
    }

    fn unit(&mut self, unit: u32, out: &mut Vec<u8>) {
        let code = match (self.high, unit) {
            (Some(high), 0xdc00..0xe000) => {
                self.high = None;
                0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00)
            }
            (_, 0xd800..0xdc00) => {
                self.end_pair(out);
                self.high = Some(unit);
                return;
            }
            _ => {
                self.end_pair(out);
                unit
            }
        };
        push(
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            out,
        );
    }

    /// What follows is no second half.
    fn end_pair(&mut self, out: &mut Vec<u8>) {
        if self.high.take().is_some() {
            push(char::REPLACEMENT_CHARACTER, out);
        }
    }
}

fn push(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switchboard_protocol::json;

    use super::*;

    fn decoded(written: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut decoder, mut out, mut from) = (StringDecoder::default(), Vec::new(), 0);
        for cut in cuts.iter().map(|cut| cut % (written.len() + 1)) {
            let until = cut.max(from);
            decoder.push(&written[from..until], &mut out);
            from = until;
        }
        decoder.push(&written[from..], &mut out);
        decoder.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn it_is_the_text_of_the_whole_string_wherever_it_is_cut(
            units in prop::collection::vec(prop_oneof![
                "[ -!#-\\[\\]-~]{1,4}",
                "\\PC".prop_map(|text| text.replace(['"', '\\'], "")),
                prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\b", "\\f", "\\r", "\\t"]).prop_map(str::to_owned),
                (0u32..0x10000).prop_map(|unit| format!("\\u{unit:04x}")),
                (0xd800u32..0xe000).prop_map(|unit| format!("\\u{unit:04X}")),
            ], 0..20),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let written = format!("\"{}\"", units.concat());
            cuts.sort_by_key(|cut| cut.index(written.len() + 1));
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(written.len() + 1)).collect();
            let expected = json::as_str(written.as_bytes()).expect("a string").into_owned();
            prop_assert_eq!(decoded(written.as_bytes(), &cuts), expected.into_bytes());
        }
    }
}
