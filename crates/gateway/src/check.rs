//! A layer that lets a request pass or answers it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::Either;
use http::Request;
use tower::{Layer, Service};

use crate::edge::refuse::{Refused, refuse};

/// Makes [`Check`] of a function that looks at the head of a request.
pub(crate) struct CheckLayer<F>(Arc<F>);

impl<F> CheckLayer<F>
where
    F: Fn(&Request<Body>) -> Option<Response>,
{
    /// `check` answers a request that may not pass.
    pub(crate) fn new(check: F) -> Self {
        Self(Arc::new(check))
    }
}

impl<S, F> Layer<S> for CheckLayer<F> {
    type Service = Check<S, F>;

    fn layer(&self, inner: S) -> Check<S, F> {
        Check {
            inner,
            check: Arc::clone(&self.0),
        }
    }
}

/// See [`CheckLayer`].
pub(crate) struct Check<S, F> {
    inner: S,
    check: Arc<F>,
}

impl<S: Clone, F> Clone for Check<S, F> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            check: Arc::clone(&self.check),
        }
    }
}

impl<S, F> Service<Request<Body>> for Check<S, F>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
    F: Fn(&Request<Body>) -> Option<Response>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Refused, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match (self.check)(&request) {
            None => Either::Right(self.inner.call(request)),
            Some(response) => Either::Left(refuse(request, response)),
        }
    }
}
