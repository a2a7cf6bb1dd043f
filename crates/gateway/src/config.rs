//! The whole configuration, composed of the parts that the other crates and modules own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_backends::config::BackendConfig;
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_orchestrator::config::NamesConfig;
use switchboard_orchestrator::config::chains::{ChainsConfig, EquivalentsConfig, FallbackConfig};
use switchboard_orchestrator::config::kept_results::KeptResultsConfig;
use switchboard_orchestrator::config::profiles::ProfilesConfig;
use switchboard_policy::access::AccessConfig;
use switchboard_policy::cache::config::CacheConfig;
use switchboard_policy::config::{AdminConfig, AuthConfig};
use switchboard_policy::limits::LimitsConfig;
use switchboard_policy::limits::config::{BudgetConfig, CostsConfig, LimitConfig, StoreConfig};
use switchboard_policy::redaction::RedactionConfig;
use switchboard_policy::result_caps::config::{OverConfig, ResultCapConfig};
use switchboard_telemetry::TelemetryConfig;

pub use self::sealing_keys::{LEAST_SEALING_KEY_BYTES, SealingKeys, check_sealing_key};
pub use self::server::{
    AdminListen, ClientCertificateConfig, ServerConfig, TlsConfig, check_host, check_origin,
    parse_ops_listen,
};
pub use crate::audit::config as audit;
pub use crate::audit::config::AuditConfig;
pub use crate::cluster::{ClusterConfig, parse_cluster_address};
pub use crate::heartbeat::HeartbeatConfig;
pub use crate::legacy::LegacyClientsConfig;

mod named_profiles;
mod named_tools;
mod patterns;
mod problems;
mod sealing_keys;
mod server;
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

impl Config {
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
