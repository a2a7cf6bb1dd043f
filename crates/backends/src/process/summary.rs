//! What may be said of what a process wrote to its standard error.
//!
//! A server writes there whatever it likes: colours, secrets that it was given, paths, traces. The
//! log gets it without control characters and without the values of its environment; a caller gets
//! one line, without paths and without what looks like a credential.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

/// The most characters that a caller is told.
const MAX_CHARS: usize = 200;
/// Shorter values of the environment are no secrets, and are in any text (`1`, `true`, `debug`).
const LEAST_SECRET: usize = 6;
/// Words of letters and digits that are at least this long may be credentials.
const LEAST_CREDENTIAL: usize = 24;
/// What stands in the place of what was taken out.
const REDACTED: &str = "[redacted]";

/// The values that a process was given and that nobody else is to see.
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(crate) fn new(env: &BTreeMap<String, SecretString>) -> Self {
        // Of a value of several lines, such as a key, each is written as a line of its own.
        let lines = env
            .values()
            .flat_map(|value| value.expose_secret().split(['\r', '\n']));
        let long = lines.filter(|line| line.len() >= LEAST_SECRET);
        let mut secrets: Vec<_> = long.map(SecretString::from).collect();
        // One that is part of another would leave the rest of it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self(secrets)
    }

    /// The length of the longest value, in bytes. What is cut off a text may leave so much of one
    /// that is not recognised any more.
    pub(crate) fn longest(&self) -> usize {
        self.0
            .first()
            .map_or(0, |secret| secret.expose_secret().len())
    }

    /// The line for the log: on one line whatever is in it, and without the values.
    pub(crate) fn line(&self, text: &str) -> String {
        escaped(&self.without_values(text))
    }

    /// As [`Redactor::line`] for a line whose end is not known; no longer than `max` bytes before
    /// control characters are escaped.
    pub(crate) fn beginning_of_line(&self, text: &str, max: usize) -> String {
        let text = self.without_values(text);
        let certain = text.len().saturating_sub(self.longest());
        let end = text.floor_char_boundary(certain.min(max));
        escaped(&text[..end]) + "…"
    }

    /// As [`Redactor::line`] for a line whose beginning is not known.
    pub(crate) fn end_of_line(&self, text: &str) -> String {
        let text = self.without_values(text);
        let start = text.ceil_char_boundary(self.longest());
        escaped(&text[start..])
    }

    fn without_values(&self, text: &str) -> String {
        let mut text = without_colours(text);
        for secret in &self.0 {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), REDACTED);
            }
        }
        text
    }
}

/// The one line that says most about an end, for a caller; `None` if there is none.
///
/// `lines` are as [`Redactor::line`] makes them.
pub(crate) fn summary<'l>(
    lines: impl DoubleEndedIterator<Item = &'l str> + Clone,
) -> Option<String> {
    // Lines of a trace, and what belongs to the line before, begin with blanks.
    let mut whole = lines
        .rev()
        .filter(|line| !line.is_empty() && !line.starts_with([' ', '\t', '\\']));
    let telling = whole.clone().find(|line| {
        let line = line.to_ascii_lowercase();
        [
            "error",
            "exception",
            "panic",
            "fatal",
            "not found",
            "cannot",
            "denied",
            "failed",
        ]
        .iter()
        .any(|word| line.contains(word))
    });
    let line = telling.or_else(|| whole.next())?;
    let words = line.split(' ').map(safe_word).collect::<Vec<_>>().join(" ");
    let mut summary: String = words.chars().take(MAX_CHARS).collect();
    if summary.len() < words.len() {
        summary.pop();
        summary.push('…');
    }
    Some(summary)
}

/// A word without a path of the host, and no credential.
fn safe_word(word: &str) -> String {
    let trimmed =
        word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '\\' | '~'));
    if let Some((_, address)) = trimmed.split_once("://")
        && !trimmed.starts_with("file:")
    {
        // The name of another server may be known; who one is there, and what is asked for, not.
        let host = address.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        return word.replace(address, host);
    }
    let is_path = trimmed.starts_with("file:")
        || trimmed.starts_with("~/")
        || (trimmed.contains('/') && path_begins(trimmed))
        || trimmed.contains(":\\");
    if is_path {
        let name = trimmed.rsplit(['/', '\\']).next().unwrap_or_default();
        return word.replace(trimmed, &format!("…/{name}"));
    }
    let looks_like_credential = word
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.')))
        .any(|part| {
            part.len() >= LEAST_CREDENTIAL
                && part.contains(|c: char| c.is_ascii_digit())
                && part.contains(|c: char| c.is_ascii_alphabetic())
        });
    if looks_like_credential {
        return REDACTED.to_owned();
    }
    word.to_owned()
}

