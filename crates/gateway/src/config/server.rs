//! Where the gateway listens, and the bounds of what it takes: the section `server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use switchboard_backends::config::{bytes, count, duration, parse_url};
use url::Url;

use super::{ClusterConfig, LegacyClientsConfig, SealingKeys};
use crate::workers::MAX_WORKERS;

/// Where the gateway listens, and the bounds of what it takes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address of the endpoint `/mcp`: an IP address and a port; port 0 takes a free one.
    #[schemars(with = "String", extend("format" = "socket-address", "default" = "127.0.0.1:8080"))]
    pub listen: SocketAddr,
    /// The certificate with which the endpoint speaks TLS: HTTP/1.1 and HTTP/2, whichever the client
    /// prefers. Without it the endpoint speaks plain HTTP.
    #[schemars(with = "TlsConfig")]
    pub tls: Option<TlsConfig>,
    /// The address of `/healthz`, `/readyz` and `/metrics`, for probes and scrapers, who need no
    /// credential; `off` or null opens none.
    #[serde(deserialize_with = "deserialize_ops_listen")]
    #[schemars(
        with = "Option<String>",
        extend("format" = "socket-address-or-off", "default" = "127.0.0.1:9464")
    )]
    pub ops_listen: Option<SocketAddr>,
    /// The address of the admin API, which the command `switchboard backends` uses: there is one only
    /// with keys in `admin.api_keys`; `off` opens none. On an address that is not loopback it speaks
    /// TLS with the certificate of `tls`, if there is one.
    #[schemars(
        with = "Option<String>",
        extend("format" = "socket-address-or-off", "default" = "127.0.0.1:8081")
    )]
    pub admin_listen: AdminListen,
    /// The address that clients use, where it differs from `listen`, for example behind a proxy:
    /// `http` or `https`.
    #[serde(deserialize_with = "deserialize_url")]
    #[schemars(with = "Option<String>", extend("format" = "http-url"))]
    pub public_url: Option<Url>,
    /// The values of the `Host` header that are answered, with or without a port, beside
    /// loopback names and the host of `public_url`.
    #[serde(deserialize_with = "deserialize_hosts")]
    #[schemars(extend("items" = {"type": "string", "format": "host"}))]
    pub allowed_hosts: Vec<String>,
    /// The values of the `Origin` header that are answered, such as `https://app.example.com`:
    /// web pages from there may call the gateway.
    #[serde(deserialize_with = "deserialize_origins")]
    #[schemars(extend("items" = {"type": "string", "format": "origin"}))]
    pub allowed_origins: Vec<String>,
    /// Whether the files that the configuration came from are watched, so that a change is in force
    /// some seconds later; SIGHUP has them read again in any case.
    pub watch_config: bool,
    /// The folder of what the gateway may forget, such as the lists of local servers that are started
    /// lazily; it is made when there is something to keep. A relative path is meant from the folder of
    /// the configuration file. By default `switchboard` in the user's folder for caches
    /// (`$XDG_CACHE_HOME`, or `$HOME/.cache`); where that cannot be written, nothing is kept.
    #[schemars(with = "Option<String>")]
    pub cache_dir: Option<PathBuf>,
    /// How long calls that run may still take when the gateway stops, or their backend is replaced
    /// by a reload: a duration such as `30s`
    /// or a number of seconds, at most 1 day.
    #[serde(deserialize_with = "duration::deserialize")]
    #[schemars(schema_with = "duration::schema", extend("default" = "30s"))]
    pub drain_timeout: Duration,
    /// Secrets that seal what clients keep for the gateway: the first seals, all open. Each at
    /// least 32 bytes. Without any, one is made at start, and what it sealed does not outlive
    /// the process.
    #[schemars(
        with = "Vec<String>",
        extend("default" = [], "writeOnly" = true, "items" = {"type": "string", "format": "sealing-key"})
    )]
    pub sealing_keys: SealingKeys,
    /// The other replicas of this gateway. Without this section there are none, or a proxy before
    /// them sends each client to the same one.
    #[schemars(with = "ClusterConfig")]
    pub cluster: Option<ClusterConfig>,
    /// The most connections that are open at once, at least 1. More wait to be accepted.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_connections: usize,
    /// The most calls that are under way at once, at least 1. More are refused at once, with 503
    /// and a hint when to try again.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub max_in_flight: usize,
    /// How late a worker thread may be with what it has to do before it refuses calls in the same
    /// way: a duration, at most 1 day; 0: however late.
    #[serde(deserialize_with = "duration::deserialize")]
    #[schemars(schema_with = "duration::schema", extend("default" = "1s"))]
    pub max_queue_delay: Duration,
    /// The largest body of a request: a size such as `4MiB`, or a number of bytes, at least 1.
    #[serde(deserialize_with = "bytes::deserialize")]
    #[schemars(schema_with = "bytes::schema", extend("default" = "4MiB"))]
    pub max_body_bytes: usize,
    /// The longest that the head of a request may take to arrive: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "10s"))]
    pub header_timeout: Duration,
    /// The longest that the body of a request may take to arrive: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "30s"))]
    pub body_timeout: Duration,
    /// How long a connection without a request stays open: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "2m"))]
    pub idle_timeout: Duration,
    /// The threads that serve connections, at most 1024; 0: one for each core that the process
    /// may use.
    #[serde(deserialize_with = "deserialize_worker_threads")]
    #[schemars(range(max = 1024))]
    pub worker_threads: usize,
    /// Clients that speak 2025-11-25 or older, which hold a session.
    pub legacy: LegacyClientsConfig,
}

