//! From the text of a file to [`Node`]s.
//!
//! figment's own providers read the same three formats, but they know no lines, drop all but the
//! last of several equal keys, and stop at the first mistake.

mod json;
mod toml;
mod yaml;

use std::collections::BTreeMap;

use super::node::{Node, Path, Value};

/// A mistake in the form of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) path: Path,
    pub(super) message: String,
}

impl SyntaxError {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            path: Path::default(),
            message: message.into(),
        }
    }
}

/// Reads a file's text. What could be read is returned beside the mistakes; `None` if nothing
/// could.
pub(super) fn parse(file: &std::path::Path, bytes: &[u8]) -> (Option<Node>, Vec<SyntaxError>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            let message = "is not UTF-8; expected a text file in UTF-8";
            return (None, vec![SyntaxError::new(line, message)]);
        }
    };
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or("");
    let (node, mut errors) = match extension.to_ascii_lowercase().as_str() {
        "json" | "jsonc" | "json5" => json::parse(text),
        "toml" => toml::parse(text),
        "yaml" | "yml" => yaml::parse(text),
        // Also what has no name to go by, such as standard input.
        _ if text.trim_start().starts_with(['{', '/']) => json::parse(text),
        _ => yaml::parse(text),
    };
    if let Some(node) = &node {
        duplicates(node, &Path::default(), &mut errors);
    }
    (node, errors)
}

fn duplicates(node: &Node, path: &Path, errors: &mut Vec<SyntaxError>) {
    if let Value::List(items) = &node.value {
        for (at, item) in items.iter().enumerate() {
            duplicates(item, &path.item(at), errors);
        }
    }
    let mut first_lines = BTreeMap::new();
    for entry in node.entries() {
        let path = path.entry(entry);
        duplicates(&entry.node, &path, errors);
        if let Some(first) = first_lines.get(&entry.key) {
            errors.push(SyntaxError {
                line: entry.line,
                path,
                message: format!(
                    "is here a second time, after line {first}; expected every key once"
                ),
            });
        } else {
            first_lines.insert(&entry.key, entry.line);
        }
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(breaks.map(|(at, _)| at).collect())
    }

    /// The line, counted from 1, that holds the byte `at`.
    fn line(&self, at: usize) -> usize {
        1 + self.0.partition_point(|&end| end < at)
    }
}

/// Reads a value that stands in a line of its own, as in a variable; `None` if it is malformed.
pub(super) fn inline(text: &str) -> Option<Value> {
    match yaml::parse(text) {
        (Some(node), errors) if errors.is_empty() => Some(node.value),
        _ => None,
    }
}
