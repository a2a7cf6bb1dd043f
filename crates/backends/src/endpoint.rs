//! The handle of one endpoint: one place where a server runs.

use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use switchboard_protocol::call::Call;
use switchboard_protocol::credentials::Credentials;
use switchboard_protocol::error::{Attempt, CallError};
use switchboard_protocol::method::Method;
use switchboard_telemetry::{
    AttemptCounts, AttemptTotals, BackendMetrics, BreakerTurn, CallSpan, ErrorType, Wait,
};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{self, Answer};
use crate::arriving::{Arriving, Limit, Reply};
use crate::backend::{Backend, BackendContext};
use crate::balance::{Candidate, slow_start};
use crate::breaker::{Admission, Breaker, BreakerState};
use crate::config::{BackendConfig, CanaryConfig, HttpKind, StartPolicy, TransportConfig};
use crate::connect::{ConnectError, Connection};
use crate::exchange::Exchanged;
use crate::inspect::EndpointReport;
use crate::keeper;
use crate::known_lists::KnownLists;
use crate::legacy::{self, Pool, Shared, Tasks};
use crate::link::Link;
use crate::link::inbox::Inbox;
use crate::list_memory::{Held, ListMemory};
use crate::lists::Lists;
use crate::message::Rewrite;
use crate::method_label::method_label;
use crate::process::Supervisor;
use crate::process::demand::Demand;
use crate::process::roster::Roster;
use crate::safety::Verdict;
use crate::status::{Observer, Stage, State, Status};

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
        legacy::is_parked(&self.inner, rewrite)
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

    /// How it is doing, by its breaker first: what calls show counts for more than what it says.
    pub(crate) fn status(&self) -> Status {
        let status = self.inner.status.read().clone();
        if !status.state.is_usable() {
            return status;
        }
        let now = Instant::now();
        if self.inner.breaker.state(now) == BreakerState::Closed {
            return match self.inner.pool.needs_attention(now) {
                Some((reason, since)) => Status {
                    state: State::Degraded,
                    stage: Stage::Calling,
                    reason: format!("a session for some of its calls needs attention: {reason}"),
                    cause: None,
                    since,
                },
                None => status,
            };
        }
        Status {
            state: State::Unavailable,
            stage: Stage::Calling,
            reason: "calls to it keep failing, so it is left alone for a while".to_owned(),
            cause: None,
            since: *self.inner.breaker_turned.lock(),
        }
    }

    /// What it offers, as last learned; stays when the backend goes away. `None`: never learned.
    pub(crate) fn lists(&self) -> Option<Arc<Lists>> {
        self.inner.lists.load_full()
    }

    /// Makes one attempt at the call, which the breaker has admitted. Takes at most what is left
    /// until the call's deadline, or the backend's timeout if it has none, up to the last byte of a
    /// result that is still arriving; dropping the future, or that result, cancels the attempt in
    /// the way of the server's era. `parent` is the span that it belongs to.
    ///
    /// # Errors
    /// The server's own error, or the gateway's fault when no answer could be had.
    pub(crate) async fn attempt(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        started: Instant,
        admission: Admission<'_>,
    ) -> Result<Reply, CallError> {
        let inner = &*self.inner;
        let is_clients = call.deadline.is_some_and(|deadline| deadline.is_clients);
        let limit = call.deadline.map_or(inner.config.timeout, |deadline| {
            deadline.at.saturating_duration_since(started.into_std())
        });
        if limit.is_zero() {
            return Err(answer::too_late(&inner.name).into());
        }
        let in_flight = InFlight::begin(&inner.in_flight);
        if inner.config.is_process() {
            inner.demand.count_call();
        }
        let abandoned = Abandoned {
            inner,
            method: call.method,
            started,
            answered: false,
        };
        let connection = match inner.connection_within(limit, rewrite, parent).await {
            Ok(connection) => connection,
            // Nothing was tried, so nothing is known of the endpoint that its keeper does not know.
            Err(mut error) => {
                abandoned.answered();
                inner.leave_unsent(call, rewrite, parent, &error);
                inner.count_failed(call.method, started.elapsed(), &mut error);
                return Err(error);
            }
        };
        // Pinned first: `select!` would move the whole future of the exchange twice.
        let mut exchange = pin!(self.inner.exchange(call, rewrite, parent, connection));
        let result = tokio::select! {
            biased;
            result = &mut exchange => Some(result),
            () = tokio::time::sleep_until(started + limit) => None,
        };
        abandoned.answered();
        let now = Instant::now();
        // A client that gives it too little time says nothing of the endpoint.
        let is_hurried = is_clients && result.is_none();
        let result = result.unwrap_or_else(|| Err(answer::timed_out(&inner.name, limit).into()));
        if is_hurried {
            drop(admission);
        } else {
            inner.judge(admission, Verdict::of_result(&result), now);
        }
        let result = match result {
            Ok(Exchanged::Large(large)) => {
                let (large, span) = *large;
                let limit = Limit { limit, is_clients };
                let arriving = Arriving::new(Arc::clone(&self.inner), started, limit, large, span);
                return Ok(Reply::Arriving(Box::new(arriving.holding(in_flight))));
            }
            Ok(Exchanged::Whole(mut answer)) => {
                answer.endpoint = self.key();
                answer.stays |= inner.config.is_process();
                Ok(answer)
            }
            Err(error) => Err(error),
        };
        inner.finish(call, now - started, result).map(Reply::Whole)
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

    /// Whether its process is needed by nobody and started when it is: what the server offers is
    /// known.
    pub(crate) fn needs_no_process(&self) -> bool {
        self.config.processes.start == StartPolicy::Lazy
            && self.lists.load().is_some()
            && !self.demand.is_waited_for()
            && !self.is_in_use()
    }

    /// Shows that it begins anew, as an operator asked.
    pub(crate) fn say_restarting(&self) {
        let reason = "it is restarted, as an operator asked";
        self.set_status(State::Starting, Stage::Connecting, reason);
    }

    /// Resolves when the endpoint is to end, or to begin anew.
    pub(crate) async fn interrupted(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.restart.notified() => {}
        }
    }

    /// Changes the status; says so if it really changed.
    pub(crate) fn set_status(&self, state: State, stage: Stage, reason: &str) {
        self.set_failed(state, stage, ConnectError::new(reason));
    }

    /// Changes the status to what this error comes to; says so if it really changed.
    pub(crate) fn set_failed(&self, state: State, stage: Stage, error: ConnectError) {
        let ConnectError { reason, cause, .. } = error;
        let status = Status {
            state,
            stage,
            reason,
            cause,
            since: SystemTime::now(),
        };
        let told = status.told_operators();
        {
            let mut current = self.status.write();
            if current.state == state
                && current.reason == status.reason
                && current.cause == status.cause
            {
                return;
            }
            let since = if current.state == state {
                current.since
            } else {
                status.since
            };
            let was_bad = current.state.is_bad();
            *current = Status { since, ..status };
            let is_well = state.is_usable();
            self.is_well.store(is_well, Ordering::Relaxed);
            if was_bad && is_well {
                *self.recovered.lock() = Some(Instant::now());
            }
        }
        let endpoint = self.spec.label.as_deref();
        match state {
            State::Ready => self.log_ready(),
            State::Starting => tracing::info!(backend = %self.name, endpoint, "starting: {told}"),
            State::Degraded | State::Unavailable | State::NeedsAuth | State::NeedsAttention => {
                tracing::warn!(
                    backend = %self.name,
                    endpoint,
                    state = state.as_str(),
                    stage = stage.as_str(),
                    "{told}"
                )
            }
        }
        self.tell();
    }

    /// Says once, when the backend becomes ready, with whom one deals.
    fn log_ready(&self) {
        let lists = self.lists.load();
        let Some(server) = lists.as_ref().map(|lists| &lists.server) else {
            return;
        };
        let offers: Vec<_> = server.offers().collect();
        tracing::info!(
            backend = %self.name,
            endpoint = self.spec.label.as_deref(),
            era = server.version.era().as_str(),
            version = server.version.as_str(),
            found = %server.found,
            offers = offers.join(", "),
            "ready"
        );
    }

    /// Whether an attempt is under way, a call waits for its client in a session, or a task is known
    /// that a client may come back for.
    fn is_at_work(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
            || self.pool.is_leased()
            || !self.legacy_tasks.is_empty()
    }

    /// Whether its process has something to do, be it to tell news of a resource.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_at_work() || self.demand.is_listened_to() || !self.watched.borrow().is_empty()
    }

    /// Takes what its server was last known to offer for what it offers, if its process is started
    /// only when it is needed; whether it did.
    pub(crate) async fn takes_known_lists(self: &Arc<Self>) -> bool {
        if self.config.processes.start != StartPolicy::Lazy {
            return false;
        }
        let inner = Arc::clone(self);
        let read = move || inner.known_lists.read(&inner.name, &inner.config);
        let Ok(Some(lists)) = self.tasks.spawn_blocking(read).await else {
            return false;
        };
        self.metrics.set_tools(lists.tools.len());
        self.lists.store(Some(Arc::new(lists)));
        self.set_status(State::Ready, Stage::Listing, "");
        true
    }

    /// Keeps what its server offers for the next time that [`Inner::takes_known_lists`] asks.
    pub(crate) fn keep_known_lists(self: &Arc<Self>, lists: &Arc<Lists>) {
        if self.config.processes.start == StartPolicy::Lazy {
            // One at a time, or an older one may be the last: what changes meanwhile is kept the next
            // time that it is read.
            let Ok(writing) = Arc::clone(&self.keeping_lists).try_acquire_owned() else {
                return;
            };
            let (inner, lists) = (Arc::clone(self), Arc::clone(lists));
            self.tasks.spawn_blocking(move || {
                inner.known_lists.write(&inner.name, &inner.config, &lists);
                drop(writing);
            });
        }
    }

    /// Tells whoever waits or watches that something changed.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
        self.observer.changed(&self.name);
    }

    /// The connection, or none if the call goes on where it waits. Takes at most `limit`.
    async fn connection_within(
        &self,
        limit: Duration,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Option<Arc<Connection>>, CallError> {
        if let Some(connection) = self.connection.load_full() {
            return Ok(Some(connection));
        }
        if legacy::is_parked(self, rewrite) {
            return Ok(None);
        }
        let connected = tokio::time::timeout(limit, self.connected());
        // Boxed, since it is rare.
        match Box::pin(parent.around(Wait::Start, &self.name, connected)).await {
            Ok(connected) => connected.map(Some),
            Err(_) => Err(answer::not_connected(&self.name, State::Starting, "").into()),
        }
    }

    /// The connection, or why there is none. Waits only while nothing has gone wrong yet.
    pub(crate) async fn connected(&self) -> Result<Arc<Connection>, CallError> {
        let mut changed = self.changed.subscribe();
        let _waiting = self.demand.wait();
        loop {
            changed.mark_unchanged();
            if let Some(connection) = self.connection.load_full() {
                return Ok(connection);
            }
            let status = self.status.read().clone();
            if status.state.is_bad() {
                return Err(answer::not_connected(&self.name, status.state, &status.reason).into());
            }
            if changed.changed().await.is_err() {
                return Err(answer::not_connected(&self.name, State::Unavailable, "").into());
            }
        }
    }

    /// Closes an admission of the breaker; says so if that opened or closed it.
    pub(crate) fn judge(&self, admission: Admission<'_>, verdict: Verdict, now: Instant) {
        let turned = match verdict {
            Verdict::Answered => admission.succeeded(now),
            Verdict::Nothing => admission.ignored(now),
            Verdict::Failed => admission.failed(now),
        };
        if let Some(state) = turned {
            self.breaker_turned(state, now);
        }
    }

    /// Says that its breaker opened or closed.
    fn breaker_turned(&self, state: BreakerState, now: Instant) {
        *self.breaker_turned.lock() = SystemTime::now();
        let endpoint = self.spec.label.as_deref();
        if state == BreakerState::Closed {
            *self.recovered.lock() = Some(now);
            self.metrics.breaker_turned(BreakerTurn::Closed);
            tracing::info!(backend = %self.name, endpoint, "it is back: its breaker is closed");
        } else {
            self.metrics.breaker_turned(BreakerTurn::Open);
            tracing::warn!(backend = %self.name, endpoint, "calls keep failing: its breaker is open");
        }
        // What its lists and its session are worth is looked at as well.
        self.suspicion.notify_one();
        self.tell();
    }

    /// A health check, or a reading of the lists, went well: that closes the breaker if no call is
    /// there to do it.
    pub(crate) fn probed(&self) {
        let now = Instant::now();
        if let Some(state) = self.breaker.recovered(now) {
            self.breaker_turned(state, now);
        }
    }

    /// Takes note of how a call ended.
    fn finish(
        &self,
        call: &Call,
        took: Duration,
        mut result: Result<Answer, CallError>,
    ) -> Result<Answer, CallError> {
        match &mut result {
            Ok(answer) => {
                let is_error = answer.response.is_tool_error();
                self.count(call.method, took, is_error.then_some(ErrorType::ToolError));
            }
            Err(error) => self.count_failed(call.method, took, error),
        }
        if let Err(CallError::Fault(fault)) = &result
            && let Some(detail) = &fault.detail
        {
            tracing::debug!(backend = %self.name, reason = fault.reason.as_str(), detail, "a call failed");
        }
        result
    }

    /// Counts an attempt that was answered, or given up.
    pub(crate) fn count(&self, method: Method, took: Duration, error: Option<ErrorType>) {
        self.ended.count(error);
        self.metrics.operation(method_label(method), error, took);
    }

    /// Counts an attempt that failed. Adds what every failure tells: the attempt and how long it
    /// took.
    pub(crate) fn count_failed(&self, method: Method, took: Duration, error: &mut CallError) {
        let code = match error {
            CallError::Fault(fault) => {
                fault.attempts.push(Attempt {
                    backend: Arc::clone(&self.name),
                    reason: fault.reason,
                    ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                });
                i64::from(fault.code)
            }
            CallError::Backend { code, .. } => *code,
            // Was never made.
            CallError::Protocol(_) => return,
        };
        self.count(method, took, Some(ErrorType::from_code(code)));
    }
}

/// Counts an attempt that is dropped before it was answered.
struct Abandoned<'a> {
    inner: &'a Inner,
    method: Method,
    started: Instant,
    answered: bool,
}

impl Abandoned<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let cancelled = Some(ErrorType::Cancelled);
            self.inner
                .count(self.method, self.started.elapsed(), cancelled);
        }
    }
}

/// Counts an attempt until it is dropped.
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
