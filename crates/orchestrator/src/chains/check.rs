//! Whether the tools of chains and groups are there, and whether their arguments fit.

use std::collections::BTreeSet;

use serde_json::Value;
use switchboard_backends::pattern;

use super::Chains;
use super::arguments::Mapping;
use crate::catalogue::{Entry, Kind, Snapshot};
use crate::config::chains::ChainsConfig;
use crate::config::did_you_mean;

/// What does not fit together, a sentence each: tools that no backend has, and arguments that a
/// substitute needs and does not get, or gets and does not take. Of a backend that was never
/// learned nothing is said.
#[must_use]
pub fn problems(config: &ChainsConfig, snapshot: &Snapshot) -> Vec<String> {
    let mut check = Check {
        chains: Chains::new(config),
        snapshot,
        problems: Vec::new(),
    };
    for (index, fallback) in config.fallbacks.iter().enumerate() {
        check.fallback(
            &format!("fallbacks[{index}]"),
            &fallback.tool,
            &fallback.targets,
        );
    }
    for (index, group) in config.equivalents.iter().enumerate() {
        check.group(&format!("equivalents[{index}]"), &group.tools);
    }
    check.problems
}

struct Check<'s> {
    chains: Chains,
    snapshot: &'s Snapshot,
    problems: Vec<String>,
}

impl Check<'_> {
    fn fallback(&mut self, at: &str, tool: &str, targets: &[String]) {
        let entries = self.snapshot.entries(Kind::Tool).iter();
        let from: Vec<&Entry> = entries
            .filter(|entry| pattern::matches(tool, &entry.exposed))
            .collect();
        if from.is_empty() && tool.contains('*') {
            self.problems.push(format!("{at}: no tool fits `{tool}`"));
        } else if from.is_empty() {
            self.is_there(at, tool);
        }
        for target in targets {
            if !self.is_there(at, target) {
                continue;
            }
            for entry in &from {
                self.arguments(at, &entry.exposed, target);
            }
        }
    }

    fn group(&mut self, at: &str, tools: &[String]) {
        for tool in tools {
            self.is_there(at, tool);
        }
        for called in tools {
            for tool in tools.iter().filter(|tool| *tool != called) {
                self.arguments(at, called, tool);
            }
        }
    }

    fn is_there(&mut self, at: &str, tool: &str) -> bool {
        if self.snapshot.tool(tool).is_some() {
            return true;
        }
        if self.snapshot.may_own(tool).is_none() {
            let known = self.snapshot.entries(Kind::Tool).iter();
            let near = did_you_mean(tool, known.map(|entry| &*entry.exposed));
            self.problems
                .push(format!("{at}: no backend has a tool `{tool}`{near}"));
        }
        false
    }

    /// Whether the arguments of `called` fit `tool`, as far as their schemas say.
    fn arguments(&mut self, at: &str, called: &str, tool: &str) {
        let (Some(from), Some(to)) = (self.snapshot.tool(called), self.snapshot.tool(tool)) else {
            return;
        };
        // Another entry may come before this one for that tool.
        let Some(mappings) = self.chains.mappings(called, tool) else {
            return;
        };
        let (from, to) = (Schema::of(from), Schema::of(to));
        let given: BTreeSet<String> = from
            .properties
            .iter()
            .filter_map(|name| renamed(mappings, name))
            .chain(
                mappings
                    .iter()
                    .flat_map(|mapping| mapping.constants())
                    .map(str::to_owned),
            )
            .collect();
        for name in to.required.iter().filter(|name| !given.contains(*name)) {
            self.problems.push(format!(
                "{at}: `{tool}` requires `{name}`, which neither `{called}` nor `map` gives"
            ));
        }
        let unknown = given.iter().filter(|name| !to.properties.contains(*name));
        for name in unknown.filter(|_| to.is_closed) {
            self.problems.push(format!(
                "{at}: `{tool}` does not take `{name}`, which `{called}` or `map` gives"
            ));
        }
    }
}

/// The name of an argument behind both mappings.
fn renamed(mappings: [&Mapping; 2], name: &str) -> Option<String> {
    let [first, second] = mappings;
    let name = first.renamed(name)?;
    second.renamed(name).map(str::to_owned)
}

/// What a tool's input schema says of its arguments.
struct Schema {
    properties: BTreeSet<String>,
    required: BTreeSet<String>,
    /// Whether it takes no others.
    is_closed: bool,
}

impl Schema {
    fn of(entry: &Entry) -> Self {
        let tool: Value = serde_json::from_slice(&entry.item.raw).unwrap_or_default();
        let schema = &tool["inputSchema"];
        let properties = schema["properties"].as_object().into_iter().flatten();
        let required = schema["required"].as_array().into_iter().flatten();
        Self {
            properties: properties.map(|(name, _)| name.clone()).collect(),
            required: required
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            is_closed: schema["additionalProperties"] == Value::Bool(false),
        }
    }
}
