//! What the structured content of tools has to be like, read once.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most schemas that are remembered; with one more all are read anew.
const MAX_SCHEMAS: usize = 256;
/// The largest schema that is read, in bytes: nothing conforms to a larger one.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that one pattern of a schema may take, in bytes: nothing conforms to a schema with a
/// larger one. A server may write thousands of them.
const MAX_PATTERN: usize = 64 * 1024;

/// The most work of one check, in bytes of the schema times bytes of the text.
const MAX_WORK: usize = 256 * 1024 * 1024;

/// Schemas that were read before.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<ByDigest>);

/// By the digest of their text; `None`: one that cannot be read.
type ByDigest = HashMap<[u8; 32], Option<Arc<Validator>>>;

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schemas")
    }
}

impl Schemas {
    /// Whether JSON conforms to a schema. It does not if the schema cannot be read, or needs
    /// something that is elsewhere.
    pub(crate) fn allow(&self, schema: &[u8], text: &[u8]) -> bool {
        if schema.len().saturating_mul(text.len()) > MAX_WORK {
            return false;
        }
        let Some(validator) = self.validator(schema) else {
            return false;
        };
        serde_json::from_slice(text).is_ok_and(|value| validator.is_valid(&value))
    }

    fn validator(&self, schema: &[u8]) -> Option<Arc<Validator>> {
        if schema.len() > MAX_SCHEMA {
            return None;
        }
        let key: [u8; 32] = Sha256::digest(schema).into();
        if let Some(known) = self.0.lock().get(&key) {
            return known.clone();
        }
        let validator = compiled(schema);
        let mut known = self.0.lock();
        if known.len() >= MAX_SCHEMAS {
            known.clear();
        }
        known.insert(key, validator.clone());
        validator
    }
}

/// Whether a schema is checked in a time that goes with its size: references that lead to references
/// can be written so that it doubles with each.
fn is_bounded(schema: &Value) -> bool {
    let Value::Object(members) = schema else {
        return !refers(schema);
    };
    let (definitions, rest): (Vec<_>, Vec<_>) = members
        .iter()
        .partition(|(key, _)| matches!(key.as_str(), "$defs" | "definitions"));
    let leads_to_definition = |target: &str| {
        let name = target
            .strip_prefix("#/$defs/")
            .or_else(|| target.strip_prefix("#/definitions/"));
        name.is_some_and(|name| !name.contains('/'))
    };
    !definitions.iter().any(|(_, value)| refers(value))
        && rest
            .iter()
            .all(|(key, value)| !is_reference(key) && refers_only(value, &leads_to_definition))
}

fn is_reference(key: &str) -> bool {
    matches!(key, "$ref" | "$dynamicRef" | "$recursiveRef")
}

/// Whether there is a reference in it.
fn refers(value: &Value) -> bool {
    !refers_only(value, &|_| false)
}

/// Whether all references in it lead where they may.
fn refers_only(value: &Value, may_lead: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => members.iter().all(|(key, value)| {
            let target = value.as_str().filter(|_| is_reference(key));
            target.is_none_or(may_lead) && refers_only(value, may_lead)
        }),
        Value::Array(items) => items.iter().all(|item| refers_only(item, may_lead)),
        _ => true,
    }
}

fn compiled(schema: &[u8]) -> Option<Arc<Validator>> {
    let schema: Value = serde_json::from_slice(schema).ok()?;
    if !is_bounded(&schema) {
        return None;
    }
    // Linear in the text, whatever a server writes.
    let patterns = PatternOptions::regex()
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN);
    let options = jsonschema::options().with_pattern_options(patterns);
    options.build(&schema).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_that_double_with_each_are_not_followed() {
        let allows = |schema: Value, value: Value| {
            let (schema, value) = (schema.to_string(), value.to_string());
            Schemas::default().allow(schema.as_bytes(), value.as_bytes())
        };
        let once = json!({
            "$defs": { "item": { "type": "integer" } },
            "type": "object",
            "properties": { "items": { "type": "array", "items": { "$ref": "#/$defs/item" } } },
        });
        assert!(allows(once.clone(), json!({ "items": [1, 2] })));
        assert!(!allows(once, json!({ "items": ["1"] })));
        let mut doubled = json!({ "$ref": "#/$defs/n0" });
        for n in 0..60 {
            let next = json!({ "$ref": format!("#/$defs/n{}", n + 1) });
            doubled["$defs"][format!("n{n}")] = json!({ "allOf": [next, next] });
        }
        doubled["$defs"]["n60"] = json!({ "type": "object" });
        assert!(!allows(doubled, json!({})));
        let itself =
            json!({ "properties": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } });
        assert!(!allows(itself, json!({ "a": {} })));
    }
}
