//! What a principal is to the rules: which of them concern it, worked out once.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::Audience;

use super::condition::{Facts, Needs};
use super::config::Effect;
use super::decide::Access;
use super::known::Known;
use super::rule::Fit;

/// The standings of one principal, one for each profile that rules tell apart.
#[derive(Debug)]
pub(crate) struct Standings(Box<[OnceLock<Standing>]>);

/// Which rules concern a principal in a profile.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) deny: Box<[Asked]>,
    pub(super) allow: Box<[Asked]>,
    /// Those that deny nothing and only tell.
    pub(super) shadow: Box<[Asked]>,
    /// Shared by all that see the same.
    pub(super) audience: Audience,
    /// The same: for all of one audience the rules say the same of a target.
    pub(super) known: Option<Arc<Known>>,
}

/// A rule that concerns a principal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) rule: u16,
    /// Whether its condition has to be asked for each target or call: else it holds.
    pub(super) is_open: bool,
}

impl Access {
    /// Room for what is remembered of a principal.
    pub(crate) fn standings(&self) -> Standings {
        let slots = self.profiles.len() + 2;
        Standings((0..slots).map(|_| OnceLock::new()).collect())
    }

    pub(super) fn standing<'s>(
        &self,
        standings: &'s Standings,
        principal: &Principal,
        profile: Option<&str>,
    ) -> Cow<'s, Standing> {
        let named = |name: &str| self.profiles.get(name).map(|at| at + 2);
        let slot = match profile.map(named) {
            None => 0,
            Some(Some(slot)) => slot,
            // One that no rule names is like every other such, unless a condition looks at its name.
            Some(None) if self.looks_at_profiles => {
                return Cow::Owned(self.work_out(principal, profile));
            }
            Some(None) => 1,
        };
        match standings.0.get(slot) {
            Some(slot) => Cow::Borrowed(slot.get_or_init(|| {
                let standing = self.work_out(principal, profile);
                let known = self.known.of(&standing.audience);
                Standing { known, ..standing }
            })),
            None => Cow::Owned(self.work_out(principal, profile)),
        }
    }

    fn work_out(&self, principal: &Principal, profile: Option<&str>) -> Standing {
        let facts = Facts {
            principal,
            profile,
            target: None,
            arguments: None,
        };
        let (mut deny, mut allow, mut shadow) = (Vec::new(), Vec::new(), Vec::new());
        let mut words = vec![0_u64; self.rules.len().div_ceil(64)];
        let mut open = Needs::default();
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.concerns(principal, profile).is_err() {
                continue;
            }
            let held = rule.holds(&facts);
            if held == Fit::No {
                continue;
            }
            // There are at most as many as fit.
            let Ok(index) = u16::try_from(at) else {
                continue;
            };
            let asked = Asked {
                rule: index,
                is_open: held == Fit::Depends,
            };
            match (rule.is_shadow, rule.effect) {
                (true, _) => {
                    shadow.push(asked);
                    continue;
                }
                (false, Effect::Deny) => deny.push(asked),
                (false, Effect::Allow) => allow.push(asked),
            }
            words[at / 64] |= 1 << (at % 64);
            // Conditions on arguments say nothing of what is seen.
            let needs = rule.needs();
            if asked.is_open && !needs.arguments {
                open.principal |= needs.principal;
                open.claims |= needs.claims;
                open.profile |= needs.profile;
            }
        }
        words.extend(told_apart(open, principal, profile));
        Standing {
            deny: deny.into(),
            allow: allow.into(),
            shadow: shadow.into(),
            audience: Audience(words.into()),
            known: None,
        }
    }
}

/// What tells principals apart of which the same rules ask something for each target: a digest of
/// all that these look at.
fn told_apart(needs: Needs, principal: &Principal, profile: Option<&str>) -> Vec<u64> {
    if !(needs.principal || needs.claims || needs.profile) {
        return Vec::new();
    }
    let mut facts = Vec::new();
    if needs.principal {
        facts.push(serde_json::json!([
            principal.id,
            principal.groups,
            principal.client
        ]));
    }
    if needs.claims {
        let claims = principal.claims.as_deref().cloned().unwrap_or_default();
        facts.push(serde_json::Value::Object(claims));
    }
    if needs.profile {
        facts.push(serde_json::json!(profile));
    }
    let digest: [u8; 32] = Sha256::digest(serde_json::Value::Array(facts).to_string()).into();
    let (words, _) = digest.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

impl Standing {
    /// Its audience.
    pub(super) fn audience(&self) -> Audience {
        Audience(Arc::clone(&self.audience.0))
    }
}
