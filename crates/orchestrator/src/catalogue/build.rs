//! Tools and prompts under the names that clients see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use switchboard_backends::lists::{Item, Lists};
use switchboard_telemetry::ToolCalls;

use super::Source;
use crate::kept::listed::OWN_PREFIX;
use crate::names::Namespaces;

/// What has a name that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
}

impl Kind {
    fn items(self, lists: &Lists) -> &[Item] {
        match self {
            Self::Tool => &lists.tools,
            Self::Prompt => &lists.prompts,
        }
    }
}

/// A tool or prompt that is listed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The index of its backend in [`Snapshot::sources`](super::Snapshot::sources).
    pub source: usize,
    /// Its backend.
    pub backend: Arc<str>,
    /// The name that clients see.
    pub exposed: Arc<str>,
    /// What the server wrote; `item.key` is its own name for it.
    pub item: Item,
    /// What counts its calls, if it is a tool and somebody wants to know.
    pub(crate) calls: Option<Arc<ToolCalls>>,
}

impl Entry {
    /// The server's own name for it.
    #[must_use]
    pub fn original(&self) -> &str {
        &self.item.key
    }
}

/// A name that more than one tool or prompt has a claim on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Of what.
    pub kind: Kind,
    /// The name.
    pub name: String,
    /// Who has a claim on it: first the one that keeps it, `switchboard` if that is the gateway
    /// itself. Twice the same backend if its own names collide.
    pub backends: Vec<Arc<str>>,
    /// The name that each of `backends` has it under now; `None`: not listed.
    pub resolved_as: Vec<Option<String>>,
}

/// A name that is listed otherwise than as prefix, separator and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// Of what.
    pub kind: Kind,
    /// The backend.
    pub backend: Arc<str>,
    /// The server's own name.
    pub original: String,
    /// The name that clients see.
    pub exposed: String,
}

/// All tools or all prompts.
#[derive(Debug)]
pub(super) struct Registry {
    /// By backend, then in the server's order.
    entries: Vec<Entry>,
    /// Asked for whatever clients call, so its hashes begin with a number by chance.
    by_name: HashMap<Arc<str>, usize, RandomState>,
}

impl Registry {
    pub(super) fn build(
        kind: Kind,
        sources: &[Source],
        namespaces: &Namespaces,
        reserved: Option<&str>,
        collisions: &mut Vec<Collision>,
        shortened: &mut Vec<Shortened>,
    ) -> Self {
        let mut naming = Naming {
            kind,
            sources,
            namespaces,
            reserved,
            candidates: candidates(kind, sources),
            taken: HashMap::new(),
            collisions,
        };
        naming.qualify();
        naming.leave_plain();
        naming.finish(shortened)
    }

    pub(super) fn get(&self, exposed: &str) -> Option<&Entry> {
        let index = *self.by_name.get(exposed)?;
        Some(&self.entries[index])
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Has calls counted by these, in the order of the entries.
    pub(super) fn count_in(&mut self, counted: Vec<Arc<ToolCalls>>) {
        for (entry, calls) in self.entries.iter_mut().zip(counted) {
            entry.calls = Some(calls);
        }
    }
}

/// A tool or prompt on its way to a name.
struct Candidate<'a> {
    source: usize,
    item: &'a Item,
    /// Its name within its backend's namespace, unless somebody else has it.
    qualified: Option<Arc<str>>,
    is_shortened: bool,
    /// The name that it is listed under.
    exposed: Option<Arc<str>>,
}

/// Every item of this kind, without those that repeat a name of the same server.
fn candidates(kind: Kind, sources: &[Source]) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    for (source, lists) in sources
        .iter()
        .enumerate()
        .filter_map(|(index, source)| Some((index, source.lists.as_deref()?)))
    {
        let mut seen = HashSet::new();
        let items = kind.items(lists).iter();
        candidates.extend(
            items
                .filter(|item| seen.insert(&*item.key))
                .map(|item| Candidate {
                    source,
                    item,
                    qualified: None,
                    is_shortened: false,
                    exposed: None,
                }),
        );
    }
    candidates
}

/// Hands out names: who comes first keeps one.
struct Naming<'a, 'c> {
    kind: Kind,
    sources: &'a [Source],
    namespaces: &'a Namespaces,
    /// The name of a tool of the gateway's own, which no backend's can have.
    reserved: Option<&'a str>,
    candidates: Vec<Candidate<'a>>,
    /// Names and the candidates that have them.
    taken: HashMap<Arc<str>, usize>,
    collisions: &'c mut Vec<Collision>,
}

