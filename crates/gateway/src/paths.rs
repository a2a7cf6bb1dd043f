//! Where a request goes: to the endpoint, or to the router of everything else.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use http::Request;
use hyper::body::Incoming;
use tower::Service;

use crate::stack::ENDPOINT;

/// The endpoint and the rest.
#[derive(Clone)]
pub(crate) struct Paths<S> {
    pub(crate) endpoint: S,
    pub(crate) rest: Router,
}

impl<S> Service<Request<Incoming>> for Paths<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.endpoint.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let request = request.map(Body::new);
        if request.uri().path() == ENDPOINT {
            Either::Left(self.endpoint.call(request))
        } else {
            Either::Right(self.rest.call(request))
        }
    }
}
