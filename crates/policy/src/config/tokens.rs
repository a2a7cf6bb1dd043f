//! What an operator writes about access tokens and client certificates.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use url::{Host, Url};

/// An authorization server whose access tokens are accepted: JWTs that its published keys vouch for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Who gives the tokens out, exactly as their claim `iss` says: `https`, or `http` on the loopback.
    /// Its metadata is looked for below it, as OpenID Connect and RFC 8414 say.
    #[schemars(with = "String", extend("format" = "issuer"))]
    pub issuer: IssuerUrl,
    /// For whom tokens may be, as their claim `aud` says. By default for the address of the endpoint
    /// that is called: `server.public_url` and `/mcp`, or `/mcp/NAME` for a profile. One that is
    /// listed here is accepted at every endpoint, so list it only for an issuer that cannot
    /// put an address there.
    #[serde(default)]
    pub audience: Vec<String>,
    /// Where the keys are, for an issuer without metadata: `https`, or `http` on the loopback.
    #[serde(default, deserialize_with = "deserialize_endpoint")]
    #[schemars(with = "Option<String>", extend("format" = "issuer"))]
    pub jwks_url: Option<Url>,
    /// The algorithms that tokens may be signed by.
    #[serde(default = "all_algorithms")]
    #[schemars(extend("default" = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]))]
    pub algorithms: Vec<TokenAlgorithm>,
    /// The claim that lists the groups of the principal. `a.b` is the member `b` of the claim `a`,
    /// unless there is a claim of that name.
    #[serde(default = "groups_claim")]
    #[schemars(extend("default" = "groups"))]
    pub groups_claim: String,
    /// What is put before each group, so that issuers cannot give out each other's.
    #[serde(default)]
    pub group_prefix: String,
    /// The claim that names the OAuth client. By default `azp`, or else `client_id`.
    #[serde(default)]
    pub client_claim: Option<String>,
    /// The claim that lists the scopes. By default `scope`, or else `scp`.
    #[serde(default)]
    pub scopes_claim: Option<String>,
}

/// What tokens have to be good for: their scopes. API keys and certificates have none and need none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScopesConfig {
    /// What a token needs at every endpoint.
    pub required: Vec<Scope>,
    /// What it needs beside that at `/mcp/NAME`, by the name of the profile.
    pub profiles: BTreeMap<String, Vec<Scope>>,
    /// Broader scopes, and the narrower ones that each stands for as well.
    pub implies: BTreeMap<Scope, Vec<Scope>>,
}

impl ScopesConfig {
    /// Whether there is this scope anywhere in it.
    #[must_use]
    pub fn names(&self, scope: &Scope) -> bool {
        let lists = self.profiles.values().chain(self.implies.values());
        self.required.contains(scope)
            || self.implies.contains_key(scope)
            || lists.flatten().any(|known| known == scope)
    }
}

/// How a client certificate becomes a principal, where `server.tls.client_ca` has vouched for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MtlsConfig {
    /// Which of the certificate's names is the principal's: the first kind that it has. The principal is
    /// `cert:KIND:NAME`.
    pub identity: Vec<CertificateName>,
    /// The groups of principals, by their names.
    pub groups: Vec<CertificateGroups>,
}

impl Default for MtlsConfig {
    fn default() -> Self {
        use CertificateName::{CommonName, Dns, Email, Uri};
        Self {
            identity: vec![Uri, Dns, Email, CommonName],
            groups: Vec::new(),
        }
    }
}

/// A kind of name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// A URI among the alternative names, such as a SPIFFE id.
    Uri,
    /// A DNS name among the alternative names.
    Dns,
    /// A mail address among the alternative names.
    Email,
    /// The common name of the subject.
    CommonName,
}

impl CertificateName {
    /// The word in the configuration, and in names of principals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uri => "uri",
            Self::Dns => "dns",
            Self::Email => "email",
            Self::CommonName => "common_name",
        }
    }
}

/// Groups for all whose name looks like this.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateGroups {
    /// The name; `*` stands for any characters.
    pub name: String,
    /// The kind that it has to be of. By default any kind in `identity`.
    #[serde(default)]
    #[schemars(with = "CertificateName")]
    pub kind: Option<CertificateName>,
    /// The groups.
    pub groups: Vec<String>,
}

/// An algorithm that a token may be signed by: none with a secret that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum TokenAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on the curve P-256 with SHA-256.
    ES256,
    /// ECDSA on the curve P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl TokenAlgorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];
}

fn all_algorithms() -> Vec<TokenAlgorithm> {
    TokenAlgorithm::ALL.to_vec()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

/// The identifier of an issuer. Kept as it was written: a slash more is another issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerUrl(String);

impl IssuerUrl {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IssuerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_issuer(&text).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

/// Checks the address of an issuer, or of its keys.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_issuer(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|_| "is not an address".to_owned())?;
    // `|` stands between an issuer and a subject in the name of a principal.
    let is_plain = !text.contains('|') && url.query().is_none() && url.fragment().is_none();
    if !is_plain || !url.username().is_empty() || url.password().is_some() {
        return Err("is not the address of an issuer".to_owned());
    }
    if !is_confidential(&url) {
        return Err("would send keys over a network as anybody may change them".to_owned());
    }
    Ok(())
}

/// Whether nobody on the way can change what comes from there: `https`, or `http` on the loopback.
#[must_use]
pub fn is_confidential(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether this is an address of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn deserialize_endpoint<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Url>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    check_issuer(&text).map_err(de::Error::custom)?;
    Url::parse(&text).map(Some).map_err(de::Error::custom)
}

/// The name of a scope, as RFC 6749 has it (section 3.3): visible characters without quotes and
/// backslashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(extend("format" = "scope"))]
pub struct Scope(String);

impl Scope {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_scope(&text).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

/// Checks the name of a scope.
///
/// # Errors
///
/// Says that it is none.
pub fn check_scope(text: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
        return Err("is not the name of a scope".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_issuer, check_scope};

    #[test]
    fn an_issuer_is_reached_where_nobody_listens_in() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/realms/a/",
            "http://127.0.0.1:8080",
            "http://localhost/x",
            "http://[::1]:9",
        ] {
            assert_eq!(check_issuer(good), Ok(()), "{good}");
        }
        for bad in [
            "id.example.com",
            "http://id.example.com",
            "http://localhost.example.com",
            "https://a|b.example.com",
            "https://user:password@id.example.com",
            "https://id.example.com/?a=b",
            "https://id.example.com/#a",
            "javascript:alert(1)",
            "file:///etc/passwd",
        ] {
            assert!(check_issuer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scope_cannot_leave_its_quotes() {
        for good in ["mcp", "mcp:read", "https://example.com/a", "a!#[]~"] {
            assert_eq!(check_scope(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a\nb", &"a".repeat(256)] {
            assert!(check_scope(bad).is_err(), "{bad}");
        }
    }
}
