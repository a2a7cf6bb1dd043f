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
use crate::status::Observer;

/// How often an endpoint that is gone is asked whether it still has calls. The first time is long
/// after the last call was sent there.
const LOOK: Duration = Duration::from_millis(250);

/// What endpoints are started with beside what the backend has.
pub(super) struct Starter {
    pub(super) observer: Arc<dyn Observer>,
    pub(super) shared: Shared,
    pub(super) runtime: Option<Handle>,
    /// Those that have to be ready first.
    pub(super) dependencies: Vec<Backend>,
}

impl Starter {
    pub(super) fn start(&self, backend: &Inner, place: Place, config: BackendConfig) -> Endpoint {
        Endpoint::start(Start {
            name: Arc::clone(&backend.name),
            place,
            config,
            metrics: backend.metrics.clone(),
            observer: Arc::clone(&self.observer),
            shared: &self.shared,
            runtime: self.runtime.as_ref(),
            dependencies: &self.dependencies,
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
        let (Ok(()), Some(backend)) = (changed, backend.upgrade()) else {
            return;
        };
        let found = Arc::clone(&places.borrow_and_update());
        backend.replace(&found, &starter);
        backend.look();
    }
}

impl Inner {
    /// Makes these places the endpoints: those that are new are started, those that stay are as
    /// they were, those that are gone end with their last call.
    fn replace(&self, found: &[discovery::Place], starter: &Starter) {
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
        let longest = self.config.longest_timeout();
        for endpoint in gone {
            let retiring = retire(endpoint.clone(), longest, self.stop.clone());
            self.tasks.spawn(retiring);
        }
        self.endpoints.store(Arc::new(next));
    }
}

/// Ends an endpoint when its last call has ended, or the longest that a call may take is over.
async fn retire(endpoint: Endpoint, longest: Duration, stop: CancellationToken) {
    let idle = async {
        sleep(LOOK).await;
        while !endpoint.is_idle() {
            sleep(LOOK).await;
        }
    };
    // However the wait ended, the endpoint does too.
    let _ = stop.run_until_cancelled(timeout(longest, idle)).await;
    endpoint.shut_down().await;
}
