//! Asking for a token (RFC 6749, 4.4 and 5; RFC 8693, 2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use switchboard_protocol::credentials::{Blame, Credential, CredentialError, SubjectToken};
use tokio_util::task::TaskTracker;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::assertion::assertion;
use super::fetch::{Answered, Question};
use super::metadata::{self, Place};
use super::slot::Issued;
use crate::config::oauth::{ClientProof, OAuthConfig, SecretMethod};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long a place counts that was found out.
const PLACE_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How much of what a server says of an error the log has, in characters.
const MAX_TOLD: usize = 256;

/// What is asked for.
#[derive(Clone)]
pub(super) enum Wanted {
    /// A token of the gateway's own.
    Own,
    /// One in exchange for a caller's.
    Exchanged(Arc<SubjectToken>),
}

/// A client of one authorization server, for one backend.
pub(super) struct Client {
    backend: Arc<str>,
    config: OAuthConfig,
    /// The backend's.
    url: Url,
    tasks: TaskTracker,
    known: Mutex<Known>,
}

/// What was found out.
#[derive(Default)]
struct Known {
    place: Option<(Arc<Place>, Instant)>,
    /// Who gave tokens out the first time, if the server says who: nobody else is ever shown what
    /// proves the client.
    issuer: Option<String>,
}

impl Client {
    pub(super) fn new(
        backend: Arc<str>,
        config: OAuthConfig,
        url: Url,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            backend,
            config,
            url,
            tasks,
            known: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &OAuthConfig {
        &self.config
    }

    /// Finds out anew where tokens are asked for.
    pub(super) fn forget_place(&self) {
        self.known.lock().place = None;
    }

    /// Asks for a token with these scopes beside the configured ones.
    pub(super) async fn ask(
        &self,
        wanted: &Wanted,
        extra: &[String],
    ) -> Result<Issued, CredentialError> {
        let asked = self.ask_quietly(wanted, extra).await;
        if let Err(error) = &asked {
            let (backend, cause) = (&*self.backend, error.cause.as_deref());
            match error.blame {
                Blame::Caller => tracing::info!(backend, cause, "no token for a call: {error}"),
                _ => tracing::warn!(backend, cause, "no token: {error}"),
            }
            // What was found out may be what is wrong.
            self.forget_place();
        }
        asked
    }

    async fn ask_quietly(
        &self,
        wanted: &Wanted,
        extra: &[String],
    ) -> Result<Issued, CredentialError> {
        let place = self.place().await?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form_type);
        let mut form = Form::default();
        self.add_grant(&mut form, wanted, &place, extra);
        self.add_proof(&mut form, &mut headers, &place).await?;
        let question = Question {
            url: place.token_url.clone(),
            address: place.address,
            method: Method::POST,
            headers,
            body: form.0,
        };
        let answered = question.ask(&self.tasks).await.map_err(unreachable)?;
        match answered.status {
            200..=299 => issued(&answered),
            _ => Err(refused(&answered, wanted)),
        }
    }

    async fn place(&self) -> Result<Arc<Place>, CredentialError> {
        let expected = {
            let known = self.known.lock();
            if let Some((place, found)) = &known.place
                && found.elapsed() < PLACE_LIFETIME
            {
                return Ok(Arc::clone(place));
            }
            known.issuer.clone()
        };
        let place = metadata::find(&self.config, &self.url, &self.tasks).await?;
        if let Some(issuer) = &place.named_by_server {
            match expected {
                Some(expected) if expected != *issuer => {
                    return Err(CredentialError {
                        blame: Blame::Operator,
                        reason: Arc::from(
                            "it names another authorization server than before: if that is right, an operator has to restart the gateway, or to set `oauth.issuer`",
                        ),
                        cause: Some(format!("{expected:?} before, {issuer:?} now").into()),
                    });
                }
                Some(_) => {}
                None => tracing::info!(
                    backend = &*self.backend,
                    issuer = issuer.escape_debug().to_string(),
                    "it names its authorization server, which is shown what proves the client; set `oauth.issuer` to allow no other"
                ),
            }
        }
        let place = Arc::new(place);
        let mut known = self.known.lock();
        known.issuer = known.issuer.take().or(place.named_by_server.clone());
        known.place = Some((Arc::clone(&place), Instant::now()));
        Ok(place)
    }

    fn add_grant(&self, form: &mut Form, wanted: &Wanted, place: &Place, extra: &[String]) {
        let config = &self.config;
        match wanted {
            Wanted::Own => form.add("grant_type", "client_credentials"),
            Wanted::Exchanged(subject) => {
                form.add("grant_type", TOKEN_EXCHANGE);
                form.add("subject_token", subject.expose());
                form.add("subject_token_type", &config.subject_token_type);
                if let Some(wanted) = &config.requested_token_type {
                    form.add("requested_token_type", wanted);
                }
                if let Some(audience) = &config.audience {
                    form.add("audience", audience);
                }
            }
        }
        form.add("resource", &place.resource);
        let configured = match config.scopes.is_empty() {
            true => &place.scopes,
            false => &config.scopes,
        };
        let mut scopes: Vec<&str> = configured.iter().map(String::as_str).collect();
        for scope in extra {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        if !scopes.is_empty() {
            form.add("scope", &scopes.join(" "));
        }
    }

    async fn add_proof(
        &self,
        form: &mut Form,
        headers: &mut HeaderMap,
        place: &Place,
    ) -> Result<(), CredentialError> {
        let client_id = &self.config.client_id;
        match &self.config.proof {
            ClientProof::Secret { secret, method } => {
                let method = method.or(place.secret_method);
                if method == Some(SecretMethod::ClientSecretPost) {
                    form.add("client_id", client_id);
                    form.add("client_secret", secret.expose_secret());
                } else {
                    headers.insert(AUTHORIZATION, basic(client_id, secret)?);
                }
            }
            ClientProof::PrivateKey(key) => {
                let assertion = assertion(key, client_id, &place.audience).await;
                let assertion = assertion.map_err(|why| CredentialError {
                    blame: Blame::Operator,
                    reason: Arc::from(
                        "the gateway's private key for it cannot be used: an operator has to mend `oauth.private_key`",
                    ),
                    cause: Some(why.into()),
                })?;
                form.add("client_id", client_id);
                form.add("client_assertion_type", JWT_BEARER);
                form.add("client_assertion", &assertion);
            }
        }
        Ok(())
    }
}

/// A form under way, wiped when it is dropped.
#[derive(Default)]
struct Form(Zeroizing<Vec<u8>>);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        for piece in form_urlencoded::byte_serialize(value.as_bytes()) {
            self.0.extend_from_slice(piece.as_bytes());
        }
    }
}

