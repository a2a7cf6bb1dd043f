//! The catalogue: what all backends offer together, as one server would.
//!
//! A [`Snapshot`] is a pure function of what the backends said last and how they are doing. It is
//! immutable, holds every answer that does not depend on the request as prepared bytes, and is
//! replaced as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use switchboard_backends::lists::{Item, Lists};
use switchboard_backends::status::{ChangedLists, State, Status};
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Policy, Unrestricted};
use switchboard_protocol::version::Version;
use switchboard_telemetry::ToolTable;
use tokio::sync::watch;

use crate::config::NamesConfig;
use crate::config::chains::ChainsConfig;
use crate::names::Namespaces;
use crate::profiles::Profiles;

mod build;
mod discover;
mod page;
mod resources;
mod shown;
mod sizes;
mod skills;
#[cfg(test)]
mod tests;
mod view;
pub(crate) mod visibility;
mod watching;

pub use build::{Collision, Entry, Kind, Shortened};
pub(crate) use resources::address;
pub use resources::{ADDRESS_SCHEME, Route};
pub use sizes::ProfileSizes;
pub use view::{View, ViewRef};
pub use watching::Watching;

use build::Registry;
use resources::Resources;
use shown::ProfileInForce;
use view::{Lens, Views};

/// The longest settings of an extension that are passed on, in bytes.
const MAX_EXTENSION_LEN: usize = 16 * 1024;

/// What one backend contributes.
#[derive(Clone, Debug)]
pub struct Source {
    /// The backend's name.
    pub name: Arc<str>,
    /// The configured prefix of its names; `None`: its name.
    pub prefix: Option<String>,
    /// How it is doing.
    pub status: Status,
    /// What it offered last, kept while it is down; `None`: it was never learned.
    pub lists: Option<Arc<Lists>>,
    /// Whether what it offers depends on a credential of the gateway's or the caller's.
    pub shaped_by_credential: bool,
    /// Whether what it offers is left out of the lists. It keeps its names, and can be called.
    pub hidden: bool,
}

impl Source {
    /// Whether calls find it, and clients see what it offers.
    fn is_there(&self) -> bool {
        self.status.state.is_usable() && !self.hidden
    }

    /// Whether everything that it offers is there.
    fn is_whole(&self) -> bool {
        self.is_there()
            && self
                .lists
                .as_ref()
                .is_some_and(|lists| lists.missing.is_none())
    }
}

/// What a snapshot depends on beside its sources.
#[derive(Clone, Debug)]
pub struct SnapshotSettings {
    /// Whether callers are told apart, so that no list may be shared between them.
    pub private: bool,
    /// The most items on a page.
    pub page_size: usize,
    /// How long a list is fresh of which its server says nothing, in milliseconds.
    pub default_ttl_ms: u64,
    /// The gateway's own version.
    pub server_version: String,
    /// The versions of the protocol that discover names.
    pub supported_versions: Vec<Version>,
    /// The extensions of all backends learned since start.
    pub extensions: Extensions,
    /// What takes the place of a tool: one whose server is hidden stays listed while another
    /// answers for it.
    pub chains: Arc<ChainsConfig>,
    /// What decides who sees what, and about calls.
    pub policy: Arc<dyn Policy>,
    /// The parts of what there is that are servers of their own.
    pub profiles: Arc<Profiles>,
    /// The name of the gateway's own tool that reads kept results; `None`: there is none.
    pub kept_reader: Option<Arc<str>>,
}

impl SnapshotSettings {
    /// The usual values for a gateway of this version: nothing private, pages of 1,000 items, fresh
    /// for a minute, all modern versions, no extensions.
    #[must_use]
    pub fn new(server_version: impl Into<String>) -> Self {
        Self {
            private: false,
            page_size: 1_000,
            default_ttl_ms: 60_000,
            server_version: server_version.into(),
            supported_versions: Version::SUPPORTED_MODERN.to_vec(),
            extensions: Extensions::default(),
            chains: Arc::default(),
            policy: Arc::new(Unrestricted),
            profiles: Arc::default(),
            kept_reader: None,
        }
    }
}

/// The extensions of all backends learned since start, of those that work through the gateway
/// ([`extension::is_routed`]): never withdrawn, so that capabilities do not depend on who is up.
/// Each has at most 16 KiB of settings; the first backend to name one decides its settings, but for
/// skills, where one that lists directories decides: what no backend has must not be announced, and
/// what one has must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(BTreeMap<String, Bytes>);

impl Extensions {
    /// Adds those of one backend. Answers whether any was new.
    pub fn learn(&mut self, extensions: &[(String, Bytes)]) -> bool {
        let before = self.0.len();
        for (name, settings) in extensions {
            if extension::is_routed(name) && settings.len() <= MAX_EXTENSION_LEN {
                let known = self.0.entry(name.clone());
                let known = known.or_insert_with(|| settings.clone());
                if name == extension::SKILLS && extension::reads_directories(settings) {
                    *known = settings.clone();
                }
            }
        }
        self.0.len() > before
    }

