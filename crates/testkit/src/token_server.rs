//! A small authorization server on the loopback, within the test's own process: client credentials,
//! signed assertions of clients and token exchange, with switches for what goes wrong.
//!
//! What it gives out is checked by a [`Protected`], the guard of a fake server.

use std::collections::HashMap;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, Uri, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fake_http::{Guard, Recorded};
use crate::serving;

/// The client that the server knows.
pub const CLIENT_ID: &str = "switchboard";
/// Its secret, with characters that are escaped in a form.
pub const CLIENT_SECRET: &str = "s3cret:&=+ of the client";

/// What goes wrong at the token endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenFault {
    /// Nothing.
    #[default]
    None,
    /// It answers with this status and no JSON.
    Status(u16),
    /// It refuses with this error of OAuth's.
    Error(&'static str),
    /// It answers with so many bytes.
    Huge(usize),
    /// It redirects to this address.
    Redirect(String),
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What goes wrong.
    pub fault: TokenFault,
    /// How long a token is said, and taken, to be valid.
    pub lifetime: Duration,
    /// Whether that is said.
    pub tells_lifetime: bool,
    /// How long an answer takes.
    pub pause: Duration,
    /// Who its metadata say that it is; `None`: who it is.
    pub claims_to_be: Option<String>,
    /// Where its metadata say that tokens are asked for; `None`: where they are.
    pub token_endpoint: Option<String>,
    /// The methods that its metadata name.
    pub methods: Vec<&'static str>,
    /// Scopes that nobody gets.
    pub refused_scopes: Vec<&'static str>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            fault: TokenFault::None,
            lifetime: Duration::from_secs(3600),
            tells_lifetime: true,
            pause: Duration::ZERO,
            claims_to_be: None,
            token_endpoint: None,
            methods: vec![
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
            refused_scopes: Vec::new(),
        }
    }
}

/// A request for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Its parameters.
    pub form: HashMap<String, String>,
    /// Its headers.
    pub headers: HeaderMap,
}

impl TokenRequest {
    /// A parameter; empty if it is not there.
    pub fn parameter(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }
}

/// A token that was given out.
#[derive(Clone, Debug)]
struct Given {
    resource: String,
    scopes: Vec<String>,
    subject: Option<String>,
    expires: Instant,
    is_revoked: bool,
}

#[derive(Debug, Default)]
struct Book {
    manners: Manners,
    requests: Vec<TokenRequest>,
    given: HashMap<String, Given>,
    client_key: Option<String>,
}

/// A running server; it stops when it is dropped.
#[derive(Debug)]
pub struct TokenServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    book: Mutex<Book>,
}

impl Shared {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenServer {
    /// Serves on a free port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn start() -> Self {
        let (listener, address) = serving::listener().await;
        let shared = Arc::new(Shared {
            issuer: format!("http://{address}"),
            book: Mutex::default(),
        });
        let router = Router::new()
            .route("/token", post(token))
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/resource", get(resource))
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = serving => {}
            }
        });
        Self {
            address,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    /// How it calls itself.
    pub fn issuer(&self) -> String {
        self.shared.issuer.clone()
    }

    /// Where tokens are asked for.
    pub fn token_url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Behaves so from now on.
    pub fn behave(&self, manners: Manners) {
        self.shared.book().manners = manners;
    }

    /// Has this go wrong from now on.
    pub fn fail(&self, fault: TokenFault) {
        self.shared.book().manners.fault = fault;
    }

    /// Knows the client by this public key, in PEM, from now on.
    pub fn knows_key(&self, pem: &str) {
        self.shared.book().client_key = Some(pem.to_owned());
    }

    /// All requests for tokens so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.shared.book().requests.clone()
    }

    /// Takes none of the tokens any more that it has given out.
    pub fn revoke_all(&self) {
        for given in self.shared.book().given.values_mut() {
            given.is_revoked = true;
        }
    }

    /// The guard of a server of which tokens name this URI, and that wants these scopes for calls.
    pub fn protects(&self, resource: &str, scopes_of_calls: &[&str]) -> Arc<Protected> {
        Arc::new(Protected {
            shared: Arc::clone(&self.shared),
            resource: resource.to_owned(),
            scopes_of_calls: scopes_of_calls
                .iter()
                .map(|&scope| scope.to_owned())
                .collect(),
        })
    }
}

/// Lets in who shows a token that was given out for this server.
#[derive(Debug)]
pub struct Protected {
    shared: Arc<Shared>,
    resource: String,
    scopes_of_calls: Vec<String>,
}

impl Protected {
    /// On whose behalf a request is made, as its token says; `None` if it shows none that is known.
    pub fn subject_of(&self, request: &Recorded) -> Option<String> {
        let book = self.shared.book();
        let given = book.given.get(token_of(request)?)?;
        given.subject.clone()
    }
}

