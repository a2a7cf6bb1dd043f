//! The gateway's own authorization server: the HTTP side of [`switchboard_policy::facade`].
//!
//! | path | method | |
//! |---|---|---|
//! | `/.well-known/oauth-authorization-server`, `…/openid-configuration` | GET | metadata |
//! | `/oauth/jwks` | GET | keys of its tokens |
//! | `/oauth/register` | POST | a client registers itself |
//! | `/oauth/authorize` | GET | a client sends a browser: who sits there is asked, or sent on |
//! | `/oauth/consent` | POST | the answer of who was asked |
//! | `/oauth/callback` | GET | the browser comes back from the identity provider |
//! | `/oauth/token` | POST | a client fetches tokens |
//!
//! Nobody who asks here has proved who he is, so all of it is bounded: how often a peer may ask, how
//! large a body is, what is fetched for it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use switchboard_policy::authenticate::Resource;
use switchboard_policy::config::AuthConfig;
use switchboard_policy::facade::peers::Peers;
use switchboard_policy::facade::secrets::{Secrets, SecretsError};
use switchboard_policy::facade::{self as policy, Form, OAuthError, Registered, paths};
use switchboard_policy::origin::Refused;
use switchboard_telemetry::Metrics;

use self::answer::{json, open_to_all};
use self::documents::Documents;
use self::provider::Provider;
use crate::access::{Access, AccessInForce};
use crate::config::ServerConfig;
use crate::edge::decode::{BodyLimits, read_body};
use crate::edge::respond;

mod answer;
mod cookies;
mod documents;
mod flow;
mod page;
mod provider;

/// The most that a client or browser sends.
const BODY: BodyLimits = BodyLimits {
    bytes: 16 * 1024,
    timeout: Duration::from_secs(10),
};

/// What outlives a reload.
#[derive(Debug)]
pub(crate) struct FacadeMemory {
    secrets: Arc<Secrets>,
    peers: Mutex<Peers>,
}

impl FacadeMemory {
    /// That of a gateway with these sealing keys.
    ///
    /// # Errors
    /// If there are no keys to be had.
    pub(crate) fn new(server: &ServerConfig) -> Result<Arc<Self>, SecretsError> {
        Ok(Arc::new(Self {
            secrets: Arc::new(Secrets::new(&server.sealing_keys.expose())?),
            peers: Mutex::default(),
        }))
    }
}

/// The authorization server of one configuration.
pub(crate) struct Facade {
    policy: policy::Facade,
    memory: Arc<FacadeMemory>,
    provider: Provider,
    documents: Documents,
}

impl Facade {
    /// That of this configuration, if it has one.
    pub(crate) fn new(
        auth: Option<&AuthConfig>,
        resource: &Resource,
        memory: &Arc<FacadeMemory>,
    ) -> Option<Arc<Self>> {
        let auth = auth?;
        let config = auth.facade.as_ref()?;
        let provider = auth.jwt.iter().find(|jwt| jwt.issuer == config.issuer)?;
        Some(Arc::new(Self {
            policy: policy::Facade::new(
                config.clone(),
                resource,
                &auth.scopes,
                &provider.groups_claim,
                Arc::clone(&memory.secrets),
            )
            .with_group_prefix(&provider.group_prefix),
            memory: Arc::clone(memory),
            provider: Provider::new(config),
            documents: Documents::new(config),
        }))
    }

    /// What it decides by.
    pub(crate) fn policy(&self) -> &policy::Facade {
        &self.policy
    }

    fn takes(&self, peer: IpAddr) -> bool {
        let mut peers = self
            .memory
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let rate = self.policy.config().requests_per_minute;
        peers.take(peer, rate, now_ms())
    }
}

/// The way to it for the requests of one connection.
#[derive(Clone)]
pub(crate) struct FacadeDoor {
    pub(crate) access: AccessInForce,
    pub(crate) metrics: Arc<Metrics>,
    /// Who is at the other end of the connection.
    pub(crate) peer: IpAddr,
}

/// A request on its way to the facade.
pub(crate) struct Visit {
    access: Arc<Access>,
    facade: Arc<Facade>,
    asked: Asked,
    metrics: Arc<Metrics>,
    peer: IpAddr,
}

impl FacadeDoor {
    /// Whether there is a facade and this path is one of its.
    pub(crate) fn open(&self, path: &str) -> Option<Visit> {
        let asked = Asked::of(path)?;
        let access = self.access.load_full();
        let facade = access.facade.clone()?;
        Some(Visit {
            access,
            facade,
            asked,
            metrics: Arc::clone(&self.metrics),
            peer: self.peer,
        })
    }
}

