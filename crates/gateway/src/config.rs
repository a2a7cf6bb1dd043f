//! The whole configuration, composed of the parts that the other crates own, and the listener's
//! own part of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::config::{BackendConfig, count, duration, parse_url};
use switchboard_orchestrator::config::chains::{
    self, ChainsConfig, EquivalentsConfig, FallbackConfig,
};
use switchboard_orchestrator::config::kept_results::KeptResultsConfig;
use switchboard_orchestrator::config::profiles::{self, ProfilesConfig};
use switchboard_orchestrator::config::{ConfigProblem, NamesConfig, nearest, path};
use switchboard_orchestrator::names::Namespaces;
use switchboard_orchestrator::{kept_result_tool, start_order};
use switchboard_policy::access::AccessConfig;
use switchboard_policy::cache::config::{CacheConfig, CacheStore};
use switchboard_policy::config::{AdminConfig, AuthConfig, is_confidential, shared_key};
use switchboard_policy::limits::config::{BudgetConfig, CostsConfig, LimitConfig, StoreConfig};
use switchboard_policy::limits::{self, LimitsConfig};
use switchboard_policy::redaction::RedactionConfig;
use switchboard_policy::result_caps::config::{OverConfig, ResultCapConfig};
use switchboard_telemetry::TelemetryConfig;
use url::Url;

pub use self::sealing_keys::{LEAST_SEALING_KEY_BYTES, SealingKeys, check_sealing_key};
pub use crate::audit::config as audit;
pub use crate::audit::config::AuditConfig;
pub use crate::cluster::{ClusterConfig, parse_cluster_address};
pub use crate::heartbeat::HeartbeatConfig;
pub use crate::legacy::LegacyClientsConfig;
use crate::tls;
use crate::workers::MAX_WORKERS;

mod named_profiles;
mod patterns;
mod sealing_keys;
mod this_machine;

/// The configuration of a gateway. Its parts are valid in themselves; [`Config::problems`] says
/// whether they fit together.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the gateway listens, and the bounds of what it takes.
    pub server: ServerConfig,
    /// How callers prove who they are. Without this section nobody needs a credential, and only
    /// a loopback address may be listened on.
    #[schemars(with = "AuthConfig")]
    pub auth: Option<AuthConfig>,
    /// Who may see and use what. Without this section everybody may do everything.
    #[schemars(with = "AccessConfig")]
    pub access: Option<AccessConfig>,
    /// Who may use the admin API at `server.admin_listen`. Without this section there is none.
    #[schemars(with = "AdminConfig")]
    pub admin: Option<AdminConfig>,
    /// How the names of tools and prompts are made.
    pub names: NamesConfig,
    /// The MCP servers behind the gateway, by name: 1 to 64 of the characters `A-Z a-z 0-9 _ -`.
    /// A name from a client's `mcpServers` may be any text.
    #[schemars(extend("propertyNames" = {"format": "backend-name"}))]
    pub backends: BTreeMap<String, BackendConfig>,
    /// What is tried when a tool cannot answer: other tools, of other servers, in order. Each is a
    /// call of its own, within its backend's `timeout` and what is left of the time that the client
    /// gave; the answer says who gave it in `_meta["dev.switchboard/served_by"]`.
    pub fallbacks: Vec<FallbackConfig>,
    /// Tools that do the same. A call of any may be answered by another, and goes on to the next
    /// like a fallback.
    pub equivalents: Vec<EquivalentsConfig>,
    /// Parts of what there is, each as a server of its own at `/mcp/{profile}`, by name: 1 to 64 of the
    /// characters `A-Z a-z 0-9 _ -`. At most 64.
    #[schemars(extend("propertyNames" = {"format": "profile-name"}))]
    pub profiles: ProfilesConfig,
    /// How often calls may be made, and how many at once. A call that several concern takes from all
    /// of them or from none; one for which there is not enough is refused with 429 and
    /// `rate_limited`, and a chain with `when: [limit]` goes on to another tool.
    #[schemars(extend("x-unique" = ["name"]))]
    pub limits: Vec<LimitConfig>,
    /// How much may be used in a window of time: of calls, of bytes of results, of units of `costs`. A
    /// call for which there is not enough is refused with 402 and `over_budget`, and a chain with
    /// `when: [budget]` goes on to another tool.
    #[schemars(extend("x-unique" = ["name"]))]
    pub budgets: Vec<BudgetConfig>,
    /// What calls of tools cost, in units of your own: by patterns of the names that the gateway
    /// lists, in which `*` stands for any characters. Where several fit, one without `*` counts, else
    /// the one that says most. All other calls cost 1.
    pub costs: CostsConfig,
    /// How large results may be. The first that concerns a call counts, so order matters: exceptions
    /// stand before what they are exceptions of. What the gateway itself adds to the `_meta` of a
    /// result is not counted. [results.md](results.md) tells more.
    pub result_caps: Vec<ResultCapConfig>,
    /// Where limits and budgets are counted, and results cached if `cache.store` says so.
    pub store: StoreConfig,
    /// How results are cached to answer equal calls: those of backends that have a `cache` of their own.
    pub cache: CacheConfig,
    /// Secrets that are taken out of what comes back from servers. Without this section those of the
    /// configuration itself are.
    #[schemars(with = "RedactionConfig")]
    pub redaction: Option<RedactionConfig>,
    /// Results that are too large to send, and are kept for their callers to read on in. Without this
    /// section by the defaults of it, where `result_caps` or a profile's `content` has any kept.
    #[schemars(with = "KeptResultsConfig")]
    pub kept_results: Option<KeptResultsConfig>,
    /// Calls that wait in a legacy server for their client's answer.
    pub parked_calls: ParkedCallsConfig,
    /// What is noted of calls, and where. Without this section nothing is.
    #[schemars(with = "AuditConfig")]
    pub audit: Option<AuditConfig>,
    /// How the gateway shows that it still works.
    pub heartbeat: HeartbeatConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

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
    /// The largest body of a request, in bytes, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
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

