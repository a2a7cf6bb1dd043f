//! The operator's own patterns.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;

/// The most that a pattern may match, in bytes: so much of a text is held back.
pub const MOST_PATTERN_BYTES: usize = 1024;
/// The most memory that a compiled pattern takes, in bytes.
const MOST_COMPILED: usize = 256 * 1024;
/// The most memory that its cache takes while it looks.
const MOST_CACHE: usize = 1024 * 1024;

/// A pattern, compiled.
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// The most that it matches, in bytes.
    pub(super) longest: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let parsed = ParserBuilder::new().build().parse(text);
        let parsed = parsed.map_err(|error| {
            format!(
                "is no regular expression: {}",
                last_line(&error.to_string())
            )
        })?;
        let properties = parsed.properties();
        if properties.minimum_len().unwrap_or(0) == 0 {
            return Err("matches nothing at all, and so everywhere".to_owned());
        }
        let longest = properties.maximum_len().ok_or_else(|| {
            "may match without end: say how much at most, such as `{1,200}` in the place of `+` or `*`".to_owned()
        })?;
        if longest > MOST_PATTERN_BYTES {
            return Err(format!(
                "may match {longest} bytes; at most {MOST_PATTERN_BYTES} are looked at"
            ));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(MOST_COMPILED)
            .dfa_size_limit(MOST_CACHE)
            .build()
            .map_err(|_| {
                format!(
                    "takes more than {} KiB when it is compiled",
                    MOST_COMPILED / 1024
                )
            })?;
        Ok(Self { regex, longest })
    }
}

/// Checks a pattern.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_pattern(text: &str) -> Result<(), String> {
    Pattern::new(text).map(|_| ())
}

/// The message of an error that draws where it is.
fn last_line(error: &str) -> &str {
    let last = error.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last)
}
