//! The clients: those that register themselves, and those that have a document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchboard_protocol::token::{Purpose, digest};
use url::{Host, Url};

use super::{Facade, OAuthError, redirect};

/// The longest id that is looked at, in characters: what a registration of [`LONGEST_REGISTRATION`]
/// bytes becomes.
const LONGEST_ID: usize = 4096;
/// The longest address of a document, in characters.
const LONGEST_DOCUMENT_URL: usize = 512;
/// The most redirect URIs of a client that registers itself.
const MOST_REDIRECTS: usize = 10;
/// The most redirect URIs of a document.
const MOST_DOCUMENT_REDIRECTS: usize = 64;
/// The most that is kept of a registration, in bytes of JSON: it is in the address of every login.
const LONGEST_REGISTRATION: usize = 2048;
/// The longest name that is shown, in characters.
const LONGEST_NAME: usize = 64;

/// A client, as far as the facade knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it calls itself: anybody may call himself anything.
    pub name: String,
    /// The host of its document, which only who owns that host can have put there.
    pub host: Option<String>,
    /// Where it may have browsers sent to.
    redirect_uris: Vec<String>,
    /// What stands for its id in tokens and consents: that may be long.
    pub(super) digest: String,
    /// What rules know it by.
    pub(super) claim: String,
}

/// A client's id, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientId {
    /// Of a client that has registered itself: its id is all that is known of it.
    Registered(Client),
    /// The address of a document, which has to be fetched ([`Client::of_document`]).
    Document(Url),
}

/// An answer to a client that has registered itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered(pub Value);

/// What is kept of a registration, within the id.
#[derive(Deserialize, Serialize)]
struct Kept {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "r")]
    redirect_uris: Vec<String>,
}

/// What a client says of itself, as far as it matters (RFC 7591, section 2). Everything else is
/// ignored, as the specification asks.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    client_secret: Option<Value>,
}

const INVALID_METADATA: &str = "invalid_client_metadata";
const UNKNOWN: OAuthError = OAuthError::new(
    "invalid_client",
    "the client is not known here: it has to register itself anew",
);

impl Facade {
    /// Registers a client that sends this body (RFC 7591, section 3). Nothing is stored: the id that it
    /// gets contains all that is known of it, sealed.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Its own fault.
    pub fn register(&self, body: &[u8], now: u64) -> Result<Registered, OAuthError> {
        let metadata: Metadata = serde_json::from_slice(body).map_err(|_| {
            OAuthError::new(INVALID_METADATA, "the body is not a client's metadata")
        })?;
        let types = metadata.response_types.unwrap_or_default();
        if !types.is_empty() && !types.iter().any(|kind| kind == "code") {
            let description = "the only response type here is `code`";
            return Err(OAuthError::new(INVALID_METADATA, description));
        }
        let redirect_uris = metadata.redirect_uris;
        if redirect_uris.is_empty() || redirect_uris.len() > MOST_REDIRECTS {
            let description = "expected 1 to 10 redirect URIs";
            return Err(OAuthError::new("invalid_redirect_uri", description));
        }
        for uri in &redirect_uris {
            redirect::check(uri, self.config())?;
        }
        let kept = Kept {
            name: shown_name(metadata.client_name.as_deref()),
            redirect_uris,
        };
        if serde_json::to_vec(&kept).map_or(0, |kept| kept.len()) > LONGEST_REGISTRATION {
            let description = "the redirect URIs and the name are too long";
            return Err(OAuthError::new(INVALID_METADATA, description));
        }
        let id = self
            .seal(Purpose::Client, &[], u64::MAX / 1000, &kept)
            .map_err(|_| OAuthError::new("server_error", "try again later"))?;
        Ok(Registered(json!({
            "client_id": id,
            "client_id_issued_at": now,
            "client_name": kept.name,
            "redirect_uris": kept.redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })))
    }

