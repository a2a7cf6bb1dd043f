//! The identity provider, as its one registered client sees it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::ACCEPT;
use jsonwebtoken::jwk::JwkSet;
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::{Map, Value};
use switchboard_policy::config::is_confidential;
use switchboard_policy::facade::config::FacadeConfig;
use switchboard_policy::facade::id_token::{Expected, IdTokenError, verify};
use switchboard_policy::facade::{Facade, Login, paths};
use tokio::time::Instant;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 256 * 1024;
/// How long its metadata and keys are believed, and how much longer while it cannot be asked.
const FRESH: Duration = Duration::from_secs(60 * 60);
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How soon they are fetched again because a key is not known.
const COOLDOWN: Duration = Duration::from_secs(30);

/// Why nobody could be logged in there. For the log of the gateway alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("there is nothing to ask it with")]
    Client,
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("it answers with HTTP status {0}: {1}")]
    Status(u16, String),
    #[error("its answer is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("its answer is not what it should be: {0}")]
    Invalid(&'static str),
    #[error("who has logged in may have none of the scopes that were asked for")]
    Scopes,
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
}

/// The identity provider.
pub(super) struct Provider {
    http: Option<reqwest::Client>,
    issuer: String,
    client_id: String,
    client_secret: switchboard_policy::facade::config::ClientSecret,
    known: ArcSwapOption<Known>,
}

/// What it has told of itself.
pub(super) struct Known {
    pub(super) authorization_endpoint: Url,
    /// Whether it names itself in every answer (RFC 9207).
    pub(super) names_itself: bool,
    token_endpoint: Url,
    /// Whether the secret goes into the body, where it does not take it in a header.
    secret_in_body: bool,
    keys: JwkSet,
    at: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    pub(super) fn new(config: &FacadeConfig) -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // The operator trusts an issuer, and not whatever that leads to.
            .redirect(Policy::none())
            .build();
        Self {
            http: http.ok(),
            issuer: config.issuer.as_str().to_owned(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            known: ArcSwapOption::empty(),
        }
    }

    /// What it tells of itself.
    ///
    /// # Errors
    /// If it cannot be asked, and was not lately.
    pub(super) async fn known(&self) -> Result<Arc<Known>, ProviderError> {
        let known = self.known.load_full();
        if let Some(known) = &known
            && known.at.elapsed() < FRESH
        {
            return Ok(Arc::clone(known));
        }
        match (self.fetch().await, known) {
            (Ok(fetched), _) => Ok(fetched),
            (Err(error), Some(known)) if known.at.elapsed() < STALE => {
                tracing::warn!(issuer = self.issuer, %error, "the identity provider cannot be asked");
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn fetch(&self) -> Result<Arc<Known>, ProviderError> {
        let place = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let place = Url::parse(&place).map_err(|_| ProviderError::Invalid("the issuer"))?;
        let metadata: Metadata = self.get(place).await?;
        if metadata.issuer != self.issuer {
            return Err(ProviderError::Invalid("it is of another issuer"));
        }
        let authorization_endpoint = endpoint(&metadata.authorization_endpoint)?;
        let token_endpoint = endpoint(&metadata.token_endpoint)?;
        let jwks_uri = endpoint(&metadata.jwks_uri)?;
        let methods = metadata.code_challenge_methods_supported;
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(ProviderError::Invalid("it does not know PKCE by S256"));
        }
        // Where nothing is said it is in the header (RFC 8414, section 2).
        let methods = metadata.token_endpoint_auth_methods_supported;
        let secret_in_body =
            methods.is_some_and(|methods| !methods.iter().any(|it| it == "client_secret_basic"));
        let known = Arc::new(Known {
            keys: self.get(jwks_uri).await?,
            authorization_endpoint,
            names_itself: metadata.authorization_response_iss_parameter_supported,
            token_endpoint,
            secret_in_body,
            at: Instant::now(),
        });
        self.known.store(Some(Arc::clone(&known)));
        Ok(known)
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: Url) -> Result<T, ProviderError> {
        let http = self.http.as_ref().ok_or(ProviderError::Client)?;
        let body = body_of(http.get(url).header(ACCEPT, "application/json")).await?;
        serde_json::from_slice(&body)
            .map_err(|_| ProviderError::Invalid("it is not the JSON expected"))
    }

    /// What it says of who has logged in with this code.
    ///
    /// # Errors
    /// If it takes the code for none of its own, or what it says does not hold.
    pub(super) async fn redeem(
        &self,
        facade: &Facade,
        login: &Login,
        code: &str,
        now: u64,
    ) -> Result<Map<String, Value>, ProviderError> {
        let known = self.known().await?;
        let token = self.id_token(facade, &known, login, code).await?;
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &self.client_id,
            nonce: &login.nonce,
            now,
        };
        match verify(&token, &known.keys, &expected) {
            // One that was published since.
            Err(IdTokenError::UnknownKey) if known.at.elapsed() >= COOLDOWN => {
                let known = self.fetch().await?;
                Ok(verify(&token, &known.keys, &expected)?)
            }
            verified => Ok(verified?),
        }
    }

    async fn id_token(
        &self,
        facade: &Facade,
        known: &Known,
        login: &Login,
        code: &str,
    ) -> Result<String, ProviderError> {
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        let http = self.http.as_ref().ok_or(ProviderError::Client)?;
        let redirect_uri = facade.url(paths::CALLBACK);
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", &login.verifier),
            ("client_id", &self.client_id),
        ];
        let mut request = http.post(known.token_endpoint.clone());
        if known.secret_in_body {
            fields.push(("client_secret", self.client_secret.expose()));
        } else {
            // Both are written as in a form first (RFC 6749, section 2.3.1).
            let written = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            };
            let secret = written(self.client_secret.expose());
            request = request.basic_auth(written(&self.client_id), Some(secret));
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = request
            .header(ACCEPT, "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let body = body_of(request).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| ProviderError::Invalid("there is no id_token in it"))?;
        Ok(answer.id_token)
    }
}

/// Reads an address that a browser is sent to, or a secret.
fn endpoint(text: &str) -> Result<Url, ProviderError> {
    let url = Url::parse(text).ok().filter(is_confidential);
    url.ok_or(ProviderError::Invalid("an endpoint is not https"))
}

/// The body of a good answer.
async fn body_of(request: reqwest::RequestBuilder) -> Result<Vec<u8>, ProviderError> {
    let sent = request.send().await;
    let mut response = sent.map_err(|error| ProviderError::Http(error.without_url()))?;
    let status = response.status();
    let mut body = Vec::new();
    loop {
        let piece = response.chunk().await;
        let piece = piece.map_err(|error| ProviderError::Http(error.without_url()))?;
        let Some(piece) = piece else { break };
        if body.len() + piece.len() > LARGEST {
            return Err(ProviderError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    if !status.is_success() {
        let error: Value = serde_json::from_slice(&body).unwrap_or_default();
        let error = error["error"].as_str().unwrap_or("without a reason");
        let error = error
            .chars()
            .filter(char::is_ascii_graphic)
            .take(64)
            .collect();
        return Err(ProviderError::Status(status.as_u16(), error));
    }
    Ok(body)
}
