//! What one audience sees of what there is: of all, or of one profile. Prepared once for all who see
//! the same, and gone with its snapshot.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::smallvec;
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::{Audience, Target, TargetKind};

use super::page::{self, Frame, Pages};
use super::shown::Names;
use super::{Entry, InvalidCursor, List, Snapshot, Source, discover};
use crate::chains::standing_in::has_substitute;
use crate::kept::listed;
use crate::profiles::Profile;

/// The most views that a snapshot keeps, and the most bytes of their answers. One that has no place
/// takes that of another.
const MAX_VIEWS: usize = 256;
const MAX_VIEW_BYTES: usize = 64 * 1024 * 1024;

/// What an audience sees: every answer that does not depend on the request, as bytes.
#[derive(Debug, Default)]
pub struct View {
    /// In the order of [`List::ALL`].
    pages: [Pages; 5],
    instructions: Option<String>,
    discover: Bytes,
    tools: usize,
}

impl View {
    /// The complete result of a list, the page that `cursor` leads to; `None`: the first page.
    ///
    /// # Errors
    /// [`InvalidCursor`].
    pub fn page(&self, list: List, cursor: Option<&str>) -> Result<&Bytes, InvalidCursor> {
        self.pages[list as usize].get(cursor)
    }

    /// The complete result of `server/discover`.
    #[must_use]
    pub fn discover(&self) -> &Bytes {
        &self.discover
    }

    /// How to use what is seen, at most 16 KiB.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// How many tools are listed.
    #[must_use]
    pub fn tools(&self) -> usize {
        self.tools
    }

    /// Changes whenever the items of the list do.
    pub(crate) fn digest(&self, list: List) -> &[u8; 32] {
        self.pages[list as usize].digest()
    }

    fn len(&self) -> usize {
        let pages: usize = self.pages.iter().map(Pages::len).sum();
        pages + self.discover.len() + self.instructions.as_ref().map_or(0, String::len)
    }

    pub(super) fn build(snapshot: &Snapshot, lens: &Lens<'_>) -> Self {
        let seen = |index: &usize| (lens.shows_backend)(*index);
        let backends: Vec<usize> = (0..snapshot.sources.len()).filter(seen).collect();
        let sources: Vec<&Source> = backends.iter().map(|it| &snapshot.sources[*it]).collect();
        let settings = &snapshot.settings;
        let mut frame = Frame::new(&sources, lens.is_private || settings.private, settings);
        let mut tools = 0;
        let pages = List::ALL.map(|list| {
            let mut items = lens.items(snapshot, list);
            if lens.has_own {
                items.extend(own_item(snapshot, list));
            }
            if list == List::Tools {
                tools = items.len();
                if let Some(profile) = lens.profile {
                    frame.limit_tools(profile, tools);
                }
            }
            Pages::build(list, &items, settings.page_size, &frame)
        });
        let own = lens.profile.and_then(Profile::instructions);
        let instructions = match own {
            Some(text) => Some(text.to_owned()),
            None => discover::instructions(&snapshot.sources, &backends, &snapshot.namespaces),
        };
        let capabilities = &snapshot.capabilities;
        let discover = discover::result(settings, capabilities, instructions.as_deref(), &frame);
        Self {
            pages,
            instructions,
            discover: discover.into(),
            tools,
        }
    }
}

/// What of a snapshot is seen.
pub(super) struct Lens<'a> {
    /// Whether something of this source is shown, of a tool or prompt by all of its names.
    pub(super) shows: &'a dyn Fn(TargetKind, usize, &Names<'_>) -> bool,
    pub(super) shows_backend: &'a dyn Fn(usize) -> bool,
    pub(super) profile: Option<&'a Profile>,
    /// Whether what is seen depends on who looks.
    pub(super) is_private: bool,
    /// Whether what is the gateway's own is seen.
    pub(super) has_own: bool,
}

/// What is the gateway's own in a list.
pub(super) fn own_item(snapshot: &Snapshot, list: List) -> Option<Vec<u8>> {
    let reader = snapshot.kept_reader()?;
    match list {
        List::Tools => Some(listed::tool(reader)),
        List::Templates => Some(listed::template()),
        _ => None,
    }
}

