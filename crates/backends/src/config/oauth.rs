//! How the gateway gets the tokens that it shows a remote server: the `oauth` of a backend.

use std::borrow::Cow;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// What kind of token a caller's own is, where nothing else is said (RFC 8693, 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The most scopes that one list may name.
const MAX_SCOPES: usize = 64;

/// How the gateway gets the tokens that it shows a server.
///
/// Two are equal if everything is, secrets included.
#[derive(Clone, Debug)]
pub struct OAuthConfig {
    /// Whose tokens.
    pub grant: Grant,
    /// Where tokens are asked for. `None`: the metadata of `issuer` say where.
    pub token_url: Option<Url>,
    /// Who gives tokens out, as it calls itself. `None` beside no `token_url`: the server says who.
    pub issuer: Option<String>,
    /// What the authorization server knows the gateway by.
    pub client_id: String,
    /// What proves that the gateway is that client.
    pub proof: ClientProof,
    /// The scopes that are asked for; empty: those that the server names.
    pub scopes: Vec<String>,
    /// Scopes that are asked for beside these once the server says that it needs them.
    pub extra_scopes: Vec<String>,
    /// What the tokens are for; `None`: the backend's URL.
    pub resource: Option<String>,
    /// The `audience` of a token exchange.
    pub audience: Option<String>,
    /// What kind of token a caller's own is.
    pub subject_token_type: String,
    /// What kind of token is asked for in exchange, if that is said at all.
    pub requested_token_type: Option<String>,
}

/// Whose tokens a server is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// The gateway's own, for all calls (RFC 6749, 4.4).
    ClientCredentials,
    /// One for each caller, in exchange for the token that it showed the gateway (RFC 8693); the
    /// gateway's own for its lists and health checks.
    TokenExchange,
}

/// What proves which client the gateway is.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// A secret.
    Secret {
        /// The secret.
        secret: SecretString,
        /// How it is sent; `None`: as the authorization server's metadata say, else as `Basic`.
        method: Option<SecretMethod>,
    },
    /// A signed assertion (RFC 7523, 2.2).
    PrivateKey(PrivateKeyConfig),
}

/// How a client's secret is sent (RFC 6749, 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretMethod {
    /// In the header `Authorization`.
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

/// A key that signs assertions.
#[derive(Clone, Debug)]
pub struct PrivateKeyConfig {
    /// Where it is.
    pub source: KeySource,
    /// What the authorization server knows it by.
    pub kid: Option<String>,
    /// How it signs.
    pub alg: SigningAlgorithm,
}

/// Where a private key is.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a PEM file, which is read for every assertion.
    File(PathBuf),
    /// Here, as PEM.
    Pem(SecretString),
}

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256.
    #[default]
    ES256,
    /// ECDSA with P-384.
    ES384,
    /// RSA, PKCS#1.
    RS256,
    /// RSA, PSS.
    PS256,
    /// Ed25519.
    EdDSA,
}

/// How the gateway gets the tokens that it shows a remote server as a client of OAuth 2.1: one token of
/// its own for everybody, or one for each caller. They are renewed before they expire.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OAuthConfig")]
struct OAuthFile {
    /// `client_credentials`: the gateway's own token, for all calls. `token_exchange`: a token for each
    /// caller, in exchange for the JWT that it showed the gateway (RFC 8693); others cannot call this
    /// server. Lists are read with the gateway's own token then, and a legacy server needs `sessions:
    /// per_principal` or `per_client`.
    grant: Grant,
    /// Where tokens are asked for: `https`, or `http` on this machine. By default the metadata of the
    /// issuer say where.
    #[schemars(extend("format" = "http-url"))]
    token_url: Option<String>,
    /// Who gives tokens out, exactly as it calls itself in its metadata, which are looked up below
    /// `/.well-known` (RFC 8414, OpenID Connect Discovery) unless `token_url` is there. By default the
    /// server says who, as it answers a request without a token (RFC 9728).
    #[schemars(extend("format" = "http-url"))]
    issuer: Option<String>,
    /// What the authorization server knows the gateway by.
    #[schemars(length(min = 1))]
    client_id: String,
    /// The client's secret. Either this or `private_key`.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    client_secret: Option<SecretString>,
    /// How the secret is sent; by default as the metadata of the authorization server ask for, else
    /// `client_secret_basic`.
    auth_method: Option<SecretMethod>,
    /// A key that signs an assertion instead of a secret (`private_key_jwt`, RFC 7523).
    private_key: Option<PrivateKeyFile>,
    /// The scopes that are asked for; by default those that the server names, or none.
    #[serde(default)]
    scopes: Vec<String>,
    /// Scopes that are asked for beside these only after the server has answered that it needs them
    /// (403, `insufficient_scope`).
    #[serde(default)]
    extra_scopes: Vec<String>,
    /// What the tokens are for (RFC 8707), a URI; by default the backend's URL.
    #[schemars(length(min = 1))]
    resource: Option<String>,
    /// What the exchanged tokens are for, by the name that the authorization server has for it. Only
    /// with `token_exchange`.
    #[schemars(length(min = 1))]
    audience: Option<String>,
    /// What kind of token a caller's own is; by default
    /// `urn:ietf:params:oauth:token-type:access_token`. Only with `token_exchange`.
    #[schemars(length(min = 1))]
    subject_token_type: Option<String>,
    /// What kind of token is asked for in exchange; by default what the authorization server gives.
    /// Only with `token_exchange`.
    #[schemars(length(min = 1))]
    requested_token_type: Option<String>,
}

