//! Keys that a table has to have, whichever of the files says them.

use serde_json::Value as Json;

use super::shape::Shape;

/// A key that is not there, and what to say of it.
pub(super) type Missing = (Vec<String>, String);

/// Takes every table out of `value` that lacks a key it has to have, so that the rest of its section
/// can be used, and gives what they lack. Nothing is said of keys in `removed`, of which something
/// has been said.
pub(super) fn take_out(
    value: &mut Json,
    shape: Shape<'_>,
    removed: &[Vec<String>],
) -> Vec<Missing> {
    let mut missing = Vec::new();
    look(value, shape, &mut Vec::new(), removed, &mut missing);
    missing
}

/// Whether the table at `path` lacks something.
fn look(
    value: &mut Json,
    shape: Shape<'_>,
    path: &mut Vec<String>,
    removed: &[Vec<String>],
    missing: &mut Vec<Missing>,
) -> bool {
    let Some(table) = value.as_object_mut() else {
        return false;
    };
    let mut lacks = false;
    for key in shape.required().filter(|key| !table.contains_key(*key)) {
        lacks = true;
        path.push(key.to_owned());
        if !removed.contains(path) {
            missing.push((path.clone(), message(key, shape)));
        }
        path.pop();
    }
    table.retain(|key, value| {
        let known = shape.keys().find(|(known, _)| known == key);
        let Some(inner) = known.map(|(_, inner)| inner).or_else(|| shape.values()) else {
            return true;
        };
        path.push(key.clone());
        let lacks = look(value, inner, path, removed, missing);
        path.pop();
        !lacks
    });
    lacks
}

fn message(key: &str, shape: Shape<'_>) -> String {
    let described = shape.keys().find(|(known, _)| *known == key);
    let described = described.and_then(|(_, shape)| shape.keyword("description").as_str());
    let what = described.unwrap_or("one");
    let what = what.split([',', '.', ':', '(']).next().unwrap_or(what);
    let mut letters = what.trim().chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let what: String = first.into_iter().chain(letters).collect();
    format!("is missing; expected {what}")
}
