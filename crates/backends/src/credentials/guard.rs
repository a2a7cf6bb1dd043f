//! Where an address may not lead that a server or a document names: into networks that are the
//! operator's own, unless the operator put the server there too.

use std::net::SocketAddr;

use switchboard_protocol::network::Network;
use tokio::net::lookup_host;
use url::{Host, Url};

/// Where to connect to for this URL, which `base`, the operator's own, led to. The address that was
/// looked at is the one to use: a name may lead elsewhere the next time.
///
/// # Errors
/// Says why nobody may connect there, for operators.
pub(super) async fn address(url: &Url, base: &Url) -> Result<Option<SocketAddr>, String> {
    if url.origin() == base.origin() {
        return Ok(None);
    }
    let addresses = addresses(url).await?;
    let worst = worst(&addresses);
    let is_allowed = match worst {
        Network::Public => true,
        Network::Internal => worst_of(base).await == Some(Network::Internal),
        Network::Forbidden => false,
    };
    match (addresses.first(), is_allowed) {
        (Some(first), true) => Ok(Some(*first)),
        (None, _) => Err(format!("{} leads nowhere", shown(url))),
        (Some(first), false) => Err(format!(
            "{} leads to {}, where what is found out may not lead",
            shown(url),
            first.ip()
        )),
    }
}

async fn worst_of(url: &Url) -> Option<Network> {
    let addresses = addresses(url).await.ok()?;
    (!addresses.is_empty()).then(|| worst(&addresses))
}

fn worst(addresses: &[SocketAddr]) -> Network {
    let networks = addresses.iter().map(|address| Network::of(address.ip()));
    networks.max().unwrap_or(Network::Public)
}

async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, String> {
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(vec![SocketAddr::from((address, port))]),
        Some(Host::Ipv6(address)) => Ok(vec![SocketAddr::from((address, port))]),
        Some(Host::Domain(name)) => match lookup_host((name, port)).await {
            Ok(found) => Ok(found.collect()),
            Err(error) => Err(format!("{} is not found: {error}", shown(url))),
        },
        None => Err("its URL has no host".to_owned()),
    }
}

/// Scheme and authority, which is all that a log needs.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[tokio::test]
    async fn what_is_found_out_does_not_lead_inside() {
        let public = url("https://8.8.8.8/mcp");
        for inside in [
            "https://127.0.0.1/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://10.1.2.3/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://169.254.169.254/",
            "https://0xa9fea9fe/",
            "https://0.0.0.0/",
            "https://255.255.255.255/",
            "https://224.0.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[64:ff9b:1::1]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[fd00::1]/",
            "https://[fd00:ec2::254]/",
            "https://localhost/",
        ] {
            let refused = address(&url(inside), &public).await;
            assert!(refused.is_err(), "{inside}: {refused:?}");
        }
        let elsewhere = address(&url("https://9.9.9.9/"), &public).await;
        assert!(matches!(elsewhere, Ok(Some(_))), "{elsewhere:?}");
    }

    #[tokio::test]
    async fn a_server_inside_may_name_another_inside_but_no_metadata_service() {
        let inside = url("http://127.0.0.1:8080/mcp");
        let beside = address(&url("http://127.0.0.1:9090/token"), &inside).await;
        assert!(matches!(beside, Ok(Some(_))), "{beside:?}");
        for never in ["http://169.254.169.254/", "http://[fe80::1]/"] {
            assert!(address(&url(never), &inside).await.is_err(), "{never}");
        }
        let same = address(&url("http://127.0.0.1:8080/other"), &inside).await;
        assert_eq!(same, Ok(None));
    }
}
