//! All sessions of this process: who holds which, how many there may be, when they end (2025-11-25
//! `basic/transports`, Session Management).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use switchboard_orchestrator::now_ms;
use switchboard_protocol::call::Principal;
use switchboard_protocol::millis;
use switchboard_protocol::token::{Binding, Purpose, SealError, Sealer, digest};
use switchboard_telemetry::{GaugeGuard, Metrics};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Caller;
use super::clients::{Agreed, KnownClients};
use super::config::LegacyClientsConfig;
use super::events::Memory;
use super::session::{Beginning, RedactorOf, Session, Transport};

#[cfg(test)]
mod tests;

/// How often sessions are looked over for those that have come to their end.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a session lasts of which nothing is heard after its first request.
const FIRST_USE: Duration = Duration::from_secs(60);
/// The longest session id that is looked at, in bytes: ours are far shorter.
const MAX_ID_LEN: usize = 512;

/// What an id holds before the address of its replica, if there is one.
const PROCESS_LEN: usize = 16;
const NUMBER_LEN: usize = 8;

/// Why a session cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CannotBegin {
    /// The cap of all sessions is reached.
    #[error("too many sessions are open; try again later")]
    Full,
    /// The cap of this principal's sessions is reached.
    #[error("too many of your sessions are open; end some, or try again later")]
    TooManyOfYours,
    /// The gateway is about to end.
    #[error("the gateway is shutting down")]
    Closed,
    /// No id can be made.
    #[error("no session id can be made")]
    NoId(#[from] SealError),
}

/// The sessions of this process.
pub(super) struct Sessions {
    config: LegacyClientsConfig,
    sealer: Sealer,
    metrics: Arc<Metrics>,
    /// Names this process in its session ids.
    process: [u8; PROCESS_LEN],
    /// Where others reach it, if there are any: part of its ids as well.
    replica: Option<Arc<str>>,
    memory: Memory,
    redactors: RedactorOf,
    clients: KnownClients,
    table: Mutex<Table>,
    /// There is a session where there was none, or there will be none any more.
    filled: Notify,
    closed: CancellationToken,
}

#[derive(Default)]
struct Table {
    is_closed: bool,
    next: u64,
    /// By what the client knows the session by.
    by_id: HashMap<Arc<str>, (Arc<Session>, GaugeGuard), RandomState>,
    of_principal: HashMap<String, usize>,
}

impl Sessions {
    /// `replica` is the address at which others reach this one, if there are any; `redactors` gives what
    /// takes secrets out of what a backend asks outside of calls.
    pub(super) fn new(
        config: LegacyClientsConfig,
        sealer: Sealer,
        replica: Option<Arc<str>>,
        metrics: Arc<Metrics>,
        redactors: RedactorOf,
    ) -> Self {
        let process = fastrand::u128(..).to_be_bytes();
        Self {
            config,
            sealer,
            metrics,
            process,
            replica,
            memory: Memory::default(),
            redactors,
            clients: KnownClients::default(),
            table: Mutex::default(),
            filled: Notify::new(),
            closed: CancellationToken::new(),
        }
    }

    /// The bounds.
    pub(super) fn config(&self) -> &LegacyClientsConfig {
        &self.config
    }

    /// Begins a session. Its id opens it for this principal, at this profile.
    pub(super) fn begin(
        &self,
        caller: Caller<'_>,
        transport: Transport,
        agreed: Option<Agreed>,
    ) -> Result<Arc<Session>, CannotBegin> {
        let Caller { principal, profile } = caller;
        let agreed = agreed.map(|agreed| self.agreed(agreed));
        let mut table = self.table.lock();
        if table.is_closed {
            return Err(CannotBegin::Closed);
        }
        if table.by_id.len() >= self.config.max_sessions {
            return Err(CannotBegin::Full);
        }
        let of_principal = table.of_principal.get(&principal.id).copied().unwrap_or(0);
        if of_principal >= self.config.max_sessions_per_principal {
            return Err(CannotBegin::TooManyOfYours);
        }
        let number = table.next;
        let lifetime = self.config.session_lifetime;
        let id: Arc<str> = self
            .sealer
            .seal(
                Purpose::Session,
                &binding(principal),
                now_ms().saturating_add(millis(lifetime)),
                &self.payload(number),
            )?
            .into();
        let session = Session::new(Beginning {
            sealed_id: Arc::clone(&id),
            name: format!("{:032x}-{number}", u128::from_be_bytes(self.process)).into(),
            principal: Arc::clone(principal),
            profile: profile.cloned(),
            transport,
            agreed,
            expires: Instant::now() + lifetime,
            memory: self.memory.clone(),
            redactors: Arc::clone(&self.redactors),
        });
        table.next += 1;
        table
            .of_principal
            .insert(principal.id.clone(), of_principal + 1);
        let counted = self.metrics.legacy_session();
        table.by_id.insert(id, (Arc::clone(&session), counted));
        drop(table);
        self.filled.notify_one();
        Ok(session)
    }

