//! Whether the tools of chains and groups are there, and whether their arguments fit.

use std::collections::BTreeMap;

use switchboard_protocol::pattern;

use super::Chains;
use super::arguments::Mapping;
use super::schema::{Property, Schema};
use crate::catalogue::{Entry, Kind, Snapshot};
use crate::config::chains::{ArgumentRule, ChainsConfig};
use crate::config::{ConfigProblem, did_you_mean};

/// What does not fit together: tools that no backend has, and arguments that a substitute needs and
/// does not get, or gets and does not take, by name or by type. Of a backend that was never learned nothing is said.
#[must_use]
pub fn problems(config: &ChainsConfig, snapshot: &Snapshot) -> Vec<ConfigProblem> {
    let mut check = Check {
        chains: Chains::new(config),
        snapshot,
        problems: Vec::new(),
    };
    for (index, fallback) in config.fallbacks.iter().enumerate() {
        let at = Place {
            section: "fallbacks",
            index,
            map: &fallback.map,
        };
        check.fallback(at, &fallback.tool, &fallback.targets);
    }
    for (index, group) in config.equivalents.iter().enumerate() {
        let at = Place {
            section: "equivalents",
            index,
            map: &group.map,
        };
        check.group(at, &group.tools);
    }
    check.problems
}

/// Fallbacks of tools that are not known to be safe, which are followed only where nothing was
/// sent, though what they say reads as if a timeout were enough.
#[must_use]
pub fn hardly_followed(
    config: &ChainsConfig,
    snapshot: &Snapshot,
    is_safe: impl Fn(&Entry) -> bool,
) -> Vec<ConfigProblem> {
    let chains = Chains::new(config);
    let mut problems = Vec::new();
    for (index, fallback) in config.fallbacks.iter().enumerate() {
        let entries = snapshot.entries(Kind::Tool).iter();
        let unsafe_tools: Vec<&str> = entries
            .filter(|entry| pattern::matches(&fallback.tool, &entry.exposed))
            // Another entry, or a group, may come before this one for that tool.
            .filter(|entry| {
                let first = &fallback.targets[..1.min(fallback.targets.len())];
                first
                    .iter()
                    .any(|target| chains.mappings(&entry.exposed, target).is_some())
            })
            .filter(|entry| !is_safe(entry))
            .map(|entry| &*entry.exposed)
            .collect();
        if fallback.only_safe && !unsafe_tools.is_empty() {
            let message = format!(
                "{} not known to be safe, so another is called only after failures before \
                 anything was sent; expected in `safe_tools` of the backend what does no harm \
                 when it is called twice",
                are(&unsafe_tools)
            );
            let key = ["fallbacks", &format!("[{index}]"), "tool"].map(str::to_owned);
            problems.push(ConfigProblem {
                path: key.to_vec(),
                other: None,
                message,
            });
        }
    }
    problems
}

/// The most names in one message.
const MAX_NAMES: usize = 10;

/// "`a` is", or "`a`, `b` and 3 more are".
fn are(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len() - shown.len();
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{}{more} {verb}", shown.join(", "))
}

/// Which entry is looked at.
#[derive(Clone, Copy)]
struct Place<'c> {
    section: &'static str,
    index: usize,
    map: &'c BTreeMap<String, BTreeMap<String, ArgumentRule>>,
}

impl Place<'_> {
    fn key(self, below: &[&str]) -> Vec<String> {
        let index = format!("[{}]", self.index);
        let parts = [self.section, &index].into_iter();
        parts
            .chain(below.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    /// The key of what becomes of the arguments of a tool, or else of `list`'s item for it.
    fn map_of(self, tool: &str, list: &str, item: usize) -> Vec<String> {
        if self.map.contains_key(tool) {
            self.key(&["map", tool])
        } else {
            self.key(&[list, &format!("[{item}]")])
        }
    }
}

struct Check<'s> {
    chains: Chains,
    snapshot: &'s Snapshot,
    problems: Vec<ConfigProblem>,
}

