//! Where the endpoints of a backend are found: its `discovery`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use http::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{duration, parse_header_value, parse_url};

/// The default of [`DiscoveryConfig::interval`].
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Where the endpoints of a backend are found, and how often it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Who knows them.
    pub source: DiscoverySource,
    /// The longest time between two looks at a name, and that an unchanged answer of Consul takes.
    pub interval: Duration,
    /// The name server to ask; by default those of the system.
    pub resolver: Option<SocketAddr>,
}

/// Who knows the endpoints of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverySource {
    /// A name with addresses: A and AAAA records.
    Dns {
        /// The name.
        host: String,
        /// The port, the same at each address.
        port: u16,
    },
    /// A name with SRV records.
    Srv {
        /// The name.
        name: String,
    },
    /// The health API of Consul.
    Consul(ConsulConfig),
}

/// A service in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulConfig {
    /// The address of an agent or a server.
    pub url: Url,
    /// The name of the service.
    pub service: String,
    /// A tag that its instances must have.
    pub tag: Option<String>,
    /// An ACL token; marked sensitive.
    pub token: Option<HeaderValue>,
}

/// Where the endpoints are found: exactly one of `dns`, `srv` and `consul`. Endpoints come and go
/// while calls are made; an answer that fails or is empty changes nothing.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DiscoveryConfig")]
struct DiscoveryFile {
    /// A name and a port: each A and AAAA record of the name is an endpoint. A headless service of
    /// Kubernetes is such a name.
    #[schemars(extend("format" = "name-and-port"))]
    dns: Option<String>,
    /// A name with SRV records, such as `_mcp._tcp.example.com`: each address of each target is an
    /// endpoint, with the record's port, weight and priority.
    #[schemars(extend("format" = "dns-name"))]
    srv: Option<String>,
    /// A service in Consul: each instance whose checks pass is an endpoint.
    consul: Option<ConsulFile>,
    /// The longest time between two looks at a name, which a shorter TTL shortens to a second at
    /// least, and that Consul may take to say that nothing changed: a duration, from 1 ms to 1 day.
    #[serde(default = "default_interval", with = "duration")]
    #[schemars(schema_with = "duration::positive_schema")]
    interval: Duration,
    /// The name server to ask, an IP address and a port; by default those of the system
    /// (`/etc/resolv.conf`).
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    resolver: Option<SocketAddr>,
}

/// A service in Consul.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConsulConfig")]
struct ConsulFile {
    /// The address of an agent or a server, such as `http://127.0.0.1:8500`.
    #[schemars(extend("format" = "http-url"))]
    url: String,
    /// The name of the service.
    #[schemars(length(min = 1))]
    service: String,
    /// A tag that its instances must have.
    tag: Option<String>,
    /// An ACL token that may read the service and its nodes.
    #[schemars(
        with = "Option<String>",
        extend("writeOnly" = true, "format" = "header-value")
    )]
    token: Option<SecretString>,
}

impl<'de> Deserialize<'de> for DiscoveryConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = DiscoveryFile::deserialize(deserializer)?;
        Self::try_from(file).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DiscoveryConfig {
    fn schema_name() -> Cow<'static, str> {
        DiscoveryFile::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        DiscoveryFile::json_schema(generator)
    }
}

fn default_interval() -> Duration {
    DEFAULT_INTERVAL
}

/// What is wrong with a `discovery`. No message repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryConfigError {
    /// Nobody to ask, or too many.
    #[error("has {0} of `dns`, `srv` and `consul`; expected exactly one")]
    NotOneSource(usize),
    /// A field whose text is not of its form.
    #[error("`{field}` {problem}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl TryFrom<DiscoveryFile> for DiscoveryConfig {
    type Error = DiscoveryConfigError;

    fn try_from(file: DiscoveryFile) -> Result<Self, DiscoveryConfigError> {
        duration::check_positive(file.interval).map_err(malformed("interval"))?;
        let source = match (file.dns, file.srv, file.consul) {
            (Some(dns), None, None) => {
                let (host, port) = parse_name_and_port(&dns).map_err(malformed("dns"))?;
                DiscoverySource::Dns { host, port }
            }
            (None, Some(name), None) => {
                check_dns_name(&name).map_err(malformed("srv"))?;
                DiscoverySource::Srv { name }
            }
            (None, None, Some(consul)) => DiscoverySource::Consul(consul.try_into()?),
            (dns, srv, consul) => {
                let present = [dns.is_some(), srv.is_some(), consul.is_some()];
                let count = present.into_iter().filter(|present| *present).count();
                return Err(DiscoveryConfigError::NotOneSource(count));
            }
        };
        Ok(Self {
            source,
            interval: file.interval,
            resolver: file.resolver,
        })
    }
}

