//! Who may call, and who may look after the gateway: the sections `auth` and `admin` of the
//! configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

pub use self::day::{Day, NotADay};
pub(crate) use self::secrets::check_issued_secret;
pub use self::secrets::{MAKE_A_SECRET, check_key_digest, check_secret};
pub use self::tokens::is_confidential;
pub(crate) use self::tokens::is_loopback;
pub use self::tokens::{
    CertificateGroups, CertificateName, IssuerUrl, JwtConfig, MtlsConfig, Scope, ScopesConfig,
    TokenAlgorithm, check_issuer, check_scope,
};

use crate::facade::config::FacadeConfig;

mod day;
mod secrets;
mod tokens;

/// How callers prove who they are. Where this section is present, every caller needs a
/// credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "AuthFile")]
pub struct AuthConfig {
    /// The keys that are accepted, each name and each digest once.
    pub api_keys: Vec<ApiKeyConfig>,
    /// Whose access tokens are accepted, each issuer once.
    pub jwt: Vec<JwtConfig>,
    /// What tokens have to be good for.
    pub scopes: ScopesConfig,
    /// How client certificates become principals, if they do.
    pub mtls: Option<MtlsConfig>,
    /// The authorization server of the gateway's own, if it has one.
    pub facade: Option<FacadeConfig>,
}

/// How callers prove who they are: by a key or an access token that they send as
/// `Authorization: Bearer …`, or by the certificate of their connection. Where the section `auth` is
/// present, every caller needs one of these; without it only a loopback address may be listened on.
/// [authentication.md](authentication.md) tells how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AuthConfig")]
struct AuthFile {
    /// The keys that are accepted, no two with the same name or digest.
    #[serde(default)]
    #[schemars(extend("x-unique" = ["name", "key_sha256"]))]
    api_keys: Vec<ApiKeyConfig>,
    /// The authorization servers whose access tokens are accepted, each once.
    #[serde(default)]
    #[schemars(extend("x-unique" = ["issuer"]))]
    jwt: Vec<JwtConfig>,
    /// What tokens have to be good for.
    #[serde(default)]
    scopes: ScopesConfig,
    /// Callers with a client certificate that `server.tls.client_ca` vouches for need no other
    /// credential. One that they send all the same counts instead.
    #[serde(default)]
    #[schemars(with = "MtlsConfig")]
    mtls: Option<MtlsConfig>,
    /// An authorization server of the gateway's own, in front of one of `jwt` where MCP clients cannot
    /// register themselves.
    #[serde(default)]
    #[schemars(with = "FacadeConfig")]
    facade: Option<FacadeConfig>,
}

/// One API key. The key itself is never in the configuration, only its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// The principal that the key stands for, as it appears in logs. At least one character.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The SHA-256 digest of the key as 64 hexadecimal digits, or a list of up to 4: while a key is
    /// exchanged for another, both are accepted.
    #[schemars(schema_with = "digests_schema")]
    pub key_sha256: KeyDigests,
    /// The groups that the principal belongs to: rules and `canary.groups` of an endpoint name them.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The last day on which the key is accepted, in UTC, such as `2027-01-31`.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub expires: Option<Day>,
    /// The profiles that the key is for. With it, only they can be called: `/mcp` is not.
    #[serde(default)]
    pub profiles: Option<Vec<String>>,
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
    /// The SHA-256 digest of the key as 64 hexadecimal digits, or a list of up to 4.
    #[schemars(schema_with = "digests_schema")]
    key_sha256: KeyDigests,
}

impl TryFrom<AdminFile> for AdminConfig {
    type Error = AuthConfigError;

    fn try_from(file: AdminFile) -> Result<Self, AuthConfigError> {
        let keys = file.api_keys.into_iter();
        let api_keys = keys.map(|key| ApiKeyConfig {
            name: key.name,
            key_sha256: key.key_sha256,
            groups: Vec::new(),
            expires: None,
            profiles: None,
        });
        let api_keys: Vec<_> = api_keys.collect();
        if api_keys.is_empty() {
            return Err(AuthConfigError::NoKeys);
        }
        check_keys(&api_keys)?;
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

/// The digests of the keys of one name: one, or up to [`MAX_DIGESTS`] while keys are exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDigests(Vec<KeyDigest>);

/// The most keys that one name may have at once.
pub const MAX_DIGESTS: usize = 4;

impl KeyDigests {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &KeyDigest> {
        self.0.iter()
    }
}

impl From<KeyDigest> for KeyDigests {
    fn from(digest: KeyDigest) -> Self {
        Self(vec![digest])
    }
}

impl<'de> Deserialize<'de> for KeyDigests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        let texts = match Written::deserialize(deserializer)? {
            Written::One(text) => vec![text],
            Written::Several(texts) => texts,
        };
        if !(1..=MAX_DIGESTS).contains(&texts.len()) {
            let message = format!("{} digests; expected 1 to {MAX_DIGESTS}", texts.len());
            return Err(de::Error::custom(message));
        }
        let digests = texts.iter().map(|text| parse_key_digest(text));
        let digests = digests.collect::<Result<_, _>>();
        Ok(Self(digests.map_err(de::Error::custom)?))
    }
}

fn digests_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "array"],
        "format": "sha256-hex",
        "writeOnly": true,
        "items": { "type": "string", "format": "sha256-hex" },
        "minItems": 1,
        "maxItems": MAX_DIGESTS,
    })
}

