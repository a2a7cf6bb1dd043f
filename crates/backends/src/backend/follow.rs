//! Endpoints that come and go while calls are made: what [`Discovery`] finds becomes the backend's
//! set.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Backend, Inner};
use crate::Shared;
use crate::config::BackendConfig;
use crate::discovery::{self, Discovery};
use crate::endpoint::{Endpoint, Place, Start};
use crate::endpoints;
use crate::list_memory::ListMemory;
use crate::status::Observer;

/// How often an endpoint that leaves is asked whether anything is left in it. The first time is long
/// after the last new call was sent there.
const LOOK: Duration = Duration::from_millis(250);

/// What endpoints are started with beside what the backend has.
pub(super) struct Starter {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) shared: Shared,
    pub(super) list_memory: ListMemory,
    pub(super) runtime: Option<Handle>,
    /// Those that have to be ready first. Not held: one that a reload has replaced is to end.
    pub(super) dependencies: Vec<Weak<Inner>>,
}

impl Starter {
    pub(super) fn start(&self, backend: &Inner, place: Place, config: BackendConfig) -> Endpoint {
        let dependencies = self.dependencies.iter().filter_map(Weak::upgrade);
        let dependencies: Vec<_> = dependencies.map(|inner| Backend { inner }).collect();
        Endpoint::start(Start {
            name: Arc::clone(&backend.name),
            place,
            config,
            metrics: backend.metrics.clone(),
            observer: Arc::clone(&self.observer),
            shared: &self.shared,
            list_memory: self.list_memory.clone(),
            runtime: self.runtime.as_ref(),
            dependencies: &dependencies,
        })
    }
}

/// Keeps the endpoints of a backend those that are found, until it is gone.
pub(super) async fn follow(backend: Weak<Inner>, discovery: Discovery, starter: Starter) {
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
        this.look();
    }
}

impl Inner {
    /// Makes these places the endpoints: those that are new are started, those that stay are as
    /// they were, those that are gone end when nothing is left in them.
    fn replace(&self, this: &Weak<Self>, found: &[discovery::Place], starter: &Starter) {
        let current = self.endpoints.load_full();
        let mut next: Vec<Endpoint> = Vec::with_capacity(found.len());
        // Held until they are in the set, so that none misses a change of what is watched.
        let watched = self.watched.lock();
        for place in found {
            let (place, config) = endpoints::found(&self.config, place);
            let known = current.iter().find(|known| known.key() == place.key);
            if let Some(known) = known {
                known.set_weight(place.weight);
                next.push(known.clone());
            } else {
                let endpoint = starter.start(self, place, config);
                endpoint.watch_resources(&watched);
                next.push(endpoint);
            }
        }
        let stays = |endpoint: &&Endpoint| next.iter().any(|next| next.key() == endpoint.key());
        let gone: Vec<_> = current.iter().filter(|known| !stays(known)).collect();
        let longest = self
            .config
            .longest_timeout()
            .max(starter.shared.lot.timeout());
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
        sleep(LOOK).await;
        while !endpoint.is_idle() {
            sleep(LOOK).await;
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
