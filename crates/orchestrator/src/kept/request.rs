//! What is asked of a kept result: a range of it, or where a text is in it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::SCHEME;
use crate::config::nearest;

/// The longest URI, in bytes.
const MAX_URI: usize = 2048;
/// The longest text that is looked for, in characters.
const MAX_NEEDLE: usize = 256;
/// How much is shown on both sides of a match: unless said otherwise, and at most, in bytes.
const CONTEXT: usize = 100;
const MAX_CONTEXT: usize = 1000;
/// How many matches are told: unless said otherwise, and at most.
const MATCHES: usize = 20;
const MAX_MATCHES: usize = 100;

/// A request to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Of which result.
    pub(super) id: String,
    pub(super) what: What,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// What begins at `offset`.
    Range {
        /// In bytes.
        offset: u64,
        /// The most bytes wanted.
        length: Option<u64>,
    },
    /// Where a text is, whatever its case.
    Search(Search),
}

/// A text that is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) text: String,
    /// From this byte on.
    pub(super) from: u64,
    /// How much is shown on both sides of a match, in bytes.
    pub(super) context: usize,
    /// How many matches are told.
    pub(super) most: usize,
}

/// What may be asked for, as it was written.
#[derive(Debug, Default)]
struct Written<'w> {
    offset: Option<u64>,
    length: Option<u64>,
    search: Option<Cow<'w, str>>,
    context: Option<usize>,
    max_matches: Option<usize>,
}

impl Request {
    /// That of a URI, such as `switchboard-result://ID?offset=4096&length=1024`.
    ///
    /// # Errors
    /// Says what is wrong with it, and what would be right.
    pub(super) fn of_uri(uri: &str) -> Result<Self, String> {
        let (id, written) = read_uri(uri)?;
        written.request(id)
    }

    /// That of the tool's arguments, an object.
    ///
    /// # Errors
    /// Says what is wrong with them, and what would be right, for a model to put right.
    pub(super) fn of_arguments(arguments: Option<&[u8]>) -> Result<Self, String> {
        let arguments = Arguments::read(arguments.unwrap_or(b"{}"))?;
        let uri = arguments.text("uri", A_URI)?;
        let id = arguments.text("id", "the ID of a kept result")?;
        let (id, of_uri) = match (uri, id) {
            // Either may be given for the other.
            (Some(uri), _) | (None, Some(uri)) if uri.starts_with(SCHEME) => read_uri(uri)?,
            (Some(id), _) | (None, Some(id)) => (id, Written::default()),
            (None, None) => return Err(format!("`uri` is missing; expected {A_URI}.")),
        };
        let search = arguments.text("search", A_NEEDLE)?.map(Cow::Borrowed);
        let all = Written {
            offset: arguments.number("offset", 0)?.or(of_uri.offset),
            length: arguments.number("length", 1)?.or(of_uri.length),
            search: search.or(of_uri.search),
            context: arguments
                .number("context", 0)?
                .map(count)
                .or(of_uri.context),
            max_matches: arguments
                .number("max_matches", 0)?
                .map(count)
                .or(of_uri.max_matches),
        };
        all.request(id)
    }
}

/// What `uri` is expected to be.
const A_URI: &str = "the URI of a kept result as text, such as `switchboard-result://ID`";
/// What `search` is expected to be.
const A_NEEDLE: &str = "a text of 1 to 256 characters";
/// The arguments of the tool.
const ARGUMENTS: [&str; 7] = [
    "uri",
    "id",
    "offset",
    "length",
    "search",
    "context",
    "max_matches",
];

/// The arguments of the tool, none of which is unknown.
struct Arguments(Map<String, Value>);

impl Arguments {
    fn read(json: &[u8]) -> Result<Self, String> {
        let arguments = serde_json::from_slice(json)
            .map_err(|error| format!("The arguments cannot be read: {error}."))?;
        let arguments: Map<String, Value> = match arguments {
            Value::Object(arguments) => arguments,
            other => {
                return Err(format!(
                    "The arguments are {}; expected an object with `uri`.",
                    described(&other)
                ));
            }
        };
        match arguments.keys().find(|key| !ARGUMENTS.contains(&&***key)) {
            None => Ok(Self(arguments)),
            Some(unknown) => {
                let meant = match &**unknown {
                    // As a URI has it.
                    "after" => Some("offset"),
                    unknown => nearest(unknown, ARGUMENTS),
                };
                let meant = meant.map(|meant| format!(" Did you mean `{meant}`?"));
                Err(format!(
                    "`{}` is no argument of this tool; expected `{}`.{}",
                    shown(unknown),
                    ARGUMENTS.join("`, `"),
                    meant.unwrap_or_default()
                ))
            }
        }
    }

