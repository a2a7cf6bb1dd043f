//! Where other replicas come in: the endpoint as a client sees it, but for what was checked where the
//! client came in, and without a way to pass anything on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tower::{Layer as _, Service};

use super::origin::Origin;
use crate::audit::Refusals;
use crate::authenticate::AuthenticateLayer;
use crate::edge::respond;
use crate::endpoint::Endpoint;
use crate::listener::{HttpApp, HttpService, Standing};
use crate::paths::may_be_of_a_session;
use crate::stack::HttpParts;

/// Serves what other replicas pass on.
#[derive(Clone)]
pub(crate) struct Door {
    parts: Arc<HttpParts>,
}

impl Door {
    pub(crate) fn new(parts: HttpParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    async fn answer(self, mut request: Request<Incoming>) -> Response {
        // Who comes here has proved in the handshake that it is a replica.
        let Some(origin) = Origin::take(request.headers_mut()) else {
            return respond::empty(StatusCode::BAD_REQUEST);
        };
        if !may_be_of_a_session(request.uri().path(), self.parts.http_sse) {
            return respond::empty(StatusCode::NOT_FOUND);
        }
        let HttpParts {
            access,
            metrics,
            audit,
            admission,
            endpoint,
            ..
        } = &*self.parts;
        let request = request.map(Body::new);
        let is_in_session = || endpoint.legacy.knows(request.headers());
        if let Some(refused) = admission.check(&request, is_in_session) {
            return refused;
        }
        let layer = AuthenticateLayer {
            access: Arc::clone(access),
            metrics: Arc::clone(metrics),
            standing: Standing::of_client(origin.certificate),
            orchestrator: endpoint.orchestrator.clone(),
            refusals: Refusals::of_endpoint(audit.clone(), origin.peer),
        };
        let mut service = layer.layer(Endpoint::new(Arc::clone(endpoint), origin.peer, None));
        let Ok(response) = service.call(request).await;
        response
    }
}

impl HttpApp for Door {
    fn serve(&self, _: SocketAddr, standing: Standing) -> impl HttpService {
        standing.is_of_a_principal();
        self.clone()
    }
}

impl Service<Request<Incoming>> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}
