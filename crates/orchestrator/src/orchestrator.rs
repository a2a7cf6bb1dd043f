//! The one virtual server: all backends, their catalogue, and the calls that go through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use switchboard_backends::Backend;
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::config::{BackendConfig, TransportConfig};
use switchboard_backends::status::{ChangedLists, Observer};
use switchboard_protocol::call::{Call, Completed, Outcome};
use switchboard_protocol::error::{CallError, ProtocolError};
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::token::Sealer;
use switchboard_telemetry::{CallSpan, Metrics};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::{Backends, Starter};
use crate::catalogue::visibility::Visibilities;
use crate::catalogue::{Catalogue, Extensions, List, Route, Shared, Snapshot, Source};
use crate::chains::{Chains, check};
use crate::config::NamesConfig;
use crate::config::chains::ChainsConfig;
use crate::hub::{Filter, Hub, ListenError, Listener, MAX_URI_LEN, MAX_URIS};
use crate::reload::Reloads;

/// For this long after the start a list waits for backends that have not been learned yet.
pub(crate) const FIRST_MOMENTS: Duration = Duration::from_secs(2);
/// Changes that come within this time make one new snapshot.
const COALESCE: Duration = Duration::from_millis(5);
/// How long a listener waits until the servers know what it listens to.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);

/// A call with the span that it belongs to: what the call stack ends in.
#[derive(Debug)]
pub struct TracedCall {
    /// The call.
    pub call: Box<Call>,
    /// Its server span, or none.
    pub span: CallSpan,
}

/// What is needed to put an orchestrator together.
pub struct Parts {
    /// How names are made.
    pub names: NamesConfig,
    /// Bounds of the calls that wait for their client.
    pub parked_calls: ParkedCallsConfig,
    /// The backends.
    pub backends: BTreeMap<String, BackendConfig>,
    /// What takes the place of a tool that cannot answer.
    pub chains: ChainsConfig,
    /// Whether callers are told apart.
    pub private: bool,
    /// Seals `requestState`.
    pub sealer: Sealer,
    /// Where is counted.
    pub metrics: Arc<Metrics>,
    /// The runtimes that calls are served on: each process is kept on one of them, in turn, since
    /// every call to it passes its tasks. Empty: on that of the caller, as HTTP servers are.
    pub runtimes: Vec<Handle>,
}

/// Many servers that look like one. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    naming: Mutex<Naming>,
    pub(crate) backends: Backends,
    pub(crate) reloads: Reloads,
    pub(crate) chains: ArcSwap<Chains>,
    pub(crate) catalogue: Catalogue,
    hub: Hub,
    pub(crate) sealer: Sealer,
    started: Instant,
    pub(crate) heard: Arc<Heard>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// What a snapshot is made with beside what the backends offer. Locked for as long as one is made,
/// so that an older one never follows a newer one.
struct Naming {
    names: NamesConfig,
    private: bool,
    chains: Arc<ChainsConfig>,
    /// Those that any backend was ever learned to have.
    extensions: Extensions,
    visibilities: Visibilities,
}

impl Naming {
    fn snapshot(&self, sources: &[Source]) -> Snapshot {
        let shared = Shared {
            private: self.private,
            extensions: self.extensions.clone(),
            chains: Arc::clone(&self.chains),
            ..Shared::new(env!("CARGO_PKG_VERSION"))
        };
        Snapshot::build(&self.names, sources, &shared)
    }
}

/// What backends say, until the catalogue's task looks.
#[derive(Default)]
pub(crate) struct Heard {
    arrived: Notify,
    /// Wakes reloads that wait for new backends.
    changed: Notify,
    said: Mutex<Said>,
}

/// What servers said to have changed.
#[derive(Default)]
struct Said {
    /// Whether a backend's lists or status are others than before.
    backends: bool,
    lists: ChangedLists,
    /// By backend.
    resources: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Heard {
    fn note(&self, note: impl FnOnce(&mut Said)) {
        note(&mut self.said.lock());
        self.arrived.notify_one();
    }

    /// The next change of a backend's state after this was called.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }
}

impl Observer for Heard {
    fn changed(&self, _backend: &str) {
        self.note(|said| said.backends = true);
        self.changed.notify_waiters();
    }