impl Visit {
    /// Answers the request.
    pub(crate) fn answer(
        self,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Result<Response, Infallible>> {
        let request = request.map(Body::new);
        async move {
            let answer = self
                .facade
                .answer(&self.access, self.asked, request, self.peer);
            let response = answer.await;
            self.metrics.http_request(response.status().as_u16());
            Ok(response)
        }
        .boxed()
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Metadata,
    Jwks,
    Register,
    Authorize,
    Consent,
    Callback,
    Token,
}

impl Asked {
    fn of(path: &str) -> Option<Self> {
        // With what a proxy puts before our paths, and without: clients put that last.
        let is_metadata = [paths::METADATA, paths::OPENID].iter().any(|known| {
            let rest = path.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if is_metadata {
            return Some(Self::Metadata);
        }
        match path {
            paths::JWKS => Some(Self::Jwks),
            paths::REGISTER => Some(Self::Register),
            paths::AUTHORIZE => Some(Self::Authorize),
            paths::CONSENT => Some(Self::Consent),
            paths::CALLBACK => Some(Self::Callback),
            paths::TOKEN => Some(Self::Token),
            _ => None,
        }
    }

    /// By which method.
    fn method(self) -> Method {
        match self {
            Self::Register | Self::Consent | Self::Token => Method::POST,
            _ => Method::GET,
        }
    }

    /// Whether pages of any site may ask: what they get depends on nothing that a browser adds.
    fn is_open(self) -> bool {
        matches!(
            self,
            Self::Metadata | Self::Jwks | Self::Register | Self::Token
        )
    }
}

impl Facade {
    async fn answer(
        &self,
        access: &Access,
        asked: Asked,
        request: Request<Body>,
        peer: IpAddr,
    ) -> Response {
        let response = self.answer_plainly(access, asked, request, peer).await;
        match asked.is_open() {
            true => open_to_all(response),
            false => response,
        }
    }

    async fn answer_plainly(
        &self,
        access: &Access,
        asked: Asked,
        request: Request<Body>,
        peer: IpAddr,
    ) -> Response {
        match access.hosts.check(request.uri(), request.headers()) {
            Err(Refused::Origin) if asked.is_open() => {}
            Err(_) => return respond::empty(StatusCode::FORBIDDEN),
            Ok(()) => {}
        }
        if !self.takes(peer) {
            let mut response = respond::empty(StatusCode::TOO_MANY_REQUESTS);
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            return response;
        }
        if asked.is_open() && request.method() == Method::OPTIONS {
            return respond::empty(StatusCode::NO_CONTENT);
        }
        if request.method() != asked.method() {
            let mut response = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_str(asked.method().as_str());
            if let Ok(allowed) = allowed {
                response.headers_mut().insert(ALLOW, allowed);
            }
            return response;
        }
        let now = now_ms() / 1000;
        let (head, body) = request.into_parts();
        match asked {
            Asked::Metadata => json(StatusCode::OK, &self.policy.metadata()),
            Asked::Jwks => json(StatusCode::OK, &self.policy.jwks()),
            Asked::Register => self.register(&head, body, now).await,
            Asked::Token => self.token(&head, body, now).await,
            Asked::Authorize => self.authorize(&head, peer, now).await,
            Asked::Consent => self.consent(&head, body, now).await,
            Asked::Callback => self.callback(&head, now).await,
        }
    }

    async fn register(&self, head: &Parts, body: Body, now: u64) -> Response {
        if !is_of_type(&head.headers, "application/json") {
            return answer::error(OAuthError {
                error: "invalid_client_metadata",
                description: "expected JSON",
            });
        }
        let Ok(body) = read_body(body, BODY).await else {
            return too_large();
        };
        match self.policy.register(&body, now) {
            Ok(Registered(answer)) => json(StatusCode::CREATED, &answer),
            Err(error) => answer::error(error),
        }
    }

    async fn token(&self, head: &Parts, body: Body, now: u64) -> Response {
        let form = match read_form(head, body).await {
            Ok(form) => form,
            Err(response) => return *response,
        };
        match self.policy.token(&form, now) {
            Ok(tokens) => json(StatusCode::OK, &tokens),
            Err(error) => answer::error(error),
        }
    }
}

/// Reads the form in a body.
async fn read_form(head: &Parts, body: Body) -> Result<Form, Box<Response>> {
    if !is_of_type(&head.headers, "application/x-www-form-urlencoded") {
        return Err(Box::new(answer::error(OAuthError {
            error: "invalid_request",
            description: "expected a form (application/x-www-form-urlencoded)",
        })));
    }
    let body = read_body(body, BODY).await;
    let body = body.map_err(|_| Box::new(too_large()))?;
    Form::parse(&body).map_err(|error| Box::new(answer::error(error)))
}

fn too_large() -> Response {
    respond::empty(StatusCode::PAYLOAD_TOO_LARGE)
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.and_then(|given| given.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::Asked;

    #[test]
    fn its_paths_are_its_own() {
        let metadata = Some(Asked::Metadata);
        assert_eq!(
            Asked::of("/.well-known/oauth-authorization-server"),
            metadata
        );
        assert_eq!(
            Asked::of("/.well-known/openid-configuration/gateway"),
            metadata
        );
        assert_eq!(Asked::of("/oauth/token"), Some(Asked::Token));
        for path in [
            "/mcp",
            "/oauth",
            "/oauth/",
            "/oauth/token/",
            "/oauth/tokens",
            "/.well-known/oauth-authorization-servers",
            "/.well-known/oauth-protected-resource",
        ] {
            assert_eq!(Asked::of(path), None, "{path}");
        }
    }
}
