//! How often a peer may ask the facade: nobody who asks has proved who he is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many peers are remembered. Beyond that all that come newly share one account.
const MOST: usize = 10_000;

/// How often those are looked for that can be forgotten, in milliseconds.
const SWEEP: u64 = 1000;

/// How many requests a peer may make at once, in parts of those of a minute.
const BURST: f64 = 0.25;

/// Who has asked how often. A bucket for each address, or for each network of an IPv6 site.
#[derive(Debug, Default)]
pub struct Peers {
    buckets: HashMap<IpAddr, Bucket>,
    /// When all were looked through last, in milliseconds since 1970.
    swept_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    /// In milliseconds since 1970.
    at: u64,
}

impl Peers {
    /// Takes one request of a peer that may make so many in a minute; `false` if that is too many.
    pub fn take(&mut self, peer: IpAddr, per_minute: u32, now_ms: u64) -> bool {
        let per_ms = f64::from(per_minute) / 60_000.0;
        let most = (f64::from(per_minute) * BURST).max(1.0);
        let filled = |bucket: &Bucket| {
            let since = now_ms.saturating_sub(bucket.at) as f64;
            (bucket.left + since * per_ms).min(most)
        };
        let mut network = network(peer);
        if self.buckets.len() >= MOST && !self.buckets.contains_key(&network) {
            // Who has asked nothing for a while need not be remembered.
            if now_ms >= self.swept_at + SWEEP {
                self.swept_at = now_ms;
                self.buckets.retain(|_, bucket| filled(bucket) < most);
            }
            if self.buckets.len() >= MOST {
                network = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let bucket = self.buckets.entry(network).or_insert(Bucket {
            left: most,
            at: now_ms,
        });
        let left = filled(bucket);
        let enough = left >= 1.0;
        *bucket = Bucket {
            left: if enough { left - 1.0 } else { left },
            at: now_ms,
        };
        enough
    }
}

/// What one site has for its own: an IPv4 address, or 64 bits of an IPv6 address.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{MOST, Peers};

    #[test]
    fn a_peer_that_asks_too_often_waits_and_others_do_not() {
        let mut peers = Peers::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let granted = (0..100).filter(|_| peers.take(one, 60, 0)).count();
        assert_eq!(granted, 15);
        assert!(peers.take(other, 60, 0));
        assert!(peers.take(one, 60, 1000));
        assert!(!peers.take(one, 60, 1000));
        assert!(peers.take(ip("2001:db8::1"), 1, 0));
        assert!(!peers.take(ip("2001:db8::2"), 1, 0), "the same site");
    }

    #[test]
    fn there_is_a_bound_to_what_is_remembered() {
        let mut peers = Peers::default();
        for n in 0..2 * MOST as u32 {
            peers.take(IpAddr::V4(Ipv4Addr::from_bits(n)), 60, 0);
        }
        assert!(peers.buckets.len() <= MOST + 1);
    }
}
