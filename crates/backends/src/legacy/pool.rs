//! The call sessions of one legacy backend: opened when a call needs one, leased, kept for a while,
//! closed.
//!
//! Who shares a session with whom is said by its [`Key`]; two principals never do, unless the
//! session declares nothing, so that nobody can be asked anything in it. One task for each session
//! opens it, listens to it and ends it, whatever becomes of the calls that wait for it.

mod backoff;
mod key;
mod places;

use bytes::Bytes;
use parking_lot::Mutex;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use switchboard_protocol::call::{Call, ClientSession};
use switchboard_protocol::credentials::OnBehalf;
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_telemetry::{BackendMetrics, GaugeShare};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::backoff::{Backoff, Held, MayOpen};
use self::key::{Key, Wish};
use self::places::{Idle, Opened, Places, Step, Wear};
use crate::answer;
use crate::config::{BackendConfig, SessionScope, SessionsConfig, TransportConfig};
use crate::connect::{CONNECT_DEADLINE, ConnectError, Connection, open_session};
use crate::endpoint::Inner;
use crate::exchange::Ongoing;
use crate::keeper::end_connection;
use crate::link::inbox::Inbox;
use crate::link::{Link, LinkError};
use crate::process::ProcessKind;
use crate::status::State;

/// How long a call waits for a session to come free when no further one may be opened.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long telling all sessions of a changed root may take.
const TELLING: Duration = Duration::from_secs(10);

/// The call sessions of one backend.
pub(crate) struct Pool {
    core: Arc<Core>,
}

struct Core {
    backend: Arc<str>,
    config: SessionsConfig,
    metrics: BackendMetrics,
    /// This endpoint's share in the backend's sessions.
    counted: GaugeShare,
    /// Whether each session is a process of its own.
    has_processes: bool,
    /// How many processes ended by themselves that were not followed by another yet.
    lost: AtomicUsize,
    /// Whether the server was seen to ask during calls on a stream that names none.
    asks_elsewhere: Arc<AtomicBool>,
    places: Mutex<Places>,
    /// What keeps processes that fail from being started all the time.
    backoff: Mutex<Backoff>,
    /// A session was opened, given back or has ended.
    changed: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A call's hold on a session.
///
/// One that is dropped without [`Lease::answered`] closes the session where the server may ask
/// something in it: a late question would be taken for the next call's.
pub(crate) struct Lease {
    core: Arc<Core>,
    place: u64,
    connection: Arc<Connection>,
    may_be_asked: bool,
    is_clients: bool,
    end: End,
}

/// What becomes of a session when its lease ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    GivenUp,
    Answering,
    Answered,
    Retired,
}

impl Lease {
    /// The session.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether the session declares anything that its server could ask for.
    pub(crate) fn may_be_asked(&self) -> bool {
        self.may_be_asked
    }

    /// Gives the session back: its server is done with the call.
    pub(crate) fn answered(mut self) {
        self.end = End::Answered;
    }

    /// Stays with a result that is still arriving in the session.
    pub(super) fn stay_with(self, ongoing: &mut Ongoing) {
        ongoing.claims.session().keep(self.answering());
    }

    /// The server answers. It asks nothing more for the call, however that ends, so from now on any other
    /// call may have the session too.
    fn answering(mut self) -> Self {
        self.end = End::Answering;
        self.core.places.lock().answers(self.place);
        self.core.changed.notify_waiters();
        self
    }

    /// Closes the session as soon as no other call holds it; it is leased to no further one.
    pub(crate) fn retire(mut self) {
        self.end = End::Retired;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let retire = match self.end {
            End::Answering | End::Answered => false,
            End::Retired => true,
            // What is asked late in a client's own session is asked of that client.
            End::GivenUp => self.may_be_asked && !self.is_clients,
        };
        let was_answering = self.end == End::Answering;
        self.core.give_back(self.place, was_answering, retire);
    }
}

