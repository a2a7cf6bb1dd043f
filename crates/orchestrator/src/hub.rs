//! Fan-in of list changes and resource updates to the `subscriptions/listen` streams
//! (specification: `basic/patterns/subscriptions`).
//!
//! A listener costs memory, not tasks: it holds what it has not been told yet, coalesced, and the
//! waker of the stream that polls it. Publishing touches only the listeners concerned.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::watch;

use switchboard_backends::status::ChangedLists;
use switchboard_protocol::call::Principal;

use self::shares::Shares;

mod shares;
#[cfg(test)]
mod tests;

/// The most URIs that one listener may watch.
pub const MAX_URIS: usize = 1_000;
/// The longest URI that a listener may watch, in bytes: all that are watched at one backend travel
/// in one request.
pub const MAX_URI_LEN: usize = 4 * 1024;
/// The usual cap of listeners.
pub const DEFAULT_MAX_LISTENERS: usize = 10_000;
/// The most memory that the URIs of all listeners may take, in bytes, roughly.
const MAX_URI_MEMORY: usize = 64 * 1024 * 1024;
/// What a watched URI takes beside its text, roughly.
const URI_OVERHEAD: usize = 96;

/// What a listener wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the lists of resources and templates.
    pub resources: bool,
    /// Updates of these resources, at most [`MAX_URIS`], as the client writes them.
    pub uris: Vec<String>,
}

/// Something that a listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The list of tools changed.
    ToolsChanged,
    /// The list of prompts changed.
    PromptsChanged,
    /// The list of resources or templates changed.
    ResourcesChanged,
    /// This resource changed; the URI is the listener's own.
    ResourceUpdated(Arc<str>),
    /// The gateway ends the stream: answer the request, then close. Nothing follows.
    Closed,
}

/// Why nobody can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// The caller's fault.
    #[error("a subscription may name at most {MAX_URIS} resources")]
    TooManyUris,
    /// The caller's fault.
    #[error("a subscription may name resources of at most {MAX_URI_LEN} bytes")]
    UriTooLong,
    /// The cap of listeners, or of what they watch together, is reached.
    #[error("too many subscriptions are open; try again later")]
    Full,
    /// The caller's fault: it has its share of the room.
    #[error(
        "you have too many subscriptions open, or they name too many resources; end some of them first"
    )]
    ShareFull,
    /// The hub was closed.
    #[error("the gateway is shutting down")]
    Closed,
}

/// Where changes come in and listeners are told. Clones are the same hub.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_listeners: usize,
    state: Mutex<Listeners>,
    /// Counts the changes of the set of watched URIs.
    watched_version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Listeners {
    is_closed: bool,
    next_id: u64,
    all: HashMap<u64, Arc<Slot>>,
    by_uri: HashMap<Arc<str>, HashMap<u64, Arc<Slot>>>,
    uri_memory: usize,
    shares: Shares,
}

/// What the hub and the listener share.
#[derive(Debug)]
struct Slot {
    wants: ChangedLists,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    lists: ChangedLists,
    /// At most the URIs that the listener watches.
    uris: BTreeSet<Arc<str>>,
    closing: Closing,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    Open,
    Announced,
    Delivered,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_LISTENERS)
    }
}

impl Hub {
    /// A hub for at most this many listeners.
    #[must_use]
    pub fn new(max_listeners: usize) -> Self {
        Self {
            shared: Arc::new(Inner {
                max_listeners,
                state: Mutex::default(),
                watched_version: watch::Sender::new(0),
            }),
        }
    }

    /// Begins to listen; ends when the listener is dropped. Each principal may have an eighth of the
    /// room; the callers that nobody tells apart may have all of it.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(&self, principal: &Principal, filter: Filter) -> Result<Listener, ListenError> {
        if filter.uris.len() > MAX_URIS {
            return Err(ListenError::TooManyUris);
        }
        if filter.uris.iter().any(|uri| uri.len() > MAX_URI_LEN) {
            return Err(ListenError::UriTooLong);
        }
        let slot = Arc::new(Slot {
            wants: ChangedLists {
                tools: filter.tools,
                prompts: filter.prompts,
                resources: filter.resources,
            },
            pending: Mutex::default(),
        });
        let wanted: BTreeSet<String> = filter.uris.into_iter().collect();
        let memory = wanted.iter().map(|uri| uri_memory(uri)).sum::<usize>();

