//! What of the configuration in force operators are shown: nothing that is a secret, nor where one is.

use schemars::JsonSchema;
use serde::Serialize;

use super::views::PrincipalView;
use crate::audit::config::AuditKind;
use crate::config::Config;

/// What of the configuration is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ConfigView {
    /// The version of the gateway.
    version: &'static str,
    /// Whether callers need a credential.
    needs_credential: bool,
    /// Whether the endpoint speaks TLS.
    tls: bool,
    /// Where clients find it, if that was said.
    public_url: Option<String>,
    /// The names of the backends.
    backends: Vec<String>,
    /// How many chains of substitutes there are.
    fallbacks: usize,
    /// How many groups of tools that do the same.
    equivalents: usize,
    audit: Option<AuditSinksView>,
    #[serde(skip)]
    #[schemars(skip)]
    principals: Vec<PrincipalView>,
}

/// Where the audit goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct AuditSinksView {
    stdout: bool,
    file: bool,
    sqlite: bool,
    /// What is noted.
    include: Vec<&'static str>,
}

impl ConfigView {
    pub(crate) fn of(config: &Config) -> Self {
        let audit = config.audit.as_ref().map(|audit| AuditSinksView {
            stdout: audit.stdout,
            file: audit.file.is_some(),
            sqlite: audit.sqlite.is_some(),
            include: audit
                .include
                .iter()
                .copied()
                .map(AuditKind::as_str)
                .collect(),
        });
        let keys = config.auth.iter().flat_map(|auth| &auth.api_keys);
        let principals = keys.map(|key| PrincipalView {
            id: format!("key:{}", key.name),
            groups: key.groups.clone(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            needs_credential: config.auth.is_some(),
            tls: config.server.tls.is_some(),
            public_url: config.server.public_url.as_ref().map(without_credentials),
            backends: config.backends.keys().cloned().collect(),
            fallbacks: config.fallbacks.len(),
            equivalents: config.equivalents.len(),
            audit,
            principals: principals.collect(),
        }
    }

    pub(super) fn principals(&self) -> &[PrincipalView] {
        &self.principals
    }
}

fn without_credentials(url: &url::Url) -> String {
    let mut url = url.clone();
    // Fails only for URLs that can have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.into()
}
