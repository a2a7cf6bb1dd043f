//! What an operator writes about the facade.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};

use super::grants::Grants;
use super::redirect::{check_host, check_private_redirect};
use crate::config::{IssuerUrl, Scope, check_issued_secret};

/// The longest that an access token may be valid: nobody can take one back.
const LONGEST_ACCESS: Duration = Duration::from_secs(60 * 60);
/// The longest that somebody may stay logged in.
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest of both.
const SHORTEST: Duration = Duration::from_secs(10);

/// An authorization server of the gateway's own, in front of an identity provider where MCP clients
/// cannot register themselves. [facade.md](facade.md) tells how to set it up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FacadeConfig {
    /// The identity provider where people log in: the `issuer` of an entry of `jwt`, which also says
    /// where groups are. It has to know OpenID Connect.
    #[schemars(with = "String", extend("format" = "issuer"))]
    pub issuer: IssuerUrl,
    /// The id under which this gateway is registered there, with `/oauth/callback` of its public
    /// address as the one redirect URI. At least one character.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// The secret that goes with it.
    #[schemars(with = "String", extend("writeOnly" = true), length(min = 1))]
    pub client_secret: ClientSecret,
    /// What is asked for there; `openid` has to be among it.
    #[serde(default = "default_scopes")]
    #[schemars(extend("default" = ["openid"]))]
    pub scopes: Vec<Scope>,
    /// Who may have which of the scopes of `auth.scopes`. A token has those that its client asks for and
    /// its user may have; scopes that are not here nobody may have. Without this key everybody may have
    /// all.
    #[serde(default)]
    #[schemars(with = "Grants")]
    pub grants: Option<Grants>,
    /// The claims of the identity provider that go into the tokens of the facade, beside the subject
    /// and the groups: for rules that ask for them.
    #[serde(default)]
    pub claims: Vec<String>,
    /// What people know this gateway by: the question for consent says it. By default its address.
    #[serde(default)]
    pub name: Option<String>,
    /// Redirect URIs with a program's own scheme that clients may use, exactly as they write them, such
    /// as `cursor://anysphere.cursor-mcp/oauth/callback`. Without any, clients need `https`, or `http` to
    /// the computer of the browser.
    #[serde(default, deserialize_with = "deserialize_private_redirects")]
    #[schemars(with = "Vec<String>", extend("items" = {"type": "string", "format": "private-redirect"}))]
    pub allowed_redirects: Vec<String>,
    /// The hosts of redirect URIs with `https`, and of client id metadata documents; `*.example.com`
    /// is any host below it. Without this key all hosts are allowed.
    #[serde(default)]
    pub redirect_hosts: Option<Vec<String>>,
    /// Hosts within private networks from which client id metadata documents may be fetched. Without
    /// any, only public addresses are fetched from.
    #[serde(default)]
    pub internal_hosts: Vec<String>,
    /// How long an access token is valid: a duration from 10 s to an hour.
    #[serde(default = "default_access", deserialize_with = "deserialize_access")]
    #[schemars(schema_with = "access_schema", extend("default" = "10m"))]
    pub access_token_lifetime: Duration,
    /// How long after a login a client gets new access tokens, until its user has to log in again: a
    /// duration from 10 s to 1 day. What changes at the identity provider is noticed then.
    #[serde(default = "default_session", deserialize_with = "deserialize_session")]
    #[schemars(schema_with = "session_schema", extend("default" = "8h"))]
    pub session_lifetime: Duration,
    /// How many requests the facade answers a peer in a minute, at least 1. All clients behind one
    /// proxy are one peer.
    #[serde(default = "default_rate", deserialize_with = "deserialize_rate")]
    #[schemars(range(min = 1), extend("default" = 300))]
    pub requests_per_minute: u32,
}

