//! An authorization server in front of an identity provider that lacks what MCP clients need.
//!
//! Most identity providers know only clients that somebody has registered by hand. The facade is an
//! authorization server for any client (RFC 7591, or a client id metadata document), asks the person in
//! front of the browser whether this client may call on his behalf, and only then sends him to the
//! identity provider, as its one registered client. What comes back becomes tokens of the facade's own
//! (decision 18).
//!
//! Here is what it decides and what it writes, without I/O and without a clock: `now` is always in
//! seconds since 1970. The specification is `basic/authorization` of 2026-07-28, and "Confused Deputy
//! Problem" of its security best practices.
//!
//! | step | here |
//! |---|---|
//! | a client registers itself, or names its document | [`Facade::register`], [`Facade::client`] |
//! | it sends a browser | [`Facade::authorization`] |
//! | the person is asked, unless he was | [`Facade::question`], [`Facade::answered`] |
//! | the browser goes to the identity provider | [`Facade::begin_login`] |
//! | and comes back | [`Facade::end_login`], [`id_token::verify`], [`Facade::code`] |
//! | the client fetches its tokens | [`Facade::token`] |

use std::sync::Arc;

use serde_json::{Value, json};

use self::config::FacadeConfig;
use self::secrets::Secrets;
use crate::authenticate::Resource;
use crate::config::ScopesConfig;

pub mod address;
mod authorization;
mod client;
pub mod config;
mod consent;
mod form;
mod grants;
pub mod id_token;
mod login;
mod once;
pub mod peers;
mod redirect;
pub mod secrets;
mod signing;
mod token;

pub use self::authorization::Authorization;
pub use self::client::{Client, ClientId, Registered};
pub use self::consent::{CONSENT_LIFETIME, Consents, Question};
pub use self::form::Form;
pub use self::grants::{GrantConfig, Grants};
pub use self::id_token::Identity;
pub use self::login::{Begun, LOGIN_LIFETIME, Login};
pub use self::redirect::check_private_redirect;
pub use self::signing::{PublicKey, TokenClaims};

/// The paths of the facade's endpoints, below the gateway's own address.
pub mod paths {
    /// Its metadata (RFC 8414).
    pub const METADATA: &str = "/.well-known/oauth-authorization-server";
    /// The same, where clients of OpenID Connect look.
    pub const OPENID: &str = "/.well-known/openid-configuration";
    /// The keys of its tokens.
    pub const JWKS: &str = "/oauth/jwks";
    /// Where clients register themselves.
    pub const REGISTER: &str = "/oauth/register";
    /// Where clients send browsers.
    pub const AUTHORIZE: &str = "/oauth/authorize";
    /// Where the answer to the question for consent goes.
    pub const CONSENT: &str = "/oauth/consent";
    /// Where the identity provider sends browsers back to.
    pub const CALLBACK: &str = "/oauth/callback";
    /// Where clients fetch tokens.
    pub const TOKEN: &str = "/oauth/token";
}

/// An error that a client is told (RFC 6749, section 5.2; RFC 7591, section 3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {description}")]
pub struct OAuthError {
    /// Its code, such as `invalid_grant`.
    pub error: &'static str,
    /// What is wrong, for the developer of the client.
    pub description: &'static str,
}

impl OAuthError {
    pub(crate) const fn new(error: &'static str, description: &'static str) -> Self {
        Self { error, description }
    }

    /// As the body of an answer.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({ "error": self.error, "error_description": self.description })
    }
}

/// What the facade could not do for want of random bytes or a key: nobody's fault but this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes are to be had")]
pub struct Unable;

/// The facade of one configuration. Cheap to share behind an [`Arc`]; only what its secrets remember
/// changes.
#[derive(Debug)]
pub struct Facade {
    config: FacadeConfig,
    /// Its identifier, which is where the gateway is: without a slash at the end.
    issuer: String,
    /// What its tokens are for.
    resource: Resource,
    /// What tokens can be good for.
    scopes: Vec<String>,
    /// What they are good for where a client asks for nothing.
    default_scopes: Vec<String>,
    /// The claim of the identity provider's tokens that lists groups.
    groups_claim: String,
    /// What is put before each of these.
    group_prefix: String,
    secrets: Arc<Secrets>,
}

impl Facade {
    /// The facade beside this resource. `groups_claim` is that of the identity provider.
    #[must_use]
    pub fn new(
        config: FacadeConfig,
        resource: &Resource,
        scopes: &ScopesConfig,
        groups_claim: &str,
        secrets: Arc<Secrets>,
    ) -> Self {
        let default_scopes: Vec<_> = scopes.required.iter().map(text).collect();
        let mut all = default_scopes.clone();
        all.extend(scopes.profiles.values().flatten().map(text));
        all.extend(scopes.implies.keys().map(text));
        all.extend(scopes.implies.values().flatten().map(text));
        all.sort();
        all.dedup();
        Self {
            config,
            issuer: resource.base(),
            resource: resource.clone(),
            scopes: all,
            default_scopes,
            groups_claim: groups_claim.to_owned(),
            group_prefix: String::new(),
            secrets,
        }
    }

    /// The same, where groups of the identity provider have this before their names.
    #[must_use]
    pub fn with_group_prefix(self, prefix: &str) -> Self {
        Self {
            group_prefix: prefix.to_owned(),
            ..self
        }
    }

    /// Its identifier: `iss` of what it gives out.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &FacadeConfig {
        &self.config
    }

    /// What its tokens are sealed and signed with.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// Whether browsers reach it by a way on which nobody listens in.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.issuer.starts_with("https:")
    }

    /// The address of one of its [`paths`].
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// Its metadata (RFC 8414, section 2).
    #[must_use]
    pub fn metadata(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": self.url(paths::AUTHORIZE),
            "token_endpoint": self.url(paths::TOKEN),
            "registration_endpoint": self.url(paths::REGISTER),
            "jwks_uri": self.url(paths::JWKS),
            "scopes_supported": self.scopes,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        })
    }

    /// The resource that a client names, in its one spelling: the endpoint, or that of a profile. One
    /// that names none means the endpoint.
    fn resource(&self, named: Option<&str>) -> Option<String> {
        let profile = match named {
            Some(named) => self.resource.named_by(named)?,
            None => None,
        };
        Some(self.resource.url(profile.as_deref()))
    }

    /// Of the scopes that a client asks for, those that there are; without any, what the endpoint
    /// needs (RFC 6749, section 3.3).
    fn granted_scopes(&self, asked: Option<&str>) -> Vec<String> {
        let asked: Vec<&str> = asked.unwrap_or_default().split_ascii_whitespace().collect();
        let known = self.scopes.iter();
        let granted: Vec<_> = known
            .filter(|scope| asked.contains(&scope.as_str()))
            .cloned()
            .collect();
        if granted.is_empty() {
            return self.default_scopes.clone();
        }
        granted
    }
}

fn text(scope: &crate::config::Scope) -> String {
    scope.as_str().to_owned()
}

#[cfg(test)]
mod tests;
