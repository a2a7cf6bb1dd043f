//! What the rules say of a target, and of a call.

use std::collections::HashMap;
use std::sync::Arc;

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Audience, Target, TargetKind};

use super::arguments::{Arguments, Unclear};
use super::condition::Facts;
use super::config::{AccessConfig, AccessMode, Effect, MAX_RULES};
use super::known::KnownByAudience;
use super::rule::{Fit, Rule};
use super::standing::{Asked, Standing, Standings};

/// What decides where no rule fits, in the place of a rule's name.
const DEFAULT: &str = "default";

/// The rules of one configuration, compiled. Immutable.
#[derive(Debug)]
pub struct Access {
    pub(super) rules: Box<[Rule]>,
    pub(super) is_shadow: bool,
    pub(super) allows_by_default: bool,
    /// The profiles that rules tell apart, and their places.
    pub(super) profiles: HashMap<String, usize>,
    /// Whether a condition looks at the name of the profile.
    pub(super) looks_at_profiles: bool,
    pub(super) known: KnownByAudience,
    default: Arc<str>,
}

/// The rule that decided, by its place; `None`: the default.
type By = Option<u16>;

/// What was decided about a call, and by which rule (`default` where none fitted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may be made.
    Allowed {
        /// Decided by this rule.
        by: Arc<str>,
        /// What would deny it if it were enforced.
        would_deny: Option<Arc<str>>,
    },
    /// It may not.
    Denied {
        /// Decided by this rule.
        by: Arc<str>,
        /// Whether other arguments might be allowed.
        for_arguments: bool,
    },
    /// A rule looks at the arguments, which can be read in more than one way.
    Refused {
        /// What is wrong with them, and what to do.
        message: String,
    },
}

/// What is decided, as far as arguments are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    Allowed(By),
    Denied(By),
    Depends,
}

/// What was decided about a call before it has names.
enum Outcome {
    Decided(Decided),
    Unclear(Unclear),
}

impl Access {
    /// Compiles the rules. What is wrong with them ([`AccessConfig::problems`]) denies.
    #[must_use]
    pub fn new(config: &AccessConfig) -> Self {
        let rules = config.rules.iter().take(MAX_RULES);
        let rules: Box<[Rule]> = rules.map(Rule::new).collect();
        let mut profiles = HashMap::new();
        for name in rules.iter().flat_map(Rule::profiles) {
            let next = profiles.len();
            profiles.entry(name.to_owned()).or_insert(next);
        }
        // Of rules that were left out nothing is known, so nothing is allowed for want of them.
        let is_whole = config.rules.len() <= MAX_RULES;
        Self {
            is_shadow: config.mode == AccessMode::Shadow,
            allows_by_default: config.default == Effect::Allow && is_whole,
            looks_at_profiles: rules.iter().any(|rule| rule.needs().profile),
            rules,
            profiles,
            known: KnownByAudience::default(),
            default: DEFAULT.into(),
        }
    }

    /// The name of what decided.
    pub(super) fn name(&self, by: By) -> Arc<str> {
        let rule = by.and_then(|at| self.rules.get(usize::from(at)));
        Arc::clone(rule.map_or(&self.default, |rule| &rule.name))
    }

    pub(super) fn rule(&self, asked: Asked) -> &Rule {
        &self.rules[usize::from(asked.rule)]
    }

    pub(crate) fn audience(
        &self,
        standings: &Standings,
        principal: &Principal,
        profile: Option<&str>,
    ) -> Option<Audience> {
        // Where nothing is denied everybody sees everything.
        (!self.is_shadow).then(|| self.standing(standings, principal, profile).audience())
    }

    pub(crate) fn shows(
        &self,
        standings: &Standings,
        principal: &Principal,
        profile: Option<&str>,
        target: &Target<'_>,
    ) -> bool {
        self.is_shadow || {
            let standing = self.standing(standings, principal, profile);
            let facts = Facts {
                principal,
                profile,
                target: Some(target),
                arguments: None,
            };
            // Not remembered here, or a long list would have what is called forgotten.
            let known = standing.known.as_ref().and_then(|known| known.get(target));
            let decided = known.unwrap_or_else(|| self.decide(&standing, target, &facts, false));
            !matches!(decided, Decided::Denied(_))
        }
    }

