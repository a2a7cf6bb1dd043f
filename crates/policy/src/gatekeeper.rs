//! The policy of a configuration: all that decides about calls, in one place and in one order.

use std::sync::atomic::{AtomicU64, Ordering};

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::policy::{Admission, Audience, Permit, Policy, Target};

/// All rules of one configuration. Immutable: a reload makes another.
#[derive(Debug)]
pub struct Gatekeeper {
    /// Tells it from every other of this process, for what principals remember.
    #[expect(dead_code, reason = "read by the parts that remember")]
    number: u64,
}

impl Gatekeeper {
    /// That of a configuration without any rule.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
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

    fn admit(&self, _: &Call, _: &Target<'_>, _: bool) -> Admission {
        Admission::Decided(Ok(Permit::FREE))
    }
}
