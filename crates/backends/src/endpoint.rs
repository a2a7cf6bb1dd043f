//! The handle of one endpoint: one place where a server runs.

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use switchboard_protocol::call::Call;
use switchboard_protocol::credentials::Credentials;
use switchboard_telemetry::{AttemptCounts, AttemptTotals, BackendMetrics};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendContext};
use crate::balance::{Candidate, slow_start};
use crate::breaker::{Breaker, BreakerState};
use crate::config::{BackendConfig, CanaryConfig, HttpKind, TransportConfig};
use crate::connect::Connection;
use crate::inspect::EndpointReport;
use crate::keeper;
use crate::known_lists::KnownLists;
use crate::legacy::{self, Pool, Shared, Tasks};
use crate::link::Link;
use crate::link::inbox::Inbox;
use crate::list_memory::{Held, ListMemory};
use crate::lists::Lists;
use crate::message::Rewrite;
use crate::process::Supervisor;
use crate::process::demand::Demand;
use crate::process::roster::Roster;
use crate::status::{Observer, Status};

mod attempt;
mod lazy;
mod state;

pub(crate) use self::attempt::InFlight;

/// How long a shutdown waits for what the backend owns.
pub(crate) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(8);
/// How long a refresh waits for the lists.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// One place where a server runs. Cheap to clone.
///
/// A task of its own, the keeper, connects, learns what the server offers, notices changes and
/// reconnects; calls find the connection that it made. Everything an endpoint owns ends with
/// [`Endpoint::shut_down`].
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The backend's name.
    pub(crate) name: Arc<str>,
    pub(crate) spec: EndpointSpec,
    pub(crate) config: BackendConfig,
    /// What it is shown beside the headers of its configuration.
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    pub(crate) metrics: BackendMetrics,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) connection: ArcSwapOption<Connection>,
    pub(crate) lists: ArcSwapOption<Lists>,
    /// The memory that its lists share with those of the backend's other endpoints, and their part.
    pub(crate) list_memory: ListMemory,
    pub(crate) lists_held: Mutex<Option<Held>>,
    /// Its share of the calls, which may change while it is there.
    weight: AtomicU32,
    status: RwLock<Status>,
    /// Whether the status is one of an endpoint that calls can be sent to.
    is_well: AtomicBool,
    /// Since when it is well again; `None` if it was never otherwise.
    recovered: Mutex<Option<Instant>>,
    pub(crate) breaker: Breaker,
    /// When the breaker was opened or closed last.
    breaker_turned: Mutex<SystemTime>,
    /// Attempts that have not ended, results under way included.
    in_flight: Arc<AtomicUsize>,
    /// Those that have.
    ended: AttemptCounts,
    /// Wakes calls that wait for a connection.
    pub(crate) changed: watch::Sender<()>,
    /// The resources whose changes somebody wants to hear of.
    pub(crate) watched: watch::Sender<BTreeSet<Arc<str>>>,
    /// Those that the server was told of; `None`: it does not tell such changes.
    pub(crate) watching: watch::Sender<Option<BTreeSet<Arc<str>>>>,
    /// A call has reason to believe that the lists or the server are not what they were.
    pub(crate) suspicion: Notify,
    /// How often the lists were read.
    pub(crate) learned: watch::Sender<u64>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The sessions for calls, if the server is a legacy one.
    pub(crate) pool: Pool,
    /// The tasks of its callers, if the server is a legacy one.
    pub(crate) legacy_tasks: Tasks,
    /// What all backends share.
    pub(crate) shared: Shared,
    /// What starts and owns its processes.
    pub(crate) supervisor: Supervisor,
    /// Wakes a keeper that has left a process alone.
    pub(crate) try_again: Notify,
    /// How much its process is used.
    pub(crate) demand: Demand,
    /// What local servers were last known to offer.
    pub(crate) known_lists: KnownLists,
    /// The right to write them.
    keeping_lists: Arc<Semaphore>,
    /// An operator wants the connection to be made anew, whatever the keeper does right now.
    pub(crate) restart: Notify,
    /// Whether another connection is made for an operator, while calls go to the one that is there.
    pub(crate) is_replacing: AtomicBool,
}

/// What tells one endpoint of a backend from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointSpec {
    /// The same in every process and after every restart.
    pub(crate) key: u64,
    /// For the log and for metrics; `None` where there is but one.
    pub(crate) label: Option<Arc<str>>,
    /// Its share of the calls beside the others'.
    pub(crate) weight: u32,
    /// Those with a lower number are asked first.
    pub(crate) priority: u16,
    /// Whose calls go here before all others.
    pub(crate) canary: CanaryConfig,
}

