//! Whether somebody answers for a tool whose server is away.

use switchboard_protocol::pattern;

use crate::config::chains::{ChainsConfig, When};

/// Whether another tool takes the place of this one while its server is unavailable, of those that
/// `is_there` says to be there.
pub(crate) fn has_substitute(
    chains: &ChainsConfig,
    tool: &str,
    is_there: impl Fn(&str) -> bool,
) -> bool {
    let mut groups = chains.equivalents.iter();
    let group = groups.find(|group| group.tools.iter().any(|member| member == tool));
    let (substitutes, when) = match group {
        Some(group) => (&group.tools, &group.when),
        None => {
            let mut fallbacks = chains.fallbacks.iter();
            let fallback = fallbacks.find(|fallback| pattern::matches(&fallback.tool, tool));
            let Some(fallback) = fallback else {
                return false;
            };
            (&fallback.targets, &fallback.when)
        }
    };
    let mut others = substitutes.iter().filter(|other| *other != tool);
    when.contains(&When::Unavailable) && others.any(|other| is_there(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_substitute_that_is_there_counts_where_it_would_be_asked() {
        let chains = ChainsConfig {
            fallbacks: serde_json::from_value(json!([
                { "tool": "a__*", "try": ["b__x", "c__x"] },
                { "tool": "d__x", "try": ["b__x"], "when": ["timeout"] },
            ]))
            .unwrap(),
            equivalents: serde_json::from_value(json!([{ "tools": ["e__x", "f__x"] }])).unwrap(),
        };
        let stands_in = |tool: &str, there: &str| has_substitute(&chains, tool, |it| it == there);
        assert!(stands_in("a__anything", "c__x"));
        assert!(!stands_in("a__anything", "e__x"));
        assert!(!stands_in("d__x", "b__x"));
        assert!(stands_in("e__x", "f__x"));
        assert!(stands_in("f__x", "e__x"));
        assert!(!stands_in("e__x", "e__x"));
        assert!(!stands_in("b__x", "c__x"));
    }
}