    /// Reads a client's id.
    ///
    /// # Errors
    ///
    /// If it is of no client that is known here, and no address of a document either.
    pub fn client(&self, id: &str, now: u64) -> Result<ClientId, OAuthError> {
        if id.len() > LONGEST_ID {
            return Err(UNKNOWN);
        }
        // No sealed id has a colon.
        if id.contains(':') {
            return document_url(id).map(ClientId::Document);
        }
        let kept: Kept = self.open(Purpose::Client, &[], now, id).ok_or(UNKNOWN)?;
        let digest = digest_of(id);
        Ok(ClientId::Registered(Client {
            name: kept.name,
            host: None,
            redirect_uris: kept.redirect_uris,
            claim: format!("registered-{}", digest.get(..16).unwrap_or_default()),
            digest,
        }))
    }

    /// Whether documents may be fetched from this host.
    #[must_use]
    pub fn may_fetch_from(&self, host: &str) -> bool {
        self.config().allows_host(host)
    }
}

impl Client {
    /// Reads a client id metadata document that came from this address
    /// (draft-ietf-oauth-client-id-metadata-document, section 4.1).
    ///
    /// # Errors
    ///
    /// What is wrong with it. Its author's fault.
    pub fn of_document(url: &Url, document: &[u8]) -> Result<Self, OAuthError> {
        let wrong = |description| OAuthError::new("invalid_client", description);
        let metadata: Metadata = serde_json::from_slice(document)
            .map_err(|_| wrong("the client's document is no metadata of a client"))?;
        if metadata.client_id.as_deref() != Some(url.as_str()) {
            return Err(wrong("the client's document is of another client"));
        }
        if metadata.client_secret.is_some() {
            return Err(wrong("the client's document has a secret in it"));
        }
        let method = metadata.token_endpoint_auth_method;
        if method.is_some_and(|method| method != "none") {
            return Err(wrong("clients with a secret or a key are not served here"));
        }
        let redirect_uris = metadata.redirect_uris;
        if redirect_uris.is_empty() || redirect_uris.len() > MOST_DOCUMENT_REDIRECTS {
            return Err(wrong(
                "the client's document has no redirect URIs, or too many",
            ));
        }
        Ok(Self {
            name: shown_name(metadata.client_name.as_deref()),
            host: url.host_str().map(str::to_owned),
            redirect_uris,
            digest: digest_of(url.as_str()),
            claim: url.to_string(),
        })
    }

    /// Checks that this client may have a browser sent there. An allowed address of a configuration
    /// that has changed is not enough.
    pub(super) fn may_redirect(&self, asked: &str, facade: &Facade) -> Result<Url, OAuthError> {
        let mut known = self.redirect_uris.iter();
        if !known.any(|registered| redirect::matches(registered, asked)) {
            let description = "the redirect URI is none of this client's";
            return Err(OAuthError::new("invalid_request", description));
        }
        redirect::check(asked, facade.config())
    }
}

/// What stands for a client's id.
pub(super) fn digest_of(client_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&[client_id.as_bytes()]))
}

/// Reads the address of a client's document (the same draft, section 3).
fn document_url(text: &str) -> Result<Url, OAuthError> {
    let wrong = OAuthError::new(
        "invalid_client",
        "the client's id is not the plain https address of a document",
    );
    let url = Url::parse(text).map_err(|_| wrong)?;
    let is_plain = url.as_str() == text && text.len() <= LONGEST_DOCUMENT_URL;
    let is_clean = url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.query().is_none();
    // An address is no name that anybody is known by.
    let has_name = matches!(url.host(), Some(Host::Domain(name)) if !name.ends_with('.'));
    let has_path = url.path() != "/";
    if url.scheme() == "https" && is_plain && is_clean && has_name && has_path {
        Ok(url)
    } else {
        Err(wrong)
    }
}

/// The name of a client as it is shown: without what would make a reader see something else.
fn shown_name(name: Option<&str>) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let name = name.unwrap_or_default();
    let visible = name.chars().filter(|c| !is_hidden(*c));
    let shown: String = visible.take(LONGEST_NAME).collect();
    match shown.trim() {
        "" => "a client without a name".to_owned(),
        shown => shown.to_owned(),
    }
}
