//! What there is for whom: the one answer that lists, calls, substitutes and subscriptions ask for.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Target, TargetKind};

use super::resources::Route;
use super::{Entry, Snapshot};
use crate::profiles::Profile;

/// The names that a tool or prompt has without a profile: first the one that it is listed under.
/// Without a prefix it has several, and which one is listed depends on who else is there.
pub(crate) type Names<'n> = SmallVec<[Cow<'n, str>; 3]>;

/// A profile in one snapshot.
#[derive(Debug)]
pub(super) struct ProfileInForce {
    pub(super) profile: Arc<Profile>,
    /// By source: whether it can have a tool in the profile.
    pub(super) has_tools: Vec<bool>,
    /// By source: whether clients of the profile may know of it.
    pub(super) is_shown: Vec<bool>,
}

impl Snapshot {
    /// The profile of this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.get(name).map(|it| &it.profile)
    }

    /// All profiles, by name.
    #[must_use]
    pub fn profiles(&self) -> Vec<&Arc<Profile>> {
        let mut all: Vec<_> = self.profiles.values().map(|it| &it.profile).collect();
        all.sort_by_key(|profile| Arc::clone(profile.name()));
        all
    }

    /// Whether there is this for a principal in a profile: the one answer for lists, calls,
    /// substitutes and subscriptions.
    #[must_use]
    pub fn shows(&self, principal: &Principal, profile: Option<&str>, target: &Target<'_>) -> bool {
        let is_in = match profile {
            None => true,
            Some(profile) => self.profiles.get(profile).is_some_and(|it| {
                let has_tools = self
                    .index_of(target.backend)
                    .is_some_and(|at| it.has_tools[at]);
                let names = self.spellings(target.kind, target.name);
                it.profile.has(target.kind, &names, has_tools)
            }),
        };
        is_in && self.policy().shows(principal, profile, target)
    }

    /// Whether a principal may know in a profile that there is this backend.
    #[must_use]
    pub fn shows_backend(
        &self,
        principal: &Principal,
        profile: Option<&str>,
        backend: &str,
    ) -> bool {
        let is_in = match profile {
            None => true,
            Some(profile) => self.profiles.get(profile).is_some_and(|it| {
                let index = self.index_of(backend);
                index.is_some_and(|index| it.is_shown[index])
            }),
        };
        is_in && self.policy().shows_backend(principal, profile, backend)
    }

    /// Whether a resource of this URI, as clients write it, is shown.
    #[must_use]
    pub fn shows_resource(&self, principal: &Principal, profile: Option<&str>, uri: &str) -> bool {
        let Route::One { backend, uri } = self.resource(uri) else {
            return false;
        };
        let target = Target {
            kind: TargetKind::Resource,
            backend: &backend,
            name: &uri,
        };
        self.shows(principal, profile, &target)
    }

    /// Whether a URI, as clients write it, is known to lead to a resource that is not shown.
    #[must_use]
    pub fn hides_resource(&self, principal: &Principal, profile: Option<&str>, uri: &str) -> bool {
        matches!(self.resource(uri), Route::One { .. })
            && !self.shows_resource(principal, profile, uri)
    }

    /// Whether a tool is hidden that is there, or may be. Asked of a name without a profile.
    pub(crate) fn hides_tool(
        &self,
        principal: &Principal,
        profile: Option<&str>,
        name: &str,
    ) -> bool {
        let entry = self.tool(name);
        let claimant = || {
            let index = self.namespaces.claimant(name, |_| true)?;
            Some((&*self.sources[index].name, name))
        };
        let target = match entry {
            Some(entry) => Some((&*entry.backend, &*entry.exposed)),
            None => claimant(),
        };
        target.is_some_and(|(backend, name)| {
            let target = Target {
                kind: TargetKind::Tool,
                backend,
                name,
            };
            !self.shows(principal, profile, &target)
        })
    }

    /// The tool that clients of this profile know by this name, shown or not.
    #[must_use]
    pub fn tool_in(&self, profile: Option<&str>, name: &str) -> Option<&Entry> {
        match profile {
            None => self.tool(name),
            Some(profile) => self.tool(&self.base_in(self.profile(profile)?, name)?),
        }
    }

    /// The name without a profile of the tool that has this one in it; `None`: there is none.
    pub(crate) fn base_in<'n>(&self, profile: &'n Profile, name: &'n str) -> Option<Cow<'n, str>> {
        let base = profile.base(name)?;
        if base == name {
            // By another of its names it would be a tool all the same that has one of its own here.
            let mut names = self.spellings(TargetKind::Tool, name).into_iter();
            let is_renamed = names.any(|name| profile.is_renamed(&name));
            return (!is_renamed).then_some(Cow::Borrowed(base));
        }
        if self.tool(base).is_some() {
            return Some(Cow::Borrowed(base));
        }
        if !self.is_unclaimed(base) {
            return Some(Cow::Borrowed(base));
        }
        // Without a prefix it may be listed by its qualified name for now.
        let plain = (0..self.sources.len()).filter(|index| self.namespaces.is_plain(*index));
        let mut qualified = plain.map(|index| self.namespaces.qualify(index, base).text);
        let known = qualified.find(|name| self.tool(name).is_some());
        Some(known.map_or(Cow::Borrowed(base), Cow::Owned))
    }

    /// Whether a name begins like those of no backend that has a prefix.
    fn is_unclaimed(&self, name: &str) -> bool {
        let has_prefix = |index: usize| !self.namespaces.is_plain(index);
        self.namespaces.claimant(name, has_prefix).is_none()
    }

    /// All names of a tool or prompt, given by one of them; of a resource the one that it has.
    pub(crate) fn spellings<'n>(&'n self, kind: TargetKind, name: &'n str) -> Names<'n> {
        let entry = match kind {
            TargetKind::Tool => self.tools.get(name),
            TargetKind::Prompt => self.prompts.get(name),
            TargetKind::Resource => return smallvec![Cow::Borrowed(name)],
        };
        if let Some(entry) = entry {
            return self.spellings_of(entry);
        }
        let mut names: Names<'n> = smallvec![Cow::Borrowed(name)];
        let is_plain = |index: usize| self.namespaces.is_plain(index);
        if let Some(index) = self.namespaces.claimant(name, is_plain)
            && let Some(original) = name.strip_prefix(self.namespaces.claim(index))
        {
            names.push(Cow::Borrowed(original));
        }
        names
    }

    pub(super) fn spellings_of<'s>(&'s self, entry: &'s Entry) -> Names<'s> {
        let mut names: Names<'s> = smallvec![Cow::Borrowed(&*entry.exposed)];
        if self.namespaces.is_plain(entry.source) {
            let original = entry.original();
            // What begins like another backend's names is taken for one of those.
            if self.is_unclaimed(original) {
                names.push(Cow::Borrowed(original));
            }
            let qualified = self.namespaces.qualify(entry.source, original).text;
            names.push(Cow::Owned(qualified));
        }
        names
    }

    pub(super) fn in_force(&self, profile: &Arc<Profile>) -> ProfileInForce {
        let all = 0..self.sources.len();
        let has_tools: Vec<bool> = all.map(|index| self.has_tools_in(profile, index)).collect();
        let is_shown = has_tools
            .iter()
            .enumerate()
            .map(|(index, has_tools)| *has_tools || self.has_others_in(profile, index))
            .collect();
        ProfileInForce {
            profile: Arc::clone(profile),
            has_tools,
            is_shown,
        }
    }

    /// Whether a source can have a tool in a profile.
    fn has_tools_in(&self, profile: &Profile, index: usize) -> bool {
        let claim = self.namespaces.claim(index);
        if profile.may_have_tools_of(claim) {
            return true;
        }
        self.has_plain_in(profile, index, TargetKind::Tool)
    }

    /// Whether a source without a prefix has a tool or prompt in a profile: of such names only those
    /// that are known tell.
    fn has_plain_in(&self, profile: &Profile, index: usize, kind: TargetKind) -> bool {
        let registry = match kind {
            TargetKind::Prompt => &self.prompts,
            _ => &self.tools,
        };
        let mut entries = registry.entries().iter();
        self.namespaces.is_plain(index)
            && entries.any(|entry| {
                entry.source == index && profile.has(kind, &self.spellings_of(entry), false)
            })
    }

    /// Whether a source that can have no tool in a profile can have something else in it that the
    /// profile names.
    fn has_others_in(&self, profile: &Profile, index: usize) -> bool {
        if profile.may_have_prompts_of(self.namespaces.claim(index))
            || self.has_plain_in(profile, index, TargetKind::Prompt)
        {
            return true;
        }
        let Some(lists) = &self.sources[index].lists else {
            return false;
        };
        let has = |uri: &str| profile.has(TargetKind::Resource, &[uri], false);
        let mut items = lists
            .resources
            .iter()
            .chain(&lists.templates)
            .chain(&lists.skills);
        profile.names_resources() && items.any(|item| has(&item.key))
    }
}