    /// What a session has agreed on, kept once for all that agreed on the same.
    pub(super) fn agreed(&self, agreed: Agreed) -> Arc<Agreed> {
        self.clients.share(agreed)
    }

    /// Whether there is a session with this id, whoever may use it.
    pub(super) fn is_open(&self, id: &str) -> bool {
        id.len() <= MAX_ID_LEN && self.table.lock().by_id.contains_key(id)
    }

    /// The session that this id opens for this principal; none if it has ended, is another's or was
    /// never given out, which are not told apart.
    pub(super) fn find(&self, principal: &Arc<Principal>, id: &str) -> Option<Arc<Session>> {
        if id.len() > MAX_ID_LEN {
            return None;
        }
        // An id that opens a session of this process is one that it gave out: there is nothing in
        // the seal that the table does not know.
        let table = self.table.lock();
        let (session, _) = table.by_id.get(id)?;
        let session = Arc::clone(session);
        drop(table);
        let is_open = session.principal().id == principal.id && Instant::now() < session.expires();
        if !is_open {
            return None;
        }
        session.renew(principal);
        Some(session)
    }

    /// The address of the replica that has the session of this id, if another one gave it to this
    /// principal.
    pub(super) fn replica_of(&self, principal: &Principal, id: &str) -> Option<Arc<str>> {
        let here = self.replica.as_deref()?;
        // One of this process needs no seal opened.
        if id.len() > MAX_ID_LEN || self.is_open(id) {
            return None;
        }
        let payload = self
            .sealer
            .open(Purpose::Session, &binding(principal), now_ms(), id)
            .ok()?;
        let replica = std::str::from_utf8(payload.get(PROCESS_LEN + NUMBER_LEN..)?).ok()?;
        (!replica.is_empty() && replica != here).then(|| replica.into())
    }

    /// Ends a session; answers whether it was there.
    pub(super) fn end(&self, session: &Session) -> bool {
        let mut table = self.table.lock();
        let is_there = table.remove(session);
        drop(table);
        session.end();
        is_there
    }

    /// All of them, in no order.
    pub(super) fn snapshot(&self) -> Vec<Arc<Session>> {
        let table = self.table.lock();
        let sessions = table.by_id.values();
        sessions.map(|(session, _)| Arc::clone(session)).collect()
    }

    /// Ends all sessions, and begins no more.
    pub(super) fn close(&self) {
        let mut table = self.table.lock();
        table.is_closed = true;
        let all = std::mem::take(&mut table.by_id);
        table.of_principal.clear();
        drop(table);
        self.closed.cancel();
        self.filled.notify_one();
        for (session, _) in all.values() {
            session.end();
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.table.lock().by_id.len()
    }

    /// Ends sessions that are over: those that nobody uses, were never used, are too old, or whose
    /// principal may not call any more, and tells of each. Returns when no more begin.
    pub(super) async fn look_after(
        &self,
        may_stay: impl Fn(&Session) -> bool,
        ended: impl Fn(&Session),
    ) {
        loop {
            if self.table.lock().by_id.is_empty() {
                self.filled.notified().await;
            }
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = sleep(POLL_INTERVAL) => {}
            }
            for session in self.over(&may_stay) {
                if self.end(&session) {
                    ended(&session);
                }
            }
        }
    }

    fn over(&self, may_stay: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let now = Instant::now();
        let table = self.table.lock();
        let sessions = table.by_id.values().map(|(session, _)| session);
        sessions
            .inspect(|session| session.tidy(now))
            .filter(|session| {
                now >= session.expires()
                    || !may_stay(session)
                    || session.is_unused(now, FIRST_USE)
                    || session.is_idle(now, self.config.session_idle_timeout)
            })
            .cloned()
            .collect()
    }

    fn payload(&self, number: u64) -> Vec<u8> {
        let replica = self.replica.as_deref().unwrap_or_default();
        let number = number.to_be_bytes();
        [&self.process[..], &number, replica.as_bytes()].concat()
    }
}

impl Table {
    fn remove(&mut self, session: &Session) -> bool {
        if self.by_id.remove(session.sealed_id()).is_none() {
            return false;
        }
        let principal = session.principal();
        if let Some(count) = self.of_principal.get_mut(&principal.id) {
            *count -= 1;
            if *count == 0 {
                self.of_principal.remove(&principal.id);
            }
        }
        true
    }
}

/// A session is bound to its principal; no request belongs to it more than another.
fn binding(principal: &Principal) -> Binding<'_> {
    Binding {
        principal: &principal.id,
        request: digest(&[b"session"]),
    }
}
