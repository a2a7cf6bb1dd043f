//! Checks what a file says against the JSON Schema of the configuration, and goes on after a
//! mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Number, Value as Json};
use switchboard_orchestrator::config::nearest;

use super::formats;
use super::node::{Entry, Node, Path, Value};
use super::parse;
use super::shape::{Shape, expected, names};

/// A mistake, and where it is.
pub(super) struct Mistake {
    pub(super) path: Path,
    pub(super) line: usize,
    pub(super) message: String,
}

/// Checks one file.
#[derive(Default)]
pub(super) struct Checker {
    /// Whether backends may have any name, as in a client's file.
    pub(super) any_backend_name: bool,
    pub(super) mistakes: Vec<Mistake>,
    /// What is valid, and probably not what was meant.
    pub(super) warnings: Vec<Mistake>,
    /// The keys whose values were taken out because of a mistake.
    pub(super) removed: Vec<Vec<String>>,
}

impl Checker {
    /// Checks `node` and takes out of it what is wrong, so that what is left can be checked
    /// further. `false` if `node` itself is to go.
    pub(super) fn check(
        &mut self,
        node: &mut Node,
        shape: Shape<'_>,
        path: &Path,
        secret: bool,
    ) -> bool {
        let secret = secret || shape.keyword("writeOnly") == &Json::Bool(true);
        let kept = !matches!(node.value, Value::Broken) && self.kind(node, shape, path, secret);
        if kept {
            match &mut node.value {
                Value::Table(entries) => self.table(entries, shape, path, secret),
                Value::List(items) => self.list(items, shape, path, secret),
                _ => {}
            }
        } else {
            self.removed.push(path.keys.clone());
        }
        kept
    }

    fn table(&mut self, entries: &mut Vec<Entry>, shape: Shape<'_>, path: &Path, secret: bool) {
        let present: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        entries.retain_mut(|entry| {
            let path = path.entry(entry);
            let known = shape.keys().find(|(key, _)| *key == entry.key);
            let inner = match known {
                Some((_, inner)) => inner,
                None => match shape.values() {
                    Some(inner) => {
                        self.own_key(entry, shape, &path);
                        inner
                    }
                    None => {
                        let meant = self.unknown_key(entry, shape, &path);
                        // Nothing is to be said about the lack of what was meant.
                        let lacking = meant.filter(|meant| !present.contains(*meant));
                        self.removed.extend(lacking.map(|key| sibling(&path, key)));
                        return false;
                    }
                },
            };
            self.check(&mut entry.node, inner, &path, secret)
        });
    }