impl ServerConfig {
    /// The address at which other replicas reach this one, if there are any.
    pub(crate) fn replica(&self) -> Option<Arc<str>> {
        let cluster = self.cluster.as_ref()?;
        Some(Arc::clone(cluster.advertise.text()))
    }
}

impl Config {
    /// Everything that does not fit together; empty if a gateway can start with this.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        self.open_to_everyone()
            .into_iter()
            .chain(self.admin_without_keys())
            .chain(self.shared_key())
            .chain(self.tokens_without_address())
            .chain(self.facade_in_the_open())
            .chain(self.certificates_without_authority())
            .chain(self.replicas_without_keys())
            .chain(self.equal_listeners())
            .chain(self.equal_prefixes())
            .chain(self.wrong_dependencies())
            .chain(self.wrong_chains())
            .chain(self.wrong_profiles())
            .chain(self.unknown_profiles())
            .chain(self.wrong_rules())
            .chain(self.wrong_limits())
            .chain(self.wrong_kept_results())
            .chain(self.wrong_result_caps())
            .chain(self.wrong_cache())
            .chain(self.wrong_audit())
            .collect()
    }

    /// What takes the place of a tool that cannot answer.
    pub fn chains(&self) -> ChainsConfig {
        ChainsConfig {
            fallbacks: self.fallbacks.clone(),
            equivalents: self.equivalents.clone(),
        }
    }

    /// What is limited.
    pub fn limits(&self) -> LimitsConfig<'_> {
        LimitsConfig {
            limits: &self.limits,
            budgets: &self.budgets,
            costs: &self.costs,
        }
    }

    fn open_to_everyone(&self) -> Option<ConfigProblem> {
        let listen = self.server.listen;
        if self.auth.is_some() || listen.ip().to_canonical().is_loopback() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "listen"]),
            other: Some(path(&["auth"])),
            message: format!(
                "without an `auth` section everyone who reaches {listen} could call every \
                 backend; expected a loopback address such as 127.0.0.1:{port}, or an `auth` \
                 section with `api_keys`, `jwt` or `mtls`",
                port = listen.port(),
            ),
        })
    }

    /// Tokens are for an address, which nobody can guess from one such as 0.0.0.0.
    fn tokens_without_address(&self) -> Option<ConfigProblem> {
        let auth = self.auth.as_ref()?;
        let is_local = self.server.listen.ip().to_canonical().is_loopback();
        if auth.jwt.is_empty() || self.server.public_url.is_some() || is_local {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "jwt"]),
            other: Some(path(&["server", "public_url"])),
            message: "a token is for the address that clients use, which is not known; expected \
                      `server.public_url`, such as https://mcp.example.com"
                .to_owned(),
        })
    }

    /// Codes, tokens and cookies of the facade are good for whoever reads them on their way.
    fn facade_in_the_open(&self) -> Option<ConfigProblem> {
        self.auth.as_ref()?.facade.as_ref()?;
        let url = self.server.public_url.as_ref()?;
        if is_confidential(url) {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "facade"]),
            other: Some(path(&["server", "public_url"])),
            message: format!(
                "people would log in at {url}, where anybody on the way reads and changes what they                  do; expected a `server.public_url` that begins with https"
            ),
        })
    }

    /// What a replica seals the others have to open.
    fn replicas_without_keys(&self) -> Option<ConfigProblem> {
        self.server.cluster.as_ref()?;
        if !self.server.sealing_keys.expose().is_empty() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "cluster"]),
            other: Some(path(&["server", "sealing_keys"])),
            message: "replicas have to open what others of them have sealed; expected \
                      `server.sealing_keys`, the same for all"
                .to_owned(),
        })
    }

    fn certificates_without_authority(&self) -> Option<ConfigProblem> {
        self.auth.as_ref()?.mtls.as_ref()?;
        let tls = self.server.tls.as_ref();
        if tls.is_some_and(|tls| tls.client_ca.is_some()) {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["auth", "mtls"]),
            other: Some(path(&["server", "tls"])),
            message: "nobody vouches for the certificates of clients; expected \
                      `server.tls.client_ca`, the file of the authorities that do"
                .to_owned(),
        })
    }

    /// What is wrong with the files of the listener's certificate, which are read for it.
    pub fn certificate_problem(&self) -> Option<ConfigProblem> {
        let (key, message) = tls::problem(self.server.tls.as_ref()?)?;
        Some(ConfigProblem {
            path: path(&["server", "tls", key]),
            other: Some(path(&["server", "tls"])),
            message,
        })
    }

    /// An address for an admin API that nobody could use.
    fn admin_without_keys(&self) -> Option<ConfigProblem> {
        let AdminListen::At(address) = self.server.admin_listen else {
            return None;
        };
        if self.admin.is_some() {
            return None;
        }
        Some(ConfigProblem {
            path: path(&["server", "admin_listen"]),
            other: Some(path(&["admin"])),
            message: format!(
                "without keys nobody could use the admin API at {address}, so it is not opened; \
                 expected an `admin` section with `api_keys`, or no `admin_listen`"
            ),
        })
    }

    /// What is kept of results that are too large to send, or have content that is linked to; `None`:
    /// nothing.
    #[must_use]
    pub fn kept_results(&self) -> Option<KeptResultsConfig> {
        let is_capped = || {
            self.result_caps
                .iter()
                .any(|cap| cap.over == OverConfig::Handle)
        };
        let is_needed = || is_capped() || self.profiles.values().any(|it| it.content.links());
        let section = self.kept_results.clone();
        section.or_else(|| is_needed().then(KeptResultsConfig::default))
    }

    fn wrong_kept_results(&self) -> Vec<ConfigProblem> {
        let Some(kept_results) = self.kept_results() else {
            return Vec::new();
        };
        let own = kept_result_tool(&self.names);
        let renamed = self.profiles.iter().flat_map(|(profile, config)| {
            let tools = config.rename.iter();
            let taken = tools.filter(|(_, name)| **name == own);
            taken.map(move |(tool, _)| path(&["profiles", profile, "rename", tool]))
        });
        let taken = renamed.map(|path| ConfigProblem {
            path,
            other: None,
            message: format!("`{own}` is the gateway's own tool; expected another name"),
        });
        kept_results.problems().into_iter().chain(taken).collect()
    }

    /// A shared cache that nobody could share.
    fn wrong_cache(&self) -> Vec<ConfigProblem> {
        let problem = |key: &[&str], message: &str| ConfigProblem {
            path: path(&["cache", "store"]),
            other: Some(path(key)),
            message: message.to_owned(),
        };
        let mut problems = Vec::new();
        if self.cache.store == CacheStore::Redis {
            if self.store.redis.is_none() {
                let message = "there is no Redis to keep results in; expected its address in `store.redis`, or `memory`";
                problems.push(problem(&["store", "redis"], message));
            }
            if self.server.sealing_keys.expose().is_empty() {
                let message = "results are sealed in a Redis, with a key that all replicas know; expected `server.sealing_keys`, or `memory`";
                problems.push(problem(&["server", "sealing_keys"], message));
            }
        }
        problems
    }

    /// Operators and clients are told apart by their keys alone.
    fn shared_key(&self) -> Option<ConfigProblem> {
        let (client, operator) = shared_key(self.auth.as_ref()?, self.admin.as_ref()?)?;
        Some(ConfigProblem {
            path: path(&["admin", "api_keys"]),
            other: Some(path(&["auth", "api_keys"])),
            message: format!(
                "the key `{operator}` and the key `{client}` of `auth.api_keys` have the same digest; \
                 expected a key of its own for each"
            ),
        })
    }

    fn wrong_audit(&self) -> Option<ConfigProblem> {
        let (key, message) = self.audit.as_ref()?.problem()?;
        let keys = ["audit", key].into_iter().filter(|key| !key.is_empty());
        Some(ConfigProblem {
            path: path(&keys.collect::<Vec<_>>()),
            other: None,
            message,
        })
    }

    /// Where the admin API is, if there is one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?;
        self.server.admin_listen.address()
    }

    /// Whether the admin API speaks TLS: it does where its key would cross a network.
    #[must_use]
    pub fn is_admin_encrypted(&self) -> bool {
        let address = self.admin_address();
        address.is_some_and(|address| self.server.is_encrypted_at(address))
    }

    /// Two listeners cannot have one port of one address; port 0 is another one each time.
    fn equal_listeners(&self) -> Vec<ConfigProblem> {
        let listeners = [
            ("listen", Some(self.server.listen)),
            ("ops_listen", self.server.ops_listen),
            ("admin_listen", self.admin_address()),
            (
                "cluster.listen",
                self.server.cluster.as_ref().map(ClusterConfig::address),
            ),
        ];
        let mut problems = Vec::new();
        for (at, (key, address)) in listeners.iter().enumerate() {
            let Some(address) = address else { continue };
            let before = listeners[..at].iter();
            let mut taken = before.filter(|(_, other)| {
                other.is_some_and(|other| {
                    let ips = [address.ip(), other.ip()];
                    let overlap = ips[0] == ips[1] || ips.iter().any(IpAddr::is_unspecified);
                    address.port() != 0 && address.port() == other.port() && overlap
                })
            });
            if let Some((other, _)) = taken.next() {
                let at = |key: &str| {
                    let keys = ["server"].into_iter().chain(key.split('.'));
                    keys.map(str::to_owned).collect::<Vec<_>>()
                };
                problems.push(ConfigProblem {
                    path: at(key),
                    other: Some(at(other)),
                    message: format!(
                        "{address} is taken by `server.{other}`; expected another port, or `off`"
                    ),
                });
            }
        }
        problems
    }

    fn equal_prefixes(&self) -> Vec<ConfigProblem> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, backend) in &self.backends {
            let prefix = backend.prefix.as_deref().unwrap_or(name);
            if prefix.is_empty() {
                continue;
            }
            if let Some(owner) = owners.insert(prefix, name) {
                problems.push(ConfigProblem {
                    path: path(&["backends", name, "prefix"]),
                    other: Some(path(&["backends", owner, "prefix"])),
                    message: format!(
                        "`{prefix}` is the prefix of `{owner}` too, so their names could not be \
                         told apart; expected a prefix that no other backend has"
                    ),
                });
            }
        }
        problems
    }
}

