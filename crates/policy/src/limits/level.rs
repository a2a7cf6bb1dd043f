//! How much is left of each limit and budget, for the metrics: few numbers, however many combinations
//! are counted apart.

use std::sync::Arc;

use switchboard_telemetry::{LimitLevel, Metrics};

use super::terms::{State, Terms};
use super::{Limits, Rule};
use crate::store::Store;

/// How much is left of one measure of a limit or budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLevel {
    /// `limit` or `budget`.
    pub policy: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// `rate`, `concurrency`, `calls`, `bytes` or `cost`.
    pub measure: &'static str,
    /// How much there is, and how much is left.
    pub level: LimitLevel,
}

impl Limits {
    /// How much is left of each. Of what is counted in Redis nothing is known here but how much there
    /// is.
    #[must_use]
    pub fn levels(&self) -> Vec<RuleLevel> {
        let now = self.now();
        let is_here = matches!(self.store, Store::Memory);
        let mut levels = Vec::new();
        for rule in &self.rules {
            // Of a state in which nothing was used: all measures, and how much there is of each.
            let untouched = rule.terms.uses(&State::default(), now);
            let mut left: Vec<(u64, usize)> = untouched.iter().map(|it| (it.of, 0)).collect();
            if is_here {
                rule.counts.for_each(|entry| {
                    let uses = rule.terms.uses(&entry.state.lock(), now);
                    for (left, used) in left.iter_mut().zip(uses) {
                        let rest = used.of.saturating_sub(used.used);
                        left.0 = left.0.min(rest);
                        left.1 += usize::from(rest == 0);
                    }
                });
            }
            levels.extend(untouched.iter().zip(left).map(|(whole, left)| RuleLevel {
                policy: rule.policy(),
                name: Arc::clone(&rule.name),
                measure: whole.measure,
                level: LimitLevel {
                    size: whole.of,
                    left: is_here.then_some(left),
                },
            }));
        }
        levels
    }

    /// Takes the series of all others out of the metrics.
    pub fn forget_others(&self, metrics: &Metrics) {
        let is_one =
            |rule: &Rule, policy: &str, name: &str| rule.policy() == policy && &*rule.name == name;
        metrics.retain_limits(|policy, name| {
            let mut rules = self.rules.iter();
            rules.any(|rule| is_one(rule, policy, name))
        });
    }
}

impl Rule {
    /// `limit` or `budget`.
    pub(super) const fn policy(&self) -> &'static str {
        match self.terms {
            Terms::Limit(_) => "limit",
            Terms::Budget(_) => "budget",
        }
    }
}