impl Naming<'_, '_> {
    /// Gives every item its name within its backend's namespace. Backends with a prefix come before
    /// those without, and names that fit before those with a suffix: no server can take another's
    /// name by guessing a suffix.
    fn qualify(&mut self) {
        let namespaces = self.namespaces;
        let mut names: Vec<_> = self
            .candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| {
                let name = namespaces.qualify(candidate.source, &candidate.item.key);
                (index, name)
            })
            .collect();
        names.sort_by_key(|(index, name)| {
            let is_plain = namespaces.is_plain(self.candidates[*index].source);
            (is_plain, name.shortened)
        });
        for (index, name) in names {
            self.candidates[index].is_shortened = name.shortened;
            let Err(holder) = self.take(index, &name.text) else {
                continue;
            };
            let candidate = &mut self.candidates[index];
            candidate.is_shortened = true;
            if !name.shortened {
                let other = namespaces.shorten(candidate.source, &candidate.item.key);
                let _ = self.take(index, &other.text);
            }
            self.report(name.text, holder, index);
        }
    }

    /// Lets the backends without a prefix keep their names as they are, wherever nobody else has a
    /// claim on them. While a backend that comes first has never been learned, what it claims is
    /// unknown, and so a plain name could reach the wrong server.
    fn leave_plain(&mut self) {
        let (sources, namespaces) = (self.sources, self.namespaces);
        let is_unlearned = |source: usize| sources[source].lists.is_none();
        let mut a_plain_one_is_unlearned = vec![false; sources.len() + 1];
        for source in 0..sources.len() {
            a_plain_one_is_unlearned[source + 1] = a_plain_one_is_unlearned[source]
                || (namespaces.is_plain(source) && is_unlearned(source));
        }
        for index in 0..self.candidates.len() {
            let Candidate { source, item, .. } = self.candidates[index];
            self.candidates[index].exposed = self.candidates[index].qualified.clone();
            if !namespaces.is_plain(source) || a_plain_one_is_unlearned[source] {
                continue;
            }
            if namespaces.claimant(&item.key, is_unlearned).is_some() {
                continue;
            }
            match self.taken.get(&*item.key) {
                // Its own qualified form, or the plain name of something else.
                Some(&holder) if holder == index => {}
                Some(&holder) => self.report(item.key.clone(), Some(holder), index),
                None if self.reserved == Some(&item.key) => {
                    self.report(item.key.clone(), None, index);
                }
                None => {
                    let name: Arc<str> = item.key.as_str().into();
                    self.taken.insert(Arc::clone(&name), index);
                    self.candidates[index].exposed = Some(name);
                }
            }
        }
    }

    /// Gives a candidate this name, unless another one has it, or the gateway itself (`None`).
    fn take(&mut self, index: usize, name: &str) -> Result<(), Option<usize>> {
        if self.reserved == Some(name) {
            return Err(None);
        }
        if let Some(&holder) = self.taken.get(name) {
            return Err(Some(holder));
        }
        let name: Arc<str> = name.into();
        self.taken.insert(Arc::clone(&name), index);
        self.candidates[index].qualified = Some(name);
        Ok(())
    }

    fn report(&mut self, name: String, holder: Option<usize>, loser: usize) {
        let backend = |index: usize| Arc::clone(&self.sources[self.candidates[index].source].name);
        let other = self.candidates[loser].qualified.as_deref();
        self.collisions.push(Collision {
            kind: self.kind,
            backends: vec![holder.map_or(OWN_PREFIX.into(), backend), backend(loser)],
            resolved_as: vec![Some(name.clone()), other.map(str::to_owned)],
            name,
        });
    }

    /// Makes the entries of all that has a name.
    fn finish(self, shortened: &mut Vec<Shortened>) -> Registry {
        let mut entries = Vec::new();
        let mut entry_of = vec![None; self.candidates.len()];
        for (index, candidate) in self.candidates.iter().enumerate() {
            let Some(exposed) = candidate.exposed.clone() else {
                continue;
            };
            let backend = Arc::clone(&self.sources[candidate.source].name);
            if candidate.is_shortened && candidate.qualified.as_ref() == Some(&exposed) {
                shortened.push(Shortened {
                    kind: self.kind,
                    backend: Arc::clone(&backend),
                    original: candidate.item.key.clone(),
                    exposed: exposed.to_string(),
                });
            }
            entry_of[index] = Some(entries.len());
            entries.push(Entry {
                source: candidate.source,
                backend,
                exposed,
                item: candidate.item.clone(),
                calls: None,
            });
        }
        let by_name = self
            .taken
            .into_iter()
            .filter_map(|(name, index)| Some((name, entry_of[index]?)))
            .collect();
        Registry { entries, by_name }
    }
}
