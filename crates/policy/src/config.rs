//! Who may call, and who may look after the gateway: the sections `auth` and `admin` of the
//! configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

/// How callers prove who they are. Where this section is present, every caller needs a
/// credential.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "AuthFile")]
pub struct AuthConfig {
    /// The keys that are accepted: at least one, each name and each digest once.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// Bearer keys that callers send as `Authorization: Bearer KEY`. Where the section `auth` is
/// present, every caller needs one; without it only a loopback address may be listened on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuthConfig")]
struct AuthFile {
    /// The keys that are accepted: at least one, no two with the same name or digest.
    #[serde(default)]
    #[schemars(extend("x-unique" = ["name", "key_sha256"]))]
    api_keys: Vec<ApiKeyConfig>,
}

/// One API key. The key itself is never in the configuration, only its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// The principal that the key stands for, as it appears in logs. At least one character.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The SHA-256 digest of the key as 64 hexadecimal digits.
    #[schemars(with = "String", extend("format" = "sha256-hex", "writeOnly" = true))]
    pub key_sha256: KeyDigest,
    /// The groups that the principal belongs to: `canary.groups` of an endpoint names them.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// Who may use the admin API. Without this section there is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "AdminFile")]
#[schemars(with = "AdminFile")]
pub struct AdminConfig {
    /// The keys that are accepted: at least one, each name and each digest once.
    pub api_keys: Vec<ApiKeyConfig>,
}

/// Who may use the admin API at `server.admin_listen`: whoever has one of these keys may see how
/// every backend is doing, and restart it. Without this section there is no admin API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AdminConfig")]
struct AdminFile {
    /// The keys that are accepted: at least one, no two with the same name or digest. They are not
    /// those of `auth`: none of these may call a tool, and none of those the admin API.
    #[serde(default)]
    #[schemars(extend("x-unique" = ["name", "key_sha256"]))]
    api_keys: Vec<AdminKey>,
}

/// One key of the admin API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdminKey {
    /// Whose key it is, as it appears in the log. At least one character.
    #[schemars(length(min = 1))]
    name: String,
    /// The SHA-256 digest of the key as 64 hexadecimal digits.
    #[schemars(with = "String", extend("format" = "sha256-hex", "writeOnly" = true))]
    key_sha256: KeyDigest,
}

impl TryFrom<AdminFile> for AdminConfig {
    type Error = AuthConfigError;

    fn try_from(file: AdminFile) -> Result<Self, AuthConfigError> {
        let keys = file.api_keys.into_iter();
        let api_keys = keys.map(|key| ApiKeyConfig {
            name: key.name,
            key_sha256: key.key_sha256,
            groups: Vec::new(),
        });
        let AuthConfig { api_keys } = AuthFile {
            api_keys: api_keys.collect(),
        }
        .try_into()?;
        Ok(Self { api_keys })
    }
}

/// The SHA-256 digest of an API key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest's bytes. Compare them in constant time with the digest of what a caller sent.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyDigest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// A text is not a SHA-256 digest in hexadecimal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a SHA-256 digest")]
pub struct NotADigest;

impl FromStr for KeyDigest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NotADigest);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, NotADigest> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(NotADigest)
}

// A digest of a weak key can be searched for offline, so logs show only enough to tell two apart.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// A section of keys contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthConfigError {
    /// The section is there and lists no key, so nobody could call.
    #[error(
        "`api_keys` is empty, so nobody could call; expected at least one key, or no such section at all"
    )]
    NoKeys,
    /// Two keys have one name.
    #[error("two keys are named `{0}`; expected every name once")]
    SameName(String),
    /// Two names have one key, so the principal would be a matter of luck.
    #[error("the keys `{0}` and `{1}` have the same digest; expected a key of its own for each")]
    SameKey(String, String),
}

impl TryFrom<AuthFile> for AuthConfig {
    type Error = AuthConfigError;

    fn try_from(file: AuthFile) -> Result<Self, AuthConfigError> {
        if file.api_keys.is_empty() {
            return Err(AuthConfigError::NoKeys);
        }
        let mut names = BTreeSet::new();
        for (at, key) in file.api_keys.iter().enumerate() {
            if !names.insert(&key.name) {
                return Err(AuthConfigError::SameName(key.name.clone()));
            }
            let before = &file.api_keys[..at];
            if let Some(other) = before.iter().find(|k| k.key_sha256 == key.key_sha256) {
                return Err(AuthConfigError::SameKey(
                    other.name.clone(),
                    key.name.clone(),
                ));
            }
        }
        Ok(Self {
            api_keys: file.api_keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyDigest, NotADigest};

    #[test]
    fn a_digest_is_64_hexadecimal_digits_of_either_case() {
        let digest: KeyDigest = "0aF".repeat(22)[..64].parse().unwrap();
        assert_eq!(digest.as_bytes()[..3], [0x0a, 0xf0, 0xaf]);
        let wrong = ["", "0a", &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)];
        for text in wrong {
            assert_eq!(text.parse::<KeyDigest>(), Err(NotADigest), "{text}");
        }
    }

    #[test]
    fn a_digest_is_not_shown_whole() {
        assert_eq!(
            format!("{:?}", KeyDigest::from([0xab; 32])),
            "KeyDigest(abab…)"
        );
    }
}
