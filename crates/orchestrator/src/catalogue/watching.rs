//! What a listener may hear of what changes: what it sees itself, and nothing else.

use std::sync::Arc;

use switchboard_protocol::call::Principal;

use super::view::ViewRef;
use super::{List, Snapshot};
use crate::hub::Event;

/// What one listener saw last.
#[derive(Debug)]
pub struct Watching {
    principal: Arc<Principal>,
    profile: Option<Arc<str>>,
    tools: Seen,
    prompts: Seen,
    resources: Seen,
}

/// Lists as they were seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    digest: u64,
    /// Where the policy was that they were seen under: every reload makes another.
    policy: usize,
}

impl Watching {
    /// Begins with what there is: to be called before the listener begins to listen, or a change
    /// between the two is missed.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        principal: &Arc<Principal>,
        profile: Option<&Arc<str>>,
    ) -> Self {
        let view = snapshot.view(principal, profile.map(|profile| &**profile));
        Self {
            principal: Arc::clone(principal),
            profile: profile.cloned(),
            tools: Seen::of(snapshot, &view, &[List::Tools]),
            prompts: Seen::of(snapshot, &view, &[List::Prompts]),
            resources: Seen::of(snapshot, &view, &[List::Resources, List::Templates]),
        }
    }

    /// Whether what happened is news for this listener: a list of its own is another one, or a
    /// resource changed that it may still know of.
    pub fn is_news(&mut self, snapshot: &Snapshot, event: &Event) -> bool {
        let (lists, seen) = match event {
            Event::ToolsChanged => (&[List::Tools][..], &mut self.tools),
            Event::PromptsChanged => (&[List::Prompts][..], &mut self.prompts),
            Event::ResourcesChanged => {
                (&[List::Resources, List::Templates][..], &mut self.resources)
            }
            Event::ResourceUpdated(uri) => {
                return snapshot.shows_resource(&self.principal, self.profile.as_deref(), uri);
            }
            Event::Closed => return true,
        };
        let view = snapshot.view(&self.principal, self.profile.as_deref());
        let now = Seen::of(snapshot, &view, lists);
        let before = std::mem::replace(seen, now);
        // Who sees everything hears what servers say, also where a list is again what it was; but not
        // of a reload, which has all listeners look.
        now.digest != before.digest || (view.is_whole() && now.policy == before.policy)
    }

    /// The profile that it listens to, if to one.
    #[must_use]
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }

    /// Whether its profile is there, if it listens to one.
    #[must_use]
    pub fn has_profile(&self, snapshot: &Snapshot) -> bool {
        let profile = self.profile.as_deref();
        profile.is_none_or(|profile| snapshot.profile(profile).is_some())
    }
}

impl Seen {
    /// A short digest of lists, in the place of their items.
    fn of(snapshot: &Snapshot, view: &ViewRef<'_>, lists: &[List]) -> Self {
        let of = |list: &List| {
            let [first, ..] = view.digest(*list).as_chunks::<8>().0 else {
                return 0;
            };
            u64::from_le_bytes(*first)
        };
        // Two lists that change places are another pair.
        let digest = lists
            .iter()
            .fold(0, |all: u64, list| all.rotate_left(1) ^ of(list));
        Self {
            digest,
            policy: Arc::as_ptr(snapshot.policy()).addr(),
        }
    }
}
