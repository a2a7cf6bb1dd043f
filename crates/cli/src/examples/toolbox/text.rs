//! `text_stats`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::examples::table::{Output, Refusal};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TextStats {
    /// The text to measure.
    text: String,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Stats {
    /// Unicode scalar values.
    characters: usize,
    /// Bytes in UTF-8.
    bytes: usize,
    /// Runs of anything but white space.
    words: usize,
    /// Lines; a last line without a line break counts.
    lines: usize,
    /// A rough guess, one token for four bytes: within about a third for English prose.
    estimated_tokens: usize,
}

impl Output for Stats {}

pub(super) fn run(arguments: &TextStats) -> Result<Stats, Refusal> {
    let text = &arguments.text;
    Ok(Stats {
        characters: text.chars().count(),
        bytes: text.len(),
        words: text.split_whitespace().count(),
        lines: text.lines().count(),
        estimated_tokens: text.len().div_ceil(4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_says() {
        let text = "Grüße an\nalle".to_owned();
        let expected = Stats {
            characters: 13,
            bytes: 15,
            words: 3,
            lines: 2,
            estimated_tokens: 4,
        };
        assert_eq!(run(&TextStats { text }), Ok(expected));
    }
}