impl Pool {
    /// An empty pool. Its tasks are `tasks`, and end when `stop` is cancelled.
    pub(crate) fn new(
        backend: Arc<str>,
        config: &BackendConfig,
        metrics: BackendMetrics,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            core: Arc::new(Core {
                backend,
                config: config.sessions,
                counted: metrics.sessions(),
                metrics,
                has_processes: matches!(config.transport, TransportConfig::Stdio { .. }),
                lost: AtomicUsize::new(0),
                asks_elsewhere: Arc::default(),
                places: Mutex::new(Places::new(wear(config))),
                backoff: Mutex::new(Backoff::new(config.restarts)),
                changed: Notify::new(),
                stop,
                tasks,
            }),
        }
    }

    /// A session for the call, opened if need be. Takes at most until the call's deadline, and no
    /// more than 2 s if no session may be opened, or may be opened so soon after its process failed,
    /// and none comes free.
    ///
    /// # Errors
    /// A fault that says why there is none; nothing was sent.
    pub(crate) async fn lease(&self, inner: &Arc<Inner>, call: &Call) -> Result<Lease, CallError> {
        let until = match call.deadline {
            Some(deadline) => Instant::from_std(deadline.at),
            None => Instant::now() + inner.config.timeout,
        };
        let via = match inner.connection.load_full() {
            Some(via) => via,
            None => tokio::time::timeout_at(until, inner.connected())
                .await
                .unwrap_or_else(|_| {
                    Err(answer::not_connected(&inner.name, State::Starting, "").into())
                })?,
        };
        // Where the server asks on a stream that names no call, those that may be asked something
        // cannot be in one session together.
        let names_no_call =
            matches!(via.link, Link::Mux(_)) || self.core.asks_elsewhere.load(Ordering::Relaxed);
        let wish = Wish::of(self.core.config.scope, call, names_no_call);
        let client = match &wish.key.client {
            Some(_) => call.client.as_ref().map(Arc::downgrade),
            None => None,
        };
        let caller = inner.on_behalf(call);
        // What one caller lacks is no reason to doubt the server, as a session that fails is.
        if let (Some(credentials), Some(caller)) = (&inner.credentials, &caller) {
            let found = credentials.authorize(Some(caller)).found().await;
            found.map_err(|error| {
                let error = LinkError::NoCredential(Box::new(error));
                answer::fault(&inner.name, &error)
            })?;
        }
        let open = || {
            let (inner, via) = (Arc::clone(inner), Arc::clone(&via));
            open(inner, via, wish.key.clone(), client.clone(), caller.clone())
        };
        let lease = self.core.lease(&wish, until, open).await?;
        if let (Some(http), Some(caller)) = (&lease.connection().http, caller) {
            http.renew_caller(caller);
        }
        Ok(lease)
    }

    /// Whether any session is held, or being opened, for a call.
    pub(crate) fn is_leased(&self) -> bool {
        self.core.places.lock().is_leased()
    }

    /// Starts processes again that were left alone, since they failed too often.
    pub(crate) fn try_again(&self) {
        self.core.backoff.lock().forget();
        self.core.changed.notify_waiters();
    }

    /// What an operator needs to know of sessions whose processes are left alone, and since when; of
    /// the last one, if there are several.
    pub(crate) fn needs_attention(&self, now: Instant) -> Option<(String, SystemTime)> {
        let backoff = self.core.backoff.lock();
        let held = backoff.needs_attention(now)?;
        Some((held.reason.clone(), held.since))
    }

    /// Closes the sessions of a legacy client that is gone, whatever runs in them.
    pub(crate) fn client_gone(&self, client: &str) {
        self.end_where(|key| key.client.as_deref() == Some(client));
    }

    /// Closes all sessions, whatever runs in them: the server is no legacy one any more.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    /// Leases no session that is open any more; each ends with the last call that holds it.
    pub(crate) fn retire_all(&self) {
        self.core.places.lock().retire_open();
        self.core.changed.notify_waiters();
    }

    fn end_where(&self, fits: impl Fn(&Key) -> bool) {
        if self.core.places.lock().end_where(fits) {
            self.core.changed.notify_waiters();
        }
    }

    /// Tells the principal's open sessions that declared it that the roots have changed; of those
    /// that belong to a client only the one of `client`.
    pub(crate) async fn roots_changed(&self, principal: &str, client: Option<&str>) {
        let sessions = self.core.places.lock().connections_where(|key| {
            key.principal.as_deref() == Some(principal)
                && (key.client.is_none() || key.client.as_deref() == client)
                && key.introduction.capabilities.roots_list_changed
        });
        let tell = async {
            for session in sessions {
                let message =
                    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}";
                let body = Bytes::from_static(message);
                if let Err(error) = session.link.notify(&session.wire, body).await {
                    tracing::debug!(backend = %self.core.backend, "changed roots are not told: {error}");
                }
            }
        };
        let _ = timeout(TELLING, tell).await;
    }
}

/// When the sessions of a local server are worn: never where they keep somebody's state.
fn wear(config: &BackendConfig) -> Wear {
    if config.sessions.scope != SessionScope::Shared {
        return Wear::default();
    }
    Wear {
        max_calls: config.processes.max_calls,
        max_age: config.processes.max_age,
    }
}