    /// Reports a key that is not known; returns the one that was probably meant.
    fn unknown_key<'a>(&mut self, entry: &Entry, shape: Shape<'a>, path: &Path) -> Option<&'a str> {
        let known: Vec<&str> = shape.keys().map(|(key, _)| key).collect();
        let all = quoted(&known);
        let (message, meant) = match nearest(&entry.key, known) {
            Some(near) => {
                let message = format!("is not a known key; did you mean `{near}`?");
                (message, Some(near))
            }
            None => (format!("is not a known key; expected one of {all}"), None),
        };
        self.removed.push(path.keys.clone());
        self.mistake(path, entry.line, message);
        meant
    }

    /// Checks a key that the user chose.
    fn own_key(&mut self, entry: &Entry, shape: Shape<'_>, path: &Path) {
        let format = shape.keyword("propertyNames")["format"].as_str();
        if self.any_backend_name && format == Some("backend-name") {
            return;
        }
        if let Some(format) = format.and_then(formats::format)
            && let Err(problem) = (format.check)(&entry.key)
        {
            let message = format!("the key {problem}; expected {}", format.expected);
            self.mistake(path, entry.line, message);
        }
    }

    fn list(&mut self, items: &mut Vec<Node>, shape: Shape<'_>, path: &Path, secret: bool) {
        let Some(inner) = shape.items() else { return };
        for key in names(shape.keyword("x-unique")) {
            self.unique(key, items, path);
        }
        let mut at = 0;
        items.retain_mut(|item| {
            let path = path.item(at);
            at += 1;
            // Of lists the last file's is taken whole, so what an item lacks no other file adds.
            for key in inner.required() {
                if matches!(item.value, Value::Table(_)) && item.get(key).is_none() {
                    let message = format!("has no `{key}`; expected one");
                    self.removed.push(path.keys.clone());
                    self.mistake(&path, item.line, message);
                }
            }
            self.check(item, inner, &path, secret)
        });
    }

    /// Checks that no two items have the same text under `key`.
    fn unique(&mut self, key: &str, items: &[Node], path: &Path) {
        let mut first = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            let Some(entry) = item.get(key) else { continue };
            let Some(text) = entry.node.as_text() else {
                continue;
            };
            let earlier = *first.entry(text).or_insert(at);
            if earlier != at {
                let message = format!(
                    "is the same as that of {}; expected a different one for each",
                    path.item(earlier).shown()
                );
                let path = path.item(at).entry(entry);
                self.removed.push(path.keys.clone());
                self.mistake(&path, entry.line, message);
            }
        }
    }

    /// Checks everything about a value that is not inside it.
    fn kind(&mut self, node: &mut Node, shape: Shape<'_>, path: &Path, secret: bool) -> bool {
        if node.expanded {
            reinterpret(node, shape);
        }
        match wrong_with(node, shape, secret) {
            None => {
                if let Some(message) = probably_milliseconds(node, shape) {
                    self.warnings.push(Mistake {
                        path: path.clone(),
                        line: node.line,
                        message,
                    });
                }
                true
            }
            Some(message) => {
                self.mistake(path, node.line, message);
                false
            }
        }
    }

    fn mistake(&mut self, path: &Path, line: usize, message: String) {
        let path = path.clone();
        self.mistakes.push(Mistake {
            path,
            line,
            message,
        });
    }
}

/// The path of a key beside the one at `path`.
pub(super) fn sibling(path: &Path, key: &str) -> Vec<String> {
    let mut keys = path.keys.clone();
    keys.pop();
    keys.push(key.to_owned());
    keys
}

fn wrong_with(node: &Node, shape: Shape<'_>, secret: bool) -> Option<String> {
    if node.value == Value::Null && shape.nullable {
        return None;
    }
    let choices = shape.choices();
    if !choices.is_empty() {
        return wrong_choice(node, &choices, secret);
    }
    let fits = |name: &str| match &node.value {
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || (name == "integer" && !number.is_f64()),
        Value::Text(_) => name == "string",
        Value::List(_) => name == "array",
        Value::Table(_) => name == "object",
        Value::Null | Value::Broken => false,
    };
    if !shape.types().any(fits) {
        let mut message = format!("{}; expected {}", found(node, secret), expected(shape));
        if shape.types().any(|name| name == "string")
            && matches!(node.value, Value::Number(_) | Value::Bool(_))
            && shape.keyword("format").is_null()
        {
            message.push_str(": put it in quotes");
        }
        if shape.types().any(|name| name == "array") && node.as_text().is_some() {
            message.push_str(": write it as `[\"…\"]`");
        }
        return Some(message);
    }
    let problem = match &node.value {
        Value::Text(text) => wrong_text(text, shape),
        Value::Number(number) => wrong_number(number, shape),
        _ => None,
    };
    problem.map(|problem| {
        let value = shown(node, secret);
        // What is not shown is not shown in other words either.
        let meant = value.as_ref().and_then(|_| meant(node, shape));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        let value = value.unwrap_or_else(|| "the value".to_owned());
        format!("{value} {problem}; expected {}{meant}", expected(shape))
    })
}

/// What was probably meant by a text that is wrong.
fn meant(node: &Node, shape: Shape<'_>) -> Option<String> {
    let format = formats::format(shape.keyword("format").as_str()?)?;
    format.meant(node.as_text()?)
}

