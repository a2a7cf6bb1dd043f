//! The books of a pool: which sessions there are, who holds them, and which may be opened.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::MayOpen;
use super::key::{Key, Sharing, Wish};
use crate::config::SessionsConfig;
use crate::connect::{ConnectError, Connection};
use crate::pause::jittered;

/// How long after its successor could not be opened a worn session is let alone.
const PAUSE: Duration = Duration::from_secs(30);

/// How opening a session ended; `None`: it goes on.
pub(super) type Opened = Option<Result<(), ConnectError>>;

/// When a session is worn, so that another takes its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wear {
    /// After so many calls.
    pub(super) max_calls: Option<u64>,
    /// At about this age.
    pub(super) max_age: Option<Duration>,
}

/// All sessions of a pool, those that are being opened and those that end included.
#[derive(Default)]
pub(super) struct Places {
    places: HashMap<u64, Place, RandomState>,
    /// The leasable ones, and how many calls wait for one.
    keys: HashMap<Key, Group, RandomState>,
    /// The one that everybody shares, while it is open and leasable.
    shared: Option<u64>,
    last: u64,
    wear: Wear,
}

#[derive(Default)]
struct Group {
    places: Vec<u64>,
    waiting: usize,
}

/// One session.
struct Place {
    key: Key,
    connection: Option<Arc<Connection>>,
    opened: watch::Sender<Opened>,
    /// How many calls hold it.
    holders: usize,
    /// How many of these the server is answering: it asks nothing more for them, so that the session
    /// is as good as free.
    answering: usize,
    idle_since: Instant,
    /// Whether further calls may have it.
    is_leasable: bool,
    /// After how many more calls it is worn.
    calls_left: u64,
    /// When it is worn.
    worn_at: Option<Instant>,
    /// Which is opened to take its place.
    successor: Option<u64>,
    /// Cancelled when it is to end.
    end: CancellationToken,
}

/// What a call does next.
pub(super) enum Step {
    /// It has a session.
    Leased {
        /// Which.
        place: u64,
        /// It.
        connection: Arc<Connection>,
        /// Whether another is to take its place.
        is_worn: bool,
    },
    /// It has a session opened, and waits for that.
    Open {
        /// Which.
        place: u64,
        /// Says when it is open.
        opened: watch::Receiver<Opened>,
        /// Cancelled when it is to end.
        end: CancellationToken,
    },
    /// It waits for a session that is being opened.
    Opening(watch::Receiver<Opened>),
    /// It waits for its turn in the one session, or until it is known why that ends.
    Busy,
    /// It waits until there is room for a session.
    Full,
}

/// How long a session may go on without a call.
pub(super) enum Idle {
    /// For ever.
    Allowed,
    /// Until then at least: look again.
    Until(Instant),
    /// It has done so for too long, or is gone.
    TooLong,
}

impl Place {
    fn is_idle(&self) -> bool {
        self.holders == 0 && self.connection.is_some()
    }

    /// How many calls the server works on in it.
    fn worked_on(&self) -> usize {
        self.holders - self.answering
    }

    /// Whether a call may have it that shares with no other.
    fn is_free(&self) -> bool {
        self.worked_on() == 0 && self.connection.is_some()
    }

    fn is_worn(&self) -> bool {
        self.calls_left == 0 || self.worn_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether its link has ended, but not yet so that it would be known why.
    fn is_ending(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.link.is_closed())
    }
}

impl Places {
    /// None yet; each is worn as `wear` says.
    pub(super) fn new(wear: Wear) -> Self {
        Self {
            wear,
            ..Self::default()
        }
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether any session is held, or being opened, for a call.
    pub(super) fn is_leased(&self) -> bool {
        self.places.values().any(|place| !place.is_idle())
    }

    /// Whether there are no sessions and no calls that wait for one.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.keys.is_empty()
    }

