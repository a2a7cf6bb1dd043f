//! Where a resource URI goes, and how a URI of one backend is written where it would not lead
//! there.
//!
//! URIs stay as the servers wrote them. One that could mean several backends is written as an
//! address instead, `switchboard://{backend}/{URI, percent-encoded}`. What follows the backend may
//! also be the URI as it is, which every URI shows by its colon: so a template becomes an address
//! by what is put before it, and what a client expands it to is, behind that, what the server would
//! have been asked for without it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use switchboard_backends::lists::{Item, Lists};
use switchboard_backends::status::State;
use switchboard_protocol::json;
use switchboard_protocol::uri_template::UriTemplate;

use super::skills::Skills;
use super::{List, Snapshot, Source};

/// What the address of a resource of exactly one backend begins with.
pub const ADDRESS_SCHEME: &str = "switchboard://";

/// How many templates of one backend URIs are matched against: matching takes time that other
/// callers wait for.
const MAX_MATCHED_TEMPLATES: usize = 256;

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a resource or template goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'u> {
    /// To one backend.
    One {
        /// The backend.
        backend: Arc<str>,
        /// The server's own form of the URI or template.
        uri: Cow<'u, str>,
    },
    /// It could mean several: the addresses that say which.
    Ambiguous(Vec<String>),
    /// No backend is known to have it.
    Unknown,
}

/// Indices of backends, each once, in ascending order.
pub(super) type BackendIndices = Vec<usize>;

/// Which backend has which resources.
#[derive(Debug)]
pub(super) struct Resources {
    listed: HashMap<Box<str>, BackendIndices>,
    /// User interfaces that tools name, which servers need not list (MCP Apps).
    named_by_tools: HashMap<Box<str>, BackendIndices>,
    templates: Vec<(usize, UriTemplate)>,
    template_texts: HashMap<Box<str>, BackendIndices>,
    pub(super) skills: Skills,
    /// The only backend that has resources.
    only: Option<usize>,
}

impl Resources {
    pub(super) fn build(sources: &[Source]) -> Self {
        let mut this = Self {
            listed: HashMap::new(),
            named_by_tools: HashMap::new(),
            templates: Vec::new(),
            template_texts: HashMap::new(),
            skills: Skills::build(sources),
            only: only_backend(sources, |lists| {
                lists.server.features.resources
                    || !lists.resources.is_empty()
                    || !lists.templates.is_empty()
            }),
        };
        for (index, source) in sources.iter().enumerate() {
            let Some(lists) = &source.lists else { continue };
            for item in &lists.resources {
                enter(&mut this.listed, &item.key, index);
            }
            for item in &lists.templates {
                enter(&mut this.template_texts, &item.key, index);
            }
            // One that is malformed, or comes after so many, is listed as it is and matches nothing.
            let parsed = lists.templates.iter().take(MAX_MATCHED_TEMPLATES);
            let parsed = parsed.filter_map(|item| UriTemplate::parse(&item.key).ok());
            this.templates
                .extend(parsed.map(|template| (index, template)));
            for uri in lists.tools.iter().filter_map(ui_resource) {
                enter(&mut this.named_by_tools, &uri, index);
            }
        }
        this
    }

    /// The backends with the best claim on a URI that is no address.
    pub(super) fn backends_having(&self, uri: &str) -> BackendIndices {
        if let Some(backends) = self
            .listed
            .get(uri)
            .or_else(|| self.named_by_tools.get(uri))
        {
            return backends.clone();
        }
        // The directory of a skill is as good a claim as a template that begins with it.
        let (mut best, mut backends) = match self.skills.with_file(uri) {
            Some((length, backends)) => (length, backends.clone()),
            None => (0, BackendIndices::new()),
        };
        for (index, template) in &self.templates {
            let specificity = template.specificity();
            let is_beaten = !backends.is_empty() && specificity < best;
            if is_beaten || !template.matches(uri) {
                continue;
            }
            if specificity > best {
                best = specificity;
                backends.clear();
            }
            if let Err(place) = backends.binary_search(index) {
                backends.insert(place, *index);
            }
        }
        if backends.is_empty() {
            backends.extend(self.only.or_else(|| self.skills.only(uri)));
        }
        backends
    }
}

/// The only backend that `has` something. While another one is starting, nobody knows.
pub(super) fn only_backend(sources: &[Source], has: impl Fn(&Lists) -> bool) -> Option<usize> {
    let mut only = None;
    for (index, source) in sources.iter().enumerate() {
        let may_have = match &source.lists {
            Some(lists) => has(lists),
            None => source.status.state == State::Starting,
        };
        if may_have && only.replace(index).is_some() {
            return None;
        }
    }
    only.filter(|&index| sources[index].lists.is_some())
}

pub(super) fn enter(backends: &mut HashMap<Box<str>, BackendIndices>, uri: &str, index: usize) {
    let backends = match backends.get_mut(uri) {
        Some(backends) => backends,
        None => backends.entry(uri.into()).or_default(),
    };
    if backends.last() != Some(&index) {
        backends.push(index);
    }
}

/// The user interface that a tool names.
pub(super) fn ui_resource(tool: &Item) -> Option<Cow<'_, str>> {
    json::as_str(tool.ui_resource?.of(&tool.raw))
}

