//! How names are made: the `names` section of the configuration. What takes a tool's place is in
//! [`chains`], what is at `/mcp/{profile}` in [`profiles`], and what is kept of large results in
//! [`kept_results`].

use std::fmt;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

pub mod bounds;
pub mod chains;
pub mod kept_results;
pub mod profiles;

/// What [`NamesConfig::max_length`] may be. Shorter names would have no room for a prefix and the
/// suffix of a shortened name; 128 characters is what the specification recommends as the most.
pub const MAX_LENGTH_BOUNDS: RangeInclusive<usize> = 24..=128;

/// How the names of tools and prompts are put together: `PREFIX SEPARATOR NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NamesConfig {
    /// What stands between a backend's prefix and the name of its tool or prompt: one to eight
    /// of the characters `A-Z a-z 0-9 _ -`.
    #[serde(deserialize_with = "deserialize_separator")]
    #[schemars(extend("format" = "name-separator"))]
    pub separator: String,
    /// The longest name that clients are shown, in characters, from 24 to 128. Clients put a
    /// prefix of their own before it and many stop at 64 in all.
    #[serde(deserialize_with = "deserialize_max_length")]
    #[schemars(range(min = 24, max = 128))]
    pub max_length: usize,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self {
            separator: "__".to_owned(),
            max_length: 46,
        }
    }
}

/// Checks a separator.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_separator(separator: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if (1..=8).contains(&separator.len()) && separator.bytes().all(allowed) {
        Ok(())
    } else {
        Err("is not a separator".to_owned())
    }
}

fn deserialize_separator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let separator = String::deserialize(deserializer)?;
    check_separator(&separator).map_err(de::Error::custom)?;
    Ok(separator)
}

fn deserialize_max_length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let length = usize::deserialize(deserializer)?;
    if !MAX_LENGTH_BOUNDS.contains(&length) {
        return Err(de::Error::custom("the length is not from 24 to 128"));
    }
    Ok(length)
}

/// Something that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key that has to change, from the top; the index of an entry is in brackets.
    pub path: Vec<String>,
    /// The other key that it disagrees with, if there is one.
    pub other: Option<Vec<String>>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.path.iter().enumerate() {
            if at > 0 && !part.starts_with('[') {
                f.write_str(".")?;
            }
            f.write_str(part)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The path of these keys, as in [`ConfigProblem`].
pub fn path(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// The end of a message about a word that is unknown: the nearest of those that are known, if one
/// is near enough.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The one of `known` that is near enough to `word` that a slip of the hand explains the
/// difference.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&folded, &fold(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

// `allowedHosts`, `allowed-hosts` and `allowed_hosts` are one word to whoever writes them.
fn fold(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}
