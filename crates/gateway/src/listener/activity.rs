//! What a connection is doing right now, and how long it may go on doing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_policy::authenticate::ClientCertificate;
use tokio::time::Instant;

use super::Limits;

/// How long a peer has to close its side once everything is said and ours is closed.
const LINGER: Duration = Duration::from_secs(1);

/// What a peer may send that belongs to no request, at once: over HTTP/2 it may ask for answers
/// (PING, SETTINGS) and correct itself without end, which costs time and nothing that is bounded
/// elsewhere.
const ALLOWANCE: usize = 1024 * 1024;
/// How much of that comes back each second, enough for PING and PRIORITY of any use.
const ALLOWANCE_PER_SECOND: usize = 4 * 1024;
/// What a request adds for its head, and for frames that belong to it.
const OF_HEAD: usize = 64 * 1024;
/// A peer may send a byte for so many that it takes, to make room for more (WINDOW_UPDATE).
const WRITTEN_PER_UPDATE: usize = 64;
/// How long a connection may be idle of which nobody is known: no longer than it may take to begin.
const STRANGER_IDLE: Duration = Duration::from_secs(10);

/// What to do with a connection when its deadline has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the peer to finish.
    Finish,
    /// Drop the connection.
    Cut,
}

/// When something has to be done, unless something else happens before.
pub(super) type Deadline = (Instant, Action);

/// The state of one connection, shared by its socket, its requests and its driver.
#[derive(Debug)]
pub(super) struct Activity {
    header_timeout: Duration,
    idle_timeout: Duration,
    /// Whether a request came from somebody who may call.
    is_known: AtomicBool,
    /// The certificate of the peer, where it has one: most have none.
    certificate: OnceLock<Box<ClientCertificate>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when the socket takes no byte of what waits for the peer.
    blocked: Option<Instant>,
    /// Whether the peer was told to finish.
    finishing: bool,
    /// Since when it has to be told so: its credential was refused.
    dismissed: Option<Instant>,
    /// On HTTP/2 bytes come for many reasons, so none of them means that a head has begun.
    multiplexed: bool,
    /// What the peer may still send before it sends too much that belongs to no request.
    allowance: Allowance,
    /// The answers whose next piece the peer can have, and since when, the earliest first. Over
    /// HTTP/2 alone, where a peer takes bytes of other kinds and none of an answer's: at most one
    /// for each stream.
    offers: Vec<Offer>,
    next_offer: u64,
}

/// A piece of an answer that the peer has not made room for.
#[derive(Clone, Copy, Debug)]
struct Offer {
    id: u64,
    since: Instant,
}

/// How many bytes a peer may still send.
#[derive(Debug)]
struct Allowance {
    left: usize,
    /// When it was last added to for the time that had passed.
    since: Instant,
    is_spent: bool,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: ALLOWANCE,
            since: now,
            is_spent: false,
        }
    }

    fn earn(&mut self, bytes: usize) {
        self.left = self.left.saturating_add(bytes);
    }

    /// Reads the clock only when there is nothing left.
    fn spend(&mut self, bytes: usize) {
        if bytes <= self.left {
            self.left -= bytes;
            return;
        }
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs() as usize;
        self.since = now;
        self.earn(seconds.saturating_mul(ALLOWANCE_PER_SECOND));
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.is_spent = true,
        }
    }

    fn is_spent(&self) -> bool {
        self.is_spent
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first bytes of a request head have just come. Nearly every head comes whole, and then
    /// nobody asks since when.
    HeadBegun,
    /// Waiting for the rest of a request head since then; a new connection from its first moment.
    Head(Instant),
    /// This many requests are in flight, at least one.
    Busy(usize),
    /// Nothing is in flight since then.
    Idle(Instant),
    /// Everything is said since then, and the peer has not closed its side.
    Lingering(Instant),
}