/// Opens a session for what `key` says. If that fails, the list session has reason to look whether
/// the server is what it was.
async fn open(
    inner: Arc<Inner>,
    via: Arc<Connection>,
    key: Key,
    client: Option<Weak<dyn ClientSession>>,
    caller: Option<Arc<OnBehalf>>,
) -> Result<Connection, ConnectError> {
    let (name, config) = (&inner.name, &inner.config);
    let inbox = Arc::new(Inbox::beside(&inner.inbox));
    let supervisor = inner.supervisor.of_kind(ProcessKind::Session);
    let opened = open_session(
        name,
        config,
        &supervisor,
        &inbox,
        &via,
        &key.introduction,
        client,
        caller,
    )
    .await;
    if let Err(error) = &opened {
        tracing::info!(
            backend = %name,
            cause = error.cause,
            "no session for calls: {}",
            error.reason
        );
        inner.suspicion.notify_one();
    }
    opened
}

impl Core {
    async fn lease<F>(
        self: &Arc<Self>,
        wish: &Wish,
        until: Instant,
        open: impl Fn() -> F,
    ) -> Result<Lease, CallError>
    where
        F: Future<Output = Result<Connection, ConnectError>> + Send + 'static,
    {
        let mut waiting = None;
        let mut awaited: Option<watch::Receiver<Opened>> = None;
        let mut patience = None;
        loop {
            // Hears of what changes from here on, though it is registered only if it is waited for:
            // nobody is told but all at once.
            let changed = self.changed.notified();
            match awaited.as_ref().map(|opened| opened.borrow().clone()) {
                Some(Some(Err(error))) => return Err(self.not_opened(&error)),
                Some(Some(Ok(()))) => awaited = None,
                Some(None) | None => {}
            }
            if self.stop.is_cancelled() {
                return Err(answer::not_connected(&self.backend, State::Unavailable, "").into());
            }
            let may_open = match self.has_processes {
                true => self.backoff.lock().may_open(&wish.key, Instant::now()),
                false => MayOpen::AsNeeded,
            };
            let step = self
                .places
                .lock()
                .step(wish, &self.config, waiting.is_some(), &may_open);
            let mut gives_up = until;
            let mut look_again = None;
            match step {
                Step::Leased {
                    place,
                    connection,
                    is_worn,
                } => {
                    if is_worn {
                        self.succeed(place, &wish.key, &open);
                    }
                    return Ok(Lease {
                        core: Arc::clone(self),
                        place,
                        connection,
                        may_be_asked: wish.key.introduction.may_be_asked(),
                        is_clients: wish.key.client.is_some(),
                        end: End::GivenUp,
                    });
                }
                Step::Open { place, opened, end } => {
                    self.count();
                    let session = Arc::clone(self).keep(place, wish.key.clone(), open(), end);
                    self.tasks.spawn(session);
                    awaited = Some(opened);
                }
                Step::Opening(opened) => {
                    awaited.get_or_insert(opened);
                }
                Step::Busy => {}
                Step::Full => {
                    gives_up =
                        *patience.get_or_insert_with(|| until.min(Instant::now() + PATIENCE));
                    if let MayOpen::None(held) = may_open {
                        if held.until >= gives_up {
                            return Err(self.held(&held));
                        }
                        look_again = Some(held.until);
                    }
                }
            }
            waiting.get_or_insert_with(|| Waiting::new(self, &wish.key));
            let opening = async {
                match &mut awaited {
                    Some(opened) => drop(opened.wait_for(Option::is_some).await),
                    None => pending().await,
                }
            };
            tokio::select! {
                () = opening => {}
                () = changed => {}
                () = maybe_until(look_again) => {}
                () = sleep_until(gives_up) => {
                    return Err(match awaited {
                        Some(_) => answer::not_connected(&self.backend, State::Starting, ""),
                        None => self.overloaded(),
                    }.into());
                }
            }
        }
    }

    /// Has another session opened in the place of a worn one, which is leased until that is open.
    fn succeed<F>(self: &Arc<Self>, worn: u64, key: &Key, open: impl Fn() -> F)
    where
        F: Future<Output = Result<Connection, ConnectError>> + Send + 'static,
    {
        let successor = self.places.lock().succeed(worn, &self.config);
        if let Some((place, end)) = successor {
            self.count();
            let session = Arc::clone(self).keep(place, key.clone(), open(), end);
            self.tasks.spawn(session);
        }
    }