/// The address of a URI of exactly this backend.
pub(crate) fn address(backend: &str, uri: &str) -> String {
    let backend = utf8_percent_encode(backend, ENCODED);
    let uri = utf8_percent_encode(uri, ENCODED);
    format!("{ADDRESS_SCHEME}{backend}/{uri}")
}

/// As [`address`], with the URI or template as it is.
pub(super) fn readable_address(backend: &str, uri: &str) -> String {
    let backend = utf8_percent_encode(backend, ENCODED);
    format!("{ADDRESS_SCHEME}{backend}/{uri}")
}

impl Snapshot {
    /// Where `resources/read` of this URI goes. An address goes to its backend whether that is
    /// known to have the resource or not.
    #[must_use]
    pub fn resource<'u>(&self, uri: &'u str) -> Route<'u> {
        if let Some(rest) = uri.strip_prefix(ADDRESS_SCHEME) {
            return self.follow(rest);
        }
        self.route(uri, &self.resources.backends_having(uri), address)
    }

    /// Where `completion/complete` for a `ref/resource` goes: the text of a template as listed, or
    /// a URI.
    #[must_use]
    pub fn template<'u>(&self, uri_template: &'u str) -> Route<'u> {
        if uri_template.starts_with(ADDRESS_SCHEME) {
            return self.resource(uri_template);
        }
        match self.resources.template_texts.get(uri_template) {
            Some(backends) => self.route(uri_template, backends, readable_address),
            None => self.resource(uri_template),
        }
    }

    pub(super) fn route<'u>(
        &self,
        uri: &'u str,
        backends: &[usize],
        address: impl Fn(&str, &str) -> String,
    ) -> Route<'u> {
        match backends {
            [] => Route::Unknown,
            [one] => Route::One {
                backend: Arc::clone(&self.sources[*one].name),
                uri: Cow::Borrowed(uri),
            },
            several => {
                let addresses = several
                    .iter()
                    .map(|&index| address(&self.sources[index].name, uri));
                Route::Ambiguous(addresses.collect())
            }
        }
    }

    /// Where an address goes, given without its scheme.
    fn follow<'u>(&self, rest: &'u str) -> Route<'u> {
        let found = || {
            let (backend, uri) = rest.split_once('/')?;
            let backend = percent_decode_str(backend).decode_utf8().ok()?;
            let index = self.index_of(&backend)?;
            let uri = if uri.contains(':') {
                Cow::Borrowed(uri)
            } else {
                percent_decode_str(uri).decode_utf8().ok()?
            };
            if uri.is_empty() {
                return None;
            }
            Some(Route::One {
                backend: Arc::clone(&self.sources[index].name),
                uri,
            })
        };
        found().unwrap_or(Route::Unknown)
    }

    /// What a URI in something that `backend` wrote must be rewritten to, for clients to reach the
    /// same resource with it; `None`: it can stay.
    #[must_use]
    pub fn exposed_uri(&self, backend: &str, uri: &str) -> Option<String> {
        let leads_there = !uri.starts_with(ADDRESS_SCHEME)
            && matches!(self.resource(uri), Route::One { backend: owner, .. } if *owner == *backend);
        (!leads_there).then(|| address(backend, uri))
    }

    /// Every URI under which clients reach this resource of `backend`: an update of it is news for
    /// the listeners of each.
    #[must_use]
    pub fn addresses(&self, backend: &str, uri: &str) -> Vec<String> {
        let mut all = vec![address(backend, uri)];
        if uri.contains(':') {
            all.push(readable_address(backend, uri));
        }
        if self.exposed_uri(backend, uri).is_none() {
            all.push(uri.to_owned());
        }
        all
    }

    /// A backend not learned yet, of those that `is_shown`, that may turn out to own a URI or template
    /// which is not known: a request for it waits, or fails as unavailable, never as unknown. Backends
    /// that are starting come first.
    #[must_use]
    pub fn may_own_resource(
        &self,
        uri: &str,
        is_shown: impl Fn(&Source) -> bool,
    ) -> Option<&Source> {
        if uri.starts_with(ADDRESS_SCHEME) {
            return None;
        }
        self.sources
            .iter()
            .filter(|source| source.lists.is_none() && is_shown(source))
            .min_by_key(|source| source.status.state != State::Starting)
    }
}

impl Resources {
    /// What an item's URI or template is listed as, if not as it is.
    pub(super) fn listed_as(&self, list: List, backend: &str, key: &str) -> Option<String> {
        let (backends, address): (_, fn(&str, &str) -> String) = match list {
            List::Templates => (&self.template_texts, readable_address),
            _ => (&self.listed, address),
        };
        let is_shared = backends.get(key).is_some_and(|backends| backends.len() > 1);
        (is_shared || key.starts_with(ADDRESS_SCHEME)).then(|| address(backend, key))
    }

    /// What the user interface of a tool is listed as, if not as it is.
    pub(super) fn ui_listed_as(&self, source: usize, backend: &str, uri: &str) -> Option<String> {
        let leads_there = !uri.starts_with(ADDRESS_SCHEME) && self.backends_having(uri) == [source];
        (!leads_there).then(|| address(backend, uri))
    }
}
