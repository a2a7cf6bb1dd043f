//! From what backends tell to what listeners see: the catalogue's task, which makes a new snapshot
//! whenever something changed.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_backends::Backend;
use switchboard_backends::config::TransportConfig;
use switchboard_backends::status::{ChangedLists, Observer};
use switchboard_protocol::call::Principal;
use switchboard_protocol::policy::Policy;
use switchboard_telemetry::Metrics;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Inner;
use crate::cached;
use crate::cached::changes::Changes;
use crate::catalogue::visibility::ListingHysteresis;
use crate::catalogue::{Extensions, Snapshot, SnapshotSettings, Source};
use crate::chains::{Chains, check};
use crate::config::chains::ChainsConfig;
use crate::config::kept_results::KeptResultsConfig;
use crate::config::profiles::ProfilesConfig;
use crate::config::{ConfigProblem, NamesConfig};
use crate::hub::{MAX_URI_LEN, MAX_URIS};
use crate::kept::listed::tool_name;
use crate::profiles::{self, Profiles};

/// Changes that come within this time make one new snapshot.
const COALESCE: Duration = Duration::from_millis(5);

/// What a snapshot is made with beside what the backends offer. Locked for as long as one is made,
/// so that an older one never follows a newer one.
pub(crate) struct SnapshotInputs {
    names: NamesConfig,
    private: bool,
    chains: Arc<ChainsConfig>,
    policy: Arc<dyn Policy>,
    profiles: Arc<Profiles>,
    /// As they are configured.
    wanted_profiles: ProfilesConfig,
    kept_results: Option<KeptResultsConfig>,
    /// Where calls of tools are counted.
    metrics: Arc<Metrics>,
    /// Those that any backend was ever learned to have.
    extensions: Extensions,
    hysteresis: ListingHysteresis,
}

impl SnapshotInputs {
    pub(crate) fn new(
        names: NamesConfig,
        chains: ChainsConfig,
        private: bool,
        policy: Arc<dyn Policy>,
        profiles: ProfilesConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            names,
            metrics,
            private,
            chains: Arc::new(chains),
            policy,
            profiles: Arc::new(Profiles::new(&profiles)),
            wanted_profiles: profiles,
            kept_results: None,
            extensions: Extensions::default(),
            hysteresis: ListingHysteresis::default(),
        }
    }

    /// The same, where this is kept of large results.
    pub(crate) fn keeping(mut self, kept_results: Option<KeptResultsConfig>) -> Self {
        self.kept_results = kept_results;
        self
    }

    /// That of backends of which nothing is known yet.
    pub(crate) fn first_snapshot<'b>(
        &self,
        backends: impl Iterator<Item = &'b Backend>,
    ) -> Snapshot {
        let sources: Vec<Source> = backends
            .map(|backend| source(backend, false, &self.policy))
            .collect();
        self.snapshot(&sources)
    }

    fn snapshot(&self, sources: &[Source]) -> Snapshot {
        let settings = SnapshotSettings {
            private: self.private,
            extensions: self.extensions.clone(),
            chains: Arc::clone(&self.chains),
            policy: Arc::clone(&self.policy),
            profiles: Arc::clone(&self.profiles),
            kept_reader: self
                .kept_results
                .is_some()
                .then(|| tool_name(&self.names).into()),
            ..SnapshotSettings::new(env!("CARGO_PKG_VERSION"))
        };
        let mut snapshot = Snapshot::build(&self.names, sources, &settings);
        snapshot.count_in(self.metrics.tools());
        snapshot
    }
}

/// What a reload puts in force beside backends.
pub(crate) struct Rules {
    pub(crate) names: NamesConfig,
    pub(crate) chains: ChainsConfig,
    pub(crate) private: bool,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) profiles: ProfilesConfig,
    pub(crate) kept_results: Option<KeptResultsConfig>,
}

/// What backends tell, until the catalogue's task publishes it.
#[derive(Default)]
pub(crate) struct BackendEvents {
    arrived: Notify,
    /// Wakes reloads that wait for new backends.
    changed: Notify,
    pending: Mutex<PendingChanges>,
    /// What cached results have to know; `None`: none are.
    changes: Option<Arc<Changes>>,
}

