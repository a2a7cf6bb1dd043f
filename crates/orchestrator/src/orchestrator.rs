//! The one virtual server: all backends, their catalogue, and the calls that go through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
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
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalogue::{Catalogue, Extensions, List, Route, Shared, Snapshot, Source};
use crate::config::NamesConfig;
use crate::hub::{Filter, Hub, ListenError, Listener, MAX_URI_LEN, MAX_URIS};

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
    names: NamesConfig,
    pub(crate) backends: BTreeMap<Arc<str>, Backend>,
    pub(crate) catalogue: Catalogue,
    hub: Hub,
    pub(crate) sealer: Sealer,
    private: bool,
    started: Instant,
    heard: Arc<Heard>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What backends say, until the catalogue's task looks.
#[derive(Default)]
struct Heard {
    arrived: Notify,
    said: parking_lot::Mutex<Said>,
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
}

impl Observer for Heard {
    fn changed(&self, _backend: &str) {
        self.note(|said| said.backends = true);
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
        let mut runtimes = parts.runtimes.iter().cycle();
        let backends: BTreeMap<Arc<str>, Backend> = parts
            .backends
            .into_iter()
            .map(|(name, config)| {
                let name: Arc<str> = name.into();
                let runtime = config.is_process().then(|| runtimes.next()).flatten();
                let metrics = parts.metrics.backend(&name);
                let observer = Arc::clone(&heard) as Arc<dyn Observer>;
                (
                    Arc::clone(&name),
                    Backend::start(name, config, metrics, observer, &parked, runtime),
                )
            })
            .collect();
        let sources: Vec<Source> = backends.values().map(source).collect();
        let shared = shared(parts.private, Extensions::default());
        let catalogue = Catalogue::new(Snapshot::build(&parts.names, &sources, &shared));
        let inner = Arc::new(Inner {
            names: parts.names,
            backends,
            catalogue,
            hub: Hub::default(),
            sealer: parts.sealer,
            private: parts.private,
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

    /// The backends, by name.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.inner.backends.values()
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
                let backend = self.inner.backends.get(&name)?.clone();
                Some(async move { backend.watches(&uris).await })
            });
            let _ = timeout(SUBSCRIBE_WAIT, join_all(waiting)).await;
        }
        Ok(listener)
    }

    /// Makes a call. Dropping the future cancels it.
    pub async fn call(&self, traced: TracedCall) -> Outcome {
        let TracedCall { mut call, span } = traced;
        let outcome = match (call.method, List::of(call.method)) {
            (Method::Discover, _) => Ok(prepared(self.inner.catalogue.load().discover())),
            (_, Some(list)) => Box::pin(self.list(list, &call)).await,
            (_, None) => self.inner.call(&mut call, &span).await,
        };
        outcome.unwrap_or_else(Outcome::Failed)
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
        let backends = self.inner.backends.values();
        join_all(backends.map(|backend| backend.roots_changed(principal, Some(client)))).await;
    }

    /// Has every backend close what it holds for a legacy client that is gone; `client` is the id
    /// of its session.
    pub fn client_gone(&self, client: &str) {
        for backend in self.inner.backends.values() {
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
        self.inner.tasks.close();
        join_all(self.inner.backends.values().map(Backend::shut_down)).await;
        self.inner.tasks.wait().await;
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
}

/// A result that was made when the catalogue was.
fn prepared(result: &Bytes) -> Outcome {
    Outcome::Complete(Completed {
        result: result.clone().into(),
        is_error: false,
    })
}

fn source(backend: &Backend) -> Source {
    let config = backend.config();
    Source {
        name: Arc::clone(backend.name()),
        prefix: config.prefix.clone(),
        status: backend.status(),
        lists: backend.lists(),
        shaped_by_credential: matches!(&config.transport, TransportConfig::Http { headers, .. } if !headers.is_empty()),
    }
}

fn shared(private: bool, extensions: Extensions) -> Shared {
    Shared {
        private,
        extensions,
        ..Shared::new(env!("CARGO_PKG_VERSION"))
    }
}

/// Makes a new snapshot whenever a backend changed, tells listeners, and has the servers tell what
/// is listened to.
async fn keep_catalogue(inner: Arc<Inner>) {
    let mut extensions = Extensions::default();
    let mut watched_changed = inner.hub.watched_changed();
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = inner.heard.arrived.notified() => {
                tokio::time::sleep(COALESCE).await;
                hear(&inner, &mut extensions);
            }
            changed = watched_changed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        let mut by_backend = inner.by_backend(&inner.hub.watched());
        for (name, backend) in &inner.backends {
            backend.watch_resources(&by_backend.remove(name).unwrap_or_default());
        }
    }
}

fn hear(inner: &Inner, extensions: &mut Extensions) {
    let said = std::mem::take(&mut *inner.heard.said.lock());
    let mut changes = said.lists;
    if said.backends {
        changes = changes.union(rebuild(inner, extensions));
    }
    inner.hub.publish_lists(changes);
    let snapshot = inner.catalogue.load();
    for (backend, uris) in &said.resources {
        for uri in uris.iter().flat_map(|uri| snapshot.addresses(backend, uri)) {
            inner.hub.publish_resource(&uri);
        }
    }
}

fn rebuild(inner: &Inner, extensions: &mut Extensions) -> ChangedLists {
    let sources: Vec<Source> = inner.backends.values().map(source).collect();
    for lists in sources.iter().filter_map(|source| source.lists.as_ref()) {
        extensions.learn(&lists.server.extensions);
    }
    let shared = shared(inner.private, extensions.clone());
    inner
        .catalogue
        .store(Snapshot::build(&inner.names, &sources, &shared))
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
