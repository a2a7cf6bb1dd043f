//! An authorization server of OAuth 2.1 and OpenID Connect, within the test's own process: real keys,
//! real signatures, on the loopback.
//!
//! It consents to everything at once: whoever is sent to `/authorize` comes straight back with a
//! code, for the user that `login_hint` names, or [`USER`]. What it was asked is remembered.
//!
//! | path | does |
//! |---|---|
//! | `/.well-known/openid-configuration`, `/.well-known/oauth-authorization-server` | metadata (RFC 8414) |
//! | `/jwks` | the public keys (RFC 7517) |
//! | `/register` | registers any client (RFC 7591) |
//! | `/authorize` | codes, with PKCE by S256 (RFC 7636) and `iss` (RFC 9207) |
//! | `/token` | `authorization_code` (with an ID token for the scope `openid`), `refresh_token`, `client_credentials`, and token exchange (RFC 8693) |

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jsonwebtoken::Header;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::keys::SigningKey;
use crate::serving;

mod flow;
mod keys;
#[cfg(test)]
mod tests;

/// Whose consent is given where nobody else is named.
pub const USER: &str = "anna";

/// How long its tokens last unless it is told otherwise, in seconds.
pub const LIFETIME: u64 = 300;

/// A running issuer; it stops when it is dropped.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// A request to the token endpoint, as it came.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The fields of its form.
    pub form: HashMap<String, String>,
    /// Its `Authorization` header, if it had one.
    pub authorization: Option<String>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    state: Mutex<Keeping>,
    is_away: AtomicBool,
    discoveries: AtomicUsize,
    jwks_fetches: AtomicUsize,
}

/// What is kept between requests.
#[derive(Debug)]
struct Keeping {
    /// The first signs.
    keys: Vec<SigningKey>,
    /// What every token says beside what it must.
    claims: Value,
    /// What its ID tokens say instead.
    id_claims: Value,
    lifetime: u64,
    /// What its metadata says instead.
    metadata: Value,
    codes: HashMap<String, Value>,
    refresh: HashMap<String, Value>,
    token_requests: Vec<TokenRequest>,
}

impl Issuer {
    /// Starts one on a free port of the loopback, with one key of the curve P-256.
    ///
    /// # Panics
    ///
    /// If there is no port.
    pub async fn start() -> Self {
        let (listener, address) = serving::listener().await;
        let url = format!("http://{address}");
        let shared = Arc::new(Shared {
            url: url.clone(),
            state: Mutex::new(Keeping {
                keys: vec![SigningKey::p256("key-1")],
                claims: json!({}),
                id_claims: json!({}),
                lifetime: LIFETIME,
                metadata: json!({}),
                codes: HashMap::new(),
                refresh: HashMap::new(),
                token_requests: Vec::new(),
            }),
            is_away: AtomicBool::new(false),
            discoveries: AtomicUsize::new(0),
            jwks_fetches: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, router(&shared))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            // Ends with the test.
            let _ = serving.await;
        });
        Self {
            url,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// Its identifier, which is also where its metadata is found.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of its token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.url)
    }

    /// What tokens of this subject say that are for this audience: a valid set of claims to change.
    #[must_use]
    pub fn claims(&self, subject: &str, audience: &str) -> Value {
        let lifetime = self.shared.state().lifetime;
        claims(&self.url, subject, audience, lifetime)
    }

    /// A valid token for this subject and audience, with these scopes, separated by spaces.
    #[must_use]
    pub fn token(&self, subject: &str, audience: &str, scope: &str) -> String {
        let mut claims = self.claims(subject, audience);
        claims["scope"] = json!(scope);
        self.sign(&claims)
    }

    /// A token of these claims, signed with the first key.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.shared.state().keys[0].sign(claims)
    }

    /// A token of these claims with this header, signed with the first key.
    #[must_use]
    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        self.shared.state().keys[0].sign_with(header, claims)
    }

    /// Signs with this key from now on; the earlier ones are still published.
    pub fn add_key(&self, key: SigningKey) {
        self.shared.state().keys.insert(0, key);
    }

    /// Signs with this key from now on, and publishes no other.
    pub fn replace_keys(&self, key: SigningKey) {
        self.shared.state().keys = vec![key];
    }

    /// The keys that it publishes, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.shared.jwks()
    }

    /// Has all tokens that its token endpoint gives out say this too.
    pub fn always_claim(&self, claims: Value) {
        self.shared.state().claims = claims;
    }

    /// Has its ID tokens say this instead.
    pub fn always_identify(&self, claims: Value) {
        self.shared.state().id_claims = claims;
    }

    /// How long its tokens last, in seconds.
    pub fn set_lifetime(&self, seconds: u64) {
        self.shared.state().lifetime = seconds;
    }

    /// Lays these members over its metadata; `null` takes one away.
    pub fn set_metadata(&self, members: Value) {
        self.shared.state().metadata = members;
    }

    /// Answers everything with 503 as long as it is away.
    pub fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often its metadata was asked for, and got.
    #[must_use]
    pub fn discoveries(&self) -> usize {
        self.shared.discoveries.load(Ordering::SeqCst)
    }

    /// How often its keys were asked for, also in vain.
    #[must_use]
    pub fn jwks_fetches(&self) -> usize {
        self.shared.jwks_fetches.load(Ordering::SeqCst)
    }

    /// What its token endpoint was asked so far.
    #[must_use]
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.shared.state().token_requests.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Keeping> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jwks(&self) -> Value {
        let state = self.state();
        let keys: Vec<_> = state.keys.iter().map(SigningKey::public).collect();
        json!({ "keys": keys })
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn claims(issuer: &str, subject: &str, audience: &str, lifetime: u64) -> Value {
    json!({
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "iat": now(),
        "exp": now() + lifetime,
        "jti": format!("{:032x}", fastrand::u128(..)),
    })
}

fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/jwks", get(jwks))
        .route("/register", post(flow::register))
        .route("/authorize", get(flow::authorize))
        .route("/token", post(flow::token))
        .with_state(Arc::clone(shared))
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    shared.discoveries.fetch_add(1, Ordering::SeqCst);
    let url = &shared.url;
    let mut metadata = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "registration_endpoint": format!("{url}/register"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "none", "client_secret_basic", "client_secret_post", "private_key_jwt",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["mcp"],
    });
    if let (Value::Object(known), Value::Object(instead)) =
        (&mut metadata, shared.state().metadata.clone())
    {
        known.extend(instead);
        known.retain(|_, value| !value.is_null());
    }
    as_json(StatusCode::OK, &metadata)
}

async fn jwks(State(shared): State<Arc<Shared>>) -> Response {
    shared.jwks_fetches.fetch_add(1, Ordering::SeqCst);
    if shared.is_away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    as_json(StatusCode::OK, &shared.jwks())
}

fn as_json(status: StatusCode, value: &Value) -> Response {
    let body = value.to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
