//! How large results may be: the section `result_caps` of the configuration.

use std::collections::{BTreeSet, HashMap};

use smallvec::SmallVec;
use switchboard_protocol::call::Call;
use switchboard_protocol::delivery::Cap;
use switchboard_protocol::pattern;
use switchboard_protocol::policy::{Target, TargetKind};

use self::config::ResultCapConfig;

pub mod config;

/// The caps of one configuration. Immutable: a reload makes others.
#[derive(Debug)]
pub struct ResultCaps {
    rules: Box<[Rule]>,
    /// The indices of the rules that concern a backend, in their order, by the name of each that is
    /// configured.
    of_backends: HashMap<String, Box<[usize]>, foldhash::fast::RandomState>,
}

/// One cap, and whose results it is for. A list that is empty concerns all.
#[derive(Debug)]
struct Rule {
    profiles: Box<[String]>,
    backends: Box<[String]>,
    tools: Box<[String]>,
    cap: Cap,
}

fn any(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern::matches(pattern, name))
}

impl Rule {
    fn new(config: &ResultCapConfig) -> Self {
        Self {
            profiles: config.profiles.clone().into(),
            backends: config.backends.clone().into(),
            tools: config.tools.clone().into(),
            cap: Cap {
                bytes: config.max_bytes,
                tokens: config.max_tokens,
                over: config.over.into(),
            },
        }
    }

    fn concerns_backend(&self, backend: &str) -> bool {
        self.backends.is_empty() || any(&self.backends, backend)
    }

    /// Whether it concerns a call of a backend that it concerns.
    fn concerns(&self, profile: Option<&str>, target: &Target<'_>) -> bool {
        let is_tool = target.kind == TargetKind::Tool;
        (self.tools.is_empty() || is_tool && any(&self.tools, target.name))
            && (self.profiles.is_empty()
                || profile.is_some_and(|profile| any(&self.profiles, profile)))
    }
}

impl ResultCaps {
    /// Those of a configuration with these backends.
    #[must_use]
    pub fn new<'b>(
        config: &[ResultCapConfig],
        backends: impl IntoIterator<Item = &'b String>,
    ) -> Self {
        let rules: Box<[Rule]> = config.iter().map(Rule::new).collect();
        let of_backend = |backend: &String| {
            let rules = rules.iter().enumerate();
            let concerned = rules.filter(|(_, rule)| rule.concerns_backend(backend));
            (backend.clone(), concerned.map(|(index, _)| index).collect())
        };
        Self {
            of_backends: backends.into_iter().map(of_backend).collect(),
            rules,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// That of the first rule that concerns a call.
    #[must_use]
    pub fn of(&self, call: &Call, target: &Target<'_>) -> Option<Cap> {
        let profile = call.profile.as_deref();
        let indices = self.of_backends.get(target.backend)?;
        let mut rules = indices.iter().map(|index| &self.rules[*index]);
        let first = rules.find(|rule| rule.concerns(profile, target));
        first.map(|rule| rule.cap)
    }
}

/// Rules that concern nothing, by key: their patterns fit no backend or profile that is configured, or
/// a rule before them concerns everything that they do.
#[must_use]
pub fn unmatched(
    config: &[ResultCapConfig],
    backends: &BTreeSet<&str>,
    profiles: &BTreeSet<&str>,
) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    let mut everything: Option<usize> = None;
    for (index, rule) in config.iter().enumerate() {
        let entry = format!("[{index}]");
        if let Some(before) = everything {
            let path = ["result_caps", &entry].map(str::to_owned);
            let message = format!(
                "concerns nothing, since `result_caps[{before}]` comes before it and concerns everything"
            );
            found.push((path.to_vec(), message));
            continue;
        }
        let lists: SmallVec<[_; 2]> = [
            ("backends", &rule.backends, backends, "backend"),
            ("profiles", &rule.profiles, profiles, "profile"),
        ]
        .into();
        for (key, patterns, known, word) in lists {
            for (item, text) in patterns.iter().enumerate() {
                if known.iter().any(|name| pattern::matches(text, name)) {
                    continue;
                }
                let path = ["result_caps", &entry, key, &format!("[{item}]")].map(str::to_owned);
                found.push((path.to_vec(), format!("`{text}` fits no {word}")));
            }
        }
        let lists = [&rule.profiles, &rule.backends, &rule.tools];
        if lists.iter().all(|list| list.is_empty()) {
            everything = Some(index);
        }
    }
    found
}

#[cfg(test)]
mod tests;
