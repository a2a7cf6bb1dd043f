//! Profiles: parts of what there is, each as a server of its own.
//!
//! A profile says what is in it by the names that clients see without one. Whatever comes to it is
//! given those names first (`enter`); from there on it is a call like any other, and what it
//! finds has to be in the profile as well as shown by the policy. So nothing that a profile hides can be
//! reached through it by another name, or by a chain.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use switchboard_protocol::delivery::Conversions;
use switchboard_protocol::pattern;
use switchboard_protocol::plain_uri::is_plain;
use switchboard_protocol::policy::TargetKind;

use crate::config::profiles::{ArgumentsConfig, ProfileConfig, ProfilesConfig};

pub mod check;
mod enter;
mod listing;
mod stand_in;

pub(crate) use enter::enter;
pub(crate) use stand_in::{Origin, StandInError, is_set_for, set_for_substitute};

/// All profiles of a configuration.
#[derive(Debug, Default)]
pub struct Profiles(HashMap<Arc<str>, Arc<Profile>>);

impl Profiles {
    /// Those of a valid configuration.
    #[must_use]
    pub fn new(config: &ProfilesConfig) -> Self {
        let all = config.iter().map(|(name, config)| {
            let profile = Profile::new(name, config);
            (Arc::clone(&profile.name), Arc::new(profile))
        });
        Self(all.collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

/// One profile.
#[derive(Debug)]
pub struct Profile {
    name: Arc<str>,
    config: ProfileConfig,
    /// From the name in this profile to the one without.
    base_of: HashMap<String, Arc<str>>,
    arguments: HashMap<String, Arguments>,
}

/// What becomes of the arguments of a tool, as JSON.
#[derive(Debug, Default)]
struct Arguments {
    fixed: BTreeMap<String, String>,
    defaults: BTreeMap<String, String>,
}

impl Arguments {
    fn new(config: &ArgumentsConfig) -> Self {
        let json = |(name, value): (&String, &serde_json::Value)| (name.clone(), value.to_string());
        Self {
            fixed: config.fixed.iter().map(json).collect(),
            defaults: config.default.iter().map(json).collect(),
        }
    }
}

impl Profile {
    fn new(name: &str, config: &ProfileConfig) -> Self {
        let renames = config.rename.iter().filter(|(base, name)| base != name);
        let arguments = config.arguments.iter();
        Self {
            name: name.into(),
            base_of: renames
                .map(|(base, name)| (name.clone(), Arc::from(base.as_str())))
                .collect(),
            arguments: arguments
                .map(|(tool, config)| (tool.clone(), Arguments::new(config)))
                .collect(),
            config: config.clone(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// With more tools than this there is a warning.
    #[must_use]
    pub fn tool_limit(&self) -> Option<usize> {
        self.config.tool_limit
    }

    /// What becomes of content that its clients cannot use.
    pub(crate) fn conversions(&self) -> Conversions {
        self.config.content.into()
    }

    /// What it says in the place of the servers' instructions.
    pub(crate) fn instructions(&self) -> Option<&str> {
        self.config.instructions.as_deref()
    }

    /// Whether a tool or prompt is in it that has these names without a profile, or a resource of
    /// this URI. `has_tools`: whether its backend can have a tool in it.
    pub(crate) fn has<N: AsRef<str>>(
        &self,
        kind: TargetKind,
        names: &[N],
        has_tools: bool,
    ) -> bool {
        let any = |patterns: &[String]| {
            let fits = |name: &N| {
                patterns
                    .iter()
                    .any(|it| pattern::matches(it, name.as_ref()))
            };
            names.iter().any(fits)
        };
        // A URI that servers may read as another one is in no pattern but by its own text.
        let is_unclear =
            kind == TargetKind::Resource && !names.iter().all(|name| is_plain(name.as_ref()));
        if is_unclear {
            let exactly = |patterns: &[String]| {
                let is_text =
                    |it: &String| *it == "*" || names.iter().any(|name| it == name.as_ref());
                patterns.iter().any(is_text)
            };
            let is_in = self.config.resources.as_deref();
            return self.config.exclude.is_empty() && is_in.map_or(has_tools, exactly);
        }
        if any(&self.config.exclude) {
            return false;
        }
        match kind {
            TargetKind::Tool => {
                let is_shadowed = names.iter().any(|name| self.is_shadowed(name.as_ref()));
                self.config.tools.as_deref().is_none_or(any) && !is_shadowed
            }
            TargetKind::Prompt => self.config.prompts.as_deref().map_or(has_tools, any),
            TargetKind::Resource => self.config.resources.as_deref().map_or(has_tools, any),
        }
    }

    /// Whether another tool has the name of this one.
    fn is_shadowed(&self, base: &str) -> bool {
        self.base_of.contains_key(base) && !self.is_renamed(base)
    }

    /// Whether the tool of this name has another one in this profile.
    pub(crate) fn is_renamed(&self, base: &str) -> bool {
        let name = self.config.rename.get(base);
        name.is_some_and(|name| name != base)
    }

    /// The tools whose names others have, of those that have these names without a profile.
    pub fn shadowed<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
        names.filter(|name| self.is_shadowed(name)).collect()
    }

    /// The name without a profile of what has this one in it; `None`: there is nothing of this name.
    pub(crate) fn base<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        match self.base_of.get(name) {
            Some(base) => Some(base),
            None => (!self.is_renamed(name)).then_some(name),
        }
    }

    /// Whether a tool can be in it whose name begins with this.
    pub(crate) fn may_have_tools_of(&self, claim: &str) -> bool {
        is_met(self.config.tools.as_deref(), claim) && !self.excludes_all(claim)
    }

    /// As [`Profile::may_have_tools_of`], of prompts that are named.
    pub(crate) fn may_have_prompts_of(&self, claim: &str) -> bool {
        let named = self.config.prompts.as_deref();
        named.is_some_and(|patterns| is_met(Some(patterns), claim)) && !self.excludes_all(claim)
    }

    /// Whether it names resources, so that those of any backend can be in it.
    pub(crate) fn names_resources(&self) -> bool {
        self.config
            .resources
            .as_ref()
            .is_some_and(|it| !it.is_empty())
    }

    fn excludes_all(&self, claim: &str) -> bool {
        let is_of_all = |pattern: &String| match pattern.split_once('*') {
            Some((first, rest)) => claim.starts_with(first) && rest.bytes().all(|it| it == b'*'),
            None => false,
        };
        self.config.exclude.iter().any(is_of_all)
    }
}

/// Whether a name that begins like this can fit one of the patterns; `None`: all names do.
fn is_met(patterns: Option<&[String]>, beginning: &str) -> bool {
    let meets = |pattern: &String| match pattern.split_once('*') {
        Some((first, _)) => first.starts_with(beginning) || beginning.starts_with(first),
        None => pattern.starts_with(beginning),
    };
    patterns.is_none_or(|patterns| patterns.iter().any(meets))
}

#[cfg(test)]
mod tests;