impl Config {
    fn wrong_dependencies(&self) -> Vec<ConfigProblem> {
        let backends = self.backends.iter();
        let dependencies = backends
            .map(|(name, backend)| (&**name, &*backend.depends_on))
            .collect();
        start_order::problems(&dependencies)
    }

    fn wrong_limits(&self) -> Vec<ConfigProblem> {
        let wrong = limits::config::problems(&self.limits, &self.budgets).into_iter();
        let problem = |(path, message): (Vec<String>, String)| ConfigProblem {
            // Of an entry that is not valid in itself nothing more is said.
            other: Some(path[..path.len().saturating_sub(1)].to_vec()),
            path,
            message,
        };
        wrong.map(problem).collect()
    }

    /// Chains that are wrong in themselves, and tools in them that no backend can have: a name begins
    /// with the prefix of its backend.
    fn wrong_chains(&self) -> Vec<ConfigProblem> {
        let wrong = chains::problems(&self.fallbacks, &self.equivalents).into_iter();
        let unknown = |(key, tool): (Vec<String>, &String)| {
            let message = self.nobodys_tool(tool)?;
            Some(ConfigProblem {
                path: key,
                other: Some(path(&["backends"])),
                message,
            })
        };
        let fallbacks = self.fallbacks.iter().enumerate();
        let fallbacks = fallbacks.flat_map(|(index, fallback)| {
            let at = path(&["fallbacks", &format!("[{index}]")]);
            let tool = Some(&fallback.tool).filter(|tool| !tool.contains('*'));
            let tool = tool.map(|tool| (below(&at, &["tool"]), tool));
            let targets = fallback.targets.iter().enumerate();
            let targets =
                targets.map(move |(item, tool)| (below(&at, &["try", &format!("[{item}]")]), tool));
            tool.into_iter().chain(targets)
        });
        let groups = self.equivalents.iter().enumerate();
        let groups = groups.flat_map(|(index, group)| {
            let at = path(&["equivalents", &format!("[{index}]"), "tools"]);
            let tools = group.tools.iter().enumerate();
            tools.map(move |(item, tool)| (below(&at, &[&format!("[{item}]")]), tool))
        });
        wrong
            .chain(fallbacks.chain(groups).filter_map(unknown))
            .collect()
    }