    /// Takes the next step for a call. `is_counted`: it is among those that wait.
    pub(super) fn step(
        &mut self,
        wish: &Wish,
        config: &SessionsConfig,
        is_counted: bool,
        may_open: &MayOpen,
    ) -> Step {
        // Nearly every call shares that one, and need not be told apart from others.
        if wish.key.is_everybodys()
            && let Some(step) = self.shared.and_then(|id| self.hold(id))
        {
            return step;
        }
        let group = self.keys.get(&wish.key);
        let ids: &[u64] = group.map_or(&[], |group| &group.places);
        let waiting = match may_open {
            MayOpen::AsNeeded => group.map_or(0, |group| group.waiting) + usize::from(!is_counted),
            MayOpen::One | MayOpen::None(_) => 1,
        };
        let places = &self.places;
        let is_ending = |id| places.get(id).is_some_and(Place::is_ending);
        let is_one_ending = ids.iter().any(is_ending);
        let ready = || {
            ids.iter().filter(|id| {
                places.get(id).is_some_and(|place| {
                    let connection = place.connection.as_ref();
                    connection.is_some_and(|connection| !connection.link.is_closed())
                })
            })
        };
        let least_busy = || {
            ready()
                .min_by_key(|id| {
                    let place = places.get(id);
                    place.map(|place| (place.worked_on(), place.holders))
                })
                .copied()
        };
        let free = || least_busy().filter(|id| places.get(id).is_some_and(Place::is_free));
        let mut opening = ids
            .iter()
            .filter_map(|id| places.get(id))
            .filter(|place| place.connection.is_none())
            .map(|place| place.opened.subscribe());
        let mut shared = None;
        let mut later = None;
        let (found, otherwise) = match wish.sharing {
            Sharing::Together => (least_busy(), opening.next().map(Step::Opening)),
            Sharing::InTurn => {
                let busy = ready().next().map(|_| Step::Busy);
                (free(), busy.or_else(|| opening.next().map(Step::Opening)))
            }
            Sharing::Apart { may_share } => {
                let opening: Vec<_> = opening.collect();
                let enough = opening.len() >= waiting;
                let last = opening.into_iter().next_back().map(Step::Opening);
                let (now, afterwards) = if enough { (last, None) } else { (None, last) };
                if may_share {
                    shared = least_busy();
                    later = afterwards;
                }
                (free(), now)
            }
        };
        if let Some(step) = found.and_then(|id| self.hold(id)).or(otherwise) {
            return step;
        }
        if is_one_ending && shared.is_none() {
            return Step::Busy;
        }
        if !matches!(may_open, MayOpen::None(_)) && self.make_room(&wish.key, config) {
            return self.add(&wish.key);
        }
        shared
            .and_then(|id| self.hold(id))
            .or(later)
            .unwrap_or(Step::Full)
    }

    fn hold(&mut self, id: u64) -> Option<Step> {
        let place = self.places.get_mut(&id)?;
        let connection = place.connection.as_ref();
        let connection = Arc::clone(connection.filter(|open| !open.link.is_closed())?);
        place.holders += 1;
        place.calls_left = place.calls_left.saturating_sub(1);
        Some(Step::Leased {
            place: id,
            connection,
            is_worn: place.is_worn(),
        })
    }

    /// A place for what is to succeed a worn session, beside those that there may be: the worn one is
    /// leased until its successor is open. `None` if there is one already.
    pub(super) fn succeed(
        &mut self,
        worn: u64,
        config: &SessionsConfig,
    ) -> Option<(u64, CancellationToken)> {
        let place = self.places.get(&worn)?;
        let has_room = self.places.len() < config.max.saturating_mul(2);
        if place.successor.is_some() || !place.is_leasable || !has_room {
            return None;
        }
        let key = place.key.clone();
        let Step::Open { place: id, end, .. } = self.add(&key) else {
            return None;
        };
        self.places.get_mut(&worn)?.successor = Some(id);
        Some((id, end))
    }

    /// What may be a successor is open, or could not be opened; whether it took a place.
    fn succeeded(&mut self, successor: u64, is_open: bool) -> bool {
        let mut places = self.places.iter_mut();
        let worn = places.find(|(_, place)| place.successor == Some(successor));
        let Some((&id, place)) = worn else {
            return false;
        };
        if is_open {
            self.retire(id);
        } else {
            place.successor = None;
            place.calls_left = u64::MAX;
            place.worn_at = Some(Instant::now() + PAUSE);
        }
        is_open
    }

    fn add(&mut self, key: &Key) -> Step {
        self.last += 1;
        let (sender, opened) = watch::channel(None);
        let end = CancellationToken::new();
        let place = Place {
            key: key.clone(),
            connection: None,
            opened: sender,
            holders: 0,
            answering: 0,
            idle_since: Instant::now(),
            is_leasable: true,
            calls_left: self.wear.max_calls.unwrap_or(u64::MAX),
            worn_at: None,
            successor: None,
            end: end.clone(),
        };
        self.places.insert(self.last, place);
        let group = self.keys.entry(key.clone()).or_default();
        group.places.push(self.last);
        Step::Open {
            place: self.last,
            opened,
            end,
        }
    }

    /// Whether there is room for one more, after the longest idle one that nobody waits for was
    /// closed if need be.
    fn make_room(&mut self, key: &Key, config: &SessionsConfig) -> bool {
        // A session that ends makes room at once, though its process may take seconds. Those are
        // bounded as well.
        if self.places.len() >= config.max.saturating_mul(2) {
            return false;
        }
        let leasable = || self.places.values().filter(|place| place.is_leasable);
        let is_own =
            |place: &Place| key.principal.is_some() && place.key.principal == key.principal;
        let own = leasable().filter(|place| is_own(place)).count();
        let all = leasable().count();
        if own < config.max_per_principal && all < config.max {
            return true;
        }
        let of_anybody = own < config.max_per_principal;
        let closed = self
            .places
            .iter()
            .filter(|(_, place)| place.is_leasable && place.is_idle())
            .filter(|(_, place)| of_anybody || is_own(place))
            .filter(|(_, place)| {
                let group = self.keys.get(&place.key);
                group.is_none_or(|group| group.waiting == 0)
            })
            .min_by_key(|(_, place)| place.idle_since)
            .map(|(id, _)| *id);
        match closed {
            Some(id) => {
                self.retire(id);
                true
            }
            None => false,
        }
    }

