//! `docs/configuration.md`, made from the JSON Schema of the types, so that it can't be wrong.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::shape::{Shape, expected, schema};

/// What no schema says.
const INTRODUCTION: &str = include_str!("reference.md");

/// The reference of every key, as Markdown.
pub(crate) fn reference_markdown() -> String {
    let schema = schema();
    let mut page = INTRODUCTION.to_owned();
    for (key, shape) in Shape::root(&schema).keys() {
        section(&mut page, key, shape);
    }
    page
}

fn section(page: &mut String, key: &str, shape: Shape<'_>) {
    let _ = write!(page, "\n## `{key}`\n\n{}\n", description(shape));
    page.push_str("\n| key | is | default | |\n|---|---|---|---|\n");
    rows(page, key, shape);
}

/// A line for every key below `path`, in the order of the alphabet.
fn rows(page: &mut String, path: &str, shape: Shape<'_>) {
    if let Some(values) = shape.values() {
        rows(page, &format!("{path}.NAME"), values);
        return;
    }
    if let Some(items) = shape.items() {
        rows(page, &format!("{path}[]"), items);
        return;
    }
    for (key, shape) in shape.keys() {
        let path = format!("{path}.{key}");
        let items = shape.items();
        if shape.keys().next().is_some() {
            // What may be a word as well has a row of its own.
            if shape.types().any(|name| name != "object") {
                row(page, &path, shape);
            }
            rows(page, &path, shape);
            continue;
        }
        row(page, &path, shape);
        if let Some(items) = items
            && items.keys().next().is_some()
        {
            rows(page, &format!("{path}[]"), items);
        }
    }
}

fn row(page: &mut String, path: &str, shape: Shape<'_>) {
    let default = match shape.keyword("default") {
        Json::Null => String::new(),
        Json::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    };
    let _ = writeln!(
        page,
        "| `{path}` | {} | {default} | {} |",
        cell(&kind(shape)),
        cell(&description(shape)),
    );
}

fn kind(shape: Shape<'_>) -> String {
    let choices = shape.choices();
    if choices.is_empty() {
        let mut kind = expected(shape);
        if let Some(items) = shape.items().filter(|items| items.keys().next().is_none()) {
            let _ = write!(kind, ", each {}", self::kind(items));
        }
        return kind;
    }
    let choices = choices.iter().map(|(name, description)| {
        let description = description.trim_end_matches('.');
        match description.chars().next() {
            None => format!("`{name}`"),
            Some(_) => format!("`{name}` ({description})"),
        }
    });
    choices.collect::<Vec<_>>().join(", ")
}

fn description(shape: Shape<'_>) -> String {
    shape
        .keyword("description")
        .as_str()
        .unwrap_or("")
        .to_owned()
}

/// A text that fits into one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
