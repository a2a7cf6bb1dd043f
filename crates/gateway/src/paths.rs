//! Where a request goes: to the endpoint, or nowhere.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::Either;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tower::Service;

use crate::edge::refuse::{Refused, refuse};
use crate::edge::respond;
use crate::legacy::{MESSAGES, SSE};
use crate::stack::ENDPOINT;
use crate::well_known::is_of_metadata;

/// Serves the endpoint. A router would do it as well, but boxes every service and future that it
/// leads to, on the path of every call.
#[derive(Clone)]
pub(crate) struct Paths<S> {
    endpoint: S,
    http_sse: bool,
}

impl<S> Paths<S> {
    /// Serves [`ENDPOINT`] and its metadata with `endpoint`, with `http_sse` also the two paths of HTTP+SSE, and 404
    /// elsewhere.
    pub(crate) fn new(endpoint: S, http_sse: bool) -> Self {
        Self { endpoint, http_sse }
    }

    fn is_served(&self, path: &str) -> bool {
        path == ENDPOINT
            || is_of_metadata(path)
            || (self.http_sse && (path == SSE || path == MESSAGES))
    }
}

impl<S> Service<Request<Incoming>> for Paths<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Refused>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.endpoint.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if self.is_served(request.uri().path()) {
            Either::Left(self.endpoint.call(request.map(Body::new)))
        } else {
            Either::Right(refuse(request, respond::empty(StatusCode::NOT_FOUND)))
        }
    }
}
