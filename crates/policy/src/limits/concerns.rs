//! Which calls a limit or budget concerns, and what it counts apart.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::pattern::Patterns;
use switchboard_protocol::policy::{Target, TargetKind};

use super::config::{BudgetConfig, BudgetPart, LimitConfig, LimitPart};

/// The longest value of `_meta["dev.switchboard/conversation"]`, in bytes.
const MAX_CONVERSATION: usize = 128;

/// How many parts there are by which calls may be counted apart.
pub(crate) const PARTS: usize = 5;

/// Which calls are concerned: what no patterns are of concerns all.
#[derive(Clone, Debug)]
pub(crate) struct Concerns {
    users: Patterns,
    groups: Patterns,
    profiles: Patterns,
    backends: Patterns,
    tools: Patterns,
}

/// What is counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Per {
    principal: bool,
    profile: bool,
    backend: bool,
    tool: bool,
    pub(crate) conversation: bool,
}

/// The parts of a call by which it may be counted apart.
pub(crate) struct Parts<'c> {
    principal: &'c str,
    profile: &'c str,
    backend: &'c str,
    tool: &'c str,
    conversation: String,
}

impl Concerns {
    fn new(lists: [&Option<Vec<String>>; 5]) -> Self {
        let [users, groups, profiles, backends, tools] =
            lists.map(|list| Patterns::new(list.as_deref().unwrap_or_default()));
        Self {
            users,
            groups,
            profiles,
            backends,
            tools,
        }
    }

    pub(crate) fn call(&self, principal: &Principal, profile: &str, target: &Target<'_>) -> bool {
        let is_tool = target.kind == TargetKind::Tool;
        (self.users.is_empty() || self.users.fit(&principal.id))
            && (self.backends.is_empty() || self.backends.fit(target.backend))
            && (self.tools.is_empty() || is_tool && self.tools.fit(target.name))
            // A call through no profile is not one through a profile of any name.
            && (self.profiles.is_empty() || !profile.is_empty() && self.profiles.fit(profile))
            && (self.groups.is_empty() || principal.groups.iter().any(|group| self.groups.fit(group)))
    }
}

impl From<&LimitConfig> for Concerns {
    fn from(config: &LimitConfig) -> Self {
        let LimitConfig {
            users,
            groups,
            profiles,
            backends,
            tools,
            ..
        } = config;
        Self::new([users, groups, profiles, backends, tools])
    }
}

impl From<&BudgetConfig> for Concerns {
    fn from(config: &BudgetConfig) -> Self {
        let BudgetConfig {
            users,
            groups,
            profiles,
            backends,
            tools,
            ..
        } = config;
        Self::new([users, groups, profiles, backends, tools])
    }
}

impl From<&[LimitPart]> for Per {
    fn from(parts: &[LimitPart]) -> Self {
        Self {
            principal: parts.contains(&LimitPart::Principal),
            profile: parts.contains(&LimitPart::Profile),
            backend: parts.contains(&LimitPart::Backend),
            tool: parts.contains(&LimitPart::Tool),
            conversation: false,
        }
    }
}

impl From<&[BudgetPart]> for Per {
    fn from(parts: &[BudgetPart]) -> Self {
        let conversation = parts.contains(&BudgetPart::Conversation);
        Self {
            // A conversation is its principal's: nobody uses up another's by naming it.
            principal: conversation || parts.contains(&BudgetPart::Principal),
            profile: parts.contains(&BudgetPart::Profile),
            backend: parts.contains(&BudgetPart::Backend),
            tool: parts.contains(&BudgetPart::Tool),
            conversation,
        }
    }
}

impl Per {
    /// The names of what is counted apart, in the order of [`Parts::of`].
    pub(crate) fn names(self) -> [Option<&'static str>; PARTS] {
        let named = |is_counted: bool, name| is_counted.then_some(name);
        [
            named(self.principal, "principal"),
            named(self.profile, "profile"),
            named(self.backend, "backend"),
            named(self.tool, "tool"),
            named(self.conversation, "conversation"),
        ]
    }
}

impl<'c> Parts<'c> {
    pub(crate) fn new(call: &'c Call, target: &Target<'c>, with_conversation: bool) -> Self {
        Self {
            principal: &call.principal.id,
            profile: call.profile.as_deref().unwrap_or(""),
            backend: target.backend,
            // The URIs of resources are a client's choice and would be counted without end.
            tool: match target.kind {
                TargetKind::Tool => target.name,
                TargetKind::Prompt | TargetKind::Resource => "",
            },
            conversation: match with_conversation {
                true => conversation(call),
                false => String::new(),
            },
        }
    }

    pub(crate) fn profile(&self) -> &'c str {
        self.profile
    }

    /// Those by which a limit or budget counts; the others are empty.
    pub(crate) fn of(&self, per: Per) -> [&str; PARTS] {
        let part = |is_counted: bool, part| if is_counted { part } else { "" };
        [
            part(per.principal, self.principal),
            part(per.profile, self.profile),
            part(per.backend, self.backend),
            part(per.tool, self.tool),
            part(per.conversation, &self.conversation),
        ]
    }
}

/// The conversation that the client says it is in, as a digest: what it names it is nobody's business,
/// and may be anything. Empty if it says none, or more than one may be long.
fn conversation(call: &Call) -> String {
    let named = call.request.text(call.request.meta.conversation);
    let named: Option<Cow<'_, str>> = named.filter(|named| named.len() <= MAX_CONVERSATION);
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return String::new();
    };
    let digest = Sha256::digest(named.as_bytes());
    let mut text = String::with_capacity(32);
    for byte in &digest[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
