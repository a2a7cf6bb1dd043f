//! The handle of one backend: a configured server, wherever it runs.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use futures_util::future::{join_all, select_all};
use parking_lot::Mutex;
use switchboard_protocol::call::{Call, Sink};
use switchboard_protocol::error::CallError;
use switchboard_telemetry::{BackendMetrics, BackendState, CallSpan};
use tokio::runtime::Handle;

use crate::answer::{self, Answer};
use crate::arriving::Reply;
use crate::config::BackendConfig;
use crate::endpoint::{Endpoint, Start};
use crate::endpoints;
use crate::legacy::Shared;
use crate::lists::Lists;
use crate::message::Rewrite;
use crate::status::{ChangedLists, Observer, State, Status};

/// One MCP server behind the gateway, at one or more endpoints. Cheap to clone.
///
/// Everything it owns ends with [`Backend::shut_down`].
#[derive(Clone)]
pub struct Backend {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    config: BackendConfig,
    metrics: BackendMetrics,
    observer: Arc<dyn Observer>,
    /// In the configured order. A change makes a new set.
    endpoints: ArcSwap<Vec<Endpoint>>,
    /// What the endpoints' states come to.
    status: Mutex<Status>,
}

impl Backend {
    /// Starts the endpoints of a backend, which begin to connect at once: on `runtime`, or else on
    /// that of the caller, which must be one of tokio's. All tasks of the backend begin there, and
    /// those of a process carry each of its messages.
    #[must_use]
    pub fn start(
        name: Arc<str>,
        config: BackendConfig,
        metrics: BackendMetrics,
        observer: Arc<dyn Observer>,
        shared: &Shared,
        runtime: Option<&Handle>,
    ) -> Self {
        metrics.set_state(BackendState::Starting);
        let inner = Arc::new(Inner {
            status: Mutex::new(Status::starting()),
            name,
            config,
            metrics,
            observer,
            endpoints: ArcSwap::default(),
        });
        let watch: Arc<dyn Observer> = Arc::new(EndpointWatch(Arc::downgrade(&inner)));
        let started = endpoints::configured(&inner.config).into_iter();
        let started = started.map(|(place, config)| {
            Endpoint::start(Start {
                name: Arc::clone(&inner.name),
                place,
                config,
                metrics: inner.metrics.clone(),
                observer: Arc::clone(&watch),
                shared,
                runtime,
            })
        });
        inner.endpoints.store(Arc::new(started.collect()));
        // What an endpoint said before it was among them.
        inner.look();
        Self { inner }
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

    /// How it is reached: `stdio`, `HTTP`, or `HTTP+SSE` where that is configured or was found out.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        let endpoints = self.inner.endpoints.load();
        endpoints.first().map_or("HTTP", Endpoint::transport)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.status.lock().clone()
    }

    /// What it offers, as last learned by the first endpoint that is ready, or else by the first
    /// that ever was. `None`: never learned.
    #[must_use]
    pub fn lists(&self) -> Option<Arc<Lists>> {
        let endpoints = self.inner.endpoints.load();
        let ready = |endpoint: &&Endpoint| endpoint.status().state == State::Ready;
        let mut in_order = endpoints.iter().filter(ready).chain(endpoints.iter());
        in_order.find_map(Endpoint::lists)
    }

    /// Makes a call that takes no [`Outcome::Arriving`], or of a method whose results never are; as
    /// [`Backend::reply`] else.
    ///
    /// # Errors
    /// As [`Backend::reply`].
    ///
    /// [`Outcome::Arriving`]: switchboard_protocol::call::Outcome::Arriving
    pub async fn call(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Answer, CallError> {
        match self.reply(call, rewrite, parent).await? {
            Reply::Whole(answer) => Ok(answer),
            Reply::Arriving(_) => Err(answer::not_whole(&self.inner.name).into()),
        }
    }

    /// Makes the call. Takes at most the backend's timeout, or what is left until the call's
    /// deadline, up to the last byte of a result that is still arriving; dropping the future, or
    /// that result, cancels the call in the way of the server's era. `parent` is the span that the
    /// attempt belongs to.
    ///
    /// # Errors
    /// The backend's own error, or the gateway's fault when no answer could be had.
    pub async fn reply(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Reply, CallError> {
        let endpoint = self.inner.endpoints.load().first().cloned();
        let Some(endpoint) = endpoint else {
            return Err(answer::not_connected(&self.inner.name, State::Unavailable, "").into());
        };
        endpoint.reply(call, rewrite, parent).await
    }

    /// Has the lists read again and waits until they are, at most 5 s.
    pub async fn refresh(&self) {
        let endpoints = self.inner.endpoints.load_full();
        join_all(endpoints.iter().map(Endpoint::refresh)).await;
    }

    /// Sets the resources whose changes are wanted, as the server names them.
    pub fn watch_resources(&self, uris: &BTreeSet<Arc<str>>) {
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
    pub async fn listen_to_tasks(&self, ids: &[String], sink: Arc<dyn Sink>) {
        let endpoint = self.inner.endpoints.load().first().cloned();
        if let Some(endpoint) = endpoint {
            endpoint.listen_to_tasks(ids, sink).await;
        }
    }

    /// Ends the backend and all that it owns: calls in flight fail, a process is ended with its
    /// whole group.
    pub async fn shut_down(&self) {
        let endpoints = self.inner.endpoints.load_full();
        join_all(endpoints.iter().map(Endpoint::shut_down)).await;
    }
}

impl Inner {
    /// Looks at all endpoints again, and tells whoever observes the backend.
    fn look(&self) {
        let endpoints = self.endpoints.load();
        let status = endpoints::together(endpoints.iter().map(Endpoint::status));
        self.metrics.set_state(match status.state {
            State::Starting => BackendState::Starting,
            State::Ready => BackendState::Ready,
            State::Degraded => BackendState::Degraded,
            State::Unavailable => BackendState::Unavailable,
            State::NeedsAuth => BackendState::NeedsAuth,
        });
        *self.status.lock() = status;
        self.observer.changed(&self.name);
    }
}

/// What the endpoints of a backend tell goes through here.
struct EndpointWatch(Weak<Inner>);

impl Observer for EndpointWatch {
    fn changed(&self, _backend: &str) {
        if let Some(backend) = self.0.upgrade() {
            backend.look();
        }
    }

    fn lists_changed(&self, name: &str, lists: ChangedLists) {
        if let Some(backend) = self.0.upgrade() {
            backend.observer.lists_changed(name, lists);
        }
    }

    fn resource_updated(&self, name: &str, uri: &str) {
        if let Some(backend) = self.0.upgrade() {
            backend.observer.resource_updated(name, uri);
        }
    }
}
