//! What is asked of a kept result: a range of it, or where a text is in it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::SCHEME;

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
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written<'w> {
    #[serde(borrow)]
    uri: Option<Cow<'w, str>>,
    #[serde(borrow)]
    id: Option<Cow<'w, str>>,
    offset: Option<u64>,
    length: Option<u64>,
    #[serde(borrow)]
    search: Option<Cow<'w, str>>,
    context: Option<usize>,
    max_matches: Option<usize>,
}

impl Request {
    /// That of a URI, such as `switchboard-result://ID?offset=4096&length=1024`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn of_uri(uri: &str) -> Result<Self, String> {
        let (id, written) = read_uri(uri)?;
        written.request(id)
    }

    /// That of the tool's arguments, an object.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub(super) fn of_arguments(arguments: Option<&[u8]>) -> Result<Self, String> {
        let written: Written<'_> = serde_json::from_slice(arguments.unwrap_or(b"{}"))
            .map_err(|error| format!("The arguments do not fit: {error}."))?;
        let (id, of_uri) = match (&written.uri, &written.id) {
            // Either may be given for the other.
            (Some(uri), _) | (None, Some(uri)) if uri.starts_with(SCHEME) => {
                let (id, of_uri) = read_uri(uri)?;
                (id, Some(of_uri))
            }
            (Some(id), _) | (None, Some(id)) => (&**id, None),
            (None, None) => return Err("`uri` says which result to read.".to_owned()),
        };
        let of_uri = of_uri.unwrap_or_default();
        let all = Written {
            uri: None,
            id: None,
            offset: written.offset.or(of_uri.offset),
            length: written.length.or(of_uri.length),
            search: written.search.clone().or(of_uri.search),
            context: written.context.or(of_uri.context),
            max_matches: written.max_matches.or(of_uri.max_matches),
        };
        all.request(id)
    }
}

/// The id in a URI, and what stands behind it.
fn read_uri(uri: &str) -> Result<(&str, Written<'_>), String> {
    if uri.len() > MAX_URI {
        return Err(format!("A URI has at most {MAX_URI} bytes."));
    }
    let rest = uri.strip_prefix(SCHEME).unwrap_or(uri);
    let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut written = Written::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| format!("`{}` is no whole number.", shown(key)))
        };
        let count = || number().map(|it| usize::try_from(it).unwrap_or(usize::MAX));
        match key {
            "offset" | "after" => written.offset = Some(number()?),
            "length" => written.length = Some(number()?),
            "context" => written.context = Some(count()?),
            "max_matches" => written.max_matches = Some(count()?),
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
                if text.is_empty() || text.chars().count() > MAX_NEEDLE {
                    return Err(format!("`search` has 1 to {MAX_NEEDLE} characters."));
                }
                What::Search(Search {
                    text: text.into_owned(),
                    from: offset,
                    context: self.context.unwrap_or(CONTEXT).min(MAX_CONTEXT),
                    most: self.max_matches.unwrap_or(MATCHES).clamp(1, MAX_MATCHES),
                })
            }
            None if self.length == Some(0) => return Err("`length` is at least 1.".to_owned()),
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
        for wrong in [
            "x?offset=-1",
            "x?length=0",
            "x?search=",
            "x?search=%ff",
            "x?page=2",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
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
        for wrong in [
            "{}",
            "[]",
            r#"{"id":7}"#,
            r#"{"id":"x","page":1}"#,
            r#"{"id":"x","offset":-1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Request::of_arguments(None).is_err());
    }
}