/// What to say of a number of seconds that is so large that milliseconds were meant.
fn probably_milliseconds(node: &Node, shape: Shape<'_>) -> Option<String> {
    const LARGE: f64 = 1000.0;
    let Value::Number(number) = &node.value else {
        return None;
    };
    let is_duration = shape.keyword("format").as_str()?.contains("duration");
    let seconds = number.as_f64().filter(|seconds| *seconds >= LARGE)?;
    if !is_duration {
        return None;
    }
    let is = humantime::format_duration(Duration::try_from_secs_f64(seconds).ok()?);
    let meant = humantime::format_duration(Duration::try_from_secs_f64(seconds / 1000.0).ok()?);
    Some(if node.expanded {
        "is a number of seconds above 1000; expected a unit, such as `3s` or `3000ms`".to_owned()
    } else {
        format!(
            "is {is}, since a number without a unit counts seconds; write `{meant}` or `{number}ms` \
             if that is meant, else `{is}`"
        )
    })
}

fn wrong_choice(node: &Node, choices: &[(&str, &str)], secret: bool) -> Option<String> {
    let known: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let text = node.as_text();
    if text.is_some_and(|text| known.contains(&text)) {
        return None;
    }
    let mut message = match shown(node, secret) {
        Some(value) => format!("is {value}; expected one of {}", quoted(&known)),
        None => format!("{}; expected one of {}", found(node, true), quoted(&known)),
    };
    if let Some(near) = text.and_then(|text| nearest(text, known)) {
        message.push_str(&format!("; did you mean `{near}`?"));
    }
    Some(message)
}

fn wrong_text(text: &str, shape: Shape<'_>) -> Option<String> {
    if shape.keyword("minLength").as_u64() > Some(0) && text.is_empty() {
        return Some("is empty".to_owned());
    }
    let format = formats::format(shape.keyword("format").as_str()?)?;
    (format.check)(text).err()
}

fn wrong_number(number: &Number, shape: Shape<'_>) -> Option<String> {
    let value = number.as_f64()?;
    let format = shape.keyword("format").as_str().unwrap_or("");
    if let Err(problem) = formats::check_seconds(format, value) {
        return Some(problem);
    }
    let minimum = shape.keyword("minimum").as_f64();
    let maximum = shape.keyword("maximum").as_f64();
    if minimum.is_some_and(|minimum| value < minimum) {
        return Some("is too small".to_owned());
    }
    if maximum.is_some_and(|maximum| value > maximum) {
        return Some("is too large".to_owned());
    }
    None
}

/// What a value is, as the beginning of a message.
fn found(node: &Node, secret: bool) -> String {
    let kind = match &node.value {
        Value::Null | Value::Broken => return "has no value".to_owned(),
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Table(_) => "a table of keys",
    };
    match shown(node, secret) {
        Some(value) => format!("is {value}"),
        None => format!("is {kind}"),
    }
}

/// A value in a message, unless it may be a secret or is too long to help.
fn shown(node: &Node, secret: bool) -> Option<String> {
    const LONGEST: usize = 60;
    if secret || node.expanded {
        return None;
    }
    match &node.value {
        Value::Bool(value) => Some(format!("`{value}`")),
        Value::Number(number) => Some(format!("`{number}`")),
        // An address may hold a password.
        Value::Text(text) if text.contains('@') => None,
        Value::Text(text) if text.is_empty() || text.len() > LONGEST => None,
        Value::Text(text) => Some(format!("`{}`", text.escape_debug())),
        _ => None,
    }
}

/// `a`, `b`, `c`
fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Reads a text that came from a variable as what is expected in its place, for variables can
/// hold nothing but text.
fn reinterpret(node: &mut Node, shape: Shape<'_>) {
    let Some(text) = node.as_text() else { return };
    let allowed = |wanted: &str| shape.types().any(|name| name == wanted);
    let wanted = if allowed("integer") || allowed("number") {
        text.trim().parse::<f64>().is_ok()
    } else if allowed("boolean") {
        matches!(text.trim(), "true" | "false")
    } else {
        (allowed("array") && text.trim_start().starts_with('['))
            || (allowed("object") && text.trim_start().starts_with('{'))
    };
    if wanted && let Some(value) = parse::inline(text) {
        node.value = value;
        mark(node, node.line);
    }
}

fn mark(node: &mut Node, line: usize) {
    node.line = line;
    node.expanded = true;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mark(item, line)),
        Value::Table(entries) => {
            for entry in entries {
                entry.line = line;
                mark(&mut entry.node, line);
            }
        }
        _ => {}
    }
}