/// What has changed and is not published yet.
#[derive(Default)]
struct PendingChanges {
    /// Whether a backend's lists or status are others than before.
    backends: bool,
    lists: ChangedLists,
    /// By backend.
    resources: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl BackendEvents {
    /// Those that these are told of too.
    pub(crate) fn new(changes: Option<Arc<Changes>>) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }

    fn record(&self, record: impl FnOnce(&mut PendingChanges)) {
        record(&mut self.pending.lock());
        self.arrived.notify_one();
    }

    /// The next change of a backend's state after this was called.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }
}

impl Observer for BackendEvents {
    fn changed(&self, _backend: &str) {
        self.record(|pending| pending.backends = true);
        self.changed.notify_waiters();
    }

    fn lists_changed(&self, backend: &str, lists: ChangedLists) {
        if let Some(changes) = &self.changes {
            changes.lists_changed(backend, lists, Instant::now().into_std());
        }
        self.record(|pending| pending.lists = pending.lists.union(lists));
    }

    fn resource_updated(&self, backend: &str, uri: &str) {
        // Longer ones nobody can have asked for.
        if uri.len() > MAX_URI_LEN {
            return;
        }
        if let Some(changes) = &self.changes {
            changes.resource_updated(backend, uri, Instant::now().into_std());
        }
        self.record(|pending| {
            let known = pending.resources.entry(Arc::from(backend)).or_default();
            if known.len() < MAX_URIS {
                known.insert(Arc::from(uri));
            }
        });
    }
}

impl Inner {
    /// Puts these rules in force with a new snapshot, and tells listeners. `touched` are the backends
    /// that were started anew.
    pub(crate) fn apply<'n>(&self, rules: Rules, touched: impl Iterator<Item = &'n Arc<str>>) {
        let Rules {
            names,
            chains,
            private,
            policy,
            profiles: wanted,
            kept_results,
        } = rules;
        self.kept.configure(kept_results.as_ref(), &names);
        let is_restricted = {
            let mut inputs = self.snapshot_inputs.lock();
            inputs.names = names;
            inputs.kept_results = kept_results;
            let is_restricted = inputs.decide_by(&policy, &wanted, private);
            // What was measured of the tools in them is kept if they are the same.
            if *inputs.chains != chains {
                self.chains.store(Arc::new(Chains::new(&chains)));
                inputs.chains = Arc::new(chains);
            }
            touched.for_each(|name| inputs.hysteresis.forget(name));
            is_restricted
        };
        if let Some(changes) = &self.events.changes {
            changes.retain(|name| self.backends.get(name).is_some());
        }
        self.look_again(is_restricted);
    }

    /// Puts this policy and these profiles in force, for the backends that there are.
    pub(crate) fn decide_by(
        &self,
        policy: &Arc<dyn Policy>,
        profiles: &ProfilesConfig,
        private: bool,
    ) {
        let is_restricted = {
            let mut inputs = self.snapshot_inputs.lock();
            inputs.decide_by(policy, profiles, private)
        };
        self.look_again(is_restricted);
    }

    /// Makes a new snapshot. `is_restricted`: other rules change what somebody sees where nothing else
    /// changes, so each listener looks whether its own lists did.
    fn look_again(&self, is_restricted: bool) {
        self.events.record(|pending| {
            pending.backends = true;
            if is_restricted {
                pending.lists = ChangedLists::ALL;
            }
        });
        publish_pending(self);
    }
}

impl SnapshotInputs {
    /// Takes another policy and other profiles. Answers whether they, or those before, hide anything
    /// from anybody; not where both are what they were.
    fn decide_by(
        &mut self,
        policy: &Arc<dyn Policy>,
        profiles: &ProfilesConfig,
        private: bool,
    ) -> bool {
        self.private = private;
        if Arc::ptr_eq(&self.policy, policy) && self.wanted_profiles == *profiles {
            return false;
        }
        let anybody = Principal::anonymous();
        let has_rules = |policy: &Arc<dyn Policy>| policy.audience(&anybody, None).is_some();
        let is_restricted = has_rules(&self.policy)
            || has_rules(policy)
            || !profiles.is_empty()
            || !self.wanted_profiles.is_empty();
        self.policy = Arc::clone(policy);
        self.profiles = Arc::new(Profiles::new(profiles));
        self.wanted_profiles.clone_from(profiles);
        is_restricted
    }
}