/// Reads the digest of a key, and checks that the key is none that anybody guesses.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_key_digest(text: &str) -> Result<KeyDigest, String> {
    let digest: KeyDigest = text
        .parse()
        .map_err(|error: NotADigest| error.to_string())?;
    check_key_digest(&digest)?;
    Ok(digest)
}

/// A section of keys contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthConfigError {
    /// The section is there and lists no key, so nobody could call.
    #[error(
        "`api_keys` is empty, so nobody could call; expected at least one key, or no such section at all"
    )]
    NoKeys,
    /// The section is there and says of nobody how he could prove who he is.
    #[error(
        "there is no key in `api_keys`, no issuer in `jwt` and no `mtls`, so nobody could call; \
         expected at least one of these, or no such section at all"
    )]
    Nobody,
    /// Two keys have one name.
    #[error("two keys are named `{0}`; expected every name once")]
    SameName(String),
    /// Two names have one key, so the principal would be a matter of luck.
    #[error("the keys `{0}` and `{1}` have the same digest; expected a key of its own for each")]
    SameKey(String, String),
    /// Two entries are of one issuer.
    #[error("two entries are of the issuer `{0}`; expected every issuer once")]
    SameIssuer(String),
    /// No token could be signed.
    #[error("`algorithms` of the issuer `{0}` is empty; expected at least one, or no such key")]
    NoAlgorithm(String),
    /// Nobody says how to read what the identity provider says.
    #[error(
        "`facade.issuer` is `{0}`, of which there is no entry in `jwt`; expected one with that `issuer`"
    )]
    FacadeIssuer(String),
    /// Nobody could ask for a scope that somebody is said to have.
    #[error(
        "`facade.grants` names the scope `{0}`, which is not in `scopes`; expected one of `scopes.required`, `scopes.profiles` or `scopes.implies`"
    )]
    FacadeGrant(String),
    /// The facade could not work.
    #[error("`facade`: {0}")]
    Facade(String),
}

impl TryFrom<AuthFile> for AuthConfig {
    type Error = AuthConfigError;

    fn try_from(file: AuthFile) -> Result<Self, AuthConfigError> {
        if file.api_keys.is_empty() && file.jwt.is_empty() && file.mtls.is_none() {
            return Err(AuthConfigError::Nobody);
        }
        check_keys(&file.api_keys)?;
        let mut issuers = BTreeSet::new();
        for jwt in &file.jwt {
            if !issuers.insert(&jwt.issuer) {
                return Err(AuthConfigError::SameIssuer(jwt.issuer.to_string()));
            }
            if jwt.algorithms.is_empty() {
                return Err(AuthConfigError::NoAlgorithm(jwt.issuer.to_string()));
            }
        }
        if let Some(facade) = &file.facade {
            if !issuers.contains(&facade.issuer) {
                return Err(AuthConfigError::FacadeIssuer(facade.issuer.to_string()));
            }
            let mut granted = facade.grants.iter().flat_map(BTreeMap::keys);
            if let Some(unknown) = granted.find(|scope| !file.scopes.names(scope)) {
                return Err(AuthConfigError::FacadeGrant(unknown.as_str().to_owned()));
            }
            if let Some(problem) = facade.problem() {
                return Err(AuthConfigError::Facade(problem));
            }
        }
        Ok(Self {
            api_keys: file.api_keys,
            jwt: file.jwt,
            scopes: file.scopes,
            mtls: file.mtls,
            facade: file.facade,
        })
    }
}

/// The names of a key of a client's and one of an operator's that have the same digest, if there are
/// such: whoever has that key could do both.
#[must_use]
pub fn shared_key<'c>(auth: &'c AuthConfig, admin: &'c AdminConfig) -> Option<(&'c str, &'c str)> {
    let of_admin = |digest: &KeyDigest| {
        let mut keys = admin.api_keys.iter();
        keys.find(|key| key.key_sha256.iter().any(|other| other == digest))
    };
    auth.api_keys.iter().find_map(|key| {
        let other = key.key_sha256.iter().find_map(of_admin)?;
        Some((&*key.name, &*other.name))
    })
}

fn check_keys(keys: &[ApiKeyConfig]) -> Result<(), AuthConfigError> {
    let mut names = BTreeSet::new();
    let mut digests = BTreeMap::new();
    for key in keys {
        if !names.insert(&key.name) {
            return Err(AuthConfigError::SameName(key.name.clone()));
        }
        for digest in key.key_sha256.iter() {
            if let Some(other) = digests.insert(digest, &key.name) {
                return Err(AuthConfigError::SameKey(other.clone(), key.name.clone()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{KeyDigest, NotADigest, shared_key};

    #[test]
    fn a_key_is_a_clients_or_an_operators() {
        let one = "0a1b".repeat(16);
        let other = "1b0a".repeat(16);
        let auth =
            serde_json::json!({ "api_keys": [{ "name": "ci", "key_sha256": [other, one] }] });
        let auth = serde_json::from_value(auth).unwrap();
        let admin = |digest: &str| {
            let admin =
                serde_json::json!({ "api_keys": [{ "name": "ops", "key_sha256": digest }] });
            serde_json::from_value(admin).unwrap()
        };
        assert_eq!(shared_key(&auth, &admin(&one)), Some(("ci", "ops")));
        assert_eq!(shared_key(&auth, &admin(&"2c3d".repeat(16))), None);
    }

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
