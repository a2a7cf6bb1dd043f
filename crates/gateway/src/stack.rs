//! The two storeys. Outermost first: order is behaviour, change it with an ADR.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use switchboard_orchestrator::Orchestrator;
use switchboard_policy::authenticate::Authenticator;
use switchboard_policy::origin::HostPolicy;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::code;
use switchboard_protocol::header;
use switchboard_telemetry::{Metrics, Sampler};
use tower::ServiceBuilder;
use tower::util::option_layer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::check::CheckLayer;
use crate::count::CountLayer;
use crate::edge::decode::{BodyLimits, Rejection};
use crate::edge::respond;
use crate::endpoint::{Endpoint, EndpointParts};
use crate::legacy;
use crate::listener::HttpService;
use crate::paths::Paths;
use crate::trace::{Trace, TraceLayer};

/// Where the endpoint is.
pub(crate) const ENDPOINT: &str = "/mcp";

/// The call storey, with a name that callers can write.
pub(crate) type CallService = Trace<Orchestrator>;

/// A call on its way through the call storey.
pub(crate) type CallFuture = <CallService as tower::Service<Box<Call>>>::Future;

/// What the HTTP storey is made of.
pub(crate) struct HttpParts {
    pub(crate) hosts: Arc<HostPolicy>,
    pub(crate) allowed_origins: Vec<HeaderValue>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) limits: BodyLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) orchestrator: Orchestrator,
    pub(crate) calls: CallService,
    pub(crate) legacy: legacy::Edge,
    /// Whether the paths of HTTP+SSE are served too.
    pub(crate) http_sse: bool,
}

/// Bytes become calls.
pub(crate) fn http_stack(parts: HttpParts) -> impl HttpService {
    let HttpParts {
        hosts,
        allowed_origins,
        authenticator,
        limits,
        metrics,
        orchestrator,
        calls,
        legacy,
        http_sse,
    } = parts;
    let cors = (!allowed_origins.is_empty()).then(|| cors(allowed_origins));
    let layers = ServiceBuilder::new()
        // Sees every answer of the endpoint, whoever below gives it.
        .layer(CountLayer {
            metrics: Arc::clone(&metrics),
        })
        // Before anything else is believed: a page of another site must not reach us through a name
        // of its own.
        .layer(CheckLayer::new(move |request: &mut Request<Body>| {
            check_host(&hosts, request)
        }))
        // Before authentication, since a preflight carries no credential.
        .layer(option_layer(cors))
        // Before the body is read, so that a stranger costs a hash and no more.
        .layer(CheckLayer::new(move |request: &mut Request<Body>| {
            authenticate(&authenticator, request)
        }));
    let endpoint = Endpoint::from(EndpointParts {
        limits,
        metrics,
        orchestrator,
        calls,
        legacy,
    });
    Paths::new(layers.service(endpoint), http_sse)
}

/// Every call passes here, whoever makes it; `subscriptions/listen` alone is no call but a stream
/// of the hub's.
pub(crate) fn call_stack(
    sampler: Sampler,
    metrics: Arc<Metrics>,
    orchestrator: Orchestrator,
) -> CallService {
    ServiceBuilder::new()
        // Sees how every call ends, also one that nobody waits for any more.
        .layer(TraceLayer { sampler, metrics })
        // Resolves the name, and makes the call.
        .service(orchestrator)
}

/// The answer to a request for somebody else, or from a page that may not call.
fn check_host(hosts: &HostPolicy, request: &Request<Body>) -> Option<Response> {
    let refused = hosts.check(request.uri(), request.headers()).err()?;
    Some(respond::rejected(&Rejection::new(
        StatusCode::FORBIDDEN,
        code::INVALID_REQUEST,
        refused.to_string(),
    )))
}

/// The answer to a request without a valid credential; one that has it is given its principal.
fn authenticate(authenticator: &Authenticator, request: &mut Request<Body>) -> Option<Response> {
    match authenticator.authenticate(request.headers()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            None
        }
        Err(error) => {
            let rejection = Rejection::new(
                StatusCode::UNAUTHORIZED,
                code::INVALID_REQUEST,
                error.to_string(),
            );
            let mut response = respond::rejected(&rejection);
            response
                .headers_mut()
                .insert(http::header::WWW_AUTHENTICATE, error.challenge());
            Some(response)
        }
    }
}

fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST, Method::GET, Method::DELETE])
        // `Mcp-Param-*` has no end of names, so what is asked for is what is allowed.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("www-authenticate"),
            header::SESSION_ID,
        ])
        .max_age(std::time::Duration::from_secs(600))
}
