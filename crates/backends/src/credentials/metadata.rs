//! Where tokens are asked for: as configured, as the metadata of the configured issuer say (RFC 8414,
//! OpenID Connect Discovery), or as the server says who answers a request without a token (RFC 9728).

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use switchboard_protocol::credentials::{Blame, CredentialError};
use tokio_util::task::TaskTracker;
use url::Url;
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::fetch::Question;
use super::grant::unreachable;
use super::guard;
use crate::config::oauth::{OAuthConfig, SecretMethod, endpoint_url, is_scope};

/// The most scopes that are taken from a server.
const MAX_SCOPES: usize = 32;
/// A request that a server answers with a challenge, and that does nothing where it does not.
const WITHOUT_TOKEN: &[u8] = br#"{"jsonrpc":"2.0","id":"switchboard","method":"ping","params":{}}"#;

/// Where tokens are asked for, and what was found out about asking there.
pub(super) struct Place {
    pub(super) token_url: Url,
    /// Where to connect to, if that was looked at.
    pub(super) address: Option<SocketAddr>,
    /// Whom an assertion is for.
    pub(super) audience: String,
    /// How a secret is to be sent, if that was found out.
    pub(super) secret_method: Option<SecretMethod>,
    /// The scopes that the server names.
    pub(super) scopes: Vec<String>,
    /// What the token is for.
    pub(super) resource: String,
    /// The issuer, if it was the server that named it.
    pub(super) named_by_server: Option<String>,
}

