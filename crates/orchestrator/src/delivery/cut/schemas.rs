//! What the structured content of tools has to be like, read once.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The most schemas that are remembered; with one more all are read anew.
const MAX_SCHEMAS: usize = 256;
/// The largest schema that is read, in bytes: nothing conforms to a larger one.
const MAX_SCHEMA: usize = 64 * 1024;
/// The most memory that one pattern of a schema may take, in bytes: nothing conforms to a schema with a
/// larger one. A server may write thousands of them.
const MAX_PATTERN: usize = 64 * 1024;

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

fn compiled(schema: &[u8]) -> Option<Arc<Validator>> {
    let schema = serde_json::from_slice(schema).ok()?;
    // Linear in the text, whatever a server writes.
    let patterns = PatternOptions::regex()
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN);
    let options = jsonschema::options().with_pattern_options(patterns);
    options.build(&schema).ok().map(Arc::new)
}
