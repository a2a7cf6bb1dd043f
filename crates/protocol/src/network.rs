//! Whose network an address belongs to: what an address that a stranger named may not lead into.
//!
//! By the registries of special-purpose addresses of IANA (RFC 6890 and its successors), and the
//! metadata services of clouds. Texts are never read as addresses here: the parser of URLs turns each
//! spelling (octal, hexadecimal, one number) into the same address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose network an address belongs to, the more to be feared the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Everybody's: the public Internet.
    Public,
    /// The operator's, or this machine.
    Internal,
    /// Nobody's whom anybody has to ask: metadata services of clouds, link-local addresses, multicast,
    /// and what is reserved.
    Forbidden,
}

impl Network {
    /// That of this address; of one that has another within, the worse of both.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(within) => of_v6(address).max(of_v4(within)),
                None => of_v6(address),
            },
        }
    }
}

/// The address of the older version that leads to the same place: through 6to4 (RFC 3056) or NAT64
/// (RFC 6052).
#[must_use]
pub fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0x2002, high, low, ..] => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

fn of_v4(address: Ipv4Addr) -> Network {
    match address.octets() {
        // Metadata services of clouds, in what is else carriers' and everybody's.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Network::Forbidden,
        _ if address.is_loopback() || address.is_private() => Network::Internal,
        // Shared by carriers (RFC 6598), and benchmarks (RFC 2544).
        [100, 64..=127, ..] | [198, 18..=19, ..] => Network::Internal,
        _ if address.is_link_local() || address.is_multicast() || address.is_documentation() => {
            Network::Forbidden
        }
        // "This network", protocol assignments, relays of 6to4, and what is reserved.
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Network::Forbidden,
        _ => Network::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> Network {
    match address.segments() {
        // The metadata service of a cloud, in what is else the operator's.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Network::Forbidden,
        _ if address.is_loopback() || address.is_unique_local() => Network::Internal,
        // Site-local (RFC 3879).
        [high, ..] if high & 0xffc0 == 0xfec0 => Network::Internal,
        // What is behind NAT64 and 6to4 is judged by itself.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x2002, ..] => Network::Public,
        // Protocol assignments, among them Teredo, and what is for documents.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => Network::Forbidden,
        [0x3fff, second, ..] if second < 0x1000 => Network::Forbidden,
        // Nothing else is global unicast: not link-local nor multicast addresses, nor what has an older
        // address within in a way of old.
        [first, ..] if first & 0xe000 == 0x2000 => Network::Public,
        _ => Network::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Network {
        Network::of(address.parse().expect(address))
    }

    #[test]
    fn each_address_is_of_its_network() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "198.51.101.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(of(public), Network::Public, "{public}");
        }
        for internal in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00::1",
            "fec0::1",
        ] {
            assert_eq!(of(internal), Network::Internal, "{internal}");
        }
        for forbidden in [
            "0.0.0.0",
            "100.100.100.200",
            "168.63.129.16",
            "169.254.169.254",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "::ffff:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:a9fe:a9fe::",
            "2001:100::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert_eq!(of(forbidden), Network::Forbidden, "{forbidden}");
        }
    }
}
