//! Endpoints that come and go while calls are made: what [`Discovery`] finds becomes the backend's
//! set.

use std::sync::{Arc, Weak};
use std::time::Duration;

use switchboard_protocol::credentials::Credentials;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Backend, BackendContext, Inner};
use crate::config::BackendConfig;
use crate::discovery::{self, Discovery};
use crate::endpoint::{Endpoint, EndpointSpec};
use crate::endpoints;
use crate::list_memory::ListMemory;

/// How often an endpoint that leaves is asked whether anything is left in it. The first time is long
/// after the last new call was sent there.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What endpoints are started with beside what the backend has.
pub(super) struct EndpointStarter {
    /// The backend's, but that its own watch is the observer.
    pub(super) context: BackendContext,
    /// What the lists of all of them may take.
    pub(super) list_memory: ListMemory,
    /// What all of them are shown.
    pub(super) credentials: Option<Arc<dyn Credentials>>,
    /// Those that have to be ready first. Not held: one that a reload has replaced is to end.
    pub(super) dependencies: Vec<Weak<Inner>>,
}

impl EndpointStarter {
    pub(super) fn start(
        &self,
        backend: &Inner,
        spec: EndpointSpec,
        config: BackendConfig,
    ) -> Endpoint {
        let dependencies = self.dependencies.iter().filter_map(Weak::upgrade);
        let dependencies = dependencies.map(|inner| Backend { inner }).collect();
        let name = Arc::clone(&backend.name);
        let lists = self.list_memory.clone();
        let credentials = self.credentials.clone();
        let context = &self.context;
        Endpoint::start(
            name,
            spec,
            config,
            context,
            lists,
            credentials,
            dependencies,
        )
    }
}

/// Keeps the endpoints of a backend those that are found, until it is gone.
pub(super) async fn apply_discovery(
    backend: Weak<Inner>,
    discovery: Discovery,
    starter: EndpointStarter,
) {
    let (mut places, mut problem) = (discovery.places(), discovery.problem());
    loop {
        let changed = tokio::select! {
            changed = places.changed() => changed,
            changed = problem.changed() => changed,
        };
        let (Ok(()), Some(this)) = (changed, backend.upgrade()) else {
            return;
        };
        let found = Arc::clone(&places.borrow_and_update());
        this.replace(&backend, &found, &starter);
        this.refresh_status();
    }
}

impl Inner {
    /// Makes these places the endpoints: those that are new are started, those that stay are as
    /// they were, those that are gone end when nothing is left in them.
    fn replace(&self, this: &Weak<Self>, found: &[discovery::Place], starter: &EndpointStarter) {
        let current = self.endpoints.load_full();
        let mut next: Vec<Endpoint> = Vec::with_capacity(found.len());
        // Held until they are in the set, so that none misses a change of what is watched.
        let watched = self.watched.lock();
        for place in found {
            let (spec, config) = endpoints::found(&self.config, place);
            let known = current.iter().find(|known| known.key() == spec.key);
            if let Some(known) = known {
                known.set_weight(spec.weight);
                next.push(known.clone());
            } else {
                let endpoint = starter.start(self, spec, config);
                endpoint.watch_resources(&watched);
                next.push(endpoint);
            }
        }
        let stays = |endpoint: &&Endpoint| next.iter().any(|next| next.key() == endpoint.key());
        let gone: Vec<_> = current.iter().filter(|known| !stays(known)).collect();
        let longest = self
            .config
            .longest_timeout()
            .max(starter.context.shared.lot.timeout());
        self.leaving.lock().extend(gone.iter().copied().cloned());
        self.endpoints.store(Arc::new(next));
        for endpoint in gone {
            let leaving = leave(
                Weak::clone(this),
                endpoint.clone(),
                longest,
                self.stop.clone(),
            );
            self.tasks.spawn(leaving);
        }
    }
}

/// Ends an endpoint when nothing is left in it, or the longest that a call may take or wait for its
/// client is over.
async fn leave(
    backend: Weak<Inner>,
    endpoint: Endpoint,
    longest: Duration,
    stop: CancellationToken,
) {
    let idle = async {
        sleep(POLL_INTERVAL).await;
        while !endpoint.is_idle() {
            sleep(POLL_INTERVAL).await;
        }
    };
    // However the wait ended, the endpoint does too.
    let _ = stop.run_until_cancelled(timeout(longest, idle)).await;
    if let Some(backend) = backend.upgrade() {
        let mut leaving = backend.leaving.lock();
        leaving.retain(|leaving| !leaving.is(&endpoint));
    }
    endpoint.shut_down().await;
}