impl Activity {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            is_known: AtomicBool::new(false),
            certificate: OnceLock::new(),
            state: Mutex::new(State {
                phase: Phase::Head(now),
                blocked: None,
                finishing: false,
                dismissed: None,
                multiplexed: false,
                allowance: Allowance::new(now),
                offers: Vec::new(),
                next_offer: 0,
            }),
        }
    }

    /// The peer sent so many bytes.
    pub(super) fn received(&self, bytes: usize) {
        let mut state = self.state.lock();
        if state.multiplexed || !matches!(state.phase, Phase::Busy(_)) {
            state.allowance.spend(bytes);
        }
        if !state.multiplexed && matches!(state.phase, Phase::Idle(_)) {
            state.phase = Phase::HeadBegun;
        }
    }

    /// The peer takes nothing for now.
    pub(super) fn write_blocked(&self) {
        self.state.lock().blocked.get_or_insert_with(Instant::now);
    }

    /// The peer took so many bytes.
    pub(super) fn written(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.allowance.earn(bytes / WRITTEN_PER_UPDATE);
        if state.blocked.take().is_some() && matches!(state.phase, Phase::Idle(_)) {
            // The end of an answer is still on its way.
            state.phase = Phase::Idle(Instant::now());
        }
    }

    /// Everything is said; the peer has not closed its side.
    pub(super) fn lingers(&self) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Lingering(_)) {
            state.phase = Phase::Lingering(Instant::now());
        }
    }

    /// The peer was told to finish.
    pub(super) fn finishes(&self) {
        let mut state = self.state.lock();
        if !state.finishing {
            state.finishing = true;
            if matches!(state.phase, Phase::Idle(_)) {
                state.phase = Phase::Idle(Instant::now());
            }
        }
    }

    /// A request has arrived, with a body of at most so many bytes; it is in flight until the guard
    /// is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool, body: usize) -> Busy {
        let mut state = self.state.lock();
        state.allowance.earn(body.saturating_add(OF_HEAD));
        state.multiplexed = multiplexed;
        state.phase = match state.phase {
            Phase::Busy(requests) => Phase::Busy(requests + 1),
            Phase::HeadBegun | Phase::Head(_) | Phase::Idle(_) | Phase::Lingering(_) => {
                Phase::Busy(1)
            }
        };
        Busy {
            activity: Arc::clone(self),
            multiplexed,
            offer: None,
        }
    }

    fn offer(&self) -> u64 {
        let mut state = self.state.lock();
        let id = state.next_offer;
        state.next_offer += 1;
        let since = Instant::now();
        state.offers.push(Offer { id, since });
        id
    }

    fn withdraw(&self, id: u64) {
        let offers = &mut self.state.lock().offers;
        if let Some(at) = offers.iter().position(|offer| offer.id == id) {
            offers.remove(at);
        }
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.phase = match state.phase {
            Phase::Busy(requests) if requests > 1 => Phase::Busy(requests - 1),
            Phase::Busy(_) => Phase::Idle(Instant::now()),
            phase => phase,
        };
    }

    /// The next thing to be done if nothing happens; `None` while a request is in flight and the
    /// peer takes what is sent. To be asked after every read of the socket: the time of a head
    /// that has begun runs from then.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let mut state = self.state.lock();
        if state.phase == Phase::HeadBegun {
            state.phase = Phase::Head(Instant::now());
        }
        if state.allowance.is_spent() {
            return Some((state.allowance.since, Action::Cut));
        }
        if let Some(since) = state.dismissed
            && !state.finishing
        {
            return Some((since, Action::Finish));
        }
        let of_phase = match state.phase {
            Phase::HeadBegun => None,
            Phase::Head(since) => Some((since + self.header_timeout, Action::Cut)),
            Phase::Busy(_) => None,
            Phase::Idle(since) if state.finishing => {
                Some((since + self.header_timeout, Action::Cut))
            }
            Phase::Idle(since) => Some((since + self.patience(), Action::Finish)),
            Phase::Lingering(since) => Some((since + LINGER, Action::Cut)),
        };
        let of_peer = state
            .blocked
            .into_iter()
            .chain(state.offers.first().map(|offer| offer.since))
            .min()
            .map(|since| (since + self.idle_timeout, Action::Cut));
        match (of_phase, of_peer) {
            (Some(phase), Some(peer)) if peer.0 < phase.0 => Some(peer),
            (None, peer) => peer,
            (phase, _) => phase,
        }
    }

    /// An instant by which to ask for the deadline again, from `now` on. Requests end without waking
    /// whoever drives the connection, and an idle time that begins after now ends after this.
    pub(super) fn look_again(&self, now: Instant) -> Instant {
        now + self.patience()
    }

    /// How long the connection may be idle.
    fn patience(&self) -> Duration {
        if self.is_known.load(Ordering::Relaxed) {
            self.idle_timeout
        } else {
            self.idle_timeout.min(STRANGER_IDLE)
        }
    }
}

/// Who the peer of a connection is, as far as that is found out. Clones are of the same connection.
#[derive(Clone)]
pub(crate) struct Standing(Arc<Activity>);

impl Standing {
    pub(super) fn of(activity: &Arc<Activity>) -> Self {
        Self(Arc::clone(activity))
    }

    /// That of a client whose request came by way of another replica, with what its certificate says
    /// there: it has no connection here that anything could be done with.
    pub(crate) fn of_client(certificate: Option<ClientCertificate>) -> Self {
        let activity = Activity::new(&Limits::default(), Instant::now());
        let standing = Self(Arc::new(activity));
        if let Some(certificate) = certificate {
            standing.has_certificate(certificate);
        }
        standing
    }

    /// The handshake has accepted this certificate of the peer's.
    pub(super) fn has_certificate(&self, certificate: ClientCertificate) {
        // A connection has one handshake.
        let _ = self.0.certificate.set(Box::new(certificate));
    }

    /// The certificate of the peer, if the handshake has accepted one.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.0.certificate.get().map(|certificate| &**certificate)
    }

    /// A request came from somebody who may call: the connection is kept as long as any.
    pub(crate) fn is_of_a_principal(&self) {
        let is_known = &self.0.is_known;
        // Read first: once it is true, nobody writes to memory that requests share.
        if !is_known.load(Ordering::Relaxed) {
            is_known.store(true, Ordering::Relaxed);
        }
    }

    /// A credential was refused: the peer is told to finish, unless the connection has carried a
    /// better one, for a proxy puts many callers on one. Answers whether it is told.
    pub(crate) fn dismiss(&self) -> bool {
        if self.0.is_known.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.0.state.lock();
        state.dismissed.get_or_insert_with(Instant::now);
        true
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    multiplexed: bool,
    offer: Option<u64>,
}

impl Busy {
    /// The next piece of the answer is there for the peer to make room for. Over HTTP/1 the socket
    /// shows whether it does.
    pub(super) fn offers(&mut self) {
        if self.multiplexed && self.offer.is_none() {
            self.offer = Some(self.activity.offer());
        }
    }

    /// The peer has made room.
    pub(super) fn taken(&mut self) {
        if let Some(offer) = self.offer.take() {
            self.activity.withdraw(offer);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.taken();
        self.activity.end();
    }
}

#[cfg(test)]
mod tests;
