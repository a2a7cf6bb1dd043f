//! What the structured content of tools has to be like, read once.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::cost::cost_of;

mod cost;

/// The most schemas that are remembered; with one more all are read anew.
const MAX_SCHEMAS: usize = 256;
/// The largest schema that is read, in bytes: nothing conforms to a larger one.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that one pattern of a schema may take, in bytes: nothing conforms to a schema with a
/// larger one. A server may write thousands of them.
const MAX_PATTERN: usize = 64 * 1024;

/// The most steps of a pattern that is not linear in the text, for each place where it is tried.
const MAX_STEPS: usize = 1000;
/// How many times more than any other a schema with such a pattern costs: a server may write one that takes all
/// of its steps in each string.
const STEPWISE_COSTS: usize = 16;

/// The most work of one check, in bytes of the schema times bytes of the text.
const MAX_WORK: usize = 256 * 1024 * 1024;

/// Schemas that were read before.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<ByDigest>);

/// By the digest of their text; `None`: one that cannot be read.
type ByDigest = HashMap<[u8; 32], Option<Arc<Schema>>>;

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schemas")
    }
}

impl Schemas {
    /// What is known of a schema; `None`: it cannot be read, or a check against it would take too long.
    pub(super) fn schema(&self, schema: &[u8]) -> Option<Arc<Schema>> {
        if schema.len() > MAX_SCHEMA {
            return None;
        }
        let key: [u8; 32] = Sha256::digest(schema).into();
        if let Some(known) = self.0.lock().get(&key) {
            return known.clone();
        }
        let read = compiled(schema).map(Arc::new);
        let mut known = self.0.lock();
        if known.len() >= MAX_SCHEMAS {
            known.clear();
        }
        known.insert(key, read.clone());
        read
    }
}

/// A schema that was read.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    /// How many bytes of schemas each part of a value is checked against at most.
    cost: usize,
}

impl Schema {
    /// The longest text that is checked, in bytes.
    pub(super) fn max_text(&self) -> u64 {
        (MAX_WORK / self.cost.max(1)) as u64
    }

    /// Whether JSON conforms to it.
    pub(super) fn allows(&self, text: &[u8]) -> bool {
        serde_json::from_slice(text).is_ok_and(|value| self.validator.is_valid(&value))
    }
}

fn compiled(schema: &[u8]) -> Option<Schema> {
    let schema: Value = serde_json::from_slice(schema).ok()?;
    let cost = cost_of(&schema)?;
    // Formats, since clients check them too.
    let options = jsonschema::options().should_validate_formats(true);
    // Linear in the text, whatever a server writes; what has no such pattern (`(?=…)`) takes a bounded number of
    // steps.
    let linear = PatternOptions::regex()
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN);
    let stepwise = PatternOptions::fancy_regex()
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN)
        .backtrack_limit(MAX_STEPS);
    if let Ok(validator) = options.clone().with_pattern_options(linear).build(&schema) {
        return Some(Schema { validator, cost });
    }
    let validator = options.with_pattern_options(stepwise).build(&schema).ok()?;
    let cost = cost.saturating_mul(STEPWISE_COSTS);
    Some(Schema { validator, cost })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allows(schema: &Value, value: &Value) -> bool {
        let schemas = Schemas::default();
        let schema = schemas.schema(schema.to_string().as_bytes());
        schema.is_some_and(|schema| schema.allows(value.to_string().as_bytes()))
    }

    #[test]
    fn definitions_formats_and_patterns_are_checked() {
        let items = json!({
            "$defs": { "item": { "type": "integer" } },
            "type": "object",
            "properties": { "items": { "type": "array", "items": { "$ref": "#/$defs/item" } } },
        });
        assert!(allows(&items, &json!({ "items": [1, 2] })));
        assert!(!allows(&items, &json!({ "items": ["1"] })));
        let id = json!({ "properties": { "id": { "format": "uuid" } } });
        assert!(allows(
            &id,
            &json!({ "id": "123e4567-e89b-12d3-a456-426614174000" })
        ));
        assert!(!allows(
            &id,
            &json!({ "id": "123e4567-e89b-12d3-a456-4266141" })
        ));
        let ahead = json!({ "properties": { "a": { "pattern": "^(?!b)[a-c]+$" } } });
        assert!(allows(&ahead, &json!({ "a": "ab" })));
        assert!(!allows(&ahead, &json!({ "a": "ba" })));
        // One that would take all eternity is given up.
        let endless = json!({ "properties": { "a": { "pattern": "^(?=(a+)+$)b" } } });
        assert!(!allows(&endless, &json!({ "a": "a".repeat(100) + "c" })));
        let schema = endless.to_string();
        let known = Schemas::default()
            .schema(schema.as_bytes())
            .expect("a schema");
        assert!(known.max_text() <= (MAX_WORK / STEPWISE_COSTS) as u64);
    }

    #[test]
    fn recursive_models_are_checked_and_nobody_is_led_around() {
        let tree = json!({
            "$defs": { "Node": {
                "required": ["name"],
                "properties": { "children": { "items": { "$ref": "#/$defs/Node" } } },
            } },
            "$ref": "#/$defs/Node",
        });
        let mut deep = json!({ "name": 0 });
        for name in 1..60 {
            deep = json!({ "name": name, "children": [deep] });
        }
        assert!(allows(&tree, &deep));
        assert!(!allows(&tree, &json!({ "name": 1, "children": [{}] })));
        assert!(!allows(&json!({ "$ref": "#" }), &json!({})));
    }
}