impl Endpoint {
    /// Starts the keeper of an endpoint of the backend `name`, which begins to connect when its
    /// dependencies are ready. `config` is the backend's, with the transport of this endpoint.
    pub(crate) fn start(
        name: Arc<str>,
        spec: EndpointSpec,
        config: BackendConfig,
        context: &BackendContext,
        list_memory: ListMemory,
        credentials: Option<Arc<dyn Credentials>>,
        dependencies: Vec<Backend>,
    ) -> Self {
        let BackendContext {
            metrics,
            observer,
            shared,
            runtime,
            supervisor,
            known_lists,
        } = context.clone();
        let supervisor = match config.is_process() {
            true => supervisor.of_endpoint(&name, &metrics),
            false => supervisor,
        };
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let pool = Pool::new(
            Arc::clone(&name),
            &config,
            metrics.clone(),
            stop.clone(),
            tasks.clone(),
        );
        let inner = Arc::new(Inner {
            name,
            weight: AtomicU32::new(spec.weight),
            spec,
            inbox: Arc::new(Inbox::new(metrics.clone(), tasks.clone())),
            credentials,
            metrics,
            observer,
            connection: ArcSwapOption::empty(),
            lists: ArcSwapOption::empty(),
            list_memory,
            lists_held: Mutex::default(),
            status: RwLock::new(Status::starting()),
            is_well: AtomicBool::new(false),
            recovered: Mutex::default(),
            breaker: Breaker::new(&config.breaker),
            breaker_turned: Mutex::new(SystemTime::now()),
            in_flight: Arc::default(),
            ended: AttemptCounts::default(),
            changed: watch::Sender::new(()),
            watched: watch::Sender::default(),
            watching: watch::Sender::new(Some(BTreeSet::new())),
            suspicion: Notify::new(),
            learned: watch::Sender::new(0),
            stop,
            tasks,
            pool,
            legacy_tasks: Tasks::default(),
            shared,
            supervisor,
            try_again: Notify::new(),
            demand: Demand::new(),
            known_lists,
            keeping_lists: Arc::new(Semaphore::new(1)),
            restart: Notify::new(),
            is_replacing: AtomicBool::new(false),
            config,
        });
        let keeper = keeper::keep(Arc::clone(&inner), dependencies);
        match runtime {
            Some(runtime) => inner.tasks.spawn_on(keeper, &runtime),
            None => inner.tasks.spawn(keeper),
        };
        Self { inner }
    }

    /// The same in every process and after every restart.
    pub(crate) fn key(&self) -> u64 {
        self.inner.spec.key
    }

    /// What a person calls it; `None` where there is but one.
    pub(crate) fn label(&self) -> Option<Arc<str>> {
        self.inner.spec.label.clone()
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// Whether the call goes on with one that is parked, in this endpoint or another.
    pub(crate) fn finds_parked(&self, rewrite: &Rewrite<'_>) -> bool {
        self.inner.finds_parked(rewrite)
    }

    /// Whether this call goes here before anywhere else.
    pub(crate) fn is_canary_of(&self, call: &Call) -> bool {
        self.inner.spec.canary.names(call)
    }

    /// Those with a lower number are asked first.
    pub(crate) fn priority(&self) -> u16 {
        self.inner.spec.priority
    }

    /// Changes its share of the calls.
    pub(crate) fn set_weight(&self, weight: u32) {
        self.inner.weight.store(weight, Ordering::Relaxed);
    }

    /// Whether nothing is left in it: no attempt is under way, no call waits for its client in a
    /// session, and no task is known that a client may come back for.
    pub(crate) fn is_idle(&self) -> bool {
        !self.inner.is_at_work()
    }

    /// Attempts that have not ended, results under way included.
    pub(crate) fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }

    /// How many have ended, and how.
    pub(crate) fn ended(&self) -> AttemptTotals {
        self.inner.ended.totals()
    }

    /// Whether both are handles of one endpoint.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether calls are better sent here than to one that is not.
    pub(crate) fn is_well(&self) -> bool {
        self.inner.is_well.load(Ordering::Relaxed)
    }

    /// As a candidate for the next call.
    pub(crate) fn candidate(&self, now: Instant) -> Candidate {
        let recovered = *self.inner.recovered.lock();
        let since = recovered.map(|since| now.saturating_duration_since(since));
        let calls = self.inner.in_flight.load(Ordering::Relaxed);
        // To start a process costs more than a call that waits for another.
        let start = usize::from(self.inner.connection.load().is_none());
        Candidate {
            key: self.key(),
            weight: self.inner.weight.load(Ordering::Relaxed),
            in_flight: calls + start,
            share: since.map_or(1.0, |since| {
                slow_start(since, self.inner.config.health.slow_start)
            }),
        }
    }

