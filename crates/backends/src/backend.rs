//! The handle of one backend: a configured server, wherever it runs.

mod aggregate;
mod choice;
mod membership;
mod reply;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use futures_util::future::{join_all, select_all};
use parking_lot::Mutex;
use switchboard_protocol::call::{Call, Sink};
use switchboard_protocol::credentials::Credentials;
use switchboard_telemetry::{BackendMetrics, BackendState};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::aggregate::EndpointWatch;
use self::membership::{EndpointStarter, apply_discovery};
use crate::balance::Balancer;
use crate::bulkhead::Bulkhead;
use crate::config::{BackendCacheConfig, BackendConfig, SessionScope};
use crate::confinement;
use crate::credentials;
use crate::discovery::{Discovery, Problem};
use crate::endpoint::{Endpoint, SHUTDOWN_DEADLINE};
use crate::endpoints;
use crate::inspect::BackendReport;
use crate::known_lists::KnownLists;
use crate::legacy::Shared;
use crate::list_memory::ListMemory;
use crate::lists::Lists;
use crate::process::Supervisor;
use crate::retry::RetryBudget;
use crate::safety;
use crate::status::{Observer, Status};

/// One MCP server behind the gateway, at one or more endpoints. Cheap to clone.
///
/// Everything it owns ends with [`Backend::shut_down`].
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

/// What a backend is started with beside its configuration.
#[derive(Clone)]
pub struct BackendContext {
    /// Where it counts.
    pub metrics: BackendMetrics,
    /// Who hears of changes.
    pub observer: Arc<dyn Observer>,
    /// What all backends share.
    pub shared: Shared,
    /// Where all its tasks begin, and those of a process carry each of its messages; `None`: on the
    /// runtime of who starts it, which must be one of tokio's.
    pub runtime: Option<Handle>,
    /// What starts and owns its processes.
    pub supervisor: Supervisor,
    /// What local servers were last known to offer.
    pub known_lists: KnownLists,
}

struct Inner {
    name: Arc<str>,
    config: BackendConfig,
    /// Tells it from any other configuration, also in another process: only where results are cached.
    fingerprint: Option<[u8; 32]>,
    metrics: BackendMetrics,
    observer: Arc<dyn Observer>,
    /// In the configured order, or that of places. A change makes a new set.
    endpoints: ArcSwap<Vec<Endpoint>>,
    /// Those that are no longer among them, until nothing is left in them.
    leaving: Mutex<Vec<Endpoint>>,
    /// Why endpoints are not found, if they are to be found.
    problem: Option<watch::Receiver<Option<Problem>>>,
    /// The resources whose changes somebody wants to hear of.
    watched: Mutex<BTreeSet<Arc<str>>>,
    /// Tasks of the backend itself: who looks for endpoints, and those that see them end.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What the endpoints' states come to.
    status: Mutex<Status>,
    /// Wakes those that wait for another status.
    changed: watch::Sender<()>,
    bulkhead: Bulkhead,
    budget: RetryBudget,
    balancer: Balancer,
    /// What its endpoints are shown beside the headers of its configuration.
    credentials: Option<Arc<dyn Credentials>>,
    /// Whether another has taken its place, so that it tells nothing any more.
    is_retired: AtomicBool,
}

impl Backend {
    /// Starts the endpoints of a backend, which begin to connect when all of `dependencies` are ready,
    /// or after 60 s.
    #[must_use]
    pub fn start(
        name: Arc<str>,
        config: BackendConfig,
        context: BackendContext,
        dependencies: &[Self],
    ) -> Self {
        context.metrics.set_state(BackendState::Starting);
        confinement::warn(&name, &config);
        let _on_runtime = context.runtime.as_ref().map(Handle::enter);
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let credentials = credentials::of_backend(&name, &config, &tasks, &stop);
        let discovery = config.discovery.as_ref();
        let discovery = discovery.map(|config| Discovery::start(&name, config, &tasks));
        let inner = Arc::new(Inner {
            status: Mutex::new(Status::starting()),
            changed: watch::Sender::new(()),
            bulkhead: Bulkhead::new(&config.bulkhead),
            budget: RetryBudget::new(&config.retry),
            balancer: Balancer::new(config.balance),
            is_retired: AtomicBool::new(false),
            fingerprint: config.cache.as_ref().map(|_| config.fingerprint(&name)),
            name,
            config,
            metrics: context.metrics.clone(),
            observer: Arc::clone(&context.observer),
            endpoints: ArcSwap::default(),
            leaving: Mutex::default(),
            problem: discovery.as_ref().map(Discovery::problem),
            watched: Mutex::default(),
            tasks,
            stop,
            credentials: credentials.clone(),
        });
        let starter = EndpointStarter {
            context: BackendContext {
                observer: Arc::new(EndpointWatch(Arc::downgrade(&inner))),
                ..context
            },
            list_memory: ListMemory::default(),
            credentials,
            dependencies: dependencies.iter().map(Self::downgrade).collect(),
        };
        let started = endpoints::configured(&inner.config).into_iter();
        let started = started.map(|(spec, config)| starter.start(&inner, spec, config));
        inner.endpoints.store(Arc::new(started.collect()));
        if let Some(discovery) = discovery {
            let applying = apply_discovery(Arc::downgrade(&inner), discovery, starter);
            let stop = inner.stop.clone();
            inner.tasks.spawn(stop.run_until_cancelled_owned(applying));
        }
        // What an endpoint said before it was among them.
        inner.refresh_status();
        Self { inner }
    }

    fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.inner.name
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &BackendConfig {
        &self.inner.config
    }

    /// What counts it.
    #[must_use]
    pub fn metrics(&self) -> &BackendMetrics {
        &self.inner.metrics
    }

    /// Which of its results are cached, and a digest of its configuration; `None`: none are.
    #[must_use]
    pub fn cache(&self) -> Option<(&BackendCacheConfig, &[u8; 32])> {
        let config = self.inner.config.cache.as_ref()?;
        Some((config, self.inner.fingerprint.as_ref()?))
    }

    /// Whether it is shown another credential, or holds another session, for each caller.
    #[must_use]
    pub fn tells_callers_apart(&self) -> bool {
        let config = self.config();
        let oauth = config.oauth.as_ref();
        oauth.is_some_and(|oauth| oauth.is_per_principal())
            || config.sessions.scope != SessionScope::Shared
    }

    /// How it is reached: `stdio`, `HTTP`, or `HTTP+SSE` where that is configured or was found out.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        let endpoints = self.inner.endpoints.load();
        endpoints.first().map_or("HTTP", Endpoint::transport)
    }

    /// How each of its endpoints is doing, by what a person calls it; `None` where there is but one.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(Option<Arc<str>>, Status)> {
        let endpoints = self.inner.endpoints.load();
        let each = endpoints.iter();
        each.map(|endpoint| (endpoint.label(), endpoint.status()))
            .collect()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.lock().clone()
    }

    /// Waits until the backend is as `wanted` says.
    pub(crate) async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        while !wanted(self) {
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Whether calling this tool twice does no more than calling it once, as far as the operator, or
    /// the server where the operator trusts it, says so. `tool` is the server's own name.
    #[must_use]
    pub fn is_safe_tool(&self, tool: &str) -> bool {
        safety::is_safe_tool(self.config(), self.lists().as_deref(), tool)
    }

    /// What it offers, as last learned by the first endpoint that is ready, or else by the first
    /// that ever was. `None`: never learned.
    #[must_use]
    pub fn lists(&self) -> Option<Arc<Lists>> {
        self.inner.lists()
    }

    /// Whether making this call of `tool`, the server's own name, twice does no more than making it
    /// once.
    #[must_use]
    pub fn is_safe(&self, call: &Call, tool: &str) -> bool {
        safety::is_safe(
            &self.inner.config,
            self.lists().as_deref(),
            call,
            Some(tool),
        )
    }

    /// Has the lists read again and waits until they are, at most 5 s.
    pub async fn refresh(&self) {
        let endpoints = self.inner.endpoints.load_full();
        join_all(endpoints.iter().map(Endpoint::refresh)).await;
    }

    /// Sets the resources whose changes are wanted, as the server names them.
    pub fn watch_resources(&self, uris: &BTreeSet<Arc<str>>) {
        let mut watched = self.inner.watched.lock();
        watched.clone_from(uris);
        for endpoint in self.inner.endpoints.load().iter() {
            endpoint.watch_resources(uris);
        }
    }

    /// Waits until the server has been told that changes of these resources are wanted. Never
    /// returns while it is away; returns at once if it does not tell such changes at all.
    pub async fn watches(&self, uris: &BTreeSet<Arc<str>>) {
        let endpoints = self.inner.endpoints.load_full();
        if !endpoints.is_empty() {
            let watching = endpoints.iter().map(|endpoint| endpoint.watches(uris));
            select_all(watching.map(Box::pin)).await;
        }
    }

    /// Closes the sessions that the backend has for a legacy client, which is gone; what runs in
    /// them fails. `client` is the id of its [`ClientSession`].
    ///
    /// [`ClientSession`]: switchboard_protocol::call::ClientSession
    pub fn client_gone(&self, client: &str) {
        for endpoint in self.inner.endpoints.load().iter() {
            endpoint.client_gone(client);
        }
    }

    /// Tells a legacy server that the roots of a client have changed, in the sessions that it has
    /// for that client's principal, as far as they declared that it would be told; not in those of
    /// other clients. Takes at most 10 s.
    pub async fn roots_changed(&self, principal: &str, client: Option<&str>) {
        let endpoints = self.inner.endpoints.load_full();
        let told = endpoints
            .iter()
            .map(|endpoint| endpoint.roots_changed(principal, client));
        join_all(told).await;
    }

    /// Has the server tell `sink` how these tasks, under its own names, go on, for as long as the
    /// future is polled: the sink gets the server's acknowledgements and its `notifications/tasks`,
    /// whole and as they came. A stream that breaks is opened again. Returns when the server tells
    /// no such news, as legacy ones and many others do not.
    /// `endpoint` is where they are, as an [`Answer`](crate::answer::Answer) named it.
    pub async fn listen_to_tasks(
        &self,
        endpoint: Option<u64>,
        ids: &[String],
        sink: Arc<dyn Sink>,
    ) {
        let found = match endpoint {
            Some(key) => self.inner.home(key),
            None => self.inner.endpoints.load().first().cloned(),
        };
        if let Some(endpoint) = found {
            endpoint.listen_to_tasks(ids, sink).await;
        }
    }

    /// Shows its state again, in metrics and to whoever observes it, after another of the same name
    /// has shown its own.
    pub fn show(&self) {
        self.inner.refresh_status();
    }

    /// Starts processes again that were left alone, since they failed too often.
    pub fn try_again(&self) {
        for endpoint in self.inner.endpoints.load().iter() {
            endpoint.try_again();
        }
    }

    /// Ends its processes, or its connections, and begins anew at once, as if nothing had ever gone
    /// wrong: one that was left alone is tried again, breakers are closed. Calls in flight fail as
    /// they do when a process ends.
    pub fn restart(&self) {
        if let Some(credentials) = &self.inner.credentials {
            credentials.try_again();
        }
        for endpoint in self.inner.endpoints.load().iter() {
            endpoint.restart();
        }
    }

    /// How it is doing, for operators. What its processes use is what was measured last
    /// ([`Supervisor::measure`]).
    #[must_use]
    pub fn inspect(&self) -> BackendReport {
        let endpoints = self.inner.endpoints.load();
        BackendReport {
            name: Arc::clone(self.name()),
            transport: self.transport(),
            version: self.lists().map(|lists| lists.server.version),
            status: self.status(),
            in_flight: self.inner.bulkhead.in_flight(),
            queued: self.inner.bulkhead.queued(),
            restarts: self.inner.metrics.restarts(),
            endpoints: endpoints.iter().map(Endpoint::inspect).collect(),
        }
    }

    /// The calls that are in it, and those that wait until they may be.
    pub(crate) fn calls(&self) -> (usize, usize) {
        let bulkhead = &self.inner.bulkhead;
        (bulkhead.in_flight(), bulkhead.queued())
    }

    /// Its endpoints, but for those that are about to leave.
    pub(crate) fn all_endpoints(&self) -> Arc<Vec<Endpoint>> {
        self.inner.endpoints.load_full()
    }

    /// Has it show and tell nothing any more, since it is no longer the one of its name. Calls are
    /// answered until [`Backend::shut_down`].
    pub fn retire(&self) {
        self.inner.is_retired.store(true, Ordering::Relaxed);
    }

    /// Whether nobody uses it: this is its only handle, and no call is in it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.inner) == 1 && self.inner.bulkhead.in_flight() == 0
    }

    /// Ends the backend and all that it owns: calls in flight fail, a process is ended with all
    /// that it started.
    pub async fn shut_down(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        let known = self.inner.endpoints.load_full();
        let tasks = timeout(SHUTDOWN_DEADLINE, self.inner.tasks.wait());
        let (ended, ()) = tokio::join!(tasks, endpoints::shut_down(&known));
        if ended.is_err() {
            tracing::warn!(backend = %self.inner.name, "to look for endpoints did not end in time");
        }
        let found_meanwhile = self.inner.endpoints.load_full();
        if !Arc::ptr_eq(&known, &found_meanwhile) {
            endpoints::shut_down(&found_meanwhile).await;
        }
    }
}
