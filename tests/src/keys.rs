//! API keys of the gateway's callers, and their entries in its configuration.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The key of a person, by name.
pub fn key_of(name: &str) -> String {
    format!("the-key-of-{name}-0f4c81d2")
}

/// The digest of a key, as the configuration has it.
pub fn digest_of(key: &str) -> String {
    let digest = Sha256::digest(key);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry of `api_keys` that knows the holder of this key by a name.
pub fn entry_of(name: &str, key: &str) -> Value {
    json!({ "name": name, "key_sha256": digest_of(key) })
}

/// The `auth` section for these people, each with [their own key](key_of).
pub fn auth_of(names: &[String]) -> Value {
    let keys = names.iter().map(|name| entry_of(name, &key_of(name)));
    json!({ "api_keys": keys.collect::<Vec<_>>() })
}