impl TryFrom<ConsulFile> for ConsulConfig {
    type Error = DiscoveryConfigError;

    fn try_from(file: ConsulFile) -> Result<Self, DiscoveryConfigError> {
        if file.service.is_empty() {
            return Err(malformed("service")("is empty".to_owned()));
        }
        let token = file.token.as_ref().map(ExposeSecret::expose_secret);
        Ok(Self {
            url: parse_url(&file.url).map_err(malformed("url"))?,
            service: file.service,
            tag: file.tag,
            token: token
                .map(parse_header_value)
                .transpose()
                .map_err(malformed("token"))?,
        })
    }
}

fn malformed(field: &'static str) -> impl Fn(String) -> DiscoveryConfigError {
    move |problem| DiscoveryConfigError::Malformed { field, problem }
}

/// Reads a name and a port, such as `mcp.example.com:8080`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_name_and_port(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text
        .rsplit_once(':')
        .ok_or_else(|| "has no port".to_owned())?;
    check_dns_name(name)?;
    match port.parse() {
        Ok(port) if port > 0 => Ok((name.to_owned(), port)),
        _ => Err("has a port that is not from 1 to 65535".to_owned()),
    }
}

/// Checks the name of records in the DNS.
///
/// # Errors
///
/// Says that it is none.
pub fn check_dns_name(name: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    if name.bytes().all(allowed) && Name::from_ascii(name).is_ok_and(|name| name.num_labels() > 0) {
        return Ok(());
    }
    Err("is not a name in the DNS".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<DiscoveryConfig, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn each_source_is_read() {
        let config = read(json!({ "dns": "mcp.example.com:8080" })).unwrap();
        assert_eq!(config.interval, DEFAULT_INTERVAL);
        assert!(
            matches!(config.source, DiscoverySource::Dns { host, port: 8080 } if host == "mcp.example.com")
        );
        let config = read(json!({ "srv": "_mcp._tcp.example.com", "resolver": "127.0.0.1:53" }));
        assert!(matches!(
            config.unwrap().source,
            DiscoverySource::Srv { name } if name == "_mcp._tcp.example.com"
        ));
        let config = read(json!({
            "consul": { "url": "http://127.0.0.1:8500", "service": "mcp", "token": "secret" },
            "interval": "1m",
        }));
        let DiscoverySource::Consul(consul) = config.unwrap().source else {
            panic!("expected Consul")
        };
        assert!(consul.token.unwrap().is_sensitive());
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_it() {
        for (value, expected) in [
            (json!({}), "has 0 of `dns`"),
            (json!({ "dns": "a:1", "srv": "b" }), "has 2 of `dns`"),
            (json!({ "dns": "mcp.example.com" }), "`dns` has no port"),
            (json!({ "dns": "a b:80" }), "`dns` is not a name in the DNS"),
            (json!({ "dns": "a:0" }), "`dns` has a port that is not"),
            (json!({ "srv": "" }), "`srv` is not a name in the DNS"),
            (
                json!({ "srv": "a", "interval": 0 }),
                "`interval` is shorter than a millisecond",
            ),
            (
                json!({ "consul": { "url": "ftp://a", "service": "b" } }),
                "`url` is not an http or https URL",
            ),
            (
                json!({ "consul": { "url": "http://a", "service": "" } }),
                "`service` is empty",
            ),
            (
                json!({ "consul": { "url": "http://a", "service": "b", "token": "\n" } }),
                "`token` has characters that a header can't hold",
            ),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
