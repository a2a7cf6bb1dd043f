//! Places for what is being fetched: some for all, and a share for each peer and for each host, so that
//! who names slow hosts keeps nobody else from going on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use switchboard_policy::facade::peers::network;

/// The most that are fetched at once.
pub(super) const AT_ONCE: usize = 32;
/// The most of these for one peer: an address, or the network of an IPv6 site.
pub(super) const FOR_PEER: usize = 8;
/// The most of these from one host.
pub(super) const FROM_HOST: usize = 4;

/// Which places are taken.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

/// At most [`AT_ONCE`] entries in each.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    peers: HashMap<IpAddr, usize>,
    hosts: HashMap<String, usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place<'p> {
    places: &'p Places,
    peer: IpAddr,
    host: String,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; `None` if there is none for this peer or this host.
    pub(super) fn take(&self, peer: IpAddr, host: &str) -> Option<Place<'_>> {
        let peer = network(peer);
        let mut taken = self.taken();
        let by_peer = taken.peers.get(&peer).copied().unwrap_or(0);
        let by_host = taken.hosts.get(host).copied().unwrap_or(0);
        if taken.all >= AT_ONCE || by_peer >= FOR_PEER || by_host >= FROM_HOST {
            return None;
        }
        taken.all += 1;
        taken.peers.insert(peer, by_peer + 1);
        taken.hosts.insert(host.to_owned(), by_host + 1);
        drop(taken);
        Some(Place {
            places: self,
            peer,
            host: host.to_owned(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(count) = taken.peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.peers.remove(&self.peer);
            }
        }
        if let Some(count) = taken.hosts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                taken.hosts.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{AT_ONCE, FOR_PEER, FROM_HOST, Places};

    fn ip(last: usize) -> IpAddr {
        format!("192.0.2.{last}").parse().unwrap()
    }

    #[test]
    fn one_peer_and_one_host_leave_room_for_others() {
        let places = Places::default();
        let slow: Vec<_> = (0..FOR_PEER)
            .map(|n| places.take(ip(1), &format!("slow{n}.example")).unwrap())
            .collect();
        assert!(places.take(ip(1), "other.example").is_none());
        assert!(places.take(ip(2), "other.example").is_some());
        drop(slow);

        let same: Vec<_> = (0..FROM_HOST)
            .map(|n| places.take(ip(n), "slow.example").unwrap())
            .collect();
        assert!(places.take(ip(9), "slow.example").is_none());
        assert!(places.take(ip(9), "other.example").is_some());
        drop(same);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.peers.is_empty() && taken.hosts.is_empty());
    }

    #[test]
    fn there_is_a_bound_in_all() {
        let places = Places::default();
        let take = |n: usize| places.take(ip(n), &format!("host{n}.example"));
        let all: Vec<_> = (0..AT_ONCE).map(|n| take(n).unwrap()).collect();
        assert!(take(AT_ONCE).is_none());
        drop(all);
        assert!(take(AT_ONCE).is_some());
    }
}