/// Metadata of an authorization server (RFC 8414, 2).
#[derive(Deserialize)]
struct IssuerMetadata {
    issuer: String,
    token_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// Metadata of a protected resource (RFC 9728, 2).
#[derive(Deserialize)]
struct ResourceMetadata {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What the server says about its tokens.
struct Named {
    issuer: String,
    scopes: Vec<String>,
    resource: String,
}

/// Finds out where tokens for the server at `url` are asked for.
pub(super) async fn find(
    config: &OAuthConfig,
    url: &Url,
    tasks: &TaskTracker,
) -> Result<Place, CredentialError> {
    let resource = config.resource.clone();
    let own_resource = || resource.clone().unwrap_or_else(|| canonical(url));
    match (&config.token_url, &config.issuer) {
        (Some(token_url), issuer) => Ok(Place {
            token_url: token_url.clone(),
            address: None,
            audience: issuer.clone().unwrap_or_else(|| token_url.to_string()),
            secret_method: None,
            scopes: Vec::new(),
            resource: own_resource(),
            named_by_server: None,
        }),
        (None, Some(issuer)) => {
            let base = endpoint_url(issuer).map_err(|why| misled(&why))?;
            let place = of_issuer(issuer, &base, tasks).await?;
            Ok(Place {
                resource: own_resource(),
                ..place
            })
        }
        (None, None) => {
            let named = named(url, tasks).await?;
            let place = of_issuer(&named.issuer, url, tasks).await?;
            Ok(Place {
                scopes: named.scopes,
                resource: resource.unwrap_or(named.resource),
                named_by_server: Some(named.issuer),
                ..place
            })
        }
    }
}

/// The URI of a resource, as tokens name it (RFC 8707, 2).
fn canonical(url: &Url) -> String {
    let text = url.as_str();
    match url.path() {
        "/" if url.query().is_none() => text.trim_end_matches('/').to_owned(),
        _ => text.to_owned(),
    }
}

/// Where an issuer gives tokens out. `base` is the operator's own, which led to it.
async fn of_issuer(
    issuer: &str,
    base: &Url,
    tasks: &TaskTracker,
) -> Result<Place, CredentialError> {
    let url = endpoint_url(issuer).map_err(|why| misled(&format!("the issuer {why}")))?;
    let address = guard::address(&url, base)
        .await
        .map_err(|why| misled(&why))?;
    let mut found = None;
    for document in issuer_documents(&url) {
        found = document_at(document, address, tasks).await?;
        if found.is_some() {
            break;
        }
    }
    let metadata: IssuerMetadata =
        found.ok_or_else(|| misled(&"the issuer has no metadata below /.well-known"))?;
    if metadata.issuer != issuer {
        return Err(misled(&format!(
            "the metadata of {issuer:?} are those of {:?}",
            metadata.issuer
        )));
    }
    let token_endpoint = metadata
        .token_endpoint
        .ok_or_else(|| misled(&"the issuer's metadata name no `token_endpoint`"))?;
    let token_url =
        endpoint_url(&token_endpoint).map_err(|why| misled(&format!("`token_endpoint` {why}")))?;
    let address = match token_url.origin() == url.origin() {
        true => address,
        false => guard::address(&token_url, base)
            .await
            .map_err(|why| misled(&why))?,
    };
    Ok(Place {
        token_url,
        address,
        audience: metadata.issuer,
        secret_method: secret_method(&metadata.token_endpoint_auth_methods_supported),
        scopes: Vec::new(),
        resource: String::new(),
        named_by_server: None,
    })
}

/// `Basic` is what every server takes (RFC 6749, 2.3.1), unless it says that it does not.
fn secret_method(supported: &[String]) -> Option<SecretMethod> {
    let has = |method: &str| supported.iter().any(|known| known == method);
    let only_post = has("client_secret_post") && !has("client_secret_basic");
    only_post.then_some(SecretMethod::ClientSecretPost)
}

/// Where the metadata of an issuer may be, in the order in which they are looked for (specification:
/// `basic/authorization`, Authorization Server Metadata Discovery).
fn issuer_documents(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_query(None);
        url.set_path(&path);
        url
    };
    let mut documents = vec![
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        documents.push(at(format!("{path}/.well-known/openid-configuration")));
    }
    documents
}

/// Who gives out tokens for a server, as it says itself.
async fn named(url: &Url, tasks: &TaskTracker) -> Result<Named, CredentialError> {
    let challenge = challenge(url, tasks).await?;
    let mut found: Option<ResourceMetadata> = None;
    for document in resource_documents(url, &challenge)? {
        let address = guard::address(&document, url)
            .await
            .map_err(|why| misled(&why))?;
        found = document_at(document, address, tasks).await?;
        if found.is_some() {
            break;
        }
    }
    let metadata = found.ok_or_else(|| {
        misled(&"the server has no metadata that name one: set `oauth.issuer` or `oauth.token_url`")
    })?;
    if !is_of(&metadata.resource, url) {
        return Err(misled(&format!(
            "its metadata are those of {:?}",
            metadata.resource
        )));
    }
    let issuer = metadata.authorization_servers.into_iter().next();
    let issuer = issuer.ok_or_else(|| misled(&"its metadata name no authorization server"))?;
    let scopes: Vec<String> = match challenge.scope {
        Some(scopes) => scopes.split(' ').map(str::to_owned).collect(),
        None => metadata.scopes_supported,
    };
    Ok(Named {
        issuer,
        scopes: scopes
            .into_iter()
            .filter(|scope| is_scope(scope))
            .take(MAX_SCOPES)
            .collect(),
        resource: metadata.resource,
    })
}

/// What a server says to a request without a token.
async fn challenge(url: &Url, tasks: &TaskTracker) -> Result<Challenge, CredentialError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let both = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(ACCEPT, both);
    let question = Question {
        url: url.clone(),
        address: None,
        method: Method::POST,
        headers,
        body: Zeroizing::new(WITHOUT_TOKEN.to_vec()),
    };
    let answered = question.ask(tasks).await.map_err(unreachable)?;
    match answered.status {
        401 => Ok(Challenge::of(&answered.headers)),
        _ => Ok(Challenge::default()),
    }
}

/// Where the metadata of a server may be: where it says, or else at the well-known places (RFC 9728,
/// 3.1).
fn resource_documents(url: &Url, challenge: &Challenge) -> Result<Vec<Url>, CredentialError> {
    if let Some(named) = &challenge.resource_metadata {
        let document = Url::parse(named).map_err(|_| misled(&"`resource_metadata` is no URL"))?;
        // What is as well kept as the server itself.
        if document.origin() != url.origin() || document.scheme() != url.scheme() {
            endpoint_url(named).map_err(|why| misled(&format!("`resource_metadata` {why}")))?;
        }
        return Ok(vec![document]);
    }
    let at = |path: &str| {
        let mut document = url.clone();
        document.set_query(None);
        document.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
        document
    };
    let path = url.path().trim_end_matches('/');
    let mut documents = vec![at(path)];
    if !path.is_empty() {
        documents.push(at(""));
    }
    Ok(documents)
}

