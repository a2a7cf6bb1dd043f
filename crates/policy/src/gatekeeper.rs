//! The policy of a configuration: all that decides about calls, in one place and in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::delivery::{Redactor, Terms};
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::policy::{Admission, Audience, Permit, Policy, Target};
use switchboard_protocol::trail::{Decision, Step};
use switchboard_telemetry::{Metrics, PolicyDecision};

use crate::access::{Access, AccessConfig, Ruling, Standings};
use crate::limits::Limits;
use crate::redaction::Redactors;
use crate::result_caps::ResultCaps;

/// The word for rules of the section `access` in trails.
const ACCESS: &str = "access";

/// All rules of one configuration. Immutable: a reload makes another.
#[derive(Debug)]
pub struct Gatekeeper {
    /// Tells it from every other of this process, for what principals remember.
    number: u64,
    access: Option<Access>,
    limits: Option<Arc<Limits>>,
    redactors: Option<Arc<Redactors>>,
    result_caps: Option<ResultCaps>,
    /// Where decisions are counted.
    metrics: Option<Arc<Metrics>>,
}

/// What is remembered of a principal.
#[derive(Debug)]
struct Remembered {
    access: Option<Standings>,
}

impl Gatekeeper {
    /// That of a configuration without any rule.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            access: None,
            limits: None,
            redactors: None,
            result_caps: None,
            metrics: None,
        }
    }

    /// The same with these limits and budgets.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Limits>) -> Self {
        let limits = Some(limits).filter(|limits| !limits.is_empty());
        Self { limits, ..self }
    }

    /// The same with these rules of who may do what; without any, everybody may do everything.
    #[must_use]
    pub fn with_access(self, config: Option<&AccessConfig>) -> Self {
        Self {
            access: config.map(Access::new),
            ..self
        }
    }

    /// The same, which has secrets taken out of what comes back.
    #[must_use]
    pub fn with_redactors(self, redactors: Option<Arc<Redactors>>) -> Self {
        Self { redactors, ..self }
    }

    /// The same with these caps of results.
    #[must_use]
    pub fn with_result_caps(self, caps: ResultCaps) -> Self {
        let result_caps = Some(caps).filter(|caps| !caps.is_empty());
        Self {
            result_caps,
            ..self
        }
    }

    /// The same, whose decisions are counted.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// The rules of who may do what, if there are any.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    fn remembered(&self, principal: &Principal) -> Arc<Remembered> {
        if let Some(known) = principal.memo.get(self.number) {
            return known;
        }
        let new = Arc::new(Remembered {
            access: self.access.as_ref().map(Access::standings),
        });
        principal.memo.put(self.number, Arc::clone(&new));
        new
    }

    /// Notes a decision of the rules with the call, and counts it.
    fn note(&self, call: &Call, rule: impl FnOnce() -> Arc<str>, decision: Decision) {
        if let Some(metrics) = &self.metrics {
            metrics.access_decided(match decision {
                // Rules need nobody else, so they are never unchecked, and they cut nothing.
                Decision::Allowed | Decision::Unchecked | Decision::Cut => PolicyDecision::Allowed,
                Decision::Denied => PolicyDecision::Denied,
                Decision::WouldDeny => PolicyDecision::WouldDeny,
            });
        }
        if let Some(trail) = &call.trail {
            trail.note(Step::Decision {
                policy: ACCESS,
                rule: rule(),
                decision,
            });
        }
    }

    /// Whether the rules let the call be made.
    fn authorize(
        &self,
        access: &Access,
        standings: &Standings,
        call: &Call,
        target: &Target<'_>,
    ) -> Result<(), Box<Fault>> {
        match access.rule_on(standings, call, target) {
            Ruling::Allowed {
                by,
                would_deny: None,
            } => {
                self.note(call, || by, Decision::Allowed);
                Ok(())
            }
            Ruling::Allowed {
                would_deny: Some(rule),
                ..
            } => {
                self.note(call, || rule, Decision::WouldDeny);
                Ok(())
            }
            Ruling::Denied { by, for_arguments } => {
                let fault = Fault::refused(Reason::Denied, denied(for_arguments))
                    .with_detail(format!("denied by the rule `{by}`"));
                self.note(call, || by, Decision::Denied);
                Err(Box::new(fault))
            }
            Ruling::Refused { message } => {
                self.note(call, || "arguments".into(), Decision::Denied);
                Err(Box::new(Fault::refused(Reason::ArgumentsRefused, message)))
            }
        }
    }
}

/// What the caller of a denied call is told.
const fn denied(for_arguments: bool) -> &'static str {
    if for_arguments {
        "You may not make this call with these arguments. Call again with others, or ask whoever runs \
         the gateway for access."
    } else {
        "You may not make this call. Do without it, or ask whoever runs the gateway for access."
    }
}

impl Default for Gatekeeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Gatekeeper {
    fn audience(&self, principal: &Principal, profile: Option<&str>) -> Option<Audience> {
        let access = self.access.as_ref()?;
        let remembered = self.remembered(principal);
        access.audience(remembered.access.as_ref()?, principal, profile)
    }

    fn shows(&self, principal: &Principal, profile: Option<&str>, target: &Target<'_>) -> bool {
        let Some(access) = &self.access else {
            return true;
        };
        let remembered = self.remembered(principal);
        let standings = remembered.access.as_ref();
        standings.is_some_and(|standings| access.shows(standings, principal, profile, target))
    }

    fn shows_backend(&self, principal: &Principal, profile: Option<&str>, backend: &str) -> bool {
        let Some(access) = &self.access else {
            return true;
        };
        let remembered = self.remembered(principal);
        let standings = remembered.access.as_ref();
        standings.is_some_and(|known| access.shows_backend(known, principal, profile, backend))
    }

    fn admit(&self, call: &Call, target: &Target<'_>, is_continuation: bool) -> Admission {
        if let Err(fault) = self.authorized(call, target) {
            return Admission::Decided(Err(fault));
        }
        match &self.limits {
            None => Admission::Decided(Ok(Permit::FREE)),
            Some(limits) => limits.admit(call, target, is_continuation),
        }
    }

    fn terms(&self, call: &Call, target: &Target<'_>) -> Option<Terms> {
        let caps = self.result_caps.as_ref();
        let cap = caps.and_then(|caps| caps.of(call, target));
        let redactor = self.redactor(target.backend);
        (cap.is_some() || redactor.is_some()).then(|| Terms {
            redactor,
            cap,
            ..Terms::default()
        })
    }

    fn redactor(&self, backend: &str) -> Option<Arc<dyn Redactor>> {
        self.redactors.as_ref()?.of(backend).cloned()
    }

    fn hid(&self, call: &Call, target: &Target<'_>) {
        let Some(access) = &self.access else {
            return;
        };
        let remembered = self.remembered(&call.principal);
        let Some(standings) = &remembered.access else {
            return;
        };
        let rule = || access.hidden_by(standings, call, target);
        self.note(call, rule, Decision::Denied);
    }
}

impl Gatekeeper {
    /// Whether the rules of who may do what let the call be made.
    fn authorized(&self, call: &Call, target: &Target<'_>) -> Result<(), Box<Fault>> {
        if let Some(access) = &self.access {
            let remembered = self.remembered(&call.principal);
            if let Some(standings) = &remembered.access {
                self.authorize(access, standings, call, target)?;
            }
        }
        Ok(())
    }
}