    pub(crate) fn shows_backend(
        &self,
        standings: &Standings,
        principal: &Principal,
        profile: Option<&str>,
        backend: &str,
    ) -> bool {
        if self.is_shadow {
            return true;
        }
        let standing = self.standing(standings, principal, profile);
        let mut may_see = [self.allows_by_default; 3];
        for asked in &standing.allow {
            for (kind, (something, _)) in
                may_see.iter_mut().zip(self.rule(*asked).kinds_of(backend))
            {
                *kind |= something;
            }
        }
        for asked in standing.deny.iter().filter(|asked| !asked.is_open) {
            for (kind, (_, everything)) in
                may_see.iter_mut().zip(self.rule(*asked).kinds_of(backend))
            {
                *kind &= !everything;
            }
        }
        may_see.contains(&true)
    }

    /// Decides about a target, and about a call of it if its arguments are known.
    pub(super) fn decide(
        &self,
        standing: &Standing,
        target: &Target<'_>,
        facts: &Facts<'_>,
        with_shadow: bool,
    ) -> Decided {
        let mut denial_depends = false;
        let shadow: &[Asked] = if with_shadow { &standing.shadow } else { &[] };
        for asked in standing.deny.iter().chain(shadow) {
            match self.fit(*asked, target, facts) {
                Fit::Yes => return Decided::Denied(Some(asked.rule)),
                Fit::Depends => denial_depends = true,
                Fit::No => {}
            }
        }
        let mut allowed = self.allows_by_default.then_some(None);
        let mut permission_depends = false;
        for asked in &standing.allow {
            match self.fit(*asked, target, facts) {
                Fit::Yes => {
                    allowed = Some(Some(asked.rule));
                    break;
                }
                Fit::Depends => permission_depends = true,
                Fit::No => {}
            }
        }
        match allowed {
            None if !permission_depends => Decided::Denied(None),
            Some(by) if !denial_depends => Decided::Allowed(by),
            _ => Decided::Depends,
        }
    }

    fn fit(&self, asked: Asked, target: &Target<'_>, facts: &Facts<'_>) -> Fit {
        let rule = self.rule(asked);
        match rule.is_about(target) {
            Err(_) => Fit::No,
            Ok(()) if asked.is_open => rule.holds(facts),
            Ok(()) => Fit::Yes,
        }
    }

    /// Decides about a call.
    pub(crate) fn rule_on(
        &self,
        standings: &Standings,
        call: &Call,
        target: &Target<'_>,
    ) -> Ruling {
        let profile = call.profile.as_deref();
        let standing = self.standing(standings, &call.principal, profile);
        let seen = self.seen(&standing, call, target);
        let outcome = self.of_call(&standing, call, target, seen, false);
        let would_deny = || {
            if standing.shadow.is_empty() {
                return None;
            }
            let seen = self.decide(&standing, target, &facts_of(call, target), true);
            match self.of_call(&standing, call, target, seen, true) {
                Outcome::Decided(Decided::Denied(by)) => Some(self.name(by)),
                Outcome::Decided(_) => None,
                Outcome::Unclear(_) => Some(self.name(None)),
            }
        };
        match outcome {
            Outcome::Decided(Decided::Denied(by)) if self.is_shadow => Ruling::Allowed {
                by: self.name(None),
                would_deny: Some(self.name(by)),
            },
            Outcome::Unclear(_) if self.is_shadow => Ruling::Allowed {
                by: self.name(None),
                would_deny: Some(self.name(None)),
            },
            Outcome::Decided(Decided::Denied(by)) => Ruling::Denied {
                by: self.name(by),
                for_arguments: seen == Decided::Depends,
            },
            Outcome::Decided(Decided::Allowed(by)) => Ruling::Allowed {
                by: self.name(by),
                would_deny: would_deny(),
            },
            // Only what names no arguments is left undecided: it may be seen.
            Outcome::Decided(Decided::Depends) => Ruling::Allowed {
                by: self.name(None),
                would_deny: would_deny(),
            },
            Outcome::Unclear(unclear) => Ruling::Refused {
                message: unclear.to_string(),
            },
        }
    }

