//! What is made of the answers: a set of places that never empties, and one line of the log for
//! each change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_protocol::network::embedded;
use tokio::sync::watch;

use super::{Place, Problem};
use crate::config::MAX_ENDPOINTS;

/// How many addresses that were left out the log names.
const MAX_TOLD: usize = 8;

/// A look that found nothing, with words for the log.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: Problem,
    pub(super) detail: String,
}

pub(super) struct Publisher {
    backend: Arc<str>,
    places: watch::Sender<Arc<[Place]>>,
    problem: watch::Sender<Option<Problem>>,
    /// Whether whoever knows the places is on this machine, and so may be the places.
    may_be_here: bool,
    /// The addresses that were left out last.
    refused: Mutex<Vec<SocketAddr>>,
}

type Receivers = (
    watch::Receiver<Arc<[Place]>>,
    watch::Receiver<Option<Problem>>,
);

impl Publisher {
    pub(super) fn new(backend: &str, may_be_here: bool) -> (Self, Receivers) {
        let (places, places_seen) = watch::channel(Arc::from([]));
        let (problem, problem_seen) = watch::channel(None);
        let publisher = Self {
            backend: backend.into(),
            places,
            problem,
            may_be_here,
            refused: Mutex::default(),
        };
        (publisher, (places_seen, problem_seen))
    }

    /// The places known last.
    pub(super) fn known(&self) -> Arc<[Place]> {
        Arc::clone(&self.places.borrow())
    }

    /// Publishes what a look came to: nothing new, if that is no place at all.
    pub(super) fn publish(&self, mut places: Vec<Place>) {
        let mut refused = Vec::new();
        places.retain(|place| {
            let is_fit = is_fit(place, self.may_be_here);
            if !is_fit {
                refused.push(place.address);
            }
            is_fit
        });
        self.tell_refused(refused);
        if places.is_empty() {
            self.report(&Failure {
                problem: Problem::Empty,
                detail: "an empty answer, or none of it is of use".to_owned(),
            });
            return;
        }
        self.replace(places);
        if self.set_problem(None) {
            tracing::info!(backend = &*self.backend, "endpoints are known again");
        }
    }

    /// Says that some of an answer is left out.
    pub(super) fn left_out(&self, why: &[String]) {
        tracing::warn!(
            backend = &*self.backend,
            ?why,
            "some instances are registered wrongly and left out"
        );
    }

    fn tell_refused(&self, mut refused: Vec<SocketAddr>) {
        refused.sort_unstable();
        refused.dedup();
        refused.truncate(MAX_ENDPOINTS);
        let mut told = self.refused.lock();
        if *told == refused {
            return;
        }
        if !refused.is_empty() {
            tracing::warn!(
                backend = &*self.backend,
                addresses = ?&refused[..refused.len().min(MAX_TOLD)],
                refused = refused.len(),
                "endpoints were found where no server of somebody else's can be, and are left out"
            );
        }
        *told = refused;
    }

    /// Publishes that a look failed.
    pub(super) fn report(&self, failure: &Failure) {
        let Failure { problem, detail } = failure;
        if self.set_problem(Some(*problem)) {
            tracing::warn!(
                backend = &*self.backend,
                %problem,
                detail,
                kept = self.places.borrow().len(),
                "can't find endpoints, keeping those known last"
            );
        }
    }

    fn replace(&self, mut places: Vec<Place>) {
        places.sort_unstable();
        places.dedup_by(|one, other| one.address == other.address && one.host == other.host);
        let are_too_many = places.len() > MAX_ENDPOINTS;
        places.truncate(MAX_ENDPOINTS);
        let (backend, endpoints) = (&*self.backend, places.len());
        let is_changed = self.places.send_if_modified(|known| {
            let is_changed = **known != *places;
            if is_changed {
                *known = places.into();
            }
            is_changed
        });
        if !is_changed {
            return;
        }
        tracing::info!(backend, endpoints, "found endpoints");
        if are_too_many {
            tracing::warn!(
                backend,
                MAX_ENDPOINTS,
                "too many endpoints, the last are left out"
            );
        }
    }

    /// Answers whether that is a change.
    fn set_problem(&self, new: Option<Problem>) -> bool {
        self.problem
            .send_if_modified(|problem| std::mem::replace(problem, new) != new)
    }
}

/// Whether a server may be called there. Whoever answers for a name, or registers with Consul, is not
/// the operator: it must not lead calls, and the credentials in them, to the gateway's own machine or
/// to the metadata service of a cloud.
fn is_fit(place: &Place, may_be_here: bool) -> bool {
    let address = place.address.ip().to_canonical();
    // Gateways between the two versions send on to the address that is in it.
    let within = match address {
        IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    let is_name_of_here = &*place.host == "localhost" || place.host.ends_with(".localhost");
    [Some(address), within]
        .into_iter()
        .flatten()
        .all(|address| {
            let is_nobodys = address.is_unspecified()
                || address.is_multicast()
                || match address {
                    IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
                    IpAddr::V6(address) => address.is_unicast_link_local(),
                };
            !is_nobodys && (!address.is_loopback() || may_be_here || is_name_of_here)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_where_servers_of_others_can_be() {
        let fits = |address: &str, host: &str, may_be_here| {
            let place = Place {
                priority: 0,
                address: SocketAddr::new(address.parse().unwrap(), 80),
                host: host.into(),
                weight: 1,
            };
            is_fit(&place, may_be_here)
        };
        for never in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
        ] {
            assert!(!fits(never, "mcp.test", true), "{never}");
            assert!(!fits(never, "localhost", true), "{never}");
        }
        for here in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(!fits(here, "mcp.test", false), "{here}");
            assert!(fits(here, "mcp.test", true), "{here}");
            assert!(fits(here, "localhost", false), "{here}");
        }
        for elsewhere in [
            "10.0.0.1",
            "192.168.0.1",
            "8.8.8.8",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert!(fits(elsewhere, "mcp.test", false), "{elsewhere}");
        }
    }

    #[test]
    fn what_was_left_out_is_told_once_and_nothing_else_is_lost() {
        let place = |address: &str| Place {
            priority: 0,
            address: address.parse().unwrap(),
            host: "mcp.test".into(),
            weight: 1,
        };
        let (publisher, (places, problem)) = Publisher::new("tested", false);
        publisher.publish(vec![place("127.0.0.1:80"), place("10.0.0.1:80")]);
        assert_eq!(**places.borrow(), [place("10.0.0.1:80")]);
        assert_eq!(*publisher.refused.lock(), [place("127.0.0.1:80").address]);
        publisher.publish(vec![place("127.0.0.1:80")]);
        assert_eq!(*problem.borrow(), Some(Problem::Empty));
        assert_eq!(**places.borrow(), [place("10.0.0.1:80")]);
    }
}