impl FacadeConfig {
    /// Whether clients may be at this host.
    pub(super) fn allows_host(&self, host: &str) -> bool {
        let Some(hosts) = &self.redirect_hosts else {
            return !host.is_empty();
        };
        hosts.iter().any(|known| match known.strip_prefix("*.") {
            Some(domain) => {
                let below = host.strip_suffix(domain);
                below.is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            None => known == host,
        })
    }

    /// What of it does not fit together, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let has_openid = self.scopes.iter().any(|scope| scope.as_str() == "openid");
        if !has_openid {
            let message = "`scopes` lacks `openid`, without which nobody tells who has logged in";
            return Some(message.to_owned());
        }
        if self.client_id.is_empty() || self.client_secret.expose().is_empty() {
            let message =
                "`client_id` and `client_secret` have to be those of the identity provider";
            return Some(message.to_owned());
        }
        if let Err(problem) = check_issued_secret(self.client_secret.expose()) {
            return Some(format!(
                "`client_secret` {problem}; expected that of the identity provider"
            ));
        }
        let mut redirects = self.redirect_hosts.iter().flatten();
        let mut internal = self.internal_hosts.iter();
        let wrong = redirects
            .find_map(|host| Some(("redirect_hosts", check_host(host, true).err()?)))
            .or_else(|| {
                internal.find_map(|host| Some(("internal_hosts", check_host(host, false).err()?)))
            });
        wrong.map(|(key, problem)| format!("`{key}`: {problem}"))
    }
}

/// The secret of the registered client. Never shown.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

impl ClientSecret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for ClientSecret {
    fn from(secret: &str) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

// By hand, since a secret has no equality of its own. Nobody who could measure how long this takes
// chooses what is compared.
impl PartialEq for ClientSecret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ClientSecret {}

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretString::deserialize(deserializer).map(Self)
    }
}

fn default_scopes() -> Vec<Scope> {
    let openid = de::value::StrDeserializer::<de::value::Error>::new("openid");
    Scope::deserialize(openid).into_iter().collect()
}

fn default_access() -> Duration {
    Duration::from_secs(10 * 60)
}

fn default_session() -> Duration {
    Duration::from_secs(8 * 60 * 60)
}

fn default_rate() -> u32 {
    300
}

fn access_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "access-lifetime" })
}

fn session_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "session-lifetime" })
}

/// Checks how long an access token is valid.
///
/// # Errors
///
/// Says that it is too short or too long.
pub fn check_access_lifetime(lifetime: Duration) -> Result<(), String> {
    check_lifetime(lifetime, LONGEST_ACCESS)
}

/// Checks how long somebody stays logged in.
///
/// # Errors
///
/// Says that it is too short or too long.
pub fn check_session_lifetime(lifetime: Duration) -> Result<(), String> {
    check_lifetime(lifetime, LONGEST_SESSION)
}

fn check_lifetime(lifetime: Duration, longest: Duration) -> Result<(), String> {
    if lifetime < SHORTEST {
        return Err("is shorter than 10 s".to_owned());
    }
    if lifetime > longest {
        let longest = humantime::format_duration(longest);
        return Err(format!("is longer than {longest}"));
    }
    Ok(())
}

fn deserialize_access<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    lifetime(deserializer, check_access_lifetime)
}

fn deserialize_session<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    lifetime(deserializer, check_session_lifetime)
}

fn lifetime<'de, D: Deserializer<'de>>(
    deserializer: D,
    check: fn(Duration) -> Result<(), String>,
) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(f64),
        Text(String),
    }
    let duration = match Written::deserialize(deserializer)? {
        Written::Seconds(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Written::Text(text) => humantime::parse_duration(&text).ok(),
    };
    let duration = duration.ok_or_else(|| de::Error::custom("is not a duration"))?;
    check(duration).map_err(de::Error::custom)?;
    Ok(duration)
}

fn deserialize_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(de::Error::custom("is 0, so nobody could log in")),
        rate => Ok(rate),
    }
}

fn deserialize_private_redirects<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let uris = Vec::<String>::deserialize(deserializer)?;
    for uri in &uris {
        check_private_redirect(uri).map_err(de::Error::custom)?;
    }
    Ok(uris)
}