impl Check<'_> {
    fn fallback(&mut self, at: Place<'_>, tool: &str, targets: &[String]) {
        let entries = self.snapshot.entries(Kind::Tool).iter();
        let from: Vec<&Entry> = entries
            .filter(|entry| pattern::matches(tool, &entry.exposed))
            .collect();
        if from.is_empty() && tool.contains('*') {
            // A name that fits: what was never learned may have it.
            if self
                .snapshot
                .may_own(&tool.replace('*', "x"), |_| true)
                .is_none()
            {
                self.say(at.key(&["tool"]), format!("no tool fits `{tool}`"));
            }
        } else if from.is_empty() {
            self.is_there(at.key(&["tool"]), tool);
        }
        for (index, target) in targets.iter().enumerate() {
            if !self.is_there(at.key(&["try", &format!("[{index}]")]), target) {
                continue;
            }
            for entry in &from {
                self.arguments(&at.map_of(target, "try", index), &entry.exposed, target);
            }
        }
    }

    fn group(&mut self, at: Place<'_>, tools: &[String]) {
        for (index, tool) in tools.iter().enumerate() {
            self.is_there(at.key(&["tools", &format!("[{index}]")]), tool);
        }
        for called in tools {
            for (index, tool) in tools.iter().enumerate() {
                if tool != called {
                    self.arguments(&at.map_of(tool, "tools", index), called, tool);
                }
            }
        }
    }

    fn is_there(&mut self, key: Vec<String>, tool: &str) -> bool {
        if self.snapshot.tool(tool).is_some() {
            return true;
        }
        if self.snapshot.may_own(tool, |_| true).is_none() {
            let known = self.snapshot.entries(Kind::Tool).iter();
            let near = did_you_mean(tool, known.map(|entry| &*entry.exposed));
            self.say(key, format!("no backend has a tool `{tool}`{near}"));
        }
        false
    }

    fn say(&mut self, path: Vec<String>, message: String) {
        let other = None;
        self.problems.push(ConfigProblem {
            path,
            other,
            message,
        });
    }

    /// Whether the arguments of `called` fit `tool`, as far as their schemas say.
    fn arguments(&mut self, key: &[String], called: &str, tool: &str) {
        let (Some(from), Some(to)) = (self.snapshot.tool(called), self.snapshot.tool(tool)) else {
            return;
        };
        // Another entry may come before this one for that tool.
        let Some(mappings) = self.chains.mappings(called, tool) else {
            return;
        };
        let (from, to) = (Schema::of(from), Schema::of(to));
        // What each argument of `tool` is given, and by whom.
        let mut given: BTreeMap<String, (String, Property)> = BTreeMap::new();
        for (name, property) in from.properties {
            if let Some(to) = renamed(mappings, &name) {
                given.insert(to, (format!("`{called}` gives as `{name}`"), property));
            }
        }
        for (name, json) in mappings.iter().flat_map(|mapping| mapping.constants()) {
            let value = serde_json::from_str(json).unwrap_or_default();
            let constant = ("`map` gives".to_owned(), Property::constant(&value));
            given.insert(name.to_owned(), constant);
        }
        for name in to.required.iter().filter(|name| !given.contains_key(*name)) {
            let message =
                format!("`{tool}` requires `{name}`, which neither `{called}` nor `map` gives");
            self.say(key.to_vec(), message);
        }
        for (name, (by, is)) in &given {
            let message = match to.properties.get(name) {
                None if to.is_closed => {
                    format!("`{tool}` does not take `{name}`, which `{called}` or `map` gives")
                }
                Some(wanted) if is.never_fits(wanted) => format!(
                    "`{tool}` takes {} for `{name}`, which {by} and is {}",
                    wanted.described(),
                    is.described()
                ),
                _ => continue,
            };
            self.say(key.to_vec(), message);
        }
    }
}

/// The name of an argument behind both mappings.
fn renamed(mappings: [&Mapping; 2], name: &str) -> Option<String> {
    let [first, second] = mappings;
    let name = first.renamed(name)?;
    second.renamed(name).map(str::to_owned)
}
