//! The policy of a configuration: all that decides about calls, in one place and in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::policy::{Admission, Audience, Permit, Policy, Target};

use crate::limits::Limits;

/// All rules of one configuration. Immutable: a reload makes another.
#[derive(Debug)]
pub struct Gatekeeper {
    /// Tells it from every other of this process, for what principals remember.
    #[expect(dead_code, reason = "read by the parts that remember")]
    number: u64,
    limits: Option<Arc<Limits>>,
}

impl Gatekeeper {
    /// That of a configuration without any rule.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            limits: None,
        }
    }

    /// The same with these limits and budgets.
    #[must_use]
    pub fn with_limits(self, limits: Arc<Limits>) -> Self {
        let limits = Some(limits).filter(|limits| !limits.is_empty());
        Self { limits, ..self }
    }
}

impl Default for Gatekeeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Gatekeeper {
    fn audience(&self, _principal: &Principal, _profile: Option<&str>) -> Option<Audience> {
        None
    }

    fn shows(&self, _: &Principal, _: Option<&str>, _: &Target<'_>) -> bool {
        true
    }

    fn shows_backend(&self, _: &Principal, _: Option<&str>, _: &str) -> bool {
        true
    }

    fn admit(&self, call: &Call, target: &Target<'_>, is_continuation: bool) -> Admission {
        match &self.limits {
            None => Admission::Decided(Ok(Permit::FREE)),
            Some(limits) => limits.admit(call, target, is_continuation),
        }
    }
}