    fn lists_changed(&self, _backend: &str, lists: ChangedLists) {
        self.note(|said| said.lists = said.lists.union(lists));
    }

    fn resource_updated(&self, backend: &str, uri: &str) {
        // Longer ones nobody can have asked for.
        if uri.len() > MAX_URI_LEN {
            return;
        }
        self.note(|said| {
            let known = said.resources.entry(Arc::from(backend)).or_default();
            if known.len() < MAX_URIS {
                known.insert(Arc::from(uri));
            }
        });
    }
}

impl Orchestrator {
    /// Starts all backends, in parallel, and the task that keeps the catalogue. Must be called
    /// within a tokio runtime.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let heard = Arc::new(Heard::default());
        let parked = switchboard_backends::Shared::new(parts.parked_calls);
        let counted = parked.clone();
        parts
            .metrics
            .count_parked_calls_with(move || counted.parked_calls());
        let starter = Starter {
            metrics: parts.metrics,
            observer: Arc::clone(&heard) as Arc<dyn Observer>,
            shared: parked,
            runtimes: parts.runtimes,
            next_runtime: AtomicUsize::new(0),
        };
        let backends = Backends::start(starter, parts.backends);
        let naming = Naming {
            names: parts.names,
            private: parts.private,
            chains: Arc::new(parts.chains),
            extensions: Extensions::default(),
            visibilities: Visibilities::default(),
        };
        let chains = Chains::new(&naming.chains);
        let all = backends.all();
        let sources: Vec<Source> = all.values().map(|backend| source(backend, false)).collect();
        let catalogue = Catalogue::new(naming.snapshot(&sources));
        let inner = Arc::new(Inner {
            naming: Mutex::new(naming),
            backends,
            chains: ArcSwap::from_pointee(chains),
            reloads: Reloads::default(),
            catalogue,
            hub: Hub::default(),
            sealer: parts.sealer,
            started: Instant::now(),
            heard,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner.tasks.spawn(keep_catalogue(Arc::clone(&inner)));
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// What all backends offer right now.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// The backends in force, by name.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        self.inner.backends.all().values().cloned().collect()
    }

    /// Waits until every backend has been learned or has failed, but not beyond `until`.
    pub async fn known(&self, until: Instant) {
        let mut changed = self.inner.catalogue.changed();
        while Instant::now() < until && self.inner.catalogue.load().is_starting() {
            let _ = timeout_at(until, changed.changed()).await;
        }
    }

    /// Waits, in the first moments after the start, for backends that have not been learned yet: for
    /// what a client reads only once.
    pub async fn first_moments(&self) {
        self.known(self.inner.started + FIRST_MOMENTS).await;
    }

    /// Begins to listen to changes; returns when the servers know what is listened to, or after a
    /// bounded wait.
    ///
    /// # Errors
    /// As [`Hub::listen`].
    pub async fn listen(&self, filter: Filter) -> Result<Listener, ListenError> {
        let listener = self.inner.hub.listen(filter)?;
        if !listener.uris().is_empty() {
            let wanted = self.inner.by_backend(listener.uris());
            let waiting = wanted.into_iter().filter_map(|(name, uris)| {
                let backend = self.inner.backends.get(&name)?;
                Some(async move { backend.watches(&uris).await })
            });
            let _ = timeout(SUBSCRIBE_WAIT, join_all(waiting)).await;
        }
        Ok(listener)
    }

    /// Makes a call. Dropping the future cancels it.
    pub async fn call(&self, traced: TracedCall) -> Outcome {
        let TracedCall { call, span } = traced;
        match (call.method, List::of(call.method)) {
            (Method::Discover, _) => prepared(self.inner.catalogue.load().discover()),
            (_, Some(list)) => {
                let listed = Box::pin(self.list(list, &call)).await;
                listed.unwrap_or_else(Outcome::Failed)
            }
            // Outside of all that decides: each substitute passes everything again.
            (_, None) => self.inner.call_or_substitute(call, &span).await,
        }
    }

    async fn list(&self, list: List, call: &Call) -> Result<Outcome, CallError> {
        let request = &call.request;
        let cursor = match request.params.cursor {
            None => None,
            Some(_) => Some(
                request
                    .text(request.params.cursor)
                    .ok_or_else(|| ProtocolError::invalid_params("params.cursor is a string"))?,
            ),
        };
        self.first_moments().await;
        let snapshot = self.inner.catalogue.load();
        if list == List::Skills && !snapshot.may_have(extension::SKILLS) {
            return Err(ProtocolError::method_not_found().into());
        }
        let page = snapshot
            .page(list, cursor.as_deref())
            .map_err(ProtocolError::from)?;
        Ok(prepared(page))
    }

    /// Tells the legacy servers that the roots of a client have changed, as far as they hold a
    /// session for it. Takes at most 10 s.
    pub async fn roots_changed(&self, principal: &str, client: &str) {
        let backends = self.inner.backends.all();
        let told = backends
            .values()
            .map(|backend| backend.roots_changed(principal, Some(client)));
        join_all(told).await;
    }

    /// Has every backend close what it holds for a legacy client that is gone; `client` is the id
    /// of its session.
    pub fn client_gone(&self, client: &str) {
        for backend in self.inner.backends.all().values() {
            backend.client_gone(client);
        }
    }

    /// Tells every listener that the end has come, so that streams end gracefully.
    pub fn close_streams(&self) {
        self.inner.hub.close();
    }

    /// Ends everything: streams, backends and what they own.
    pub async fn shut_down(&self) {
        self.close_streams();
        self.inner.stop.cancel();
        self.inner.reloads.settled().await;
        self.inner.tasks.close();
        let backends = self.inner.backends.all();
        let all = join_all(backends.values().map(Backend::shut_down));
        tokio::join!(all, self.inner.tasks.wait());
    }
}

impl tower::Service<TracedCall> for Orchestrator {
    type Response = Outcome;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Outcome, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, traced: TracedCall) -> Self::Future {
        let this = self.clone();
        // Its place first, so that it is not made elsewhere and moved there.
        let place = Box::new_uninit();
        let call = async move { Ok(Self::call(&this, traced).await) };
        let call = Box::write(place, call);
        Box::into_pin(call)
    }
}

impl Inner {
    /// The server's own form of each URI that leads somewhere, by backend.
    fn by_backend<'u>(
        &self,
        uris: impl IntoIterator<Item = &'u Arc<str>>,
    ) -> HashMap<Arc<str>, BTreeSet<Arc<str>>> {
        let snapshot = self.catalogue.load();
        let mut by_backend: HashMap<Arc<str>, BTreeSet<Arc<str>>> = HashMap::new();
        for uri in uris {
            if let Route::One { backend, uri } = snapshot.resource(uri) {
                by_backend
                    .entry(backend)
                    .or_default()
                    .insert(Arc::from(&*uri));
            }
        }
        by_backend
    }

