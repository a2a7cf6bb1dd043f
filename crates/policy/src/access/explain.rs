//! Why something may be used or not, for whoever writes the rules.

use std::sync::Arc;

use switchboard_protocol::call::Principal;
use switchboard_protocol::json::Scanner;
use switchboard_protocol::policy::Target;

use super::arguments::Arguments;
use super::condition::Facts;
use super::config::Effect;
use super::decide::{Access, Decided};
use super::rule::Fit;

/// What is decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the rules say.
    pub said: Said,
    /// The rule that decided; `default` where none did.
    pub by: Arc<str>,
    /// Whether nothing is denied whatever they say (`mode: shadow`).
    pub is_shadow: bool,
    /// The rule in shadow mode that would deny it.
    pub would_deny: Option<Arc<str>>,
    /// What is wrong with the arguments, if they are refused.
    pub refused: Option<String>,
    /// Every rule, in the order of the configuration.
    pub rules: Vec<ExplainedRule>,
}

impl Explanation {
    /// Whether a call may be made, with these or with some arguments.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.is_shadow || self.said != Said::Denied
    }
}

/// What rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It may be used.
    Allowed,
    /// It may not.
    Denied,
    /// It is visible, and the arguments decide.
    DependsOnArguments,
}

/// One rule in an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedRule {
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub effect: Effect,
    /// Whether it fits; `None`: that depends on the arguments.
    pub fits: Option<bool>,
    /// Why it does not, or which condition decides, in words.
    pub why: String,
}

impl Access {
    /// Says what is decided about a target and why; with arguments, about a call with these.
    #[must_use]
    pub fn explain(
        &self,
        principal: &Principal,
        profile: Option<&str>,
        target: &Target<'_>,
        arguments: Option<&[u8]>,
    ) -> Explanation {
        let standings = self.standings();
        let standing = self.standing(&standings, principal, profile);
        let facts = Facts {
            principal,
            profile,
            target: Some(target),
            arguments: None,
        };
        // Read before it is looked at: what is no JSON is no arguments.
        let arguments = arguments.map(|text| if is_json(text) { text } else { &b"null"[..] });
        let decided = self.decide_for(&standing, target, &facts, arguments, false);
        let in_shadow = self.decide_for(&standing, target, &facts, arguments, true);
        let would_deny = match (&decided, in_shadow) {
            (Ok(Decided::Denied(_)) | Err(_), _) => None,
            (_, Ok(Decided::Denied(by))) => Some(self.name(by)),
            (_, Err(_)) => Some(self.name(None)),
            (_, Ok(_)) => None,
        };
        let (said, by, refused) = match decided {
            Ok(Decided::Allowed(by)) => (Said::Allowed, by, None),
            Ok(Decided::Denied(by)) => (Said::Denied, by, None),
            Ok(Decided::Depends) => (Said::DependsOnArguments, None, None),
            Err(message) => (Said::Denied, None, Some(message)),
        };
        let read = arguments.and_then(|text| Arguments::read(text).ok());
        let facts = Facts {
            arguments: read.as_ref(),
            ..facts
        };
        Explanation {
            said,
            by: self.name(by),
            is_shadow: self.is_shadow,
            would_deny,
            refused,
            rules: self.explained_rules(target, &facts),
        }
    }

    fn explained_rules(&self, target: &Target<'_>, facts: &Facts<'_>) -> Vec<ExplainedRule> {
        let rules = self.rules.iter().map(|rule| {
            let unfit = rule
                .concerns(facts.principal, facts.profile)
                .and_then(|()| rule.is_about(target));
            let (fits, why) = match unfit {
                Err(key) => (Some(false), format!("`{key}` does not fit")),
                Ok(()) => match (rule.holds(facts), rule.failure(facts)) {
                    (Fit::Depends, _) => (None, "`when` looks at the arguments".to_owned()),
                    (fit, Some(failure)) => (
                        Some(fit == Fit::Yes),
                        format!("`when` has no answer: {failure}"),
                    ),
                    (Fit::Yes, None) => (Some(true), "all of it fits".to_owned()),
                    (Fit::No, None) => (Some(false), "`when` is false".to_owned()),
                },
            };
            ExplainedRule {
                name: Arc::clone(&rule.name),
                effect: rule.effect,
                fits,
                why,
            }
        });
        rules.collect()
    }
}

fn is_json(text: &[u8]) -> bool {
    Scanner::new(text).is_ok_and(|mut scanner| scanner.value().is_ok() && scanner.end().is_ok())
}