    /// Decides about the target of a call, or knows what was decided.
    fn seen(&self, standing: &Standing, call: &Call, target: &Target<'_>) -> Decided {
        let known = standing.known.as_ref();
        if let Some(decided) = known.and_then(|known| known.get(target)) {
            return decided;
        }
        let decided = self.decide(standing, target, &facts_of(call, target), false);
        if let Some(known) = known {
            known.put(target, decided);
        }
        decided
    }

    /// Looks at the arguments, if what was decided about the target depends on them.
    fn of_call(
        &self,
        standing: &Standing,
        call: &Call,
        target: &Target<'_>,
        seen: Decided,
        with_shadow: bool,
    ) -> Outcome {
        // Whoever completes an argument has none yet: what may be seen may be completed. Those of a
        // task were decided about when it began.
        let has_none = call.method == Method::Complete || call.method.names_task();
        if seen != Decided::Depends || has_none {
            return Outcome::Decided(seen);
        }
        // A resource has none, whatever else its request says: no server looks at it.
        let given = match target.kind {
            TargetKind::Resource => None,
            TargetKind::Tool | TargetKind::Prompt => call.arguments(),
        };
        let arguments = match given {
            Some(text) => Arguments::read(text),
            None => Ok(Arguments::none()),
        };
        match arguments {
            Ok(arguments) => self.of_arguments(
                standing,
                target,
                &Facts {
                    arguments: Some(&arguments),
                    ..facts_of(call, target)
                },
                with_shadow,
            ),
            Err(unclear) => Outcome::Unclear(unclear),
        }
    }

    fn of_arguments(
        &self,
        standing: &Standing,
        target: &Target<'_>,
        facts: &Facts<'_>,
        with_shadow: bool,
    ) -> Outcome {
        let shadow: &[Asked] = if with_shadow { &standing.shadow } else { &[] };
        let open = standing.deny.iter().chain(&standing.allow).chain(shadow);
        let mut open = open
            .filter(|asked| asked.is_open)
            .map(|asked| self.rule(*asked));
        if open.any(|rule| rule.is_about(target).is_ok() && rule.is_too_much(facts)) {
            return Outcome::Unclear(Unclear::TooMuchWork);
        }
        Outcome::Decided(self.decide(standing, target, facts, with_shadow))
    }

    /// The rule that hides a target, if it is hidden.
    pub(crate) fn hidden_by(
        &self,
        standings: &Standings,
        call: &Call,
        target: &Target<'_>,
    ) -> Arc<str> {
        let standing = self.standing(standings, &call.principal, call.profile.as_deref());
        match self.decide(&standing, target, &facts_of(call, target), false) {
            Decided::Denied(by) => self.name(by),
            Decided::Allowed(_) | Decided::Depends => self.name(None),
        }
    }

    /// Decides as [`Access::rule_on`] does, for arguments that are written down; `None`: for none in
    /// particular.
    pub(super) fn decide_for(
        &self,
        standing: &Standing,
        target: &Target<'_>,
        facts: &Facts<'_>,
        arguments: Option<&[u8]>,
        with_shadow: bool,
    ) -> Result<Decided, String> {
        let seen = self.decide(standing, target, facts, with_shadow);
        let (Decided::Depends, Some(text)) = (seen, arguments) else {
            return Ok(seen);
        };
        let arguments = Arguments::read(text).map_err(|unclear| unclear.to_string())?;
        let facts = Facts {
            arguments: Some(&arguments),
            ..*facts
        };
        match self.of_arguments(standing, target, &facts, with_shadow) {
            Outcome::Decided(decided) => Ok(decided),
            Outcome::Unclear(unclear) => Err(unclear.to_string()),
        }
    }
}

fn facts_of<'f>(call: &'f Call, target: &'f Target<'f>) -> Facts<'f> {
    Facts {
        principal: &call.principal,
        profile: call.profile.as_deref(),
        target: Some(target),
        arguments: None,
    }
}
