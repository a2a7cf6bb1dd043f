//! What a server says in `WWW-Authenticate` about what it wants (RFC 6750, 3; RFC 9728, 5.1).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// The most bytes of challenges that are read.
const MAX_CHALLENGE: usize = 8 * 1024;

/// What of a challenge matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// `error`.
    pub(crate) error: Option<String>,
    /// `scope`.
    pub(crate) scope: Option<String>,
    /// `resource_metadata`.
    pub(crate) resource_metadata: Option<String>,
}

impl Challenge {
    /// What these headers say.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut challenge = Self::default();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            if text.len() <= MAX_CHALLENGE {
                for_each_parameter(text, |name, value| challenge.take(name, value));
            }
        }
        challenge
    }

    fn take(&mut self, name: &str, value: String) {
        let place = match () {
            () if name.eq_ignore_ascii_case("error") => &mut self.error,
            () if name.eq_ignore_ascii_case("scope") => &mut self.scope,
            () if name.eq_ignore_ascii_case("resource_metadata") => &mut self.resource_metadata,
            () => return,
        };
        place.get_or_insert(value);
    }
}

/// Reads `name=value` and `name="value"`, whatever schemes stand between them.
fn for_each_parameter(text: &str, mut each: impl FnMut(&str, String)) {
    let mut rest = text;
    while let Some(equals) = rest.find('=') {
        let before = &rest[..equals];
        let name = before.rsplit([' ', ',', '\t']).next().unwrap_or_default();
        let after = &rest[equals + 1..];
        let (value, end) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, length) = unquoted(quoted);
                (value, length + 1)
            }
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
                (after[..end].to_owned(), end)
            }
        };
        each(name, value);
        rest = &after[end..];
    }
}

/// What stands in front of the closing quotation mark, and the length with it.
fn unquoted(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => {
                value.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => return (value, at + 1),
            _ => value.push(c),
        }
    }
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&'static str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_static(value));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn parameters_are_found_among_others() {
        let found = challenge(&[
            r#"Basic realm="a=b, scope=\"none\"", Bearer error="insufficient_scope", scope="a b", resource_metadata="https://x/y?z=1""#,
        ]);
        assert_eq!(found.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(found.scope.as_deref(), Some("a b"));
        assert_eq!(found.resource_metadata.as_deref(), Some("https://x/y?z=1"));
        let found = challenge(&["Basic", "Bearer scope=a,error=invalid_token"]);
        assert_eq!(found.scope.as_deref(), Some("a"));
        assert_eq!(found.error.as_deref(), Some("invalid_token"));
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in ["", "=", "\"", "a=\"", "a=\"\\", "=\"=\",=,", "Bearer"] {
            let mut headers = HeaderMap::new();
            let value = http::HeaderValue::from_str(text).expect("a value");
            headers.insert(WWW_AUTHENTICATE, value);
            assert_eq!(Challenge::of(&headers), Challenge::default(), "{text}");
        }
    }
}
