//! Patterns in limits, budgets, costs, caps and the audit, to see which of them fit nothing.

use switchboard_orchestrator::config::ConfigProblem;
use switchboard_protocol::pattern::matches;

use super::Config;

/// A pattern that an operator wrote, and its key.
type Written = (Vec<String>, String);

impl Config {
    /// Patterns of limits and budgets that fit no backend or profile that is configured, by key.
    pub fn unmatched_limits(&self) -> Vec<ConfigProblem> {
        let limits = self.limits.iter().map(|it| (&it.backends, &it.profiles));
        let budgets = self.budgets.iter().map(|it| (&it.backends, &it.profiles));
        let sections = [
            ("limits", limits.collect::<Vec<_>>()),
            ("budgets", budgets.collect()),
        ];
        let mut unmatched = Vec::new();
        for (section, entries) in sections {
            for (entry, (backends, profiles)) in entries.into_iter().enumerate() {
                let written = listed(section, entry, "backends", backends.as_deref());
                unmatched.extend(unfit(written, "backend", self.backends.keys()));
                let written = listed(section, entry, "profiles", profiles.as_deref());
                unmatched.extend(unfit(written, "profile", self.profiles.keys()));
            }
        }
        unmatched
    }

    /// All patterns of tools in limits, budgets, costs, caps of results and the audit, each with its key.
    pub fn tool_patterns(&self) -> Vec<(Vec<String>, String)> {
        let mut all = Vec::new();
        for (entry, limit) in self.limits.iter().enumerate() {
            all.extend(listed("limits", entry, "tools", limit.tools.as_deref()));
        }
        for (entry, budget) in self.budgets.iter().enumerate() {
            all.extend(listed("budgets", entry, "tools", budget.tools.as_deref()));
        }
        for (entry, cap) in self.result_caps.iter().enumerate() {
            all.extend(listed("result_caps", entry, "tools", Some(&cap.tools)));
        }
        let costs = self.costs.keys();
        all.extend(costs.map(|text| (vec!["costs".to_owned(), text.clone()], text.clone())));
        let values = self.audit.iter().flat_map(|audit| &audit.values);
        all.extend(values.enumerate().map(|(item, text)| {
            let path = ["audit", "values", &format!("[{item}]")];
            (path.map(str::to_owned).to_vec(), text.clone())
        }));
        all
    }
}

/// The patterns of one list in one entry of a section.
fn listed(
    section: &'static str,
    entry: usize,
    key: &'static str,
    patterns: Option<&[String]>,
) -> impl Iterator<Item = Written> {
    let patterns = patterns.unwrap_or_default().iter().enumerate();
    patterns.map(move |(item, text)| {
        let path = [section, &format!("[{entry}]"), key, &format!("[{item}]")];
        (path.map(str::to_owned).to_vec(), text.clone())
    })
}

/// Those of the patterns that fit none of these names, of backends or profiles as the word says.
fn unfit<'n>(
    written: impl Iterator<Item = Written>,
    word: &'static str,
    names: impl Iterator<Item = &'n String> + Clone,
) -> impl Iterator<Item = ConfigProblem> {
    written
        .filter(move |(_, text)| !names.clone().any(|name| matches(text, name)))
        .map(move |(path, text)| ConfigProblem {
            path,
            other: None,
            message: format!("`{text}` fits no {word} that is configured"),
        })
}
