//! Where the skills of the skills extension (SEP-2640) are, and how one is written whose URI would
//! not lead there.
//!
//! The files of a skill are resources that no server needs to list. They lie below the directory
//! of its `SKILL.md`, by which they are found. A skill that could mean several backends is written
//! with `switchboard://{backend}/` before each of its URIs: so its files stay below it, and its name
//! stays the last part of its directory, as SEP-2640 wants it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use switchboard_backends::lists::Server;
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::splice::{Splice, for_each_item, member};

use super::resources::{
    ADDRESS_SCHEME, BackendIndices, Resources, Route, enter, only_backend, readable_address,
};
use super::{Snapshot, Source};

/// The file that a skill's URI names.
const ENTRY_FILE: &str = "SKILL.md";
/// The scheme that skills have by convention.
const SCHEME: &str = "skill://";
/// How many slashes the URI of a skill may have for its files to be found by it.
const MAX_SLASHES: usize = 32;

/// Which backend has which skills.
#[derive(Debug)]
pub(super) struct Skills {
    listed: HashMap<Box<str>, BackendIndices>,
    /// The directories of skills, each with its slash at the end.
    directories: HashMap<Box<str>, BackendIndices>,
    /// The only backend that has skills.
    only: Option<usize>,
}

impl Skills {
    pub(super) fn build(sources: &[Source]) -> Self {
        let mut this = Self {
            listed: HashMap::new(),
            directories: HashMap::new(),
            only: only_backend(sources, |lists| lists.server.has_skills()),
        };
        for (index, source) in sources.iter().enumerate() {
            let skills = source.lists.iter().flat_map(|lists| &lists.skills);
            for item in skills {
                enter(&mut this.listed, &item.key, index);
                let directory = item.key.strip_suffix(ENTRY_FILE);
                if let Some(directory) = directory.filter(|path| path.ends_with('/')) {
                    enter(&mut this.directories, directory, index);
                }
            }
        }
        this
    }

    /// The backends with the innermost skill that this file or directory belongs to, and the length
    /// of its directory in bytes.
    pub(super) fn with_file(&self, uri: &str) -> Option<(usize, &BackendIndices)> {
        if self.directories.is_empty() {
            return None;
        }
        // Directories are named without the slash.
        if let Some(backends) = self.directories.get(&*format!("{uri}/")) {
            return Some((uri.len() + 1, backends));
        }
        let ends = uri.match_indices('/').take(MAX_SLASHES);
        ends.filter_map(|(at, _)| Some((at + 1, self.directories.get(&uri[..=at])?)))
            .last()
    }

    /// The only backend that can have what has the scheme of skills, listed or not.
    pub(super) fn only(&self, uri: &str) -> Option<usize> {
        self.only.filter(|_| uri.starts_with(SCHEME))
    }
}

impl Resources {
    /// Whether clients reach the skill of this URI, and its files, with the URIs as they are.
    pub(super) fn skill_leads_to(&self, source: usize, uri: &str) -> bool {
        let listed = self.skills.listed.get(uri);
        !uri.starts_with(ADDRESS_SCHEME)
            && listed.is_none_or(|backends| *backends == [source])
            && self.backends_having(uri) == [source]
    }
}

impl Snapshot {
    /// Where `skills/get` of this URI goes: skills need not be listed.
    #[must_use]
    pub fn skill<'u>(&self, uri: &'u str) -> Route<'u> {
        match self.resources.skills.listed.get(uri) {
            Some(backends) if !uri.starts_with(ADDRESS_SCHEME) => {
                self.route(uri, backends, readable_address)
            }
            _ => self.served(uri, Server::has_skills),
        }
    }

    /// Where `resources/directory/read` of this URI goes.
    #[must_use]
    pub fn directory<'u>(&self, uri: &'u str) -> Route<'u> {
        self.served(uri, Server::reads_directories)
    }

    /// Where the resource of this URI is, if it `serves` what is asked; else the only backend that
    /// does.
    fn served<'u>(&self, uri: &'u str, serves: fn(&Server) -> bool) -> Route<'u> {
        let route = self.resource(uri);
        let leads_there = match &route {
            Route::One { backend, .. } => self.source(backend).is_some_and(|source| {
                let lists = source.lists.as_ref();
                lists.is_none_or(|lists| serves(&lists.server))
            }),
            Route::Ambiguous(_) => true,
            Route::Unknown => false,
        };
        if leads_there {
            return route;
        }
        let only = only_backend(&self.sources, |lists| serves(&lists.server));
        match only.filter(|_| !uri.starts_with(ADDRESS_SCHEME)) {
            Some(index) => Route::One {
                backend: Arc::clone(&self.sources[index].name),
                uri: Cow::Borrowed(uri),
            },
            None => Route::Unknown,
        }
    }

    /// Rewrites a skill that `backend` answered with, a part of `raw`, if clients would not reach
    /// it and its files otherwise.
    pub(crate) fn edit_skill(
        &self,
        backend: &str,
        raw: &[u8],
        skill: &[u8],
        edits: &mut Splice<'_>,
    ) {
        let uri = member(skill, "uri").and_then(json::as_str);
        if let (Some(source), Some(uri)) = (self.index_of(backend), uri)
            && !self.resources.skill_leads_to(source, &uri)
        {
            address_skill(backend, raw, skill, edits);
        }
    }

    /// Rewrites what `backend` has in a directory, a part of `raw`, if clients would not reach it
    /// otherwise: in the same way as skills, whose files are known by their URIs.
    pub(crate) fn edit_child(
        &self,
        backend: &str,
        raw: &[u8],
        child: &[u8],
        edits: &mut Splice<'_>,
    ) {
        let uri = member(child, "uri").and_then(json::as_str);
        if uri.is_some_and(|uri| self.exposed_uri(backend, &uri).is_some()) {
            address_object(backend, raw, child, edits);
        }
    }
}

/// Makes addresses of all URIs of a skill, a part of `raw`.
pub(super) fn address_skill(backend: &str, raw: &[u8], skill: &[u8], edits: &mut Splice<'_>) {
    address_object(backend, raw, skill, edits);
    if let Some(files) = member(skill, "resources") {
        for_each_item(files, |file| {
            address_object(backend, raw, file.of(files), edits);
        });
    }
}

/// Makes an address of the `uri` of an object, a part of `raw`.
fn address_object(backend: &str, raw: &[u8], object: &[u8], edits: &mut Splice<'_>) {
    if let Some(written) = member(object, "uri")
        && let Some(uri) = json::as_str(written)
    {
        let address = readable_address(backend, &uri);
        edits.replace(Span::of_part(raw, written), json::quoted(&address));
    }
}