    /// Whether some backend named this one.
    #[must_use]
    pub fn contains(&self, identifier: &str) -> bool {
        self.0.contains_key(identifier)
    }

    /// Whether some backend lists the directories of its skills.
    #[must_use]
    pub fn read_directories(&self) -> bool {
        let skills = self.0.get(extension::SKILLS);
        skills.is_some_and(|settings| extension::reads_directories(settings))
    }

    /// Whether no backend named one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Identifiers and settings (JSON), by identifier.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.0.iter().map(|(name, settings)| (&**name, settings))
    }
}

/// The lists of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `skills/list`
    Skills,
}

impl List {
    const ALL: [Self; 5] = [
        Self::Tools,
        Self::Prompts,
        Self::Resources,
        Self::Templates,
        Self::Skills,
    ];

    /// The list that this method asks for, if it asks for one.
    #[must_use]
    pub const fn of(method: Method) -> Option<Self> {
        match method {
            Method::ToolsList => Some(Self::Tools),
            Method::PromptsList => Some(Self::Prompts),
            Method::ResourcesList => Some(Self::Resources),
            Method::ResourceTemplatesList => Some(Self::Templates),
            Method::SkillsList => Some(Self::Skills),
            Method::Discover
            | Method::ToolsCall
            | Method::ResourcesRead
            | Method::PromptsGet
            | Method::Complete
            | Method::Listen
            | Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::SkillsGet
            | Method::DirectoryRead => None,
        }
    }

    /// The key of the items in a result.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Skills => "skills",
        }
    }

    /// What a backend has of it.
    #[must_use]
    pub fn items(self, lists: &Lists) -> &[Item] {
        match self {
            Self::Tools => &lists.tools,
            Self::Prompts => &lists.prompts,
            Self::Resources => &lists.resources,
            Self::Templates => &lists.templates,
            Self::Skills => &lists.skills,
        }
    }
}

/// A cursor that was never given out, or whose list has changed since: the client begins again at
/// the first page (specification: `server/utilities/pagination`, Error Handling).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cursor, or the list has changed since: begin again without a cursor")]
pub struct InvalidCursor;

impl From<InvalidCursor> for ProtocolError {
    fn from(error: InvalidCursor) -> Self {
        Self::invalid_params(error.to_string())
    }
}

/// What all backends offer, at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// By name.
    sources: Vec<Source>,
    namespaces: Namespaces,
    tools: Registry,
    prompts: Registry,
    resources: Resources,
    collisions: Vec<Collision>,
    shortened: Vec<Shortened>,
    capabilities: Bytes,
    settings: SnapshotSettings,
    profiles: HashMap<Arc<str>, ProfileInForce>,
    /// All of it, as who may see everything sees it.
    own: View,
    views: Views,
    sizes: OnceLock<Vec<ProfileSizes>>,
}

impl Snapshot {
    /// Puts together what the backends offer. There must be a source for every configured backend,
    /// learned or not: names depend on all of them. Of two sources with one name the second is left
    /// out.
    #[must_use]
    pub fn build(names: &NamesConfig, sources: &[Source], settings: &SnapshotSettings) -> Self {
        let mut sources = sources.to_vec();
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        sources.dedup_by(|b, a| a.name == b.name);
        let namespaces = Namespaces::new(
            names,
            sources
                .iter()
                .map(|source| (&*source.name, source.prefix.as_deref())),
        );
        let mut collisions = Vec::new();
        let mut shortened = Vec::new();
        let [tools, prompts] = [Kind::Tool, Kind::Prompt].map(|kind| {
            let reserved = settings.kept_reader.as_deref();
            let reserved = reserved.filter(|_| kind == Kind::Tool);
            let sources = &sources;
            Registry::build(
                kind,
                sources,
                &namespaces,
                reserved,
                &mut collisions,
                &mut shortened,
            )
        });
        let resources = Resources::build(&sources);
        let mut this = Self {
            sources,
            namespaces,
            tools,
            prompts,
            resources,
            collisions,
            shortened,
            capabilities: discover::capabilities(&settings.extensions).into(),
            settings: settings.clone(),
            profiles: HashMap::new(),
            own: View::default(),
            views: Views::default(),
            sizes: OnceLock::new(),
        };
        let profiles = settings.profiles.iter();
        this.profiles = profiles
            .map(|profile| (Arc::clone(profile.name()), this.in_force(profile)))
            .collect();
        this.own = View::build(&this, &Lens::EVERYTHING);
        this
    }

    /// Has calls of its tools counted there.
    pub(crate) fn count_in(&mut self, table: &ToolTable) {
        let entries = self.tools.entries().iter();
        let named = entries.map(|entry| (&entry.backend, &entry.exposed));
        let counted = table.listed(named);
        self.tools.count_in(counted);
    }

