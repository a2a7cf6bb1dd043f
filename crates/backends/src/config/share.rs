//! Shares of a whole in the configuration: from 0 to 1.

use serde::{Deserialize, Deserializer, de};

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// If it is no number, less than 0 or more than 1.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let share = f64::deserialize(deserializer)?;
    check(share).map_err(de::Error::custom)?;
    Ok(share)
}

/// Checks that a share is from 0 to 1.
///
/// # Errors
///
/// Says that it is less, more or no number.
pub fn check(share: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err("is not from 0 to 1".to_owned())
}
