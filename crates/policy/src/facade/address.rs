//! Which addresses the facade may fetch documents from: those of the public Internet alone, in
//! whatever spelling they come.
//!
//! Names are resolved once, and only what is let through here is connected to; so a name cannot lead
//! somewhere else the second time. Texts are never read as addresses here: the parser of URLs turns
//! each spelling (octal, hexadecimal, one number) into the same address.

use std::net::IpAddr;

use switchboard_protocol::network::Network;

/// Whether this is an address of the public Internet.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    Network::of(ip) == Network::Public
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use url::{Host, Url};

    use super::is_public;

    fn of(url: &str) -> Option<IpAddr> {
        match Url::parse(url).ok()?.host()? {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    #[test]
    fn nothing_but_the_public_internet_is_reached_in_any_spelling() {
        for url in [
            "https://127.0.0.1/",
            "https://0177.0.0.1/",
            "https://0x7f.0.0.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://017700000001/",
            "https://127.1/",
            "https://0/",
            "https://0.0.0.0/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.0.1/",
            "https://169.254.169.254/",
            "https://0xa9fea9fe/",
            "https://100.64.0.1/",
            "https://100.100.100.200/",
            "https://168.63.129.16/",
            "https://192.0.0.192/",
            "https://192.0.2.1/",
            "https://192.88.99.1/",
            "https://198.18.0.1/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://１２７.０.０.１/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[64:ff9b:1::1]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://[2001:0:a9fe:a9fe::]/",
            "https://[2001:db8::1]/",
            "https://[3fff::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
        ] {
            let ip = of(url).expect(url);
            assert!(!is_public(ip), "{url} is {ip}");
        }
        for url in [
            "https://1.1.1.1/",
            "https://198.51.101.1/",
            "https://[2606:4700::1111]/",
            "https://[64:ff9b::101:101]/",
            "https://[::ffff:1.1.1.1]/",
        ] {
            assert!(is_public(of(url).expect(url)), "{url}");
        }
    }
}
