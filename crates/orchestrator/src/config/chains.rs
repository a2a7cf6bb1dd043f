//! What takes the place of a tool that cannot answer: the `fallbacks` and `equivalents` sections of
//! the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{ConfigProblem, did_you_mean, path};

/// The most tools of one chain or one group.
pub const MAX_TOOLS: usize = 16;

/// All that takes a tool's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainsConfig {
    /// Other tools, when one fails.
    pub fallbacks: Vec<FallbackConfig>,
    /// Tools that do the same.
    pub equivalents: Vec<EquivalentsConfig>,
}

/// What is tried when a tool cannot answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FallbackConfig {
    /// The tools that this is for, by the name that clients see; `*` stands for any characters. Of
    /// several entries that fit, the first decides.
    #[schemars(length(min = 1))]
    pub tool: String,
    /// The tools to call instead, by the names that clients see, one after the other; 1 to 16.
    #[serde(rename = "try")]
    pub targets: Vec<String>,
    /// The failures after which the next one is called.
    #[serde(default = "default_when")]
    #[schemars(extend("default" = ["unavailable", "timeout", "limit"]))]
    pub when: Vec<When>,
    /// By tool of `try`: what becomes of the call's arguments. `{query: q}` gives `query` under the
    /// name `q`; `{lang: {const: en}}` sets `lang`, whatever the caller gave. Others stay.
    #[serde(default)]
    pub map: BTreeMap<String, BTreeMap<String, ArgumentRule>>,
    /// Whether the next server is called only if the one before did nothing, or the tool is known
    /// to be safe (`safe_tools` and `trust_annotations` of its backend). With `false` it is also
    /// called if the server says that it failed. Where it is unknown whether the work was done, an
    /// unsafe tool is never followed by another.
    #[serde(default = "default_only_safe")]
    #[schemars(extend("default" = true))]
    pub only_safe: bool,
}

/// Tools that do the same, of which each may answer for the others.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EquivalentsConfig {
    /// The tools, by the names that clients see; 2 to 16. No tool can be in two groups.
    pub tools: Vec<String>,
    /// Which of those that are available is called first.
    #[serde(default)]
    #[schemars(extend("default" = "listed"))]
    pub prefer: Prefer,
    /// What a call of each costs, in any unit: numbers of at least 0. For `prefer: cheapest` every
    /// tool needs one.
    #[serde(default)]
    #[schemars(
        with = "BTreeMap<String, f64>",
        extend("additionalProperties" = {"type": "number", "minimum": 0})
    )]
    pub costs: BTreeMap<String, f64>,
    /// The failures after which the next one is called.
    #[serde(default = "default_when")]
    #[schemars(extend("default" = ["unavailable", "timeout", "limit"]))]
    pub when: Vec<When>,
    /// By tool: what becomes of the arguments of the first tool of `tools`, as in `fallbacks`.
    /// Towards the first tool the renames are read backwards.
    #[serde(default)]
    pub map: BTreeMap<String, BTreeMap<String, ArgumentRule>>,
    /// As in `fallbacks`.
    #[serde(default = "default_only_safe")]
    #[schemars(extend("default" = true))]
    pub only_safe: bool,
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The server cannot be reached, or gave no answer that is one.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It takes no more calls right now (HTTP 429).
    Limit,
    /// A budget is used up (402).
    Budget,
    /// It answered with `isError`, or with a JSON-RPC error.
    Error,
}

impl When {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Budget => "budget",
            Self::Error => "error",
        }
    }
}

/// Which of several equivalent tools is called first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// The one with the least of `costs`.
    Cheapest,
    /// The one that answered fastest of late. Another one has to be 20 % faster to take its place.
    Fastest,
    /// The first of `tools`.
    #[default]
    Listed,
}

/// What becomes of one argument.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected the other tool's name of the argument, or `{const: VALUE}`"
)]
pub enum ArgumentRule {
    /// It has this name.
    Rename(String),
    /// It has a value of its own.
    Constant(Constant),
}

/// An argument that is always the same.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// The value.
    #[serde(rename = "const")]
    pub value: serde_json::Value,
}

impl JsonSchema for ArgumentRule {
    fn schema_name() -> Cow<'static, str> {
        "ArgumentRule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<AnyValue>();
        json_schema!({
            "type": ["string", "object"],
            "properties": { "const": value },
            "additionalProperties": false,
        })
    }
}

/// Any JSON value, spelled out for those who read the schema.
pub(super) struct AnyValue;

impl JsonSchema for AnyValue {
    fn schema_name() -> Cow<'static, str> {
        "AnyValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Self>();
        json_schema!({
            "type": ["null", "boolean", "number", "string", "array", "object"],
            "additionalProperties": value,
        })
    }
}

