//! What a tool's input schema says of its arguments, as far as it is compared: the types and values
//! of those at the top.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::catalogue::Entry;

/// The arguments of a tool.
pub(super) struct Schema {
    pub(super) properties: BTreeMap<String, Property>,
    pub(super) required: BTreeSet<String>,
    /// Whether it takes no others.
    pub(super) is_closed: bool,
}

impl Schema {
    pub(super) fn of(entry: &Entry) -> Self {
        let tool: Value = serde_json::from_slice(&entry.item.raw).unwrap_or_default();
        let schema = &tool["inputSchema"];
        let properties = schema["properties"].as_object().into_iter().flatten();
        let required = schema["required"].as_array().into_iter().flatten();
        Self {
            properties: properties
                .map(|(name, schema)| (name.clone(), Property::of(schema)))
                .collect(),
            required: required
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            is_closed: schema["additionalProperties"] == Value::Bool(false),
        }
    }
}

/// What an argument may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Property {
    /// The names of its types; `None`: any, or not said here.
    types: Option<Vec<String>>,
    /// The only values, of `enum` or `const`; `None`: any, or not said here.
    values: Option<Vec<Value>>,
}

impl Property {
    fn of(schema: &Value) -> Self {
        let types = match &schema["type"] {
            Value::String(name) => Some(vec![name.clone()]),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                Some(names.map(str::to_owned).collect())
            }
            _ => None,
        };
        let values = match (schema.get("const"), &schema["enum"]) {
            (Some(value), _) => Some(vec![value.clone()]),
            (None, Value::Array(values)) => Some(values.clone()),
            (None, _) => None,
        };
        Self { types, values }
    }

    /// What one may be that takes this value alone.
    pub(super) fn constant(value: &Value) -> Self {
        Self {
            types: Some(vec![type_of(value).to_owned()]),
            values: Some(vec![value.clone()]),
        }
    }

    /// Whether nothing that this one may be is what the other may be.
    pub(super) fn never_fits(&self, other: &Self) -> bool {
        if let (Some(own), Some(others)) = (&self.values, &other.values) {
            let is_there = |value| others.iter().any(|other| is_same(value, other));
            return !own.iter().any(is_there);
        }
        let (Some(own), Some(others)) = (self.types_or_of_values(), other.types_or_of_values())
        else {
            return false;
        };
        let is_there = |name: &String| others.iter().any(|other| may_be_both(name, other));
        !own.iter().any(is_there)
    }

    fn types_or_of_values(&self) -> Option<Vec<String>> {
        self.types.clone().or_else(|| {
            let values = self.values.as_ref()?;
            Some(
                values
                    .iter()
                    .map(|value| type_of(value).to_owned())
                    .collect(),
            )
        })
    }

    /// What it may be, for people: `string or null`, or the values.
    pub(super) fn described(&self) -> String {
        if let Some(values) = &self.values {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            return values.join(" or ");
        }
        self.types.as_deref().unwrap_or_default().join(" or ")
    }
}

/// The type of a value, as a schema names it: the narrower one of numbers.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            "integer"
        }
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a value may have both types: a whole number is a number too.
fn may_be_both(one: &str, other: &str) -> bool {
    let as_number = |name| if name == "integer" { "number" } else { name };
    as_number(one) == as_number(other)
}

/// Whether two values are the same to a schema, to which 1 and 1.0 are.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_and_values_that_have_nothing_in_common_never_fit() {
        for (from, to, never) in [
            (
                json!({ "type": "string" }),
                json!({ "type": "integer" }),
                true,
            ),
            (
                json!({ "type": "integer" }),
                json!({ "type": "number" }),
                false,
            ),
            (
                json!({ "type": "number" }),
                json!({ "type": "integer" }),
                false,
            ),
            (
                json!({ "type": ["string", "null"] }),
                json!({ "type": "null" }),
                false,
            ),
            (
                json!({ "type": ["string", "null"] }),
                json!({ "type": ["array", "object"] }),
                true,
            ),
            (
                json!({ "enum": ["a", "b"] }),
                json!({ "enum": ["b", "c"] }),
                false,
            ),
            (json!({ "enum": ["a"] }), json!({ "const": "c" }), true),
            (
                json!({ "enum": ["a", 1] }),
                json!({ "type": "boolean" }),
                true,
            ),
            (json!({ "const": 1 }), json!({ "const": 1.0 }), false),
            (json!({}), json!({ "type": "string" }), false),
            (
                json!({ "anyOf": [{ "type": "string" }] }),
                json!({ "type": "array" }),
                false,
            ),
            (json!(true), json!({ "type": "array" }), false),
        ] {
            let (one, other) = (Property::of(&from), Property::of(&to));
            assert_eq!(one.never_fits(&other), never, "{from} and {to}");
            assert_eq!(other.never_fits(&one), never, "{to} and {from}");
        }
        let half = Property::constant(&json!(0.5));
        assert!(half.never_fits(&Property::of(&json!({ "type": "string" }))));
        assert!(!half.never_fits(&Property::of(&json!({ "type": "number" }))));
        assert_eq!(
            Property::of(&json!({ "type": ["string", "null"] })).described(),
            "string or null"
        );
    }
}