    /// The resources of one backend that somebody listens to.
    pub(crate) fn watched_at(&self, backend: &str) -> BTreeSet<Arc<str>> {
        let mut by_backend = self.by_backend(&self.hub.watched());
        by_backend.remove(backend).unwrap_or_default()
    }

    /// Makes a new snapshot, with names that are made so, and tells listeners. `touched` are the
    /// backends that were started anew.
    pub(crate) fn rename<'n>(
        &self,
        names: NamesConfig,
        chains: ChainsConfig,
        private: bool,
        touched: impl Iterator<Item = &'n Arc<str>>,
    ) {
        {
            let mut naming = self.naming.lock();
            naming.names = names;
            naming.private = private;
            // What was measured of the tools in them is kept if they are the same.
            if *naming.chains != chains {
                self.chains.store(Arc::new(Chains::new(&chains)));
                naming.chains = Arc::new(chains);
            }
            touched.for_each(|name| naming.visibilities.forget(name));
        }
        self.heard.note(|said| said.backends = true);
        hear(self);
    }
}

/// A result that was made when the catalogue was.
fn prepared(result: &Bytes) -> Outcome {
    Outcome::Complete(Completed {
        result: result.clone().into(),
        is_error: false,
    })
}

fn source(backend: &Backend, hidden: bool) -> Source {
    let config = backend.config();
    Source {
        name: Arc::clone(backend.name()),
        prefix: config.prefix.clone(),
        status: backend.status(),
        lists: backend.lists(),
        shaped_by_credential: matches!(&config.transport, TransportConfig::Http { headers, .. } if !headers.is_empty()),
        hidden,
    }
}