/// Name and secret are encoded as in a form before they are put together (RFC 6749, 2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, CredentialError> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let mut pair = Zeroizing::new(String::new());
    pair.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(
        secret.expose_secret().as_bytes(),
    ));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(|_| no_answer("its secret"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct ErrorAnswer {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The token in an answer.
fn issued(answered: &Answered) -> Result<Issued, CredentialError> {
    // What serde says of a mistake may repeat what was there.
    let answer: TokenAnswer =
        serde_json::from_slice(&answered.body).map_err(|_| no_answer("it is no token answer"))?;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err(no_answer("its `token_type` is not Bearer"));
    }
    let lifetime = match &answer.expires_in {
        None | Some(serde_json::Value::Null) => None,
        // Some write the number as a text.
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_f64().map(|seconds| seconds.max(0.0) as u64),
    };
    let text = Zeroizing::new(format!("Bearer {}", answer.access_token.expose_secret()));
    let is_token = !answer.access_token.expose_secret().is_empty()
        && text
            .bytes()
            .skip("Bearer ".len())
            .all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&text).ok().filter(|_| is_token);
    let value = value.ok_or_else(|| no_answer("its `access_token` is not one"))?;
    Ok(Issued {
        credential: Credential::new(value),
        lifetime: lifetime.map(Duration::from_secs),
    })
}

/// What an error is about (RFC 6749, 5.2; RFC 8707, 2; RFC 8693, 2.2.2).
fn refused(answered: &Answered, wanted: &Wanted) -> CredentialError {
    let said: ErrorAnswer = serde_json::from_slice(&answered.body).unwrap_or_default();
    let cause = told(answered.status, &said);
    let is_exchange = matches!(wanted, Wanted::Exchanged(_));
    let (blame, reason) = match (&*said.error, answered.status) {
        ("temporarily_unavailable" | "server_error" | "slow_down", _)
        | (_, 408 | 425 | 429 | 500..=599) => (Blame::Passing, UNWELL),
        ("invalid_grant" | "invalid_request" | "interaction_required" | "access_denied", _)
            if is_exchange =>
        {
            (
                Blame::Caller,
                "the authorization server gives no token in exchange for this caller's: sign in again, or ask an operator whether you may use it",
            )
        }
        ("invalid_client", _) | (_, 401) => (
            Blame::Operator,
            "the authorization server does not take what proves the gateway's client (invalid_client): an operator has to renew `client_secret` or `private_key` in its `oauth`",
        ),
        ("invalid_grant", _) => (
            Blame::Operator,
            "the authorization server gives the gateway's client no token any more (invalid_grant): an operator has to have its access restored",
        ),
        ("unauthorized_client", _) => (
            Blame::Operator,
            "the authorization server does not let the gateway's client ask in this way (unauthorized_client): an operator has to allow it the grant",
        ),
        ("invalid_scope", _) => (
            Blame::Operator,
            "the authorization server does not give these scopes (invalid_scope): an operator has to check `oauth.scopes`",
        ),
        ("invalid_target", _) => (
            Blame::Operator,
            "the authorization server knows no such resource (invalid_target): an operator has to check `oauth.resource` and `oauth.audience`",
        ),
        ("unsupported_grant_type", _) => (
            Blame::Operator,
            "the authorization server does not know this grant (unsupported_grant_type): an operator has to check `oauth.grant`",
        ),
        _ => (
            Blame::Operator,
            "the authorization server refuses to give the gateway a token: an operator finds in the log what it says",
        ),
    };
    CredentialError {
        blame,
        reason: Arc::from(reason),
        cause: Some(cause.into()),
    }
}

/// What a server says of an error, fit for a log.
fn told(status: u16, said: &ErrorAnswer) -> String {
    let short = |text: &str| -> String {
        let short: String = text.chars().take(MAX_TOLD).collect();
        short.escape_debug().to_string()
    };
    let mut told = format!("HTTP status {status}");
    for text in [&said.error, &said.error_description] {
        if !text.is_empty() {
            told.push_str(", ");
            told.push_str(&short(text));
        }
    }
    told
}

const UNWELL: &str = "the authorization server that gives out tokens for it is not well right now";

/// The authorization server cannot be asked.
pub(super) fn unreachable(cause: String) -> CredentialError {
    CredentialError {
        blame: Blame::Passing,
        reason: Arc::from(
            "the authorization server that gives out tokens for it cannot be reached right now",
        ),
        cause: Some(cause.into()),
    }
}

fn no_answer(cause: &'static str) -> CredentialError {
    CredentialError {
        blame: Blame::Passing,
        reason: Arc::from(UNWELL),
        cause: Some(Arc::from(cause)),
    }
}