/// Whether metadata of this resource are those of the server at `url`: of it, or of what it is a part
/// of (RFC 9728, 3.3).
fn is_of(resource: &str, url: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else {
        return false;
    };
    let (whole, part) = (resource.path().trim_end_matches('/'), url.path());
    let is_within = part
        .strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == url.origin() && is_within
}

/// The document, or nothing if there is none.
async fn document_at<T: DeserializeOwned>(
    url: Url,
    address: Option<SocketAddr>,
    tasks: &TaskTracker,
) -> Result<Option<T>, CredentialError> {
    let whom = url.origin().ascii_serialization();
    let answered = Question::document(url, address).ask(tasks).await;
    let answered = answered.map_err(unreachable)?;
    match answered.status {
        200 => match serde_json::from_slice(&answered.body) {
            Ok(document) => Ok(Some(document)),
            Err(error) => Err(misled(&format!("{whom}: its metadata are none: {error}"))),
        },
        status @ (408 | 425 | 429 | 500..=599) => {
            Err(unreachable(format!("{whom}: HTTP status {status}")))
        }
        _ => Ok(None),
    }
}

/// What was found out leads nowhere.
fn misled(cause: &(impl ToString + ?Sized)) -> CredentialError {
    CredentialError {
        blame: Blame::Operator,
        reason: Arc::from(
            "it is not found out where the gateway gets a token for it: an operator finds the cause in the log, and can set `oauth.token_url`",
        ),
        cause: Some(cause.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn documents_are_looked_for_where_the_specification_says() {
        let shown = |issuer: &str| -> Vec<String> {
            let documents = issuer_documents(&url(issuer));
            documents.iter().map(Url::to_string).collect()
        };
        assert_eq!(
            shown("https://as.example"),
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            shown("https://as.example/tenant/"),
            [
                "https://as.example/.well-known/oauth-authorization-server/tenant",
                "https://as.example/.well-known/openid-configuration/tenant",
                "https://as.example/tenant/.well-known/openid-configuration",
            ]
        );
        let documents =
            resource_documents(&url("https://x.example/mcp?a=b"), &Challenge::default());
        let documents = documents.expect("documents");
        assert_eq!(
            documents[0].as_str(),
            "https://x.example/.well-known/oauth-protected-resource/mcp"
        );
        assert_eq!(
            documents[1].as_str(),
            "https://x.example/.well-known/oauth-protected-resource"
        );
    }

    #[test]
    fn a_server_names_no_document_of_another_kind() {
        for bad in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "$(touch x)",
            "--flag",
            "http://elsewhere.example/",
            "https://user@elsewhere.example/",
        ] {
            let challenge = Challenge {
                resource_metadata: Some(bad.to_owned()),
                ..Challenge::default()
            };
            let found = resource_documents(&url("https://x.example/mcp"), &challenge);
            assert!(found.is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_are_those_of_the_server_or_of_what_it_is_part_of() {
        let server = url("https://x.example/a/mcp");
        for (resource, expected) in [
            ("https://x.example/a/mcp", true),
            ("https://x.example/a", true),
            ("https://x.example", true),
            ("https://x.example/a/mc", false),
            ("https://x.example/a/mcp/b", false),
            ("https://x.example:8443/a/mcp", false),
            ("http://x.example/a/mcp", false),
            ("https://evil.example/a/mcp", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_of(resource, &server), expected, "{resource}");
        }
    }

    #[test]
    fn the_resource_of_a_server_is_its_url() {
        assert_eq!(canonical(&url("https://x.example/")), "https://x.example");
        assert_eq!(
            canonical(&url("https://x.example/mcp")),
            "https://x.example/mcp"
        );
    }
}