    /// Notes how opening a session ended; whether it takes the place of a worn one.
    pub(super) fn opened(
        &mut self,
        id: u64,
        opened: Result<Arc<Connection>, ConnectError>,
    ) -> bool {
        let Some(place) = self.places.get_mut(&id) else {
            return false;
        };
        place.idle_since = Instant::now();
        let max_age = self.wear.max_age;
        place.worn_at = max_age.map(|age| place.idle_since + jittered(age));
        let result = opened.map(|connection| place.connection = Some(connection));
        let failed = result.is_err();
        place.opened.send_replace(Some(result));
        if failed {
            self.retire(id);
        } else if place.is_leasable && place.key.is_everybodys() {
            self.shared = Some(id);
        }
        self.succeeded(id, !failed)
    }

    /// The server has begun to answer a call that holds the session.
    pub(super) fn answers(&mut self, id: u64) {
        if let Some(place) = self.places.get_mut(&id) {
            place.answering += 1;
        }
    }

    /// Takes a session back. `was_answering`: the server was [answering](Self::answers) its call.
    /// `retire`: it is to be closed.
    pub(super) fn give_back(&mut self, id: u64, was_answering: bool, retire: bool) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        place.holders -= 1;
        place.answering -= usize::from(was_answering);
        place.idle_since = Instant::now();
        if retire || !place.is_leasable {
            self.retire(id);
        }
    }

    /// Leases a session to nobody any more, and has it end when nobody holds it.
    pub(super) fn retire(&mut self, id: u64) {
        let Some(place) = self.places.get_mut(&id) else {
            return;
        };
        if place.holders == 0 {
            place.end.cancel();
        }
        self.shared = self.shared.filter(|shared| *shared != id);
        if std::mem::replace(&mut place.is_leasable, false)
            && let Some(group) = self.keys.get_mut(&place.key)
        {
            group.places.retain(|other| *other != id);
            let is_empty = group.is_empty();
            if is_empty {
                self.keys.remove(&place.key);
            }
        }
    }

    /// Leases no session that is open to anybody any more.
    pub(super) fn retire_open(&mut self) {
        let open = self.places.iter();
        let open = open.filter(|(_, place)| place.connection.is_some());
        let ids: Vec<u64> = open.map(|(id, _)| *id).collect();
        for id in ids {
            self.retire(id);
        }
    }

    /// Ends the sessions whose key fits, whoever holds them; whether there were any.
    pub(super) fn end_where(&mut self, fits: impl Fn(&Key) -> bool) -> bool {
        let ids: Vec<u64> = self
            .places
            .iter()
            .filter(|(_, place)| fits(&place.key))
            .map(|(id, _)| *id)
            .collect();
        for id in &ids {
            self.retire(*id);
            if let Some(place) = self.places.get(id) {
                place.end.cancel();
            }
        }
        !ids.is_empty()
    }

    /// The open sessions whose key fits.
    pub(super) fn connections_where(&self, fits: impl Fn(&Key) -> bool) -> Vec<Arc<Connection>> {
        self.places
            .values()
            .filter(|place| place.is_leasable && fits(&place.key))
            .filter_map(|place| place.connection.clone())
            .collect()
    }

    /// A session is gone.
    pub(super) fn forget(&mut self, id: u64) {
        self.retire(id);
        self.places.remove(&id);
    }

    /// Looks whether a session is idle for too long, and retires it if it is.
    pub(super) fn look_after(&mut self, id: u64, config: &SessionsConfig) -> Idle {
        let now = Instant::now();
        let Some(place) = self.places.get(&id) else {
            return Idle::TooLong;
        };
        // The one session that all share stays.
        if place.key.is_everybodys() {
            return Idle::Allowed;
        }
        let since = if place.is_idle() {
            place.idle_since
        } else {
            now
        };
        let until = since + config.idle_timeout;
        if until > now {
            return Idle::Until(until);
        }
        self.retire(id);
        Idle::TooLong
    }

    /// One more call waits for a session of this key.
    pub(super) fn wait(&mut self, key: &Key) {
        self.keys.entry(key.clone()).or_default().waiting += 1;
    }

    /// One call less waits.
    pub(super) fn wait_no_more(&mut self, key: &Key) {
        let Some(group) = self.keys.get_mut(key) else {
            return;
        };
        group.waiting -= 1;
        if group.is_empty() {
            self.keys.remove(key);
        }
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.waiting == 0
    }
}
