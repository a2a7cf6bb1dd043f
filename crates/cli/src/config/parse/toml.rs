//! TOML.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::node::{Entry, Node, Value};
use super::{Lines, SyntaxError};

pub(super) fn parse(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors: Vec<SyntaxError> = errors
        .iter()
        .map(|error| {
            let line = error.span().map_or(1, |span| lines.line(span.start));
            SyntaxError::new(line, format!("is not TOML: {}", error.message()))
        })
        .collect();
    // What the parser makes of a broken file is a guess, about which further errors would mislead.
    if !errors.is_empty() {
        return (None, errors);
    }
    match entries(table.into_inner(), &lines) {
        Ok(entries) => (Some(Node::new(Value::Table(entries), 1)), Vec::new()),
        Err(error) => (None, vec![error]),
    }
}

fn entries(table: DeTable<'_>, lines: &Lines) -> Result<Vec<Entry>, SyntaxError> {
    let mut entries = table
        .into_iter()
        .map(|(key, value)| {
            let line = lines.line(key.span().start);
            let node = convert(value, lines)?;
            Ok(Entry::new(key.into_inner(), line, node))
        })
        .collect::<Result<Vec<_>, SyntaxError>>()?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn convert(value: Spanned<DeValue<'_>>, lines: &Lines) -> Result<Node, SyntaxError> {
    let line = lines.line(value.span().start);
    let unreadable = || SyntaxError::new(line, "is not TOML: a number that can't be read");
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(datetime) => Value::Text(datetime.to_string()),
        DeValue::Integer(integer) => {
            let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::Number(parsed.map_err(|_| unreadable())?.into())
        }
        DeValue::Float(float) => {
            let parsed = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or_else(unreadable)?)
        }
        DeValue::Array(array) => {
            let items = array.into_iter().map(|item| convert(item, lines));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(entries(table, lines)?),
    };
    Ok(Node::new(value, line))
}
