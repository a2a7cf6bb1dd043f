//! Where the endpoints of a backend are, when a name server or Consul knows.
//!
//! One task looks them up, again and again, and publishes what it finds. What fails or is empty
//! changes nothing that was known: to lose the name server must not be to lose the servers.

mod consul;
mod dns;
mod publisher;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Host;

use self::consul::Consul;
use self::dns::{Dns, Names};
use self::publisher::Publisher;
use crate::config::{DiscoveryConfig, DiscoverySource};

/// A place where a backend runs. Places are in the order of their fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Places with a lower number come first; others are for when these are not there (RFC 2782).
    pub(crate) priority: u16,
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// The name by which the address was found, without a dot at the end; the address itself where
    /// there was no name.
    pub(crate) host: Arc<str>,
    /// How much it can do, compared with the others of its priority; at least 1.
    pub(crate) weight: u32,
}

/// Why it is not known where a backend is, or whether that is still true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The answer names no place.
    #[error("no endpoint is registered under the configured name")]
    Empty,
    /// There was no answer, or it says that there is a fault.
    #[error("the name server or Consul that knows its endpoints does not answer")]
    Unanswered,
    /// Consul answered with an error.
    #[error("Consul answered with HTTP status {0}")]
    Refused(u16),
    /// The answer is none, or too large.
    #[error("Consul does not answer as it should")]
    Malformed,
}

/// The places of one backend, kept up to date by a task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    places: watch::Receiver<Arc<[Place]>>,
    problem: watch::Receiver<Option<Problem>>,
    _end_when_dropped: DropGuard,
}

impl Discovery {
    /// Starts to look for the places of the backend of this name. None is known at first.
    pub(crate) fn start(backend: &str, config: &DiscoveryConfig, tasks: &TaskTracker) -> Self {
        let (publisher, (places, problem)) = Publisher::new(backend, is_here(config));
        let names = Names::new(config.resolver);
        let end = CancellationToken::new();
        let interval = config.interval;
        let looking = match &config.source {
            DiscoverySource::Dns { host, port } => Dns::addresses(names, host, *port)
                .keep_looking(interval, publisher)
                .boxed(),
            DiscoverySource::Srv { name } => Dns::services(names, name)
                .keep_looking(interval, publisher)
                .boxed(),
            DiscoverySource::Consul(consul) => Consul::new(names, consul, interval, tasks)
                .keep_looking(publisher)
                .boxed(),
        };
        tasks.spawn(end.clone().run_until_cancelled_owned(looking));
        Self {
            places,
            problem,
            _end_when_dropped: end.drop_guard(),
        }
    }

    /// The places known last, in order; at most [`MAX_ENDPOINTS`](crate::config::MAX_ENDPOINTS).
    pub(crate) fn places(&self) -> watch::Receiver<Arc<[Place]>> {
        self.places.clone()
    }

    /// What is wrong with the last look; `None` while all is well, and before the first.
    pub(crate) fn problem(&self) -> watch::Receiver<Option<Problem>> {
        self.problem.clone()
    }
}

/// Whether whoever is asked for the places is on this machine. The name servers of the system often
/// are, and yet ask others.
fn is_here(config: &DiscoveryConfig) -> bool {
    match &config.source {
        DiscoverySource::Dns { .. } | DiscoverySource::Srv { .. } => config
            .resolver
            .is_some_and(|resolver| resolver.ip().to_canonical().is_loopback()),
        DiscoverySource::Consul(consul) => match consul.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        },
    }
}

#[cfg(test)]
mod tests;
