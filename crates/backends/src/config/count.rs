//! Counts in the configuration that are at least 1: bounds of what there may be at once.

use serde::{Deserialize, Deserializer, de};

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// If it is no whole number, or less than 1.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    check(count).map_err(de::Error::custom)?;
    Ok(count)
}

/// Checks that a count is at least 1.
///
/// # Errors
///
/// Says that it is less.
pub fn check(count: usize) -> Result<(), String> {
    match count {
        0 => Err("is less than 1".to_owned()),
        _ => Ok(()),
    }
}