    /// Profiles that are wrong in themselves, and tools in them that no backend can have.
    fn wrong_profiles(&self) -> Vec<ConfigProblem> {
        let wrong = profiles::problems(&self.profiles, &self.names).into_iter();
        let unknown = self.profiles.iter().flat_map(|(name, profile)| {
            let named = profile.named_tools();
            named.filter_map(move |(key, tool)| {
                let message = self.nobodys_tool(tool)?;
                let mut path = path(&["profiles", name]);
                path.extend(key);
                Some(ConfigProblem {
                    path,
                    other: Some(vec!["backends".to_owned()]),
                    message,
                })
            })
        });
        wrong.chain(unknown).collect()
    }

    /// Why no backend can have a tool of this name, if none can.
    fn nobodys_tool(&self, tool: &str) -> Option<String> {
        let backends = self.backends.iter();
        let prefixes = backends.map(|(name, backend)| (&**name, backend.prefix.as_deref()));
        let namespaces = Namespaces::new(&self.names, prefixes);
        let anybodys = (0..self.backends.len()).any(|index| namespaces.is_plain(index));
        if anybodys || namespaces.claimant(tool, |_| true).is_some() {
            return None;
        }
        let claims = (0..self.backends.len()).map(|index| namespaces.claim(index));
        let beginning = tool.split_once(&*self.names.separator);
        let near = beginning.and_then(|(prefix, _)| nearest(prefix, claims));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}…`?"));
        Some(format!("names `{tool}`, which is no backend's tool{near}"))
    }
}

fn below(at: &[String], keys: &[&str]) -> Vec<String> {
    at.iter().cloned().chain(path(keys)).collect()
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

/// Checks the name of a backend in Switchboard's own form.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_backend_name(name: &str) -> Result<(), String> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err("is not the name of a backend".to_owned())
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
