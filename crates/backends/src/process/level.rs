//! Which level a line of standard error has, as far as it says.

use std::iter;

use tracing::Level;

/// How many words of a line are looked at: a time, a name and a thread may stand before the level.
const WORDS: usize = 6;

/// The level of a line: from its JSON, or one of its first words. What says nothing is information.
pub(crate) fn level(line: &str) -> Level {
    let found = match line.starts_with('{') {
        true => in_json(line),
        false => in_words(line),
    };
    found.unwrap_or(Level::INFO)
}

fn in_json(line: &str) -> Option<Level> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let keys = ["level", "severity", "lvl", "levelname", "log.level"];
    let value = keys.iter().find_map(|key| object.get(*key))?;
    if let Some(word) = value.as_str() {
        return named(word);
    }
    // As pino and bunyan write them.
    Some(match value.as_u64()? {
        50.. => Level::ERROR,
        40.. => Level::WARN,
        30.. => Level::INFO,
        20.. => Level::DEBUG,
        _ => Level::TRACE,
    })
}

fn in_words(line: &str) -> Option<Level> {
    let words = line
        .split(|c: char| c.is_whitespace() || matches!(c, ':' | '[' | ']' | '|' | '(' | ')' | '='));
    // Times and dashes say nothing.
    let mut words = words
        .filter(|word| word.contains(char::is_alphabetic))
        .take(WORDS);
    let first = words.next()?;
    // Elsewhere than before a colon only in capitals or brackets: ordinary text has these words as
    // well.
    let begins = named(first).filter(|_| {
        let rest = line.trim_start_matches('[').strip_prefix(first);
        rest.is_some_and(|rest| rest.starts_with([':', ']']) || is_capital(first))
    });
    begins.or_else(|| {
        iter::once(first).chain(words).find_map(|word| {
            let in_brackets = line.contains(&format!("[{word}]"));
            named(word).filter(|_| is_capital(word) || in_brackets)
        })
    })
}

fn is_capital(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
}

fn named(word: &str) -> Option<Level> {
    let word = word.to_ascii_lowercase();
    Some(match word.as_str() {
        "emerg" | "emergency" | "alert" | "crit" | "critical" | "fatal" | "panic" | "error"
        | "err" => Level::ERROR,
        "warn" | "warning" => Level::WARN,
        "info" | "information" | "notice" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_recognised_where_programs_write_them() {
        for (line, expected) in [
            ("ERROR: no such thing", Level::ERROR),
            ("error: no such thing", Level::ERROR),
            ("[error] no such thing", Level::ERROR),
            (
                "2026-01-01 10:00:00,123 - server - WARNING - slow",
                Level::WARN,
            ),
            ("2026-01-01T10:00:00Z  WARN server: slow", Level::WARN),
            ("WARNING:root:slow", Level::WARN),
            ("[2026-01-01] [debug] details", Level::DEBUG),
            ("DEBUG details", Level::DEBUG),
            ("INFO:     Started server process", Level::INFO),
            ("time=2026-01-01 level=ERROR msg=gone", Level::ERROR),
            (r#"{"level":"error","msg":"gone"}"#, Level::ERROR),
            (r#"{"severity":"WARNING","message":"slow"}"#, Level::WARN),
            (r#"{"level":50,"msg":"gone"}"#, Level::ERROR),
            (r#"{"level":20,"msg":"details"}"#, Level::DEBUG),
            (r#"{"no":"level"}"#, Level::INFO),
            ("{ not JSON", Level::INFO),
            ("Secure MCP Filesystem Server running on stdio", Level::INFO),
            ("there was an error in it", Level::INFO),
            ("", Level::INFO),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