        let mut state = self.shared.state.lock();
        if state.is_closed {
            return Err(ListenError::Closed);
        }
        if state.all.len() >= self.shared.max_listeners
            || state.uri_memory.saturating_add(memory) > MAX_URI_MEMORY
        {
            return Err(ListenError::Full);
        }
        let share = state
            .shares
            .take(principal, memory, self.shared.max_listeners)
            .ok_or(ListenError::ShareFull)?;
        let id = state.next_id;
        state.next_id += 1;
        state.uri_memory += memory;
        state.all.insert(id, Arc::clone(&slot));
        let (uris, is_new) = state.watch(id, &slot, wanted);
        drop(state);
        if is_new {
            self.shared.watched_changed();
        }
        Ok(Listener {
            hub: Arc::clone(&self.shared),
            id,
            slot,
            uris,
            principal: share,
        })
    }

    /// Tells those who want to know that lists changed.
    pub fn publish_lists(&self, changes: ChangedLists) {
        if !changes.any() {
            return;
        }
        let concerned: Vec<Arc<Slot>> = {
            let state = self.shared.state.lock();
            let slots = state.all.values();
            slots
                .filter(|slot| slot.wants.intersection(changes).any())
                .cloned()
                .collect()
        };
        for slot in concerned {
            slot.notify(|pending| {
                let news = slot.wants.intersection(changes);
                pending.lists.tools |= news.tools;
                pending.lists.prompts |= news.prompts;
                pending.lists.resources |= news.resources;
            });
        }
    }

    /// Tells those who watch it that a resource changed. `uri` is as clients write it; where
    /// several addresses lead to a resource, each is published.
    pub fn publish_resource(&self, uri: &str) {
        let (uri, concerned) = {
            let state = self.shared.state.lock();
            let Some((uri, slots)) = state.by_uri.get_key_value(uri) else {
                return;
            };
            (
                Arc::clone(uri),
                slots.values().cloned().collect::<Vec<Arc<Slot>>>(),
            )
        };
        for slot in concerned {
            slot.notify(|pending| {
                pending.uris.insert(Arc::clone(&uri));
            });
        }
    }

    /// Ends all listeners, once they have heard what is pending, and takes no new ones.
    pub fn close(&self) {
        let all: Vec<Arc<Slot>> = {
            let mut state = self.shared.state.lock();
            state.is_closed = true;
            state.all.values().cloned().collect()
        };
        for slot in all {
            slot.notify(|pending| {
                if pending.closing == Closing::Open {
                    pending.closing = Closing::Announced;
                }
            });
        }
    }

    /// All URIs that somebody watches.
    #[must_use]
    pub fn watched(&self) -> BTreeSet<Arc<str>> {
        self.shared.state.lock().by_uri.keys().cloned().collect()
    }

    /// Counts up whenever [`Hub::watched`] becomes another set. Take it before the set, or a change
    /// between the two is missed.
    #[must_use]
    pub fn watched_changed(&self) -> watch::Receiver<u64> {
        self.shared.watched_version.subscribe()
    }

    /// How many listen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.state.lock().all.len()
    }
}

impl Inner {
    fn watched_changed(&self) {
        self.watched_version.send_modify(|version| *version += 1);
    }
}

impl Listeners {
    /// Adds a listener to its URIs. Answers with the URIs, shared with all who watch them, and
    /// whether any is new.
    fn watch(
        &mut self,
        id: u64,
        slot: &Arc<Slot>,
        wanted: BTreeSet<String>,
    ) -> (Box<[Arc<str>]>, bool) {
        let mut is_new = false;
        let mut uris = Vec::with_capacity(wanted.len());
        for uri in wanted {
            let uri = match self.by_uri.get_key_value(uri.as_str()) {
                Some((known, _)) => Arc::clone(known),
                None => {
                    is_new = true;
                    uri.into()
                }
            };
            self.by_uri
                .entry(Arc::clone(&uri))
                .or_default()
                .insert(id, Arc::clone(slot));
            uris.push(uri);
        }
        (uris.into(), is_new)
    }

    /// Takes a listener out. Answers whether a URI is now watched by nobody.
    fn remove(&mut self, id: u64, uris: &[Arc<str>], principal: &Arc<str>) -> bool {
        let mut is_gone = false;
        self.all.remove(&id);
        let memory = uris.iter().map(|uri| uri_memory(uri)).sum::<usize>();
        self.uri_memory -= memory;
        self.shares.give_back(principal, memory);
        for uri in uris {
            if let Some(slots) = self.by_uri.get_mut(uri) {
                slots.remove(&id);
                if slots.is_empty() {
                    self.by_uri.remove(uri);
                    is_gone = true;
                }
            }
        }
        is_gone
    }
}

impl Slot {
    /// Changes what is pending and wakes whoever polls. Not to be called with the hub locked:
    /// waking runs foreign code.
    fn notify(&self, change: impl FnOnce(&mut Pending)) {
        let waker = {
            let mut pending = self.pending.lock();
            change(&mut pending);
            pending.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Pending {
    fn next(&mut self) -> Option<Event> {
        if std::mem::take(&mut self.lists.tools) {
            return Some(Event::ToolsChanged);
        }
        if std::mem::take(&mut self.lists.prompts) {
            return Some(Event::PromptsChanged);
        }
        if std::mem::take(&mut self.lists.resources) {
            return Some(Event::ResourcesChanged);
        }
        if let Some(uri) = self.uris.pop_first() {
            return Some(Event::ResourceUpdated(uri));
        }
        if self.closing == Closing::Announced {
            self.closing = Closing::Delivered;
            return Some(Event::Closed);
        }
        None
    }
}

/// One `subscriptions/listen` stream's end of the hub. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<Inner>,
    id: u64,
    slot: Arc<Slot>,
    uris: Box<[Arc<str>]>,
    /// Whose share it is of.
    principal: Arc<str>,
}

impl Listener {
    /// The next event; `None` after [`Event::Closed`]. Events of one kind that nobody took yet are
    /// one event.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut pending = self.slot.pending.lock();
        if let Some(event) = pending.next() {
            return Poll::Ready(Some(event));
        }
        if pending.closing == Closing::Delivered {
            return Poll::Ready(None);
        }
        match &mut pending.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// The URIs that it watches, each once.
    #[must_use]
    pub fn uris(&self) -> &[Arc<str>] {
        &self.uris
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let is_gone = {
            let mut state = self.hub.state.lock();
            state.remove(self.id, &self.uris, &self.principal)
        };
        if is_gone {
            self.hub.watched_changed();
        }
    }
}

fn uri_memory(uri: &str) -> usize {
    uri.len() + URI_OVERHEAD
}