/// Whether an absolute path begins in the word: a slash at its beginning or behind something that is
/// no part of a name, as in `path=/home/me`.
fn path_begins(word: &str) -> bool {
    word.match_indices('/').any(|(at, _)| {
        let before = word[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '/' | '.' | '_' | '-' | '@'))
    })
}

/// Without the sequences by which terminals are told colours.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.as_str().starts_with('[') {
            // Ends with the first letter.
            let _ = chars.find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

/// With each control character as its escape, but tabs, which become blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\t' => out.push(' '),
            // What changes the direction or the place of other text is no better.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(values: &[&str]) -> Redactor {
        let env = values.iter().enumerate();
        Redactor::new(
            &env.map(|(at, value)| (at.to_string(), (*value).into()))
                .collect(),
        )
    }

    #[test]
    fn the_log_gets_neither_control_characters_nor_secrets() {
        let redactor = redactor(&["hunter2hunter2", "hunter2", "1"]);
        for (text, line) in [
            (
                "key hunter2hunter2, hunter2!",
                "key [redacted], [redacted]!",
            ),
            ("1 of 1", "1 of 1"),
            ("\u{1b}[31mred\u{1b}[0m text\r\n", "red text"),
            ("a\nb\u{7}\u{202e}c", "a\\nb\\u{7}\\u{202e}c"),
            ("\thead", " head"),
            ("hun\u{1b}[1mter2", "[redacted]"),
        ] {
            assert_eq!(redactor.line(text), line);
        }
    }

    #[test]
    fn each_line_of_a_value_is_one() {
        let redactor = redactor(&["-----BEGIN KEY-----\nMIIEvQIBADAN\r\nx\n"]);
        assert_eq!(redactor.line("read MIIEvQIBADAN x"), "read [redacted] x");
    }

    #[test]
    fn nothing_of_a_value_is_left_at_a_cut() {
        let secret = "0123456789";
        let redactor = redactor(&[secret]);
        let text = format!("{:40}{secret}{:40}", "", "");
        for at in 0..text.len() {
            for line in [
                redactor.beginning_of_line(&text[..at], 60),
                redactor.end_of_line(&text[at..]),
            ] {
                assert!(!line.contains(|c: char| c.is_ascii_digit()), "{at}: {line}");
            }
        }
    }

    #[test]
    fn a_caller_is_told_the_line_that_says_most() {
        let node = "node:internal/modules/cjs/loader:1228\n  throw err;\n  ^\n\nError: Cannot find module '/srv/app/server.js'\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15) {\n  code: 'MODULE_NOT_FOUND'\n}\n\nNode.js v22.1.0";
        let python = "Traceback (most recent call last):\n  File \"/srv/app/x.py\", line 1, in <module>\n    import nothing\nModuleNotFoundError: No module named 'nothing'";
        for (text, told) in [
            (node, Some("Error: Cannot find module '…/server.js'")),
            (
                python,
                Some("ModuleNotFoundError: No module named 'nothing'"),
            ),
            ("listening\nbye", Some("bye")),
            (
                "config=/etc/app/x.toml: permission denied",
                Some("…/x.toml: permission denied"),
            ),
            (
                "error at https://me:secret@example.com/path?key=1",
                Some("error at https://example.com"),
            ),
            (
                "fatal: bad key sk-abc123def456ghi789jkl012",
                Some("fatal: bad key [redacted]"),
            ),
            (
                "npm error 404 Not Found: @scope/no-such-package",
                Some("npm error 404 Not Found: @scope/no-such-package"),
            ),
            ("\n  \n", None),
        ] {
            assert_eq!(summary(text.lines()).as_deref(), told, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_the_summary_is_one_short_line_without_secrets(
            before in ".{0,300}", after in ".{0,300}", secret in "[a-zA-Z0-9]{8,40}",
        ) {
            let redactor = redactor(&[&secret]);
            let line = redactor.line(&format!("{before}{secret}{after}"));
            prop_assert!(!line.contains(&secret));
            if let Some(told) = summary([&*line].into_iter()) {
                prop_assert!(told.chars().count() <= MAX_CHARS);
                prop_assert!(!told.contains(|c: char| c.is_control()));
                prop_assert!(!told.contains(&secret));
            }
        }
    }
}
