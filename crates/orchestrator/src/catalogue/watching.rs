//! What a listener may hear of what changes: what it sees itself, and nothing else.

use std::sync::Arc;

use switchboard_protocol::call::Principal;

use super::{List, Snapshot};
use crate::hub::Event;

/// What one listener saw last.
#[derive(Debug)]
pub struct Watching {
    principal: Arc<Principal>,
    profile: Option<Arc<str>>,
    tools: u64,
    prompts: u64,
    resources: u64,
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
        let mut this = Self {
            principal: Arc::clone(principal),
            profile: profile.cloned(),
            tools: 0,
            prompts: 0,
            resources: 0,
        };
        this.tools = this.digest(snapshot, &[List::Tools]);
        this.prompts = this.digest(snapshot, &[List::Prompts]);
        this.resources = this.digest(snapshot, &[List::Resources, List::Templates]);
        this
    }

    /// Whether what happened is news for this listener: a list of its own is another one, or a
    /// resource changed that it may still know of.
    pub fn is_news(&mut self, snapshot: &Snapshot, event: &Event) -> bool {
        let (tools, prompts) = (&[List::Tools][..], &[List::Prompts][..]);
        let resources = &[List::Resources, List::Templates][..];
        match event {
            Event::ToolsChanged => {
                let now = self.digest(snapshot, tools);
                std::mem::replace(&mut self.tools, now) != now
            }
            Event::PromptsChanged => {
                let now = self.digest(snapshot, prompts);
                std::mem::replace(&mut self.prompts, now) != now
            }
            Event::ResourcesChanged => {
                let now = self.digest(snapshot, resources);
                std::mem::replace(&mut self.resources, now) != now
            }
            Event::ResourceUpdated(uri) => {
                snapshot.shows_resource(&self.principal, self.profile.as_deref(), uri)
            }
            Event::Closed => true,
        }
    }

    /// Whether its profile is there, if it listens to one.
    #[must_use]
    pub fn has_profile(&self, snapshot: &Snapshot) -> bool {
        let profile = self.profile.as_deref();
        profile.is_none_or(|profile| snapshot.profile(profile).is_some())
    }

    /// A short digest of lists, in the place of their items.
    fn digest(&self, snapshot: &Snapshot, lists: &[List]) -> u64 {
        let view = snapshot.view(&self.principal, self.profile.as_deref());
        let of = |list: &List| {
            let [first, ..] = view.digest(*list).as_chunks::<8>().0 else {
                return 0;
            };
            u64::from_le_bytes(*first)
        };
        // Two lists that change places are another pair.
        lists
            .iter()
            .fold(0, |all: u64, list| all.rotate_left(1) ^ of(list))
    }
}
