//! Places that the DNS knows: addresses of a name, or of the targets of its SRV records.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record};
use tokio::time::{sleep, timeout};

use super::publisher::{Failure, Publisher};
use super::{Place, Problem};
use crate::config::MAX_ENDPOINTS;
use crate::pause::Pause;

/// How long one look at a name and all that it leads to may take.
pub(super) const MAX_LOOK: Duration = Duration::from_secs(30);
/// A name is not looked up again sooner than this, whatever the TTL of its records.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// How much is looked at: one more than is taken, so that it is seen that some are left out.
const ENOUGH: usize = MAX_ENDPOINTS + 1;
/// How many names of targets are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;
/// By how much the time to the next look is shortened at random, so that gateways that began
/// together do not ask together for ever.
const JITTER: f64 = 0.1;

/// A name in the DNS that leads to places.
pub(super) struct Dns {
    names: Names,
    wanted: Wanted,
}

enum Wanted {
    /// The addresses of the name, each with this port.
    Addresses { host: Arc<str>, port: u16 },
    /// The addresses of the targets of its SRV records.
    Services { name: String },
}

/// What was found, and for how long that is valid.
type Found<T> = Result<(Vec<T>, Duration), NetError>;

impl Dns {
    pub(super) fn addresses(names: Names, host: &str, port: u16) -> Self {
        let host = host.trim_end_matches('.').into();
        Self {
            names,
            wanted: Wanted::Addresses { host, port },
        }
    }

    pub(super) fn services(names: Names, name: &str) -> Self {
        Self {
            names,
            wanted: Wanted::Services {
                name: name.to_owned(),
            },
        }
    }

    /// Looks and publishes for ever.
    pub(super) async fn keep_looking(mut self, interval: Duration, publisher: Publisher) {
        let mut pause = Pause::default();
        loop {
            let looked = timeout(MAX_LOOK, self.look(&publisher.known())).await;
            let next = match looked.unwrap_or(Err(NetError::Timeout)) {
                Ok((places, ttl)) => {
                    publisher.publish(places);
                    pause = Pause::default();
                    ttl.max(LEAST_TTL)
                }
                Err(error) => {
                    publisher.report(&failure(&error));
                    self.names.start_anew();
                    pause.next()
                }
            };
            sleep(next.min(interval).mul_f64(1.0 - JITTER * fastrand::f64())).await;
        }
    }

    async fn look(&mut self, known: &[Place]) -> Found<Place> {
        match &self.wanted {
            Wanted::Addresses { host, port } => {
                let (addresses, ttl) = self.names.addresses(host).await?;
                let place = |address| Place {
                    priority: 0,
                    address: SocketAddr::new(address, *port),
                    host: Arc::clone(host),
                    weight: 1,
                };
                Ok((addresses.into_iter().map(place).collect(), ttl))
            }
            Wanted::Services { name } => {
                let (records, ttl) = self.names.services(name).await?;
                let targets = records.into_iter().map(Target::from).collect();
                let (places, addresses_ttl) = self.names.places(targets, known).await?;
                Ok((places, ttl.min(addresses_ttl)))
            }
        }
    }
}

fn failure(error: &NetError) -> Failure {
    let problem = if error.is_no_records_found() {
        Problem::Empty
    } else {
        Problem::Unanswered
    };
    Failure {
        problem,
        detail: error.to_string(),
    }
}

/// A host, by name or by address, and what else is known of a place there. Targets are in the order
/// of their fields.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) weight: u32,
}

impl From<SRV> for Target {
    fn from(record: SRV) -> Self {
        let host = record.target.to_ascii();
        Self {
            host: host.trim_end_matches('.').into(),
            port: record.port,
            // One with 0 is to have "a very small chance of being selected" (RFC 2782), not none.
            weight: u32::from(record.weight).max(1),
            priority: record.priority,
        }
    }
}

impl Target {
    fn at(&self, address: IpAddr) -> Place {
        Place {
            priority: self.priority,
            address: SocketAddr::new(address, self.port),
            host: Arc::clone(&self.host),
            weight: self.weight,
        }
    }

    fn is_at(&self, place: &Place) -> bool {
        place.host == self.host && place.address.port() == self.port
    }
}

/// The name servers, and what asks them. Nothing is cached: who asks knows how long an answer is
/// valid.
pub(super) struct Names {
    server: Option<SocketAddr>,
    resolver: Option<TokioResolver>,
}

impl Names {
    /// This name server, or those of the system.
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        Self {
            server,
            resolver: None,
        }
    }

    /// Reads the system's configuration again before the next question: that it changed may be why
    /// there was no answer.
    pub(super) fn start_anew(&mut self) {
        self.resolver = None;
    }

    /// The places of these targets, about as many as there may be. If one cannot be looked up, its
    /// places known last stand in.
    ///
    /// # Errors
    ///
    /// If no place is found because one could not be looked up.
    pub(super) async fn places(
        &mut self,
        mut targets: Vec<Target>,
        known: &[Place],
    ) -> Found<Place> {
        // In order, as places are: which ones are left out must not change from look to look.
        targets.sort_unstable();
        targets.dedup_by(|one, other| one.host == other.host && one.port == other.port);
        targets.truncate(ENOUGH);
        let resolver = self.resolver()?;
        let mut lookups = stream::iter(targets)
            .map(|target| async move {
                let found = lookup_addresses(resolver, &target.host).await;
                (target, found)
            })
            .buffered(LOOKUPS_AT_ONCE);
        let (mut places, mut least_ttl, mut failed) = (Vec::new(), Duration::MAX, None);
        while let Some((target, found)) = lookups.next().await {
            match found {
                Ok((addresses, ttl)) => {
                    least_ttl = least_ttl.min(ttl);
                    places.extend(addresses.into_iter().map(|address| target.at(address)));
                }
                Err(error) if error.is_no_records_found() => {}
                Err(error) => {
                    let former = known.iter().filter(|place| target.is_at(place));
                    places.extend(former.map(|place| target.at(place.address.ip())));
                    failed = Some(error);
                }
            }
            if places.len() >= ENOUGH {
                places.truncate(ENOUGH);
                break;
            }
        }
        match failed {
            Some(error) if places.is_empty() => Err(error),
            _ => Ok((places, least_ttl)),
        }
    }

    async fn addresses(&mut self, host: &str) -> Found<IpAddr> {
        lookup_addresses(self.resolver()?, host).await
    }

    async fn services(&mut self, name: &str) -> Found<SRV> {
        let lookup = self.resolver()?.srv_lookup(name).await?;
        let service = |record: &Record| match &record.data {
            // "A Target of "." means that the service is decidedly not available" (RFC 2782).
            RData::SRV(service) if !service.target.is_root() && service.port > 0 => {
                Some(service.clone())
            }
            _ => None,
        };
        let services = lookup.answers().iter().filter_map(service).collect();
        Ok((services, least_ttl(lookup.answers())))
    }

    fn resolver(&mut self) -> Result<&TokioResolver, NetError> {
        if self.resolver.is_none() {
            self.resolver = Some(build_resolver(self.server)?);
        }
        self.resolver.as_ref().ok_or(NetError::NoConnections)
    }
}

fn build_resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        Some(server) => {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio()?,
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

async fn lookup_addresses(resolver: &TokioResolver, host: &str) -> Found<IpAddr> {
    let lookup = resolver.lookup_ip(host).await?;
    let mut addresses: Vec<_> = lookup.iter().collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ENOUGH);
    Ok((addresses, least_ttl(lookup.as_lookup().answers())))
}

fn least_ttl(records: &[Record]) -> Duration {
    let least = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(least.unwrap_or_default().into())
}