/// A key that signs assertions: either `file` or `pem`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrivateKeyConfig")]
struct PrivateKeyFile {
    /// A PEM file with the private key, read anew for every assertion; a relative one is meant from the
    /// folder of the configuration file.
    #[schemars(with = "Option<String>")]
    file: Option<PathBuf>,
    /// The private key itself, as PEM.
    #[schemars(with = "Option<String>", extend("writeOnly" = true))]
    pem: Option<SecretString>,
    /// What the authorization server knows the key by.
    kid: Option<String>,
    /// How it signs.
    #[serde(default)]
    alg: SigningAlgorithm,
}

impl OAuthConfig {
    /// Whether each caller has a token of its own.
    #[must_use]
    pub fn is_per_principal(&self) -> bool {
        self.grant == Grant::TokenExchange
    }
}

impl<'de> Deserialize<'de> for OAuthConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = OAuthFile::deserialize(deserializer)?;
        Self::try_from(file).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for OAuthConfig {
    fn schema_name() -> Cow<'static, str> {
        OAuthFile::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        OAuthFile::json_schema(generator)
    }
}

impl TryFrom<OAuthFile> for OAuthConfig {
    type Error = String;

    fn try_from(file: OAuthFile) -> Result<Self, String> {
        let token_url = file.token_url.as_deref().map(endpoint_url).transpose();
        let token_url = token_url.map_err(|problem| format!("`token_url` {problem}"))?;
        if let Some(issuer) = &file.issuer {
            endpoint_url(issuer).map_err(|problem| format!("`issuer` {problem}"))?;
        }
        for (name, text) in [
            ("client_id", Some(&file.client_id)),
            ("resource", file.resource.as_ref()),
            ("audience", file.audience.as_ref()),
            ("subject_token_type", file.subject_token_type.as_ref()),
            ("requested_token_type", file.requested_token_type.as_ref()),
        ] {
            if text.is_some_and(String::is_empty) {
                return Err(format!("`{name}` is empty"));
            }
        }
        check_resource(file.resource.as_deref())?;
        check_scopes("scopes", &file.scopes)?;
        check_scopes("extra_scopes", &file.extra_scopes)?;
        if file.grant == Grant::ClientCredentials {
            for (name, is_there) in [
                ("audience", file.audience.is_some()),
                ("subject_token_type", file.subject_token_type.is_some()),
                ("requested_token_type", file.requested_token_type.is_some()),
            ] {
                if is_there {
                    return Err(format!(
                        "has `{name}`, which has no effect with `grant: client_credentials`; expected it with `grant: token_exchange`"
                    ));
                }
            }
        }
        Ok(Self {
            proof: proof(file.client_secret, file.auth_method, file.private_key)?,
            grant: file.grant,
            token_url,
            issuer: file.issuer,
            client_id: file.client_id,
            scopes: file.scopes,
            extra_scopes: file.extra_scopes,
            resource: file.resource,
            audience: file.audience,
            subject_token_type: file
                .subject_token_type
                .unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
            requested_token_type: file.requested_token_type,
        })
    }
}

fn proof(
    secret: Option<SecretString>,
    method: Option<SecretMethod>,
    key: Option<PrivateKeyFile>,
) -> Result<ClientProof, String> {
    match (secret, key) {
        (Some(secret), None) if secret.expose_secret().is_empty() => {
            Err("`client_secret` is empty".to_owned())
        }
        (Some(secret), None) => Ok(ClientProof::Secret { secret, method }),
        (None, Some(_)) if method.is_some() => Err(
            "has `auth_method`, which has no effect beside `private_key`; expected it beside `client_secret`".to_owned(),
        ),
        (None, Some(key)) => Ok(ClientProof::PrivateKey(PrivateKeyConfig {
            source: match (key.file, key.pem) {
                (Some(file), None) => KeySource::File(file),
                (None, Some(pem)) => KeySource::Pem(pem),
                _ => return Err("`private_key` has not exactly one of `file` and `pem`".to_owned()),
            },
            kid: key.kid,
            alg: key.alg,
        })),
        _ => Err("has not exactly one of `client_secret` and `private_key`".to_owned()),
    }
}

