//! What decides about calls, made of the configuration.

use std::sync::Arc;

use arc_swap::ArcSwap;
use switchboard_orchestrator::config::ConfigProblem;
use switchboard_policy::gatekeeper::Gatekeeper;
use switchboard_policy::limits::Limits;
use switchboard_protocol::policy::Policy;
use switchboard_telemetry::Metrics;

use crate::config::Config;

/// The limits and budgets in force, for a reload to exchange and operators to look at.
pub(crate) type LimitsInForce = Arc<ArcSwap<Limits>>;

impl Config {
    /// What decides about calls, with these limits and budgets, and has it counted.
    pub fn policy(&self, limits: Arc<Limits>, metrics: &Arc<Metrics>) -> Arc<dyn Policy> {
        let gatekeeper = self.gatekeeper().with_limits(limits);
        let gatekeeper = gatekeeper.with_result_caps(self.result_caps());
        let gatekeeper = gatekeeper.with_redactors(self.redactors(metrics));
        Arc::new(gatekeeper.with_metrics(Arc::clone(metrics)))
    }

    /// Who may do what, uncounted: to ask it what it would decide.
    pub fn gatekeeper(&self) -> Gatekeeper {
        Gatekeeper::new().with_access(self.access.as_ref())
    }

    /// What is wrong with the rules of the section `access`.
    pub(crate) fn wrong_rules(&self) -> Vec<ConfigProblem> {
        let problems = self.access.iter().flat_map(|access| access.problems());
        let problems = problems.map(|problem| ConfigProblem {
            path: below_access(problem.path),
            other: None,
            message: problem.message,
        });
        problems.collect()
    }

    /// Rules, or none, that hide everything from everybody.
    pub fn hiding_rules(&self) -> Option<ConfigProblem> {
        let access = self.access.as_ref()?;
        access.hides_everything().then(|| ConfigProblem {
            path: below_access(Vec::new()),
            other: None,
            message:
                "hides everything from everybody, since no rule allows anything; write a rule \
                      with `effect: allow`, or leave out `access` to allow all"
                    .to_owned(),
        })
    }

    /// Patterns of rules that fit no backend that is configured, by key.
    pub fn unmatched_rules(&self) -> Vec<ConfigProblem> {
        let patterns = self.access.iter().flat_map(|access| access.patterns());
        let unmatched = patterns.filter(|pattern| {
            pattern.is_of_backends && !self.backends.keys().any(|name| pattern.fits(name))
        });
        let problems = unmatched.map(|pattern| ConfigProblem {
            message: format!("`{}` fits no backend", pattern.text),
            path: below_access(pattern.path),
            other: None,
        });
        problems.collect()
    }
}

/// The key of something in the section `access`.
pub fn below_access(path: Vec<String>) -> Vec<String> {
    std::iter::once("access".to_owned()).chain(path).collect()
}
