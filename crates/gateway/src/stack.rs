//! The two storeys. Outermost first: order is behaviour, change it with an ADR.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use switchboard_orchestrator::Orchestrator;
use switchboard_policy::origin::HostPolicy;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::code;
use switchboard_protocol::header;
use switchboard_telemetry::{Metrics, Sampler};
use tower::ServiceBuilder;
use tower::util::{MapFutureLayer, option_layer};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::access::AccessInForce;
use crate::audit::{Audit, AuditLayer, AuditLog, Refusals};
use crate::authenticate::AuthenticateLayer;
use crate::check::CheckLayer;
use crate::cluster::{Cluster, Relay};
use crate::count::CountLayer;
use crate::deadline::{Deadline, DeadlineLayer};
use crate::edge::decode::Rejection;
use crate::edge::respond;
use crate::endpoint::{Endpoint, EndpointParts};
use crate::facade::FacadeDoor;
use crate::listener::{HttpApp, HttpService, Standing};
use crate::paths::Paths;
use crate::shed::{AdmissionControl, Shed, ShedLayer};
use crate::trace::{Trace, TraceLayer};
use crate::well_known;

/// Where the endpoint is; profiles are below it.
pub(crate) const ENDPOINT: &str = "/mcp";

/// The call storey, with a name that callers can write.
pub(crate) type CallService = Trace<Audit<Shed<Deadline<Orchestrator>>>>;

/// A call on its way through the call storey.
pub(crate) type CallFuture = <CallService as tower::Service<Box<Call>>>::Future;

/// What the HTTP storey is made of, the same for all connections.
#[derive(Clone)]
pub(crate) struct HttpParts {
    pub(crate) access: AccessInForce,
    pub(crate) metrics: Arc<Metrics>,
    /// Where is noted who was refused, if somewhere.
    pub(crate) audit: Option<AuditLog>,
    /// Which calls are let in.
    pub(crate) admission: Arc<AdmissionControl>,
    pub(crate) endpoint: Arc<EndpointParts>,
    /// Whether the paths of HTTP+SSE are served too.
    pub(crate) http_sse: bool,
    /// The way to other replicas, if there are any.
    pub(crate) cluster: Option<Arc<Cluster>>,
}

impl HttpApp for HttpParts {
    fn serve(&self, peer: SocketAddr, standing: Standing) -> impl HttpService {
        http_stack(self.clone(), peer, standing)
    }
}

/// Bytes become calls: the storey of one connection.
fn http_stack(parts: HttpParts, peer: SocketAddr, standing: Standing) -> impl HttpService {
    let HttpParts {
        access,
        metrics,
        audit,
        admission,
        endpoint,
        http_sse,
        cluster,
    } = parts;
    let facade = FacadeDoor {
        access: Arc::clone(&access),
        metrics: Arc::clone(&metrics),
        peer: peer.ip(),
    };
    let cors = access.load().cors.clone();
    // Its future has room for the headers of an answer, so it is boxed where there are origins.
    let cors = cors.map(|cors| (MapFutureLayer::new(boxed), cors));
    let in_force = Arc::clone(&access);
    let sessions = endpoint.legacy.clone();
    let relay = cluster.map(|cluster| Relay {
        cluster,
        standing: standing.clone(),
    });
    let layers = ServiceBuilder::new()
        // Sees every answer of the endpoint, whoever below gives it.
        .layer(CountLayer {
            metrics: Arc::clone(&metrics),
        })
        // The metadata before origins are looked at, since pages of any may read it; both before
        // anything else is believed: a page of another site must not reach us through a name of its
        // own.
        .layer(CheckLayer::new(move |request: &Request<Body>| {
            let access = in_force.load();
            well_known::answer(&access, request).or_else(|| check_host(&access.hosts, request))
        }))
        // Before authentication, since a preflight carries no credential.
        .layer(option_layer(cors))
        // Before authentication and the body: under load a refusal has to cost nearly nothing.
        .layer(CheckLayer::new(move |request: &Request<Body>| {
            admission.check(request, || sessions.knows(request.headers()))
        }))
        // Before the body is read, so that a stranger costs a hash and no more.
        .layer(AuthenticateLayer {
            access,
            metrics,
            standing,
            orchestrator: endpoint.orchestrator.clone(),
            refusals: Refusals::of_endpoint(audit, peer.ip()),
        });
    let endpoint = Endpoint::new(endpoint, peer.ip(), relay);
    Paths::new(layers.service(endpoint), facade, http_sse)
}

fn boxed<F: Future>(future: F) -> Pin<Box<F>> {
    Box::pin(future)
}

/// Every call passes here, whoever makes it; `subscriptions/listen` alone is no call but a stream
/// of the hub's.
pub(crate) fn call_stack(
    sampler: Sampler,
    metrics: Arc<Metrics>,
    audit: Option<AuditLog>,
    admission: Arc<AdmissionControl>,
    orchestrator: Orchestrator,
) -> CallService {
    ServiceBuilder::new()
        // Sees how every call ends, also one that nobody waits for any more.
        .layer(TraceLayer::new(sampler, metrics))
        // Before anything can refuse the call: what was refused, and why, is asked first afterwards.
        .layer(AuditLayer { log: audit })
        // Before anything is done for a call: who made it, on whatever connection, does not matter.
        .layer(ShedLayer { admission })
        // Before anything waits: what a client gives the call counts from here.
        .layer(DeadlineLayer)
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

/// The layer that lets pages of these origins call; none if there are no origins.
pub(crate) fn cors(origins: Vec<HeaderValue>) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST, Method::GET, Method::DELETE])
        // `Mcp-Param-*` has no end of names, so what is asked for is what is allowed.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("www-authenticate"),
            RETRY_AFTER,
            header::SESSION_ID,
        ])
        .max_age(std::time::Duration::from_secs(600));
    Some(layer)
}