    /// How it is reached: `stdio`, `HTTP`, or `HTTP+SSE` where that is configured or was found out.
    pub(crate) fn transport(&self) -> &'static str {
        let TransportConfig::Http { kind, .. } = &self.inner.config.transport else {
            return "stdio";
        };
        let connection = self.inner.connection.load();
        let by_events = connection
            .as_ref()
            .is_some_and(|connection| matches!(connection.link, Link::Mux(_)));
        if by_events || *kind == HttpKind::Sse {
            "HTTP+SSE"
        } else {
            "HTTP"
        }
    }

    /// What it offers, as last learned; stays when the backend goes away. `None`: never learned.
    pub(crate) fn lists(&self) -> Option<Arc<Lists>> {
        self.inner.lists.load_full()
    }

    /// Has the lists read again and waits until they are, at most 5 s.
    pub(crate) async fn refresh(&self) {
        let mut learned = self.inner.learned.subscribe();
        learned.mark_unchanged();
        self.inner.suspicion.notify_one();
        let _ = tokio::time::timeout(REFRESH_DEADLINE, learned.changed()).await;
    }

    /// Sets the resources whose changes are wanted, as the server names them.
    pub(crate) fn watch_resources(&self, uris: &BTreeSet<Arc<str>>) {
        self.inner.watched.send_if_modified(|watched| {
            let modified = watched != uris;
            watched.clone_from(uris);
            modified
        });
    }

    /// Waits until the server has been told that changes of these resources are wanted. Never
    /// returns while it is away; returns at once if it does not tell such changes at all.
    pub(crate) async fn watches(&self, uris: &BTreeSet<Arc<str>>) {
        let mut watching = self.inner.watching.subscribe();
        let _ = watching
            .wait_for(|watching| {
                watching
                    .as_ref()
                    .is_none_or(|watching| watching.is_superset(uris))
            })
            .await;
    }

    /// Closes the sessions that the backend has for a legacy client, which is gone; what runs in
    /// them fails. `client` is the id of its [`ClientSession`].
    ///
    /// [`ClientSession`]: switchboard_protocol::call::ClientSession
    pub(crate) fn client_gone(&self, client: &str) {
        self.inner.pool.client_gone(client);
    }

    /// Tells a legacy server that the roots of a client have changed, in the sessions that it has
    /// for that client's principal, as far as they declared that it would be told; not in those of
    /// other clients. Takes at most 10 s.
    pub(crate) async fn roots_changed(&self, principal: &str, client: Option<&str>) {
        self.inner.pool.roots_changed(principal, client).await;
    }

    /// Starts a process again that was left alone, since it failed too often.
    pub(crate) fn try_again(&self) {
        // No keeper is to remember it that does not wait.
        self.inner.try_again.notify_waiters();
        self.inner.pool.try_again();
    }

    /// Begins anew, as if nothing had ever gone wrong. Where it is well, calls go to what is there
    /// until another has taken its place, and those that are in it are answered; else, and if no other
    /// can be started beside it, it is ended at once with the calls in it.
    pub(crate) fn restart(&self) {
        let inner = &self.inner;
        let is_replaced = inner.is_replaceable();
        if let Some(state) = inner.breaker.reset() {
            inner.breaker_turned(state, Instant::now());
        }
        inner.pool.try_again();
        // Asked again, an operator does not want to wait for calls.
        let is_asked_again = inner.is_replacing.swap(is_replaced, Ordering::Relaxed);
        if is_replaced && !is_asked_again {
            inner.pool.retire_all();
        } else {
            inner.pool.end_all();
            inner.say_restarting();
        }
        // Remembered: the keeper may be between two things that it does.
        inner.restart.notify_one();
    }

    /// How it is doing, for operators.
    pub(crate) fn inspect(&self) -> EndpointReport {
        let inner = &self.inner;
        let roster = inner.supervisor.roster();
        EndpointReport {
            label: self.label(),
            status: self.status(),
            is_replacing: inner.is_replacing.load(Ordering::Relaxed),
            breaker: inner.breaker.state(Instant::now()),
            in_flight: inner.in_flight.load(Ordering::Relaxed),
            processes: roster.map(Roster::processes).unwrap_or_default(),
            last_end: roster.and_then(Roster::last_end),
        }
    }

    /// Ends the backend and all that it owns: calls in flight fail, a process is ended with all
    /// that it started.
    pub(crate) async fn shut_down(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(SHUTDOWN_DEADLINE, self.inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(backend = %self.inner.name, "it did not end in time");
        }
    }
}

impl Inner {
    /// Whether another may be started beside the connection that it has: it has one that is well.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
            && self.connection.load().is_some()
            && self.breaker.state(Instant::now()) == BreakerState::Closed
    }

    /// Whether the call goes on with one that is parked, in this endpoint or another.
    fn finds_parked(&self, rewrite: &Rewrite<'_>) -> bool {
        legacy::is_parked(self, rewrite)
    }

    /// Resolves when the endpoint is to end, or to begin anew.
    pub(crate) async fn interrupted(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.restart.notified() => {}
        }
    }
}
