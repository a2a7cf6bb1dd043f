//! What a file says, with the line of every key and value.

use serde_json::Number;

/// The deepest nesting that is read. The configuration's own is six.
pub(super) const DEEPEST: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Counted from 1; 0 for a value that comes from no file.
    pub(super) line: usize,
    /// Whether the text, or a part of it, came from a variable or a file. Such a text may be a
    /// secret, so no message shows it, and may stand for a number, for variables are always text.
    pub(super) expanded: bool,
}

/// The values that YAML, TOML and JSON share.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A text whose variables could not be expanded. The mistake has been reported.
    Broken,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The key in the file's own words, which messages use: a client's file says `includeTools`
    /// where the key is `include_tools`.
    pub(super) written: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

impl Entry {
    /// What is said about a value is said on the line of its key, where readers look first.
    pub(super) fn new(key: impl Into<String>, line: usize, node: Node) -> Self {
        let key = key.into();
        Self {
            written: key.clone(),
            key,
            line,
            node: Node { line, ..node },
        }
    }

    /// The same under another key; messages keep the file's word.
    pub(super) fn renamed(self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self
        }
    }
}

impl Node {
    pub(super) fn new(value: Value, line: usize) -> Self {
        Self {
            value,
            line,
            expanded: false,
        }
    }

    pub(super) fn text(text: impl Into<String>, line: usize) -> Self {
        Self::new(Value::Text(text.into()), line)
    }

    /// The entries of a table; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.value {
            Value::Table(entries) => entries,
            _ => &mut [],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Whether there is anything at this path of keys.
    pub(super) fn has(&self, keys: &[String]) -> bool {
        match keys {
            [] => true,
            [key, rest @ ..] => self.get(key).is_some_and(|entry| entry.node.has(rest)),
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The way to a value from the root, in the keys' own names and in the file's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) keys: Vec<String>,
    pub(super) written: Vec<String>,
}

impl Path {
    pub(super) fn entry(&self, entry: &Entry) -> Self {
        self.extended(&entry.key, &entry.written)
    }

    pub(super) fn item(&self, at: usize) -> Self {
        let segment = format!("[{at}]");
        self.extended(&segment, &segment)
    }

    fn extended(&self, key: &str, written: &str) -> Self {
        let mut path = self.clone();
        path.keys.push(key.to_owned());
        path.written.push(written.to_owned());
        path
    }

    /// The path as messages show it: `auth.api_keys[0].name`, `backends."my server".url`.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::new();
        for segment in &self.written {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let index = segment.starts_with('[') && segment.ends_with(']');
            if !shown.is_empty() && !index {
                shown.push('.');
            }
            if index || (!segment.is_empty() && segment.chars().all(plain)) {
                shown.push_str(segment);
            } else {
                shown.push_str(&format!("{segment:?}"));
            }
        }
        shown
    }
}
