//! JSON, with the comments and trailing commas that clients' files have.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};
use serde_json::Number;

use super::super::node::{DEEPEST, Entry, Node, Value};
use super::{Lines, SyntaxError};

const RULES: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn parse(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    let collect = CollectOptions {
        comments: CommentCollectionStrategy::Off,
        tokens: false,
    };
    let lines = Lines::of(text);
    match parse_to_ast(text, &collect, &RULES) {
        Ok(result) => match result.value {
            Some(value) => match convert(value, &lines, 0) {
                Ok(node) => (Some(node), Vec::new()),
                Err(error) => (None, vec![error]),
            },
            None => (Some(Node::new(Value::Null, 1)), Vec::new()),
        },
        Err(error) => {
            let message = format!("is not JSON: {}", error.kind());
            let line = lines.line(error.range().start);
            (None, vec![SyntaxError::new(line, message)])
        }
    }
}

fn convert(value: ast::Value<'_>, lines: &Lines, depth: usize) -> Result<Node, SyntaxError> {
    let line = lines.line(value.range().start);
    if depth > DEEPEST {
        return Err(SyntaxError::new(line, "is nested too deeply"));
    }
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::StringLit(literal) => Value::Text(literal.value.into_owned()),
        ast::Value::NumberLit(literal) => serde_json::from_str::<Number>(literal.value)
            .map(Value::Number)
            .map_err(|_| SyntaxError::new(line, "is not JSON: a number that can't be read"))?,
        ast::Value::Array(array) => {
            let items = array.elements.into_iter();
            let items = items.map(|item| convert(item, lines, depth + 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        ast::Value::Object(object) => {
            let entries = object.properties.into_iter().map(|property| {
                let line = lines.line(property.range.start);
                let node = convert(property.value, lines, depth + 1)?;
                Ok(Entry::new(property.name.into_string(), line, node))
            });
            Value::Table(entries.collect::<Result<_, _>>()?)
        }
    };
    Ok(Node::new(value, line))
}
