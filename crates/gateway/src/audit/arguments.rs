//! The arguments of a call as the audit shows them: their shape, or, where that is configured, their
//! values without what looks like a secret.

use serde_json::{Map, Value};

/// How deep a shape goes, and how many keys it names in all.
const MAX_DEPTH: usize = 4;
const MAX_KEYS: usize = 64;
/// The longest key that is named.
const MAX_KEY: usize = 64;
/// What stands for keys that are not named: those that are no identifiers may be anything.
const OTHERS: &str = "(others)";
/// What stands for a secret.
const REDACTED: &str = "(redacted)";

/// Parts of the names of what is secret, in lower case without `_` and `-`.
const SECRET_KEYS: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "bearer",
    "signature",
];
/// What secrets begin with.
const SECRET_BEGINNINGS: [&str; 13] = [
    "Bearer ",
    "Basic ",
    "-----BEGIN",
    "sk-",
    "sk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "xox",
];

/// Keys, types and sizes.
pub(super) fn shape(arguments: &Value) -> Value {
    shape_of(arguments, 0, &mut { MAX_KEYS })
}

fn shape_of(value: &Value, depth: usize, keys_left: &mut usize) -> Value {
    let text = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(text) => format!("string({})", text.len()),
        Value::Array(items) => format!("array({})", items.len()),
        Value::Object(members) if depth >= MAX_DEPTH => format!("object({})", members.len()),
        Value::Object(members) => return shape_of_object(members, depth, keys_left),
    };
    Value::String(text)
}

fn shape_of_object(members: &Map<String, Value>, depth: usize, keys_left: &mut usize) -> Value {
    let mut shape = Map::new();
    let mut others = 0_u64;
    for (key, value) in members {
        if *keys_left == 0 || !is_identifier(key) {
            others += 1;
            continue;
        }
        *keys_left -= 1;
        shape.insert(key.clone(), shape_of(value, depth + 1, keys_left));
    }
    if others > 0 {
        shape.insert(OTHERS.to_owned(), others.into());
    }
    Value::Object(shape)
}

fn is_identifier(key: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.' | b'$');
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(allowed) && !looks_secret(key)
}

/// The values without what looks like a secret, by its key or by its beginning.
pub(super) fn without_secrets(mut arguments: Value) -> Value {
    redact(&mut arguments);
    arguments
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) if looks_secret(text) => *value = REDACTED.into(),
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(members) => {
            for (key, value) in members {
                if names_secret(key) {
                    *value = REDACTED.into();
                } else {
                    redact(value);
                }
            }
        }
        _ => {}
    }
}

fn names_secret(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_KEYS.iter().any(|part| key.contains(part))
}

fn looks_secret(text: &str) -> bool {
    let text = text.trim_start();
    let is_jwt = text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() >= 2;
    is_jwt
        || SECRET_BEGINNINGS
            .iter()
            .any(|beginning| text.starts_with(beginning))
}

/// A URI without what may be a credential in it: what stands before the host, and the query.
pub(super) fn public_uri(uri: &str) -> String {
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let (kept, left_out) = uri.split_at(end);
    let rest = if left_out.is_empty() { "" } else { "?…" };
    let Some((scheme, after)) = kept.split_once("://") else {
        return format!("{kept}{rest}");
    };
    let authority = after.find('/').unwrap_or(after.len());
    let host = after[..authority].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}{rest}", &after[host..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shape_has_keys_types_and_sizes_and_no_value() {
        let arguments = json!({
            "path": "/home/ann", "n": 12.5, "yes": true, "nothing": null, "list": ["a", "b"],
            "deep": { "a": { "b": { "c": { "d": 1 } } } },
            "what I mean is my key": 1, "sk-abcdef": 2, "": 3,
        });
        let expected = json!({
            "path": "string(9)", "n": "number", "yes": "boolean", "nothing": "null", "list": "array(2)",
            "deep": { "a": { "b": { "c": "object(1)" } } },
            "(others)": 3,
        });
        assert_eq!(shape(&arguments), expected);
        assert_eq!(shape(&json!("text")), json!("string(4)"));
    }

    #[test]
    fn a_shape_names_only_so_many_keys() {
        let many: Map<String, Value> = (0..1000).map(|n| (format!("k{n}"), json!({}))).collect();
        let shape = shape(&Value::Object(many));
        assert_eq!(shape.as_object().map(Map::len), Some(MAX_KEYS + 1));
        assert_eq!(shape[OTHERS], 1000 - MAX_KEYS);
    }

    #[test]
    fn what_looks_like_a_secret_is_left_out_of_values() {
        let arguments = json!({
            "city": "Bern", "API_Key": "x", "auth": { "access-token": ["y"] },
            "headers": ["Bearer z", "ghp_abc", "eyJh.eyJz.sig", "plain"],
        });
        let expected = json!({
            "city": "Bern", "API_Key": REDACTED, "auth": { "access-token": REDACTED },
            "headers": [REDACTED, REDACTED, REDACTED, "plain"],
        });
        assert_eq!(without_secrets(arguments), expected);
    }

    #[test]
    fn a_uri_is_shown_without_credentials() {
        for (uri, shown) in [
            ("notes://today", "notes://today"),
            ("https://u:p@h.example/a?token=1#x", "https://h.example/a?…"),
            ("https://h.example?x", "https://h.example?…"),
            ("file:///a/b@c", "file:///a/b@c"),
            ("mailto:a?b", "mailto:a?…"),
        ] {
            assert_eq!(public_uri(uri), shown);
        }
    }
}