fn token_of(request: &Recorded) -> Option<&str> {
    let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

impl Guard for Protected {
    fn admit(&self, request: &Recorded) -> Result<(), (u16, String)> {
        let metadata = format!(
            "Bearer resource_metadata=\"{}/resource?of={}\"",
            self.shared.issuer, self.resource
        );
        let book = self.shared.book();
        let given = token_of(request).and_then(|token| book.given.get(token));
        let given = given.filter(|given| {
            given.resource == self.resource && !given.is_revoked && Instant::now() < given.expires
        });
        let Some(given) = given else {
            return Err((401, metadata));
        };
        let is_call = request.method() == "tools/call";
        let has = |scope: &String| given.scopes.contains(scope);
        if is_call && !self.scopes_of_calls.iter().all(has) {
            let scopes = self.scopes_of_calls.join(" ");
            let challenge = format!("{metadata}, error=\"insufficient_scope\", scope=\"{scopes}\"");
            return Err((403, challenge));
        }
        Ok(())
    }
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Response {
    let book = shared.book();
    let issuer = &shared.issuer;
    let endpoint = format!("{issuer}/token");
    json_response(
        StatusCode::OK,
        &json!({
            "issuer": book.manners.claims_to_be.as_ref().unwrap_or(issuer),
            "token_endpoint": book.manners.token_endpoint.as_ref().unwrap_or(&endpoint),
            "token_endpoint_auth_methods_supported": book.manners.methods,
        }),
    )
}

/// The metadata of a protected resource, which the query names.
async fn resource(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let resource = uri.query().and_then(|query| query.strip_prefix("of="));
    json_response(
        StatusCode::OK,
        &json!({ "resource": resource, "authorization_servers": [shared.issuer] }),
    )
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = form(&body);
    let pause = {
        let mut book = shared.book();
        book.requests.push(TokenRequest {
            form: form.clone(),
            headers: headers.clone(),
        });
        book.manners.pause
    };
    tokio::time::sleep(pause).await;
    let mut book = shared.book();
    match &book.manners.fault {
        TokenFault::None => {}
        TokenFault::Status(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            return response(status, "text/plain", Body::from("no"));
        }
        TokenFault::Error(error) => return error_response(error),
        TokenFault::Huge(bytes) => {
            return response(
                StatusCode::OK,
                "application/json",
                Body::from(vec![b' '; *bytes]),
            );
        }
        TokenFault::Redirect(to) => {
            let mut response =
                response(StatusCode::TEMPORARY_REDIRECT, "text/plain", Body::empty());
            if let Ok(to) = to.parse() {
                response.headers_mut().insert(header::LOCATION, to);
            }
            return response;
        }
    }
    if !is_client(&shared.issuer, &book, &form, &headers) {
        return error_response("invalid_client");
    }
    let parameter = |name: &str| form.get(name).cloned().unwrap_or_default();
    let subject = match &*parameter("grant_type") {
        "client_credentials" => None,
        "urn:ietf:params:oauth:grant-type:token-exchange" => {
            match subject_of(&parameter("subject_token")) {
                Some(subject) => Some(subject),
                None => return error_response("invalid_grant"),
            }
        }
        _ => return error_response("unsupported_grant_type"),
    };
    let scopes: Vec<String> = parameter("scope")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    if scopes
        .iter()
        .any(|scope| book.manners.refused_scopes.contains(&&**scope))
    {
        return error_response("invalid_scope");
    }
    let lifetime = book.manners.lifetime;
    let text = format!("token-{:016x}", fastrand::u64(..));
    let given = Given {
        resource: parameter("resource"),
        scopes,
        subject,
        expires: Instant::now() + lifetime,
        is_revoked: false,
    };
    book.given.insert(text.clone(), given);
    let mut answer = json!({ "access_token": text, "token_type": "bearer" });
    if book.manners.tells_lifetime {
        answer["expires_in"] = json!(lifetime.as_secs());
    }
    json_response(StatusCode::OK, &answer)
}

/// Whether the request proves that it is of the client.
fn is_client(
    issuer: &str,
    book: &Book,
    form: &HashMap<String, String>,
    headers: &HeaderMap,
) -> bool {
    let parameter = |name: &str| form.get(name).map(String::as_str);
    if let Some(assertion) = parameter("client_assertion") {
        let Some(Ok(key)) = book
            .client_key
            .as_ref()
            .map(|pem| DecodingKey::from_ec_pem(pem.as_bytes()))
        else {
            return false;
        };
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[issuer.to_owned(), format!("{issuer}/token")]);
        validation.set_issuer(&[CLIENT_ID]);
        let claims = jsonwebtoken::decode::<Value>(assertion, &key, &validation);
        return claims.is_ok_and(|claims| claims.claims["sub"] == CLIENT_ID);
    }
    if let Some(secret) = parameter("client_secret") {
        return parameter("client_id") == Some(CLIENT_ID) && secret == CLIENT_SECRET;
    }
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let pair = basic
        .and_then(|basic| STANDARD.decode(basic.strip_prefix("Basic ")?).ok())
        .and_then(|pair| String::from_utf8(pair).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    pair.is_some_and(|(id, secret)| decoded(id) == CLIENT_ID && decoded(secret) == CLIENT_SECRET)
}

/// Whose a token of a caller is: its claim `sub`, unsigned as far as this server is concerned. One
/// that says `revoked` is none.
fn subject_of(token: &str) -> Option<String> {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = token.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let subject = claims["sub"]
        .as_str()
        .filter(|subject| *subject != "revoked")?;
    Some(subject.to_owned())
}

fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// What a form has, unescaped.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte.unwrap_or(b'0')).to_digit(16).unwrap_or(0);
                let value = digit(bytes.next()) * 16 + digit(bytes.next());
                u8::try_from(value).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn error_response(error: &str) -> Response {
    let status = match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    let description = "a description that is not for callers";
    json_response(
        status,
        &json!({ "error": error, "error_description": description }),
    )
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    response(status, "application/json", Body::from(value.to_string()))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = http::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
