//! The one virtual server: all backends, their catalogue, and the calls that go through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use switchboard_backends::config::BackendConfig;
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::status::Observer;
use switchboard_backends::{Backend, KnownLists, Supervisor};
use switchboard_protocol::call::{Call, Completed, Outcome, Principal};
use switchboard_protocol::error::{CallError, ProtocolError};
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Policy, Unrestricted};
use switchboard_protocol::token::Sealer;
use switchboard_telemetry::{CallSpan, Metrics};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::publish::{BackendEvents, SnapshotInputs};
use crate::backends::{Backends, Starter};
use crate::cached::{CacheParts, Cached};
use crate::catalogue::{Catalogue, List, Route};
use crate::chains::Chains;
use crate::config::NamesConfig;
use crate::config::chains::ChainsConfig;
use crate::config::kept_results::KeptResultsConfig;
use crate::config::profiles::ProfilesConfig;
use crate::delivery::Deliverer;
use crate::hub::{Filter, Hub, ListenError, Listener};
use crate::kept::{Kept, KeptAt};
use crate::profiles::enter;
use crate::reload::ReloadLock;
use crate::spent::SpentStates;

pub(crate) mod publish;

/// For this long after the start a list waits for backends that have not been learned yet.
pub(crate) const FIRST_MOMENTS: Duration = Duration::from_secs(2);
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
    /// What local servers were last known to offer.
    pub known_lists: KnownLists,
    /// Whether callers are told apart.
    pub private: bool,
    /// What results are cached with to answer equal calls; `None`: none are.
    pub cache: Option<CacheParts>,
    /// What decides who sees what, and about calls.
    pub policy: Arc<dyn Policy>,
    /// The parts of what there is that are servers of their own.
    pub profiles: ProfilesConfig,
    /// What is kept of results that are too large to send; `None`: nothing.
    pub kept_results: Option<KeptResultsConfig>,
    /// Seals `requestState`.
    pub sealer: Sealer,
    /// The address at which other replicas reach this one; `None`: there are no others.
    pub replica: Option<Arc<str>>,
    /// Where is counted.
    pub metrics: Arc<Metrics>,
    /// The runtimes that calls are served on: each process is kept on one of them, in turn, since
    /// every call to it passes its tasks. Empty: on that of the caller, as HTTP servers are.
    pub runtimes: Vec<Handle>,
}

impl Parts {
    /// Those of an orchestrator without backends, with the defaults for everything else.
    #[must_use]
    pub fn new(sealer: Sealer, metrics: Arc<Metrics>) -> Self {
        Self {
            names: NamesConfig::default(),
            parked_calls: ParkedCallsConfig::default(),
            backends: BTreeMap::new(),
            chains: ChainsConfig::default(),
            known_lists: KnownLists::none(),
            private: false,
            cache: None,
            policy: Arc::new(Unrestricted),
            profiles: ProfilesConfig::new(),
            kept_results: None,
            sealer,
            replica: None,
            metrics,
            runtimes: Vec::new(),
        }
    }
}