fn default_when() -> Vec<When> {
    vec![When::Unavailable, When::Timeout, When::Limit]
}

fn default_only_safe() -> bool {
    true
}

/// What is wrong with the entries by themselves; the names of tools are looked at elsewhere.
#[must_use]
pub fn problems(
    fallbacks: &[FallbackConfig],
    equivalents: &[EquivalentsConfig],
) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for (index, fallback) in fallbacks.iter().enumerate() {
        let mut say = entry("fallbacks", index, &mut problems);
        if let Some(problem) = wrong_list(&fallback.targets, 1) {
            say(&["try"], problem);
        }
        let own = fallback.targets.iter().position(|it| *it == fallback.tool);
        if let Some(item) = own {
            let problem = "is the tool itself; expected another";
            say(&["try", &format!("[{item}]")], problem.to_owned());
        }
        let mapped = ("is not in `try`, which has", &*fallback.targets);
        wrong_terms(mapped, &fallback.when, &fallback.map, &mut say);
    }
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, group) in equivalents.iter().enumerate() {
        let mut say = entry("equivalents", index, &mut problems);
        if let Some(problem) = wrong_list(&group.tools, 2) {
            say(&["tools"], problem);
        }
        for (item, tool) in group.tools.iter().enumerate() {
            let first = *groups.entry(tool).or_insert(index);
            if first != index {
                let message = format!(
                    "is `{tool}`, which is in equivalents[{first}] too; expected each tool in one group"
                );
                say(&["tools", &format!("[{item}]")], message);
            }
        }
        wrong_costs(group, &mut say);
        let mapped = group.tools.get(1..).unwrap_or_default();
        let mapped = ("is none of `tools` after the first:", mapped);
        wrong_terms(mapped, &group.when, &group.map, &mut say);
    }
    problems
}

fn entry(
    section: &'static str,
    index: usize,
    problems: &mut Vec<ConfigProblem>,
) -> impl FnMut(&[&str], String) {
    move |below, message| {
        let index = format!("[{index}]");
        let keys: Vec<&str> = [section, &index]
            .into_iter()
            .chain(below.iter().copied())
            .collect();
        problems.push(ConfigProblem {
            path: path(&keys),
            other: None,
            message,
        });
    }
}

fn wrong_list(tools: &[String], least: usize) -> Option<String> {
    if !(least..=MAX_TOOLS).contains(&tools.len()) {
        return Some(format!(
            "has {} tools; expected {least} to {MAX_TOOLS}",
            tools.len()
        ));
    }
    let twice = tools
        .iter()
        .enumerate()
        .find(|(index, tool)| tools[..*index].contains(tool))?;
    Some(format!("has `{}` twice; expected it once", twice.1))
}

fn wrong_costs(group: &EquivalentsConfig, say: &mut impl FnMut(&[&str], String)) {
    for tool in group
        .costs
        .keys()
        .filter(|tool| !group.tools.contains(tool))
    {
        let message = format!("names `{tool}`, which is none of `tools`");
        say(&["costs", tool], message);
    }
    let lacks = |tool: &&String| !group.costs.contains_key(*tool);
    if group.prefer == Prefer::Cheapest
        && let Some(tool) = group.tools.iter().find(lacks)
    {
        let message = format!("has no cost of `{tool}`; expected one for each of `tools`");
        say(&["costs"], message);
    }
}

/// `targets` are the tools that `map` may name, and how to say that another is none of them.
fn wrong_terms(
    (is_not, targets): (&str, &[String]),
    when: &[When],
    map: &BTreeMap<String, BTreeMap<String, ArgumentRule>>,
    say: &mut impl FnMut(&[&str], String),
) {
    if when.is_empty() {
        let problem = "is empty, so nothing would ever be tried; expected at least one failure";
        say(&["when"], problem.to_owned());
    }
    for (tool, rules) in map {
        if !targets.contains(tool) {
            let near = did_you_mean(tool, targets.iter().map(String::as_str));
            let known: Vec<String> = targets.iter().map(|it| format!("`{it}`")).collect();
            let message = format!("{is_not} {}{near}", known.join(", "));
            say(&["map", tool], message);
        }
        let mut names: Vec<&str> = rules
            .iter()
            .map(|(argument, rule)| match rule {
                ArgumentRule::Rename(name) => name.as_str(),
                ArgumentRule::Constant(_) => argument.as_str(),
            })
            .collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!(
                "gives the tool two arguments called `{}`; expected one",
                pair[0]
            );
            say(&["map", tool], message);
        }
    }
}

#[cfg(test)]
mod tests;
