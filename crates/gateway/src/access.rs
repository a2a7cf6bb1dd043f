//! Who may call from where: what a reload exchanges under connections that are open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use switchboard_backends::config::{BackendConfig, OAuthConfig};
use switchboard_policy::authenticate::{Authenticator, Resource};
use switchboard_policy::config::{AdminConfig, AuthConfig};
use switchboard_policy::origin::{HostPolicy, HostPolicyError};
use tower_http::cors::CorsLayer;
use url::Url;

use crate::config::ServerConfig;
use crate::facade::{Facade, FacadeMemory};
use crate::stack::cors;

/// The rules in force; each request looks at them anew.
pub(crate) type AccessInForce = Arc<ArcSwap<Access>>;

/// The rules of one configuration.
pub(crate) struct Access {
    pub(crate) hosts: HostPolicy,
    pub(crate) authenticator: Authenticator,
    /// The gateway's own authorization server, if it has one.
    pub(crate) facade: Option<Arc<Facade>>,
    /// Lets pages of the allowed origins call, if there are any. A connection keeps what was in
    /// force when it was made; `hosts` refuses pages that may not call any longer all the same.
    pub(crate) cors: Option<CorsLayer>,
    /// Whether some backend is shown tokens that are given in exchange for those of callers.
    pub(crate) exchanges_tokens: bool,
}

impl Access {
    /// The rules of a listener that is bound to this address. `facade` is what its authorization server
    /// keeps from one configuration to the next.
    ///
    /// # Errors
    /// If a host or an origin is none.
    pub(crate) fn new(
        bound: SocketAddr,
        server: &ServerConfig,
        auth: Option<&AuthConfig>,
        facade: &Arc<FacadeMemory>,
    ) -> Result<Self, HostPolicyError> {
        let resource = resource(bound, server);
        let facade = Facade::new(auth, &resource, facade);
        let deciding = facade.as_ref().map(|facade| facade.policy());
        let origins = server.allowed_origins.iter();
        let origins = origins.filter_map(|origin| HeaderValue::from_str(origin).ok());
        Ok(Self {
            hosts: HostPolicy::new(
                bound,
                server.public_url.as_ref(),
                &server.allowed_hosts,
                &server.allowed_origins,
            )?,
            authenticator: Authenticator::new(auth, &resource, deciding),
            facade,
            cors: cors(origins.collect()),
            exchanges_tokens: false,
        })
    }

    /// The rules of the admin API, bound to this address: whoever has a key of its own, under the
    /// names that the gateway is known by, and from no page but its own. Without keys, nobody.
    ///
    /// # Errors
    /// If a host is none.
    pub(crate) fn of_admin(
        bound: SocketAddr,
        server: &ServerConfig,
        admin: Option<&AdminConfig>,
    ) -> Result<Self, HostPolicyError> {
        let keys = admin.map_or(&[][..], |admin| &admin.api_keys);
        Ok(Self {
            hosts: HostPolicy::new(bound, None, &server.allowed_hosts, &[])?,
            authenticator: Authenticator::of_keys(keys),
            facade: None,
            cors: None,
            exchanges_tokens: false,
        })
    }

    /// The same, for these backends.
    pub(crate) fn for_backends(self, backends: &BTreeMap<String, BackendConfig>) -> Self {
        let mut oauth = backends.values().filter_map(|config| config.oauth.as_ref());
        Self {
            exchanges_tokens: oauth.any(OAuthConfig::is_per_principal),
            ..self
        }
    }

    /// The same, in the place of `before`: whose credential did not change is still known.
    pub(crate) fn keeping(self, before: &Self) -> Self {
        Self {
            authenticator: self.authenticator.keeping(&before.authenticator),
            ..self
        }
    }
}

/// Where clients find the endpoint: what tokens are for.
fn resource(bound: SocketAddr, server: &ServerConfig) -> Resource {
    let scheme = if server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = server.public_url.clone();
    let url = url.or_else(|| Url::parse(&format!("{scheme}://{bound}")).ok());
    Resource::below(&url.unwrap_or_else(|| unreachable!("an address is a host and a port")))
}