/// Many servers that look like one. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) snapshot_inputs: Mutex<SnapshotInputs>,
    pub(crate) backends: Backends,
    pub(crate) reload_lock: ReloadLock,
    pub(crate) chains: ArcSwap<Chains>,
    pub(crate) catalogue: Catalogue,
    pub(crate) cached: Option<Cached>,
    pub(crate) hub: Hub,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) replica: Option<Arc<str>>,
    pub(crate) spent: SpentStates,
    pub(crate) kept: Kept,
    pub(crate) deliverer: Deliverer,
    started: Instant,
    pub(crate) events: Arc<BackendEvents>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Orchestrator {
    /// Starts all backends, in parallel, and the task that keeps the catalogue. Must be called
    /// within a tokio runtime.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let cached = parts.cache.map(Cached::new);
        let changes = cached.as_ref().map(|cached| Arc::clone(cached.changes()));
        let events = Arc::new(BackendEvents::new(changes));
        let parked = switchboard_backends::Shared::new(parts.parked_calls);
        let counted = parked.clone();
        parts
            .metrics
            .count_parked_calls_with(move || counted.parked_calls());
        let sealer = Arc::new(parts.sealer);
        let kept = Kept::new(parts.replica.clone().map(|address| KeptAt {
            address,
            sealer: Arc::clone(&sealer),
        }));
        kept.configure(parts.kept_results.as_ref(), &parts.names);
        let deliverer = Deliverer::new(kept.clone(), Arc::clone(&parts.metrics));
        let metrics = Arc::clone(&parts.metrics);
        let starter = Starter {
            metrics: parts.metrics,
            observer: Arc::clone(&events) as Arc<dyn Observer>,
            shared: parked,
            known_lists: parts.known_lists,
            runtimes: parts.runtimes,
            next_runtime: AtomicUsize::new(0),
            supervisor: Supervisor::this_program(),
        };
        let backends = Backends::start(starter, parts.backends);
        let chains = Chains::new(&parts.chains);
        let inputs = SnapshotInputs::new(
            parts.names,
            parts.chains,
            parts.private,
            parts.policy,
            parts.profiles,
            metrics,
        )
        .keeping(parts.kept_results);
        let all = backends.all();
        let catalogue = Catalogue::new(inputs.first_snapshot(all.values()));
        let inner = Arc::new(Inner {
            snapshot_inputs: Mutex::new(inputs),
            backends,
            chains: ArcSwap::from_pointee(chains),
            reload_lock: ReloadLock::default(),
            catalogue,
            cached,
            hub: Hub::default(),
            sealer,
            replica: parts.replica,
            spent: SpentStates::default(),
            kept: kept.clone(),
            deliverer,
            started: Instant::now(),
            events,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner
            .tasks
            .spawn(publish::keep_catalogue(Arc::clone(&inner)));
        inner.tasks.spawn(kept.keep_expiring(inner.stop.clone()));
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

    /// Starts processes again that were left alone, since they failed too often.
    pub fn try_again(&self) {
        for backend in self.inner.backends.all().values() {
            backend.try_again();
        }
    }

    /// The backends in force, by name.
    #[must_use]
    pub fn backends(&self) -> Vec<Backend> {
        self.inner.backends.all().values().cloned().collect()
    }

    /// The backend in force of this name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<Backend> {
        self.inner.backends.get(name)
    }

    /// Looks at what local servers use right now and shows it in the metrics; at most once a second,
    /// however often it is asked for.
    pub async fn measure_processes(&self) {
        self.inner.backends.starter().supervisor.measure().await;
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
    pub async fn listen(
        &self,
        principal: &Principal,
        filter: Filter,
    ) -> Result<Listener, ListenError> {
        let listener = self.inner.hub.listen(principal, filter)?;
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
        let TracedCall { mut call, span } = traced;
        if call.method == Method::Discover {
            let snapshot = self.inner.catalogue.load();
            let view = snapshot.view(&call.principal, call.profile.as_deref());
            return prepared(view.discover());
        }
        if let Some(answer) = self.own_answer(&call) {
            return answer.await.unwrap_or_else(Outcome::Failed);
        }
        // Before what stands below, for that knows the names that there are without a profile.
        if call.profile.is_some()
            && let Err(error) = enter(&self.inner.catalogue.load(), &mut call)
        {
            return error.into();
        }
        // Outside of all that decides: each substitute passes everything again.
        self.inner.call_or_substitute(call, &span).await
    }

    /// What the gateway answers of itself, without any backend. Boxed here, so that it makes the
    /// future of no other call larger.
    fn own_answer<'a>(
        &'a self,
        call: &'a Call,
    ) -> Option<BoxFuture<'a, Result<Outcome, CallError>>> {
        match List::of(call.method) {
            Some(list) => Some(Box::pin(self.list(list, call))),
            None if self.inner.kept.concerns(call) => Some(Box::pin(self.inner.read_kept(call))),
            None => None,
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
            .view(&call.principal, call.profile.as_deref())
            .page(list, cursor.as_deref())
            .cloned()
            .map_err(ProtocolError::from)?;
        Ok(prepared(&page))
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
        self.inner.reload_lock.settled().await;
        self.inner.tasks.close();
        let backends = self.inner.backends.all();
        let all = join_all(backends.values().map(Backend::shut_down));
        tokio::join!(all, self.inner.tasks.wait());
        self.inner.kept.clear();
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
    pub(crate) fn by_backend<'u>(
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
}

/// A result that was made when the catalogue was.
fn prepared(result: &Bytes) -> Outcome {
    Outcome::Complete(Completed {
        result: result.clone().into(),
        is_error: false,
    })
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
        let sealer = Sealer::with_random_key().expect("random bytes");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let orchestrator = Orchestrator::start(Parts::new(sealer, metrics));
        let text = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
        let call = Call::new(
            Envelope::parse(Bytes::from_static(text)).expect("valid"),
            Method::ToolsCall,
            Arc::new(Principal::anonymous()),
            Version::LATEST,
        );
        let future = orchestrator.call(TracedCall {
            call: Box::new(call),
            span: CallSpan::none(),
        });
        let size = size_of_val(&future);
        drop(future);
        orchestrator.shut_down().await;
        assert!(size <= 4608, "{size} bytes");
    }
}