/// What is known of a backend. Of its status callers are told why it is not there, and that may quote what
/// its process said last: a line of at most 200 characters.
fn source(backend: &Backend, hidden: bool, policy: &Arc<dyn Policy>) -> Source {
    let config = backend.config();
    let mut status = backend.status();
    if !status.reason.is_empty()
        && let Some(redactor) = policy.redactor(backend.name())
        && let Cow::Owned(redacted) = redactor.redact_text(&status.reason)
    {
        status.reason = redacted;
    }
    Source {
        name: Arc::clone(backend.name()),
        prefix: config.prefix.clone(),
        status,
        lists: backend.lists(),
        shaped_by_credential: config.oauth.is_some()
            || matches!(&config.transport, TransportConfig::Http { headers, .. } if !headers.is_empty()),
        hidden,
    }
}

/// Makes a new snapshot whenever a backend changed, tells listeners, and has the servers tell what
/// is listened to.
pub(crate) async fn keep_catalogue(inner: Arc<Inner>) {
    let mut watched_changed = inner.hub.watched_changed();
    let mut misfits = Misfits::default();
    loop {
        misfits.observe(&inner);
        let turns_at = inner.snapshot_inputs.lock().hysteresis.next_turn();
        let next_turn = async {
            match turns_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.events.arrived.notified() => {
                tokio::time::sleep(COALESCE).await;
                publish_pending(&inner);
            }
            () = next_turn => {
                let changes = rebuild(&inner);
                inner.hub.publish_lists(changes);
            }
            changed = watched_changed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        let mut by_backend = inner.by_backend(&inner.hub.watched());
        for (name, backend) in inner.backends.all().iter() {
            backend.watch_resources(&by_backend.remove(name).unwrap_or_default());
        }
    }
}

/// What does not fit about chains, profiles and caches, said once for as long as it is so.
#[derive(Default)]
struct Misfits {
    seen: Option<(Arc<ChainsConfig>, Arc<Snapshot>)>,
    said: Vec<ConfigProblem>,
}

impl Misfits {
    /// Warns of what is new, if something has changed.
    fn observe(&mut self, inner: &Inner) {
        let chains = Arc::clone(&inner.snapshot_inputs.lock().chains);
        let snapshot = inner.catalogue.load_full();
        let is_seen = self.seen.as_ref().is_some_and(|(seen_chains, seen)| {
            Arc::ptr_eq(seen_chains, &chains) && Arc::ptr_eq(seen, &snapshot)
        });
        // What starts may still bring what seems to be missing.
        if is_seen || snapshot.is_starting() {
            return;
        }
        let mut problems = check::problems(&chains, &snapshot);
        problems.extend(profiles::check::problems(&snapshot));
        problems.extend(cached::uncacheable_marks(inner.backends.all().values()));
        for problem in problems.iter().filter(|it| !self.said.contains(it)) {
            tracing::warn!("{problem}");
        }
        self.said = problems;
        self.seen = Some((chains, snapshot));
    }
}

fn publish_pending(inner: &Inner) {
    let pending = std::mem::take(&mut *inner.events.pending.lock());
    let mut changes = pending.lists;
    if pending.backends {
        changes = changes.union(rebuild(inner));
    }
    inner.hub.publish_lists(changes);
    let snapshot = inner.catalogue.load();
    for (backend, uris) in &pending.resources {
        for uri in uris.iter().flat_map(|uri| snapshot.addresses(backend, uri)) {
            inner.hub.publish_resource(&uri);
        }
    }
}

fn rebuild(inner: &Inner) -> ChangedLists {
    let mut inputs = inner.snapshot_inputs.lock();
    let now = Instant::now();
    let backends = inner.backends.all();
    let policy = Arc::clone(&inputs.policy);
    let sources = backends.values().map(|backend| {
        let is_hidden = inputs.hysteresis.is_hidden(backend, now);
        source(backend, is_hidden, &policy)
    });
    let sources: Vec<Source> = sources.collect();
    for lists in sources.iter().filter_map(|source| source.lists.as_ref()) {
        inputs.extensions.learn(&lists.server.extensions);
    }
    inner.catalogue.store(inputs.snapshot(&sources))
}
