//! The secrets with which is sealed what clients keep for the gateway.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use switchboard_policy::config::check_secret;

/// The fewest bytes of a sealing key.
pub const LEAST_SEALING_KEY_BYTES: usize = 32;

/// The first seals, all open; each is long enough. None: one is made at the start.
#[derive(Clone, Debug, Default)]
pub struct SealingKeys(Vec<SecretString>);

impl SealingKeys {
    /// The bytes of each.
    pub(crate) fn expose(&self) -> Vec<&[u8]> {
        let keys = self.0.iter();
        keys.map(|key| key.expose_secret().as_bytes()).collect()
    }
}

// By hand, since a secret has no equality of its own: what is compared by accident may be printed by
// accident. Nobody who could measure how long this takes chooses what is compared.
impl PartialEq for SealingKeys {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl<'de> Deserialize<'de> for SealingKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::<SecretString>::deserialize(deserializer)?;
        for key in &keys {
            check_sealing_key(key.expose_secret()).map_err(de::Error::custom)?;
        }
        Ok(Self(keys))
    }
}

/// Checks that a sealing key is long enough, and may have been made by chance.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn check_sealing_key(key: &str) -> Result<(), String> {
    if key.len() < LEAST_SEALING_KEY_BYTES {
        return Err(format!(
            "is a secret of {} bytes, which is too short",
            key.len()
        ));
    }
    check_secret(key)
}
