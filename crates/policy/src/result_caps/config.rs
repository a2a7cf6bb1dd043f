//! What an operator writes about how large results may be.

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_protocol::delivery::Over;

use crate::limits::config::units;

/// The least that a cap may be, in bytes and in tokens: a result that is cut says so, which takes room
/// too.
const LEAST_BYTES: u64 = 1024;
const LEAST_TOKENS: u64 = 256;

/// How large results may be. Of several that concern a call the first counts, so exceptions stand
/// before what they are exceptions of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultCapConfig {
    /// A name for people who read the file.
    #[serde(default)]
    pub name: Option<String>,
    /// The profiles through which the calls come that it concerns, as patterns in which `*` stands for
    /// any characters. Without it: calls through any profile, and through none.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// The backends whose results it concerns, as patterns. Without it: all.
    #[serde(default)]
    pub backends: Vec<String>,
    /// The tools whose results it concerns, as patterns of the names that the gateway lists. Without
    /// it: the results of all calls, those of prompts and resources too.
    #[serde(default)]
    pub tools: Vec<String>,
    /// How large a result may be: a size such as `64KiB`, or a number of bytes, at least 1 KiB. Images,
    /// audio and blobs count as what they are without base64.
    #[serde(default, deserialize_with = "units::deserialize_size")]
    #[schemars(schema_with = "units::size_schema")]
    pub max_bytes: Option<u64>,
    /// How many tokens a result may have, as they are estimated: a quarter of the ASCII characters,
    /// and one for each other character. At least 256.
    #[serde(default)]
    #[schemars(range(min = 256))]
    pub max_tokens: Option<u64>,
    /// What becomes of a larger result. By default `truncate`.
    #[serde(default)]
    #[schemars(extend("default" = "truncate"))]
    pub over: OverConfig,
}

/// What becomes of a result that is larger than it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverConfig {
    /// It is cut, says so, and is still valid. The rest is not read from its server.
    #[default]
    Truncate,
    /// It is kept, and the client gets its beginning and where it can read on.
    Handle,
    /// The call fails with 413 and `too_large`. The rest is not read from its server.
    Refuse,
}

impl From<OverConfig> for Over {
    fn from(config: OverConfig) -> Self {
        match config {
            OverConfig::Truncate => Self::Truncate,
            OverConfig::Handle => Self::Handle,
            OverConfig::Refuse => Self::Refuse,
        }
    }
}

/// What is wrong with caps: for each problem its key, from the section down, and what to do.
#[must_use]
pub fn problems(caps: &[ResultCapConfig]) -> Vec<(Vec<String>, String)> {
    let mut problems = Vec::new();
    for (index, cap) in caps.iter().enumerate() {
        let mut wrong = |key: &str, message: String| {
            let path = ["result_caps", &format!("[{index}]"), key].map(str::to_owned);
            problems.push((path.to_vec(), message));
        };
        match cap.max_bytes {
            Some(bytes) if bytes < LEAST_BYTES => wrong(
                "max_bytes",
                format!(
                    "is {bytes} bytes; expected at least 1KiB, or a cut result could not say that it is cut"
                ),
            ),
            _ => {}
        }
        match cap.max_tokens {
            Some(tokens) if tokens < LEAST_TOKENS => wrong(
                "max_tokens",
                format!(
                    "is {tokens}; expected at least {LEAST_TOKENS}, or a cut result could not say that it is cut"
                ),
            ),
            _ => {}
        }
        if cap.max_bytes.is_none() && cap.max_tokens.is_none() {
            wrong(
                "max_bytes",
                "is not there, nor `max_tokens`, so nothing is capped; expected one or both"
                    .to_owned(),
            );
        }
    }
    problems
}
