//! One rule, compiled.

use std::sync::Arc;

use serde_json::Value;
use switchboard_protocol::call::Principal;
use switchboard_protocol::pattern::Patterns;
use switchboard_protocol::plain_uri::is_plain;
use switchboard_protocol::policy::{Target, TargetKind};

use super::condition::{Condition, Facts, Needs};
use super::config::{AccessMode, Effect, RuleConfig};

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) effect: Effect,
    /// Whether it denies nothing and only tells.
    pub(super) is_shadow: bool,
    who: Who,
    profiles: Option<Box<[String]>>,
    what: What,
    when: When,
}

/// Which principals; `None` are all.
#[derive(Debug)]
struct Who {
    users: Option<Patterns>,
    groups: Option<Patterns>,
    clients: Option<Patterns>,
    claims: Box<[(String, Vec<Value>)]>,
}

/// Which targets.
#[derive(Debug)]
struct What {
    backends: Option<Patterns>,
    /// Whether it names none of the kinds, and so is about all.
    is_about_all: bool,
    tools: Option<Patterns>,
    prompts: Option<Patterns>,
    resources: Option<Patterns>,
}

#[derive(Debug)]
enum When {
    Always,
    /// Wrong, so that it always fails.
    Broken,
    On(Box<Condition>),
}

/// The matcher of a rule that does not fit.
pub(super) type Unfit = &'static str;

/// Whether a rule fits, as far as that can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// That depends on the arguments.
    Depends,
}

impl Rule {
    pub(super) fn new(config: &RuleConfig) -> Self {
        let patterns = |texts: &Option<Vec<String>>| texts.as_deref().map(Patterns::new);
        let claims = config.claims.iter().flatten();
        let kinds = [&config.tools, &config.prompts, &config.resources];
        Self {
            name: config.name.as_str().into(),
            effect: config.effect,
            is_shadow: config.mode == AccessMode::Shadow,
            who: Who {
                users: patterns(&config.users),
                groups: patterns(&config.groups),
                clients: patterns(&config.clients),
                claims: claims
                    .map(|(name, values)| (name.clone(), values.clone()))
                    .collect(),
            },
            profiles: config.profiles.clone().map(Vec::into_boxed_slice),
            what: What {
                backends: patterns(&config.backends),
                is_about_all: kinds.iter().all(|kind| kind.is_none()),
                tools: patterns(&config.tools),
                prompts: patterns(&config.prompts),
                resources: patterns(&config.resources),
            },
            when: match &config.when {
                None => When::Always,
                Some(text) => Condition::compile(text)
                    .map_or(When::Broken, |condition| When::On(Box::new(condition))),
            },
        }
    }

    /// What its condition looks at.
    pub(super) fn needs(&self) -> Needs {
        match &self.when {
            When::On(condition) => condition.needs,
            When::Always | When::Broken => Needs::default(),
        }
    }

    /// The profiles that it names.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().flatten().map(|name| &**name)
    }

    /// Whether this principal is one of those that it is about.
    pub(super) fn concerns(
        &self,
        principal: &Principal,
        profile: Option<&str>,
    ) -> Result<(), Unfit> {
        let who = &self.who;
        let fit = |patterns: &Option<Patterns>, text: Option<&str>| match (patterns, text) {
            (None, _) => true,
            (Some(patterns), Some(text)) => patterns.fit(text),
            (Some(_), None) => false,
        };
        if !fit(&who.users, Some(&principal.id)) {
            return Err("users");
        }
        let groups = who.groups.as_ref();
        if groups.is_some_and(|patterns| !principal.groups.iter().any(|group| patterns.fit(group)))
        {
            return Err("groups");
        }
        if !fit(&who.clients, principal.client.as_deref()) {
            return Err("clients");
        }
        let claims = principal.claims.as_deref();
        let has = |(name, values): &(String, Vec<Value>)| {
            claims
                .and_then(|claims| claims.get(name))
                .is_some_and(|claim| match claim {
                    Value::Array(items) => items.iter().any(|item| values.contains(item)),
                    one => values.contains(one),
                })
        };
        if !who.claims.iter().all(has) {
            return Err("claims");
        }
        let profiles = self.profiles.as_ref();
        let is_named = |names: &[String]| profile.is_some_and(|one| names.iter().any(|n| n == one));
        if profiles.is_some_and(|names| !is_named(names)) {
            return Err("profiles");
        }
        Ok(())
    }

    /// Whether this target is one of those that it is about.
    pub(super) fn is_about(&self, target: &Target<'_>) -> Result<(), Unfit> {
        let what = &self.what;
        let backends = what.backends.as_ref();
        if backends.is_some_and(|patterns| !patterns.fit(target.backend)) {
            return Err("backends");
        }
        if what.is_about_all {
            return Ok(());
        }
        let (key, patterns) = match target.kind {
            TargetKind::Tool => ("tools", &what.tools),
            TargetKind::Prompt => ("prompts", &what.prompts),
            TargetKind::Resource => ("resources", &what.resources),
        };
        let fits = patterns.as_ref().is_some_and(|patterns| {
            if target.kind != TargetKind::Resource || is_plain(target.name) {
                return patterns.fit(target.name);
            }
            // Two servers may take it for two resources: nothing it begins with allows it, and
            // whatever is denied it may be.
            match self.effect {
                Effect::Allow => patterns.name(target.name),
                Effect::Deny => true,
            }
        });
        fits.then_some(()).ok_or(key)
    }

    /// Of which of tools, prompts and resources it is about something of this backend, and of which
    /// about everything.
    pub(super) fn kinds_of(&self, backend: &str) -> [(bool, bool); 3] {
        let what = &self.what;
        if what
            .backends
            .as_ref()
            .is_some_and(|patterns| !patterns.fit(backend))
        {
            return [(false, false); 3];
        }
        [&what.tools, &what.prompts, &what.resources].map(|patterns| match patterns {
            None => (what.is_about_all, what.is_about_all),
            Some(patterns) => (true, patterns.fit_all()),
        })
    }

    /// Whether its condition holds for these facts, of which some may not be known yet. A condition
    /// that fails is true of a rule that denies, and false of one that allows.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Fit {
        let failed = if self.effect == Effect::Deny {
            Fit::Yes
        } else {
            Fit::No
        };
        match &self.when {
            When::Always => Fit::Yes,
            When::Broken => failed,
            When::On(condition) => {
                let needs = condition.needs;
                let is_unknown = (needs.arguments && facts.arguments.is_none())
                    || (needs.target && facts.target.is_none());
                if is_unknown {
                    return Fit::Depends;
                }
                match condition.holds(facts) {
                    Ok(true) => Fit::Yes,
                    Ok(false) => Fit::No,
                    Err(_) => failed,
                }
            }
        }
    }

    /// Why its condition fails for these facts, if it does.
    pub(super) fn failure(&self, facts: &Facts<'_>) -> Option<String> {
        match &self.when {
            When::Always => None,
            When::Broken => Some("it is not valid".to_owned()),
            When::On(condition) => condition.holds(facts).err().map(|error| error.to_string()),
        }
    }

    /// Whether there is too much in the arguments for its condition to look at.
    pub(super) fn is_too_much(&self, facts: &Facts<'_>) -> bool {
        match &self.when {
            When::On(condition) => condition.check_work(facts).is_err(),
            When::Always | When::Broken => false,
        }
    }
}
