//! What an operator writes about redaction: the section `redaction` of the configuration.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};

use super::patterns::check_pattern;
use super::{SECRET, Secrets, token_types};

/// The most patterns of an operator.
pub const MOST_PATTERNS: usize = 64;

/// What is taken out of everything that comes back from servers, and out of logs, traces and the audit,
/// beside the secrets of the configuration itself. See `docs/redaction.md`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionConfig {
    /// Which types of tokens are looked for: `true` for all that are known, `false` for none, or a list of
    /// their names.
    #[schemars(schema_with = "tokens_schema", extend("default" = true))]
    pub tokens: TokenTypes,
    /// Types that are not looked for.
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "token-type"}))]
    pub except: BTreeSet<TokenType>,
    /// Patterns of your own, at most 64.
    #[schemars(extend("x-unique" = ["name"]), length(max = 64))]
    pub patterns: Vec<PatternConfig>,
    /// Further values that are looked for exactly, such as `${NAME}`: each at least 8 bytes.
    #[schemars(with = "Vec<String>", extend("writeOnly" = true))]
    pub secrets: SecretValues,
}

/// A pattern of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternConfig {
    /// Its name, as it stands in what takes the place of a match, and in metrics: 1 to 64 of the
    /// characters `a-z 0-9 _`, neither `secret` nor the name of a type of tokens.
    #[serde(deserialize_with = "deserialize_name")]
    #[schemars(extend("format" = "redaction-name"))]
    pub name: String,
    /// A regular expression in the syntax of the Rust crate `regex`. It has to say how much it matches at
    /// most, up to 1024 bytes, such as `{1,200}` where others write `+`. It sees results as JSON: a quote in a
    /// text is `\"` there.
    #[serde(deserialize_with = "deserialize_pattern")]
    #[schemars(extend("format" = "redaction-pattern"))]
    pub regex: String,
}

/// Which types of tokens are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenTypes {
    /// All that are known.
    #[default]
    All,
    /// None.
    None,
    /// These.
    These(BTreeSet<TokenType>),
}

/// The name of a type of tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenType(&'static str);

/// Values that are looked for.
#[derive(Clone, Debug, Default)]
pub struct SecretValues(Vec<SecretString>);

impl SecretValues {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(ExposeSecret::expose_secret)
    }
}

// By hand, since a secret has no equality of its own. Nobody who could measure how long this takes
// chooses what is compared.
impl PartialEq for SecretValues {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'de> Deserialize<'de> for SecretValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl RedactionConfig {
    /// The types of tokens that are looked for.
    #[must_use]
    pub fn types(&self) -> BTreeSet<&'static str> {
        let wanted: BTreeSet<_> = match &self.tokens {
            TokenTypes::All => token_types().into_iter().collect(),
            TokenTypes::None => BTreeSet::new(),
            TokenTypes::These(types) => types.iter().map(|token| token.0).collect(),
        };
        let excepted = |name: &&str| self.except.iter().any(|token| token.0 == *name);
        wanted.into_iter().filter(|name| !excepted(name)).collect()
    }

    /// The types in `except` that are not looked for anyway, in order.
    #[must_use]
    pub fn idle_exceptions(&self) -> Vec<&'static str> {
        let is_looked_for = |token: &TokenType| match &self.tokens {
            TokenTypes::All => true,
            TokenTypes::None => false,
            TokenTypes::These(types) => types.contains(token),
        };
        let idle = self.except.iter().filter(|token| !is_looked_for(token));
        idle.map(|token| token.0).collect()
    }

    /// Adds the values of `secrets`; answers the places of those that are too short.
    pub fn add_secrets(&self, secrets: &mut Secrets) -> Vec<usize> {
        let values = self.secrets.iter().enumerate();
        values
            .filter(|(_, value)| !secrets.add(value))
            .map(|(index, _)| index)
            .collect()
    }
}

fn tokens_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["boolean", "array"],
        "items": { "type": "string", "format": "token-type" },
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokensFile {
    /// All, or none.
    All(bool),
    /// These.
    These(Vec<String>),
}

impl<'de> Deserialize<'de> for TokenTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match TokensFile::deserialize(deserializer)? {
            TokensFile::All(true) => Ok(Self::All),
            TokensFile::All(false) => Ok(Self::None),
            TokensFile::These(names) => {
                let types = names
                    .iter()
                    .map(|name| known_type(name).map_err(de::Error::custom));
                types.collect::<Result<_, _>>().map(Self::These)
            }
        }
    }
}

impl<'de> Deserialize<'de> for TokenType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        known_type(&name).map_err(de::Error::custom)
    }
}

fn known_type(name: &str) -> Result<TokenType, String> {
    let known = token_types().into_iter().find(|known| *known == name);
    known
        .map(TokenType)
        .ok_or_else(|| "is no type of tokens".to_owned())
}

/// Checks the name of a type of tokens.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_token_type(name: &str) -> Result<(), String> {
    known_type(name).map(|_| ())
}

/// Checks the name of a pattern.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_pattern_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        return Err("is not the name of a pattern".to_owned());
    }
    // One word in answers and metrics for what two things find.
    if name == SECRET {
        return Err("is the name of secrets of the configuration".to_owned());
    }
    if known_type(name).is_ok() {
        return Err("is the name of a type of tokens".to_owned());
    }
    Ok(())
}

fn deserialize_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_pattern_name(&name).map_err(de::Error::custom)?;
    Ok(name)
}

fn deserialize_pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let pattern = String::deserialize(deserializer)?;
    check_pattern(&pattern).map_err(de::Error::custom)?;
    Ok(pattern)
}
