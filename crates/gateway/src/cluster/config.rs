//! How replicas find each other, and what they prove themselves with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use url::{Host, Url};

use crate::config::check_sealing_key;

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 8082;

/// The most secrets that are believed at once.
const MAX_SECRETS: usize = 4;

/// The longest address, in bytes: it is part of tokens, which travel in headers.
const MAX_ADDRESS: usize = 160;

/// Other gateways with the same configuration behind the same address: what one of them alone has,
/// the others pass on to it. [replicas.md](replicas.md) tells more.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// The address at which the other replicas reach this one, and nobody else has to: of each its
    /// own, such as `https://10.0.0.7:8082`. They always speak TLS, with certificates that they make
    /// themselves.
    #[schemars(with = "String", extend("format" = "cluster-address"))]
    pub advertise: ClusterAddress,
    /// What replicas prove to each other that they belong together: a secret of at least 32 bytes,
    /// the same for all. Of a list of up to 4 the first proves and all are believed: while it is
    /// exchanged for another.
    #[schemars(schema_with = "secrets_schema")]
    pub secret: ClusterSecrets,
    /// The address that is listened on for them: an IP address and a port. By default that of
    /// `advertise`, or where that has a name, its port on all addresses of the machine.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub listen: Option<SocketAddr>,
}

impl ClusterConfig {
    /// What is listened on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| self.advertise.socket())
    }
}

/// The address of a replica, as tokens have it: `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAddress {
    text: Arc<str>,
    socket: SocketAddr,
}

impl ClusterAddress {
    /// As tokens have it.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    fn socket(&self) -> SocketAddr {
        self.socket
    }
}

impl<'de> Deserialize<'de> for ClusterAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_cluster_address(&text).map_err(de::Error::custom)
    }
}

/// Reads the address at which other replicas reach this one.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_cluster_address(text: &str) -> Result<ClusterAddress, String> {
    let wrong = || "is not the address of a replica".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    if url.scheme() == "http" {
        return Err("begins with `http`, but replicas always speak TLS: write `https`".to_owned());
    }
    let is_bare = url.scheme() == "https"
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !is_bare || text.len() > MAX_ADDRESS {
        return Err(wrong());
    }
    // The usual port of HTTPS cannot be told from none by `Url`.
    let port = match explicit_port(text) {
        Some(port) => port,
        None => DEFAULT_PORT,
    };
    if port == 0 {
        return Err("is at port 0, where nobody can be reached".to_owned());
    }
    let host = url.host().ok_or_else(wrong)?;
    let ip = match host {
        Host::Domain(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Host::Ipv4(ip) => IpAddr::V4(ip),
        Host::Ipv6(ip) => IpAddr::V6(ip),
    };
    if ip.is_unspecified() && !matches!(host, Host::Domain(_)) {
        return Err("is no address at which others reach this one".to_owned());
    }
    Ok(ClusterAddress {
        text: format!("https://{host}:{port}").into(),
        socket: SocketAddr::new(ip, port),
    })
}

/// The port that is written in a URL.
fn explicit_port(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (before, port) = authority.rsplit_once(':')?;
    // Within the brackets of an IPv6 address.
    (!before.contains('[') || before.ends_with(']'))
        .then(|| port.parse().ok())
        .flatten()
}

/// The secrets of a cluster: the first proves, all are believed. At least one.
#[derive(Clone)]
pub struct ClusterSecrets(Vec<SecretString>);

impl ClusterSecrets {
    /// The bytes of each.
    pub(crate) fn expose(&self) -> impl Iterator<Item = &[u8]> {
        let secrets = self.0.iter();
        secrets.map(|secret| secret.expose_secret().as_bytes())
    }
}

impl fmt::Debug for ClusterSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterSecrets")
            .field(&self.0.len())
            .finish()
    }
}

// As with sealing keys: nobody who could measure how long this takes chooses what is compared.
impl PartialEq for ClusterSecrets {
    fn eq(&self, other: &Self) -> bool {
        self.expose().eq(other.expose())
    }
}

impl<'de> Deserialize<'de> for ClusterSecrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(SecretString),
            Several(Vec<SecretString>),
        }
        let secrets = match Written::deserialize(deserializer)? {
            Written::One(secret) => vec![secret],
            Written::Several(secrets) => secrets,
        };
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(de::Error::custom(format!(
                "is a list of {}; expected 1 to {MAX_SECRETS} secrets",
                secrets.len()
            )));
        }
        for secret in &secrets {
            check_sealing_key(secret.expose_secret()).map_err(de::Error::custom)?;
        }
        Ok(Self(secrets))
    }
}

fn secrets_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "writeOnly": true,
        "anyOf": [
            { "type": "string", "format": "sealing-key" },
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_SECRETS,
                "items": { "type": "string", "format": "sealing-key" },
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_host_and_a_port() {
        for (written, text, socket) in [
            (
                "https://10.0.0.7:8082",
                "https://10.0.0.7:8082",
                "10.0.0.7:8082",
            ),
            (
                "https://10.0.0.7:443/",
                "https://10.0.0.7:443",
                "10.0.0.7:443",
            ),
            (
                "https://[fd00::7]:9000",
                "https://[fd00::7]:9000",
                "[fd00::7]:9000",
            ),
            (
                "https://[fd00::7]",
                "https://[fd00::7]:8082",
                "[fd00::7]:8082",
            ),
            (
                "https://switchboard-0.replicas",
                "https://switchboard-0.replicas:8082",
                "0.0.0.0:8082",
            ),
        ] {
            let address = parse_cluster_address(written).expect(written);
            assert_eq!(&**address.text(), text);
            assert_eq!(address.socket().to_string(), socket);
        }
        for wrong in [
            "10.0.0.7:8082",
            "http://10.0.0.7:8082",
            "ftp://10.0.0.7:8082",
            "https://10.0.0.7:8082/mcp",
            "https://me@10.0.0.7:8082",
            "https://10.0.0.7:8082?x",
            "https://0.0.0.0:8082",
            "https://[::]:8082",
            "https://10.0.0.7:0",
            "https://",
        ] {
            assert!(parse_cluster_address(wrong).is_err(), "{wrong}");
        }
        let plain = parse_cluster_address("http://10.0.0.7:8082").expect_err("not encrypted");
        assert!(plain.contains("write `https`"), "{plain}");
    }

    #[test]
    fn secrets_are_one_or_a_few_and_none_that_anybody_guesses() {
        let parse = |json: &str| serde_json::from_str::<ClusterSecrets>(json);
        let good = "o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=";
        assert_eq!(
            parse(&format!("\"{good}\"")).expect("one").expose().count(),
            1
        );
        let two = parse(&format!("[\"{good}\",\"{good}x\"]")).expect("two");
        assert_eq!(two.expose().count(), 2);
        assert_eq!(format!("{two:?}"), "ClusterSecrets(2)");
        for wrong in [
            "\"short\"",
            "[]",
            "7",
            "\"changeme-changeme-changeme-changeme\"",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
