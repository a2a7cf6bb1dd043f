//! What the lists cost the context of a client's model.

use std::sync::Arc;

use switchboard_protocol::policy::TargetKind;
use switchboard_telemetry::{ListKind, ListSize};

use super::shown::{Names, ProfileInForce};
use super::view::{Lens, own_item};
use super::{List, Snapshot};

/// What the lists of one profile cost who may see all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSizes {
    /// The profile; `None`: the endpoint without one.
    pub profile: Option<Arc<str>>,
    /// Each list.
    pub lists: Vec<(ListKind, ListSize)>,
}

impl Snapshot {
    /// What the lists of each profile cost, of the endpoint without one first. Put together when it is
    /// asked for first: nobody may ever ask.
    #[must_use]
    pub fn sizes(&self) -> &[ProfileSizes] {
        self.sizes.get_or_init(|| {
            let mut in_force: Vec<&ProfileInForce> = self.profiles.values().collect();
            in_force.sort_by(|a, b| a.profile.name().cmp(b.profile.name()));
            let profiles = in_force.into_iter().map(|it| self.sizes_of(Some(it)));
            std::iter::once(self.sizes_of(None))
                .chain(profiles)
                .collect()
        })
    }

    fn sizes_of(&self, in_force: Option<&ProfileInForce>) -> ProfileSizes {
        let shows = |kind: TargetKind, index: usize, names: &Names<'_>| {
            in_force.is_none_or(|it| it.profile.has(kind, names, it.has_tools[index]))
        };
        let lens = Lens {
            shows: &shows,
            profile: in_force.map(|it| &*it.profile),
            ..Lens::EVERYTHING
        };
        let lists = List::ALL.map(|list| {
            let mut items = lens.items(self, list);
            items.extend(own_item(self, list));
            let size = ListSize::of(items.iter().map(Vec::as_slice));
            (kind(list), size)
        });
        ProfileSizes {
            profile: in_force.map(|it| Arc::clone(it.profile.name())),
            lists: lists.to_vec(),
        }
    }
}

const fn kind(list: List) -> ListKind {
    match list {
        List::Tools => ListKind::Tools,
        List::Prompts => ListKind::Prompts,
        List::Resources => ListKind::Resources,
        List::Templates => ListKind::Templates,
        List::Skills => ListKind::Skills,
    }
}