    /// Opens a session, listens to it and ends it.
    async fn keep(
        self: Arc<Self>,
        place: u64,
        key: Key,
        opening: impl Future<Output = Result<Connection, ConnectError>>,
        end: CancellationToken,
    ) {
        let began = Instant::now();
        let opened = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(ConnectError::new("the gateway ends")),
            () = end.cancelled() => Err(ConnectError::new("its session is not needed any more")),
            opened = timeout(CONNECT_DEADLINE, opening) => {
                opened.unwrap_or_else(|_| Err(ConnectError::new("it does not answer")))
            }
        };
        match opened {
            Ok(mut connection) => {
                if let Some(session) = &mut connection.legacy {
                    session.note_asking_elsewhere(&self.asks_elsewhere);
                }
                let connection = Arc::new(connection);
                self.backoff.lock().opened(&key);
                let opened = Ok(Arc::clone(&connection));
                let succeeds = self.places.lock().opened(place, opened);
                if succeeds {
                    self.metrics.recycled();
                }
                self.changed.notify_waiters();
                self.count_restart();
                if let Some(reason) = self.until_ended(place, &connection, &end).await {
                    self.failed(&key, &reason, began.elapsed());
                }
                self.places.lock().retire(place);
                self.changed.notify_waiters();
                end_connection(&connection).await;
            }
            Err(error) => {
                if !self.stop.is_cancelled() && !end.is_cancelled() {
                    self.failed(&key, &error.reason, began.elapsed());
                }
                self.places.lock().opened(place, Err(error));
            }
        }
        self.places.lock().forget(place);
        self.count();
        self.changed.notify_waiters();
    }

    /// Listens to a session until it is lost, idle for too long, or not wanted any more. Returns
    /// why it ended, if it did so by itself.
    async fn until_ended(
        &self,
        place: u64,
        connection: &Connection,
        end: &CancellationToken,
    ) -> Option<String> {
        let mut lost = Box::pin(super::listen(connection));
        loop {
            let look_again = match self.places.lock().look_after(place, &self.config) {
                Idle::TooLong => return None,
                Idle::Until(at) => Some(at),
                Idle::Allowed => None,
            };
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = end.cancelled() => return None,
                reason = connection.link.ended() => {
                    tracing::info!(backend = %self.backend, "a session for calls ended: {reason}");
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    return Some(reason);
                }
                () = connection.session_lost.notified() => return None,
                _ = &mut lost => return None,
                () = maybe_until(look_again) => {}
            }
        }
    }

    /// Notes that a process ended by itself, or did not begin.
    fn failed(&self, key: &Key, reason: &str, lasted: Duration) {
        if !self.has_processes {
            return;
        }
        let now = Instant::now();
        let too_often = self.backoff.lock().failed(key, reason, lasted, now);
        if let Some(reason) = too_often {
            tracing::warn!(backend = %self.backend, "the process of a session for calls needs attention: {reason}");
        }
    }

    fn give_back(&self, place: u64, was_answering: bool, retire: bool) {
        let mut places = self.places.lock();
        places.give_back(place, was_answering, retire);
        drop(places);
        self.changed.notify_waiters();
    }

    /// Counts a process that takes the place of one that was lost.
    fn count_restart(&self) {
        let one_less = |lost: usize| lost.checked_sub(1);
        let lost = self
            .lost
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if lost.is_ok() && self.has_processes {
            self.metrics.restarted();
        }
    }

    fn count(&self) {
        self.counted.set(self.places.lock().len());
    }

    fn not_opened(&self, error: &ConnectError) -> CallError {
        answer::not_connected(&self.backend, error.state(), &error.reason).into()
    }

    fn held(&self, held: &Held) -> CallError {
        answer::not_connected(&self.backend, held.state, &held.reason).into()
    }

    fn overloaded(&self) -> Fault {
        let message = format!(
            "The server \"{}\" is busy: every session that calls may have with it is in use. Nothing was executed: try again in a moment.",
            self.backend
        );
        Fault::not_sent(Reason::Overloaded, message).of(&self.backend)
    }
}

/// Waits until then, or for ever.
async fn maybe_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Counts a call that waits for a session, so that as many are opened as are waited for.
struct Waiting<'a> {
    core: &'a Core,
    key: &'a Key,
}

impl<'a> Waiting<'a> {
    fn new(core: &'a Core, key: &'a Key) -> Self {
        core.places.lock().wait(key);
        Self { core, key }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.core.places.lock().wait_no_more(self.key);
    }
}

#[cfg(test)]
mod tests;