/// A certificate and its key. Both files are looked at every 10 s; when they have changed and are a
/// valid pair, new connections use it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The file of the certificate and of those that vouch for it, in this order, in PEM. A
    /// relative path is meant from the folder of the configuration file.
    #[schemars(with = "String")]
    pub cert: PathBuf,
    /// The file of the private key, in PEM: PKCS #8, PKCS #1 or SEC1, not encrypted.
    #[schemars(with = "String")]
    pub key: PathBuf,
    /// The file of the authorities that vouch for clients, in PEM: their certificates are asked for
    /// and verified. What they are good for says `auth.mtls`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub client_ca: Option<PathBuf>,
    /// Whether a client may have no certificate, where `client_ca` is given.
    #[serde(default)]
    #[schemars(extend("default" = "optional"))]
    pub client_certificate: ClientCertificateConfig,
}

/// Whether a client may have no certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateConfig {
    /// It may: it is asked for another credential then.
    #[default]
    Optional,
    /// It may not: without one there is no connection.
    Required,
}

impl ServerConfig {
    /// Whether a listener of the gateway's own at this address speaks TLS: where its keys would cross a
    /// network.
    #[must_use]
    pub fn is_encrypted_at(&self, address: SocketAddr) -> bool {
        self.tls.is_some() && !address.ip().to_canonical().is_loopback()
    }

    /// The address at which other replicas reach this one, if there are any.
    pub(crate) fn replica(&self) -> Option<Arc<str>> {
        let cluster = self.cluster.as_ref()?;
        Some(Arc::clone(cluster.advertise.text()))
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            listen: SocketAddr::new(loopback, 8080),
            tls: None,
            ops_listen: Some(SocketAddr::new(loopback, 9464)),
            admin_listen: AdminListen::Default,
            public_url: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            watch_config: true,
            cache_dir: None,
            drain_timeout: Duration::from_secs(30),
            sealing_keys: SealingKeys::default(),
            cluster: None,
            max_connections: 10_000,
            max_in_flight: 10_000,
            max_queue_delay: Duration::from_secs(1),
            max_body_bytes: 4 * 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            worker_threads: 0,
            legacy: LegacyClientsConfig::default(),
        }
    }
}

/// Where the admin API is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminListen {
    /// Nothing was said: at 127.0.0.1:8081.
    #[default]
    Default,
    /// At this address.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

impl AdminListen {
    /// The address, if there is one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Default => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081)),
            Self::At(address) => Some(address),
            Self::Off => None,
        }
    }
}

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = deserialize_ops_listen(deserializer)?;
        Ok(address.map_or(Self::Off, Self::At))
    }
}

/// Reads the address that the operations listener is bound to; `off` is `None`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_ops_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "is not an address".to_owned())
}

/// Checks an entry of `allowed_hosts`: a host as it stands in a `Host` header.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_host(text: &str) -> Result<(), String> {
    let bare = !text.is_empty() && !text.contains(['/', '@', '?', '#', '*', ' ']);
    match Url::parse(&format!("http://{text}/")) {
        Ok(url) if bare && url.has_host() => Ok(()),
        _ => Err("is not a host".to_owned()),
    }
}

/// Checks an entry of `allowed_origins`: an origin as it stands in an `Origin` header.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_origin(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if url.has_host() && url.origin().ascii_serialization() == text => Ok(()),
        _ => Err("is not an origin".to_owned()),
    }
}

fn deserialize_ops_listen<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(text) => parse_ops_listen(&text).map_err(de::Error::custom),
    }
}

fn deserialize_worker_threads<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let threads = usize::deserialize(deserializer)?;
    if threads > MAX_WORKERS {
        return Err(de::Error::custom(format!("is more than {MAX_WORKERS}")));
    }
    Ok(threads)
}

fn deserialize_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| parse_url(&text).map_err(de::Error::custom))
        .transpose()
}

fn deserialize_checked<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    for text in &texts {
        check(text).map_err(de::Error::custom)?;
    }
    Ok(texts)
}

fn deserialize_hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    deserialize_checked(deserializer, check_host)
}

fn deserialize_origins<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    deserialize_checked(deserializer, check_origin)
}