    /// An argument; nothing is the same as `null`.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str, expected: &str) -> Result<Option<&str>, String> {
        let text = self.get(key).map(|value| {
            let wrong = || format!("`{key}` is {}; expected {expected}.", described(value));
            value.as_str().ok_or_else(wrong)
        });
        text.transpose()
    }

    fn number(&self, key: &str, least: u64) -> Result<Option<u64>, String> {
        let number = self.get(key).map(|value| {
            let number = value.as_u64().filter(|number| *number >= least);
            number.ok_or_else(|| no_number(key, &described(value), least))
        });
        number.transpose()
    }
}

fn no_number(key: &str, value: &str, least: u64) -> String {
    format!("`{key}` is {value}; expected a whole number of at least {least}.")
}

/// What a value is, as a part of a message.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "`null`".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("`{}`", shown(&number.to_string())),
        Value::String(text) => format!("the text `{}`", shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The id in a URI, and what stands behind it.
fn read_uri(uri: &str) -> Result<(&str, Written<'_>), String> {
    if uri.len() > MAX_URI {
        return Err(format!(
            "`uri` has {} bytes; expected at most {MAX_URI}.",
            uri.len()
        ));
    }
    let rest = uri.strip_prefix(SCHEME).unwrap_or(uri);
    let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut written = Written::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = |least: u64| {
            let number = value.parse::<u64>().ok();
            let wrong = || no_number(key, &format!("`{}`", shown(value)), least);
            number.filter(|number| *number >= least).ok_or_else(wrong)
        };
        match key {
            "offset" | "after" => written.offset = Some(number(0)?),
            "length" => written.length = Some(number(1)?),
            "context" => written.context = Some(count(number(0)?)),
            "max_matches" => written.max_matches = Some(count(number(0)?)),
            "search" => {
                let text = percent_decode_str(value).decode_utf8();
                let text = text.map_err(|_| "`search` is no text in UTF-8.".to_owned())?;
                written.search = Some(text);
            }
            other => {
                return Err(format!(
                    "`{}` cannot be asked for; expected `offset`, `length`, `search`, `context`, \
                     `after` or `max_matches`.",
                    shown(other)
                ));
            }
        }
    }
    Ok((id.trim_end_matches('/'), written))
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

impl Written<'_> {
    fn request(self, id: &str) -> Result<Request, String> {
        let offset = self.offset.unwrap_or(0);
        let what = match self.search {
            Some(text) => {
                let long = text.chars().count();
                if !(1..=MAX_NEEDLE).contains(&long) {
                    return Err(format!(
                        "`search` has {long} characters; expected {A_NEEDLE}."
                    ));
                }
                if self.length.is_some() {
                    return Err(
                        "`length` is for reading and `search` for searching; expected one of them. \
                         With `search`, `context` and `max_matches` say how much comes."
                            .to_owned(),
                    );
                }
                What::Search(Search {
                    text: text.into_owned(),
                    from: offset,
                    context: self.context.unwrap_or(CONTEXT).min(MAX_CONTEXT),
                    most: self.max_matches.unwrap_or(MATCHES).clamp(1, MAX_MATCHES),
                })
            }
            None => What::Range {
                offset,
                length: self.length,
            },
        };
        Ok(Request {
            id: id.to_owned(),
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(id: &str, offset: u64, length: Option<u64>) -> Request {
        Request {
            id: id.to_owned(),
            what: What::Range { offset, length },
        }
    }

    fn search(id: &str, text: &str, from: u64, context: usize, most: usize) -> Request {
        Request {
            id: id.to_owned(),
            what: What::Search(Search {
                text: text.to_owned(),
                from,
                context,
                most,
            }),
        }
    }

    #[test]
    fn a_uri_says_what_is_wanted() {
        let read = |rest: &str| Request::of_uri(&format!("switchboard-result://{rest}"));
        assert_eq!(read("x"), Ok(range("x", 0, None)));
        assert_eq!(read("x/?offset=7&length=9"), Ok(range("x", 7, Some(9))));
        assert_eq!(
            read("x?search=Z%C3%BCrich%26&context=5&after=3"),
            Ok(search("x", "Zürich&", 3, 5, 20))
        );
        assert_eq!(
            read("x?search=a&context=99999&max_matches=0"),
            Ok(search("x", "a", 0, 1000, 1))
        );
    }

    #[test]
    fn the_tool_takes_a_uri_or_an_id() {
        let read = |text: &str| Request::of_arguments(Some(text.as_bytes()));
        let uri = r#"{"uri":"switchboard-result://x?offset=1&length=2","offset":5}"#;
        assert_eq!(read(uri), Ok(range("x", 5, Some(2))));
        assert_eq!(read(r#"{"id":"x"}"#), Ok(range("x", 0, None)));
        assert_eq!(read(r#"{"uri":"x"}"#), Ok(range("x", 0, None)));
        assert_eq!(
            read(r#"{"id":"switchboard-result://x","search":"\u00e9\n","max_matches":3}"#),
            Ok(search("x", "é\n", 0, 100, 3))
        );
        let nothing = r#"{"uri":"x","offset":null,"search":null,"id":null}"#;
        assert_eq!(read(nothing), Ok(range("x", 0, None)));
        assert!(Request::of_arguments(None).is_err());
    }

    /// What stands in a message after what is wrong.
    fn assert_told(read: impl Fn(&str) -> Result<Request, String>, wrong: &[(&str, &str)]) {
        for (text, told) in wrong {
            assert_eq!(read(text), Err((*told).to_owned()), "{text}");
        }
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_would_be_right() {
        let long = "x".repeat(257);
        let long = format!(r#"{{"uri":"x","search":"{long}"}}"#);
        let expected =
            "expected `uri`, `id`, `offset`, `length`, `search`, `context`, `max_matches`.";
        assert_told(
            |text| Request::of_arguments(Some(text.as_bytes())),
            &[
                (
                    "{}",
                    "`uri` is missing; expected the URI of a kept result as text, such as `switchboard-result://ID`.",
                ),
                (
                    "[]",
                    "The arguments are a list; expected an object with `uri`.",
                ),
                (
                    r#"{"uri":7}"#,
                    "`uri` is `7`; expected the URI of a kept result as text, such as `switchboard-result://ID`.",
                ),
                (
                    r#"{"id":{}}"#,
                    "`id` is an object; expected the ID of a kept result.",
                ),
                (
                    r#"{"uri":"x","offset":-1}"#,
                    "`offset` is `-1`; expected a whole number of at least 0.",
                ),
                (
                    r#"{"uri":"x","offset":"5"}"#,
                    "`offset` is the text `5`; expected a whole number of at least 0.",
                ),
                (
                    r#"{"uri":"x","length":0}"#,
                    "`length` is `0`; expected a whole number of at least 1.",
                ),
                (
                    r#"{"uri":"x","length":1.5}"#,
                    "`length` is `1.5`; expected a whole number of at least 1.",
                ),
                (
                    r#"{"uri":"x","search":[]}"#,
                    "`search` is a list; expected a text of 1 to 256 characters.",
                ),
                (
                    r#"{"uri":"x","search":""}"#,
                    "`search` has 0 characters; expected a text of 1 to 256 characters.",
                ),
                (
                    &long,
                    "`search` has 257 characters; expected a text of 1 to 256 characters.",
                ),
                (
                    r#"{"uri":"x","search":"a","context":true}"#,
                    "`context` is `true`; expected a whole number of at least 0.",
                ),
                (
                    r#"{"uri":"x","search":"a","length":9}"#,
                    "`length` is for reading and `search` for searching; expected one of them. With `search`, \
                     `context` and `max_matches` say how much comes.",
                ),
                (
                    r#"{"uri":"x","page":2}"#,
                    &format!("`page` is no argument of this tool; {expected}"),
                ),
                (
                    r#"{"uri":"x","after":2}"#,
                    &format!(
                        "`after` is no argument of this tool; {expected} Did you mean `offset`?"
                    ),
                ),
                (
                    r#"{"uri":"x","maxMatches":2}"#,
                    &format!(
                        "`maxMatches` is no argument of this tool; {expected} Did you mean `max_matches`?"
                    ),
                ),
            ],
        );
    }

    #[test]
    fn a_wrong_part_of_a_uri_is_named_with_what_would_be_right() {
        let long = format!("x?search={}", "y".repeat(3000));
        assert_told(
            Request::of_uri,
            &[
                (
                    "x?offset=-1",
                    "`offset` is `-1`; expected a whole number of at least 0.",
                ),
                (
                    "x?after=b",
                    "`after` is `b`; expected a whole number of at least 0.",
                ),
                (
                    "x?length=0",
                    "`length` is `0`; expected a whole number of at least 1.",
                ),
                (
                    "x?search=",
                    "`search` has 0 characters; expected a text of 1 to 256 characters.",
                ),
                ("x?search=%ff", "`search` is no text in UTF-8."),
                (
                    "x?page=2",
                    "`page` cannot be asked for; expected `offset`, `length`, `search`, `context`, `after` or `max_matches`.",
                ),
                (&long, "`uri` has 3009 bytes; expected at most 2048."),
            ],
        );
    }
}
