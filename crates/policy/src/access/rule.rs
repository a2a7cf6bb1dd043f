//! One rule, compiled.

use std::sync::Arc;

use serde_json::Value;
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Target, TargetKind};

use super::condition::{Condition, Facts, Needs};
use super::config::{AccessMode, Effect, RuleConfig};
use super::pattern::Patterns;

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

/// Whether all servers take a URI for the same resource: its path has no `.`, `..` or empty segments,
/// no backslash, no escape of what needs none, and its scheme is in lower case.
fn is_plain(uri: &str) -> bool {
    if uri
        .bytes()
        .any(|byte| byte == b'\\' || byte <= b' ' || byte == 0x7f)
        || has_needless_escape(uri)
    {
        return false;
    }
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return false;
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            // Of the web it is a host, whose case is nothing; elsewhere it is mostly a name.
            let is_host = matches!(scheme, "http" | "https");
            if is_host && authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return false;
            }
            path
        }
        None => rest.strip_prefix('/').unwrap_or(rest),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A path may end with a slash.
        let is_inner = segments.peek().is_some();
        if segment == "." || segment == ".." || (segment.is_empty() && is_inner) {
            return false;
        }
    }
    true
}

/// Whether a character is escaped that need not be, or that separates segments (RFC 3986, section 2).
fn has_needless_escape(uri: &str) -> bool {
    let mut rest = uri.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return true;
        };
        if byte.is_ascii_alphanumeric() || b"-._~/\\%".contains(&byte) || byte == 0 {
            return true;
        }
        rest = &rest[at + 3..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn what_two_servers_may_take_for_two_resources_is_not_plain() {
        for plain in [
            "file:///srv/a.txt",
            "file:///srv/",
            "file:///srv/{path}",
            "file:///a%20b",
            "notes://",
            "notes://Monday",
            "memo:insights",
            "https://example.com/a?q=../b",
            "https://example.com",
            "test://static/resource/1",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for strange in [
            "file:///srv/../etc/passwd",
            "file:///srv/..",
            "file:///srv/./a",
            "file:///srv//a",
            "file:///srv/%2e%2e/etc",
            "file:///srv/..%2fetc",
            "file:///srv/%252e",
            "file:///%65tc/passwd",
            "file:///srv\\a",
            "FILE:///srv/a",
            "https://Example.com/a",
            "file:///srv/%zz",
            "file:///srv/%0",
            "file:///srv/\u{0}",
        ] {
            assert!(!is_plain(strange), "{strange}");
        }
    }
}