    /// The tool that clients know by this name. An empty-prefix backend's tool also has its
    /// qualified name here, listed or not.
    #[must_use]
    pub fn tool(&self, exposed: &str) -> Option<&Entry> {
        self.tools.get(exposed)
    }

    /// The prompt that clients know by this name, as [`Snapshot::tool`].
    #[must_use]
    pub fn prompt(&self, exposed: &str) -> Option<&Entry> {
        self.prompts.get(exposed)
    }

    /// All that is listed of this kind, in the order of the list.
    #[must_use]
    pub fn entries(&self, kind: Kind) -> &[Entry] {
        match kind {
            Kind::Tool => self.tools.entries(),
            Kind::Prompt => self.prompts.entries(),
        }
    }

    /// A backend not learned yet, of those that `is_shown`, that may turn out to own a tool or prompt
    /// of this name, which is not known: a call of it waits, or fails as unavailable, never as unknown.
    #[must_use]
    pub fn may_own(&self, exposed: &str, is_shown: impl Fn(&Source) -> bool) -> Option<&Source> {
        let is_candidate = |index: usize| {
            let source = &self.sources[index];
            source.lists.is_none() && is_shown(source)
        };
        let by_namespace = self.namespaces.claimant(exposed, is_candidate);
        let by_plain_name = || {
            (0..self.sources.len())
                .find(|&index| is_candidate(index) && self.namespaces.is_plain(index))
        };
        by_namespace
            .or_else(by_plain_name)
            .map(|index| &self.sources[index])
    }

    /// The sources that the snapshot was built of, by name.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The source of this name.
    #[must_use]
    pub fn source(&self, backend: &str) -> Option<&Source> {
        let index = self.index_of(backend)?;
        Some(&self.sources[index])
    }

    fn index_of(&self, backend: &str) -> Option<usize> {
        self.sources
            .binary_search_by(|source| (*source.name).cmp(backend))
            .ok()
    }

    /// Whether some backend was never learned and nothing has gone wrong with it so far: a list may
    /// be worth a short wait.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.sources
            .iter()
            .any(|source| source.lists.is_none() && source.status.state == State::Starting)
    }

    /// Whether some backend has this extension, or may turn out to have it: one is starting.
    #[must_use]
    pub fn may_have(&self, extension: &str) -> bool {
        self.settings.extensions.contains(extension) || self.is_starting()
    }

    /// As [`Snapshot::may_have`], of listing the directories of skills.
    #[must_use]
    pub fn may_read_directories(&self) -> bool {
        self.settings.extensions.read_directories() || self.is_starting()
    }

    /// The complete result of a list for who sees everything, the page that `cursor` leads to;
    /// `None`: the first page.
    ///
    /// # Errors
    /// [`InvalidCursor`].
    pub fn page(&self, list: List, cursor: Option<&str>) -> Result<&Bytes, InvalidCursor> {
        self.own.page(list, cursor)
    }

    /// The complete result of `server/discover`, for who sees everything.
    #[must_use]
    pub fn discover(&self) -> &Bytes {
        self.own.discover()
    }

    /// What decides about calls.
    #[must_use]
    pub fn policy(&self) -> &Arc<dyn Policy> {
        &self.settings.policy
    }

    /// The name of the gateway's own tool that reads kept results, if it is listed.
    #[must_use]
    pub fn kept_reader(&self) -> Option<&str> {
        self.settings.kept_reader.as_deref()
    }

    /// The extensions that clients are told of.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.settings.extensions
    }

    /// The capabilities of discover's result, a JSON object.
    #[must_use]
    pub fn capabilities(&self) -> &Bytes {
        &self.capabilities
    }

    /// The merged instructions of all backends, at most 16 KiB.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        self.own.instructions()
    }

    /// Names that more than one backend has a claim on.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// Names that are listed otherwise than as prefix, separator and name.
    #[must_use]
    pub fn shortened(&self) -> &[Shortened] {
        &self.shortened
    }

    fn changes_since(&self, before: &Self) -> ChangedLists {
        let changed = |list: List| self.own.digest(list) != before.own.digest(list);
        ChangedLists {
            tools: changed(List::Tools),
            prompts: changed(List::Prompts),
            resources: changed(List::Resources) || changed(List::Templates),
        }
    }
}

/// Holds the snapshot that is in force.
#[derive(Debug)]
pub struct Catalogue {
    current: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl Catalogue {
    /// A catalogue with its first snapshot, version 0.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(snapshot),
            version: watch::Sender::new(0),
        }
    }

    /// The snapshot in force: cheap, to be held for the length of one request at most.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to be held as long as wanted.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a new snapshot in force, then counts the version up.
    pub fn store(&self, snapshot: Snapshot) -> ChangedLists {
        let snapshot = Arc::new(snapshot);
        let before = self.current.swap(Arc::clone(&snapshot));
        self.version.send_modify(|version| *version += 1);
        snapshot.changes_since(&before)
    }

    /// A counter of the snapshots stored, to wait on. Take it before [`Catalogue::load`], or a
    /// change between the two is missed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
