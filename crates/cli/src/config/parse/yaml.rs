//! YAML 1.2: the core schema, anchors and aliases; no tags but `!!str`, no merge keys.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::Number;

use super::super::node::{DEEPEST, Entry, Node, Value};
use super::SyntaxError;

/// The most values a file may have once its aliases stand for what they mean: a few lines of
/// aliases of aliases would otherwise fill the memory.
const MOST_NODES: usize = 100_000;

pub(super) fn parse(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(scan_error(&error)),
        };
        if let Err(error) = step {
            return (None, vec![error]);
        }
    }
    let root = builder.root.unwrap_or_else(|| Node::new(Value::Null, 1));
    (Some(root), Vec::new())
}

fn scan_error(error: &ScanError) -> SyntaxError {
    let message = format!("is not YAML: {}", error.info());
    SyntaxError::new(error.marker().line(), message)
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

/// A list or table whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// A key that waits for its value.
    key: Option<(String, usize)>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let line = span.start.line();
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                if self.root.is_some() {
                    let message = "begins a second document; expected one document in a file";
                    return Err(SyntaxError::new(line, message));
                }
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    let message = "is an alias of something that it is itself a part of";
                    return Err(SyntaxError::new(line, message));
                };
                node.line = line;
                self.count(size(&node), line)?;
                self.value(node)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = style != ScalarStyle::Plain || is_text(tag.as_deref(), line)?;
                let value = if as_text {
                    Value::Text(text.into_owned())
                } else {
                    plain(&text)
                };
                let node = Node::new(value, line);
                self.count(1, line)?;
                self.anchor(anchor, &node);
                self.value(node)?;
            }
            Event::SequenceStart(anchor, _) => self.begin(Value::List(Vec::new()), anchor, line)?,
            Event::MappingStart(anchor, _) => self.begin(Value::Table(Vec::new()), anchor, line)?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { node, anchor, .. }) = self.open.pop() {
                    self.anchor(anchor, &node);
                    self.value(node)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), SyntaxError> {
        self.count(1, line)?;
        if self.open.len() >= DEEPEST {
            return Err(SyntaxError::new(line, "is nested too deeply"));
        }
        let node = Node::new(value, line);
        let key = None;
        self.open.push(Open { node, anchor, key });
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, node: Node) -> Result<(), SyntaxError> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::Table(entries) => match open.key.take() {
                Some((key, line)) => entries.push(Entry::new(key, line, node)),
                None => open.key = Some((key_text(&node)?, node.line)),
            },
            Value::List(items) => items.push(node),
            _ => {}
        }
        Ok(())
    }

    fn anchor(&mut self, anchor: usize, node: &Node) {
        // The parser numbers anchors from 1; 0 is a node without one.
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn count(&mut self, more: usize, line: usize) -> Result<(), SyntaxError> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            let message = format!("is too large; expected at most {MOST_NODES} values in a file");
            return Err(SyntaxError::new(line, message));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Table(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
        _ => 0,
    }
}

fn key_text(node: &Node) -> Result<String, SyntaxError> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::List(_) | Value::Table(_) | Value::Broken => {
            let message = "has a list or a table as a key; expected text";
            Err(SyntaxError::new(node.line, message))
        }
    }
}

fn is_text(tag: Option<&Tag>, line: usize) -> Result<bool, SyntaxError> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => {
            let message = format!("has the tag `{tag}`; expected no tag but `!!str`");
            Err(SyntaxError::new(line, message))
        }
    }
}

/// A scalar without quotes, by the core schema of YAML 1.2: `yes` and `off` are text there.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let integer = if let Some(digits) = text.strip_prefix("0x") {
        u64::from_str_radix(digits, 16).ok().map(Number::from)
    } else if let Some(digits) = text.strip_prefix("0o") {
        u64::from_str_radix(digits, 8).ok().map(Number::from)
    } else {
        text.parse::<i64>().ok().map(Number::from)
    };
    // Rust also reads words such as `inf` and `nan` as numbers; here they are text.
    let digits = text.bytes().any(|c| c.is_ascii_digit());
    let letters = text
        .bytes()
        .any(|c| c.is_ascii_alphabetic() && !matches!(c, b'e' | b'E'));
    let float = || text.parse().ok().and_then(Number::from_f64);
    match integer {
        Some(number) => Value::Number(number),
        None if digits && !letters => {
            float().map_or_else(|| Value::Text(text.to_owned()), Value::Number)
        }
        None => Value::Text(text.to_owned()),
    }
}