/// Makes a new snapshot whenever a backend changed, tells listeners, and has the servers tell what
/// is listened to.
async fn keep_catalogue(inner: Arc<Inner>) {
    let mut watched_changed = inner.hub.watched_changed();
    let mut misfits = Misfits::default();
    loop {
        misfits.look(&inner);
        let look_at = inner.naming.lock().visibilities.next_look();
        let next_look = async {
            match look_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.heard.arrived.notified() => {
                tokio::time::sleep(COALESCE).await;
                hear(&inner);
            }
            () = next_look => {
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

/// What does not fit about the chains, said once for as long as it is so.
#[derive(Default)]
struct Misfits {
    seen: Option<(Arc<ChainsConfig>, Arc<Snapshot>)>,
    said: Vec<check::Problem>,
}

impl Misfits {
    /// Looks again if something has changed, and warns of what is new.
    fn look(&mut self, inner: &Inner) {
        let chains = Arc::clone(&inner.naming.lock().chains);
        let snapshot = inner.catalogue.load_full();
        let is_seen = self.seen.as_ref().is_some_and(|(seen_chains, seen)| {
            Arc::ptr_eq(seen_chains, &chains) && Arc::ptr_eq(seen, &snapshot)
        });
        // What starts may still bring what seems to be missing.
        if is_seen || snapshot.is_starting() {
            return;
        }
        let problems = check::problems(&chains, &snapshot);
        for problem in problems.iter().filter(|it| !self.said.contains(it)) {
            tracing::warn!("{problem}");
        }
        self.said = problems;
        self.seen = Some((chains, snapshot));
    }
}

fn hear(inner: &Inner) {
    let said = std::mem::take(&mut *inner.heard.said.lock());
    let mut changes = said.lists;
    if said.backends {
        changes = changes.union(rebuild(inner));
    }
    inner.hub.publish_lists(changes);
    let snapshot = inner.catalogue.load();
    for (backend, uris) in &said.resources {
        for uri in uris.iter().flat_map(|uri| snapshot.addresses(backend, uri)) {
            inner.hub.publish_resource(&uri);
        }
    }
}

fn rebuild(inner: &Inner) -> ChangedLists {
    let mut naming = inner.naming.lock();
    let now = Instant::now();
    let backends = inner.backends.all();
    let sources = backends.values().map(|backend| {
        let is_hidden = naming.visibilities.is_hidden(backend, now);
        source(backend, is_hidden)
    });
    let sources: Vec<Source> = sources.collect();
    for lists in sources.iter().filter_map(|source| source.lists.as_ref()) {
        naming.extensions.learn(&lists.server.extensions);
    }
    inner.catalogue.store(naming.snapshot(&sources))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_protocol::call::Principal;
    use switchboard_protocol::envelope::Envelope;
    use switchboard_protocol::version::Version;

    /// Futures are moved into boxes and into each other; a large one costs every call. What is rare
    /// is boxed where it is awaited.
    #[tokio::test]
    async fn the_future_of_a_call_stays_small() {
        let orchestrator = Orchestrator::start(Parts {
            names: NamesConfig::default(),
            parked_calls: ParkedCallsConfig::default(),
            backends: BTreeMap::new(),
            chains: ChainsConfig::default(),
            private: false,
            sealer: Sealer::with_random_key().expect("random bytes"),
            metrics: Arc::new(Metrics::new().expect("a registry")),
            runtimes: Vec::new(),
        });
        let text = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
        let call = Call {
            request: Envelope::parse(Bytes::from_static(text)).expect("valid"),
            method: Method::ToolsCall,
            principal: Arc::new(Principal::anonymous()),
            version: Version::LATEST,
            client: None,
            peer: None,
            param_headers: None,
            log_level: None,
            sink: None,
            deadline: None,
            headers: http::HeaderMap::new(),
            takes_arriving: false,
        };
        let future = orchestrator.call(TracedCall {
            call: Box::new(call),
            span: CallSpan::none(),
        });
        let size = size_of_val(&future);
        drop(future);
        orchestrator.shut_down().await;
        assert!(size <= 4096, "{size} bytes");
    }
}