/// Reads the address of an authorization server: `https`, or `http` on this machine (OAuth 2.1, 1.5),
/// without a fragment and without anything before an `@`.
///
/// # Errors
/// Says what is wrong with it, without repeating it.
pub fn endpoint_url(text: &str) -> Result<Url, String> {
    let url = super::parse_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password".to_owned());
    }
    if url.scheme() == "http" && !is_this_machine(&url) {
        return Err("is not an https URL, as it has to be unless it is on this machine".to_owned());
    }
    Ok(url)
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn check_resource(resource: Option<&str>) -> Result<(), String> {
    let Some(resource) = resource else {
        return Ok(());
    };
    match Url::parse(resource) {
        Ok(url) if url.fragment().is_none() => Ok(()),
        Ok(_) => Err("`resource` has a fragment (`#…`)".to_owned()),
        Err(_) => Err("`resource` is not an absolute URI".to_owned()),
    }
}

/// A scope is printable ASCII without space, quotation mark and backslash (RFC 6749, 3.3).
fn check_scopes(field: &str, scopes: &[String]) -> Result<(), String> {
    if scopes.len() > MAX_SCOPES {
        return Err(format!("`{field}` has more than {MAX_SCOPES} scopes"));
    }
    match scopes.iter().all(|scope| is_scope(scope)) {
        true => Ok(()),
        false => Err(format!("`{field}` has one that is not a scope")),
    }
}

/// Whether the text is one scope.
pub(crate) fn is_scope(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is_fit)
}

// By hand, since a secret has no equality of its own.
impl PartialEq for OAuthConfig {
    fn eq(&self, other: &Self) -> bool {
        self.grant == other.grant
            && self.token_url == other.token_url
            && self.issuer == other.issuer
            && self.client_id == other.client_id
            && self.proof == other.proof
            && self.scopes == other.scopes
            && self.extra_scopes == other.extra_scopes
            && self.resource == other.resource
            && self.audience == other.audience
            && self.subject_token_type == other.subject_token_type
            && self.requested_token_type == other.requested_token_type
    }
}

impl PartialEq for ClientProof {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Secret { secret, method },
                Self::Secret {
                    secret: other_secret,
                    method: other_method,
                },
            ) => secret.expose_secret() == other_secret.expose_secret() && method == other_method,
            (Self::PrivateKey(key), Self::PrivateKey(other)) => {
                key.kid == other.kid && key.alg == other.alg && key.source == other.source
            }
            _ => false,
        }
    }
}

impl PartialEq for KeySource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(path), Self::File(other)) => path == other,
            (Self::Pem(pem), Self::Pem(other)) => pem.expose_secret() == other.expose_secret(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OAuthConfig, String> {
        serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
    }

    fn with(more: &str) -> Result<OAuthConfig, String> {
        read(&format!(
            r#"{{"grant": "client_credentials", "client_id": "c", "client_secret": "s"{more}}}"#
        ))
    }

    #[test]
    fn addresses_are_https_or_on_this_machine() {
        for good in [
            "https://as.example/token",
            "http://127.0.0.1:8/token",
            "http://[::1]/token",
            "http://localhost/token",
        ] {
            assert!(
                with(&format!(r#", "token_url": "{good}""#)).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "http://as.example/token",
            "http://10.0.0.1/token",
            "http://127.0.0.1.example/token",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "$(touch x)",
            "--flag",
            "https://user:secret@as.example/",
            "https://as.example/#part",
            "ftp://as.example/",
        ] {
            for key in ["token_url", "issuer"] {
                let error = with(&format!(r#", "{key}": "{bad}""#)).expect_err(bad);
                assert!(error.starts_with(&format!("`{key}` ")), "{error}");
                assert!(!error.contains("secret"), "{error}");
            }
        }
    }

    #[test]
    fn there_is_one_proof_and_what_has_no_effect_is_refused() {
        for (text, expected) in [
            (
                r#"{"grant": "client_credentials", "client_id": "c"}"#,
                "has not exactly one",
            ),
            (
                r#"{"grant": "client_credentials", "client_id": "c", "client_secret": "s", "private_key": {"pem": "p"}}"#,
                "has not exactly one",
            ),
            (
                r#"{"grant": "client_credentials", "client_id": "c", "private_key": {}}"#,
                "`private_key` has not",
            ),
            (
                r#"{"grant": "client_credentials", "client_id": "c", "client_secret": "s", "audience": "a"}"#,
                "has `audience`",
            ),
            (
                r#"{"grant": "client_credentials", "client_id": "", "client_secret": "s"}"#,
                "`client_id` is empty",
            ),
            (
                r#"{"grant": "client_credentials", "client_id": "c", "client_secret": "s", "scopes": ["a b"]}"#,
                "`scopes` has one",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn they_differ_in_secrets_too() {
        let other =
            read(r#"{"grant": "client_credentials", "client_id": "c", "client_secret": "t"}"#);
        assert_ne!(with("").expect("valid"), other.expect("valid"));
        assert_eq!(with("").expect("valid"), with("").expect("valid"));
        let shown = format!("{:?}", with("").expect("valid"));
        assert!(!shown.contains("\"s\""), "{shown}");
    }
}