impl Lens<'_> {
    pub(super) fn items(&self, snapshot: &Snapshot, list: List) -> Vec<Vec<u8>> {
        let Snapshot {
            sources, resources, ..
        } = snapshot;
        let shows_entry = |kind: TargetKind, entry: &Entry| {
            (self.shows)(kind, entry.source, &snapshot.spellings_of(entry))
        };
        let shows_uri = |source: usize, uri: &str| {
            let uri: Names<'_> = smallvec![Cow::Borrowed(uri)];
            (self.shows)(TargetKind::Resource, source, &uri)
        };
        match list {
            List::Tools => {
                let is_there = |name: &str| {
                    let entry = snapshot.tools.get(name);
                    entry.is_some_and(|entry| {
                        sources[entry.source].is_there() && shows_entry(TargetKind::Tool, entry)
                    })
                };
                let stands_in = |entry: &Entry| {
                    has_substitute(&snapshot.settings.chains, &entry.exposed, is_there)
                };
                let is_listed = |entry: &Entry| {
                    let is_there = !sources[entry.source].hidden || stands_in(entry);
                    is_there && shows_entry(TargetKind::Tool, entry)
                };
                page::tool_items(snapshot, is_listed, self.profile)
            }
            List::Prompts => {
                let is_listed = |entry: &Entry| {
                    !sources[entry.source].hidden && shows_entry(TargetKind::Prompt, entry)
                };
                page::prompt_items(snapshot, is_listed)
            }
            List::Resources | List::Templates => {
                page::addressed_items(list, sources, resources, shows_uri)
            }
            List::Skills => page::skill_items(sources, resources, shows_uri),
        }
    }
}

/// The views that somebody asked for.
#[derive(Debug, Default)]
pub(super) struct Views(Mutex<Cache>);

type Key = (Option<Arc<str>>, Option<Audience>);

#[derive(Debug, Default)]
struct Cache {
    views: HashMap<Key, Arc<View>>,
    bytes: usize,
}

impl Views {
    fn get(&self, key: &Key) -> Option<Arc<View>> {
        self.0.lock().views.get(key).cloned()
    }

    fn put(&self, key: Key, view: &Arc<View>) {
        let mut cache = self.0.lock();
        while cache.views.len() >= MAX_VIEWS
            || (cache.bytes + view.len() > MAX_VIEW_BYTES && !cache.views.is_empty())
        {
            let Some(other) = cache.views.keys().next().cloned() else {
                break;
            };
            cache.remove(&other);
        }
        cache.remove(&key);
        cache.bytes += view.len();
        cache.views.insert(key, Arc::clone(view));
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().views.len()
    }
}

impl Cache {
    fn remove(&mut self, key: &Key) {
        if let Some(view) = self.views.remove(key) {
            self.bytes -= view.len();
        }
    }
}

/// A view: the snapshot's own, or one of an audience.
#[derive(Debug)]
pub enum ViewRef<'s> {
    /// What there is, all of it.
    Own(&'s View),
    /// A part of it.
    Shared(Arc<View>),
}

impl ViewRef<'_> {
    /// Whether it is all that there is.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

impl Deref for ViewRef<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        match self {
            Self::Own(view) => view,
            Self::Shared(view) => view,
        }
    }
}

impl Snapshot {
    /// What this principal sees in this profile. In one that is not there, nothing.
    #[must_use]
    pub fn view(&self, principal: &Principal, profile: Option<&str>) -> ViewRef<'_> {
        let audience = self.policy().audience(principal, profile);
        let in_force = match (profile, &audience) {
            (None, None) => return ViewRef::Own(&self.own),
            (None, Some(_)) => None,
            (Some(name), _) => match self.profiles.get(name) {
                Some(in_force) => Some(in_force),
                None => return ViewRef::Shared(Arc::new(View::build(self, &Lens::NOTHING))),
            },
        };
        let name = in_force.map(|in_force| Arc::clone(in_force.profile.name()));
        let key = (name, audience);
        if let Some(view) = self.views.get(&key) {
            return ViewRef::Shared(view);
        }
        let shows = |kind: TargetKind, index: usize, names: &Names<'_>| {
            let target = Target {
                kind,
                backend: &self.sources[index].name,
                name: &names[0],
            };
            in_force.is_none_or(|it| it.profile.has(kind, names, it.has_tools[index]))
                && self.policy().shows(principal, profile, &target)
        };
        let shows_backend = |index: usize| {
            let name = &self.sources[index].name;
            in_force.is_none_or(|it| it.is_shown[index])
                && self.policy().shows_backend(principal, profile, name)
        };
        let lens = Lens {
            shows: &shows,
            shows_backend: &shows_backend,
            profile: in_force.map(|it| &*it.profile),
            is_private: key.1.is_some(),
            has_own: true,
        };
        let view = Arc::new(View::build(self, &lens));
        self.views.put(key, &view);
        ViewRef::Shared(view)
    }
}

impl Lens<'_> {
    /// Shows everything to everybody.
    pub(super) const EVERYTHING: Self = Self {
        shows: &|_, _, _| true,
        shows_backend: &|_| true,
        profile: None,
        is_private: false,
        has_own: true,
    };

    const NOTHING: Self = Self {
        shows: &|_, _, _| false,
        shows_backend: &|_| false,
        profile: None,
        is_private: true,
        has_own: false,
    };
}
