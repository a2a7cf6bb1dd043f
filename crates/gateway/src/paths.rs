//! Where a request goes: to the endpoint, at a profile of it or without one, or nowhere.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::Either;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use switchboard_orchestrator::config::profiles::check_profile_name;
use tower::Service;

use crate::edge::refuse::{Refused, refuse};
use crate::edge::respond;
use crate::facade::FacadeDoor;
use crate::legacy::{MESSAGES, SSE};
use crate::stack::ENDPOINT;
use crate::well_known::is_of_metadata;

/// Whether this is the path of the endpoint, or one that a profile can have.
pub(crate) fn is_endpoint(path: &str) -> bool {
    path == ENDPOINT || profile_in(path).is_some()
}

/// Whether what is posted to this path may be for a session: the endpoint, and with `http_sse` the path
/// beside the stream.
pub(crate) fn may_be_of_a_session(path: &str, http_sse: bool) -> bool {
    is_endpoint(path) || (http_sse && path == MESSAGES)
}

/// The name of the profile that a path leads to, whether there is one of this name or not; `None` for
/// every other path.
pub(crate) fn profile_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix(ENDPOINT)?.strip_prefix('/')?;
    check_profile_name(name).is_ok().then_some(name)
}

/// Serves the endpoint. A router would do it as well, but boxes every service and future that it
/// leads to, on the path of every call.
#[derive(Clone)]
pub(crate) struct Paths<S> {
    endpoint: S,
    facade: FacadeDoor,
    http_sse: bool,
}

impl<S> Paths<S> {
    /// Serves [`ENDPOINT`], all that can be a profile below it, and its metadata with `endpoint`, with
    /// `http_sse` also the two paths of HTTP+SSE, behind `facade` what is there, and 404 elsewhere.
    pub(crate) fn new(endpoint: S, facade: FacadeDoor, http_sse: bool) -> Self {
        Self {
            endpoint,
            facade,
            http_sse,
        }
    }

    fn is_served(&self, path: &str) -> bool {
        is_endpoint(path)
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
            return Either::Left(self.endpoint.call(request.map(Body::new)));
        }
        Either::Right(match self.facade.open(request.uri().path()) {
            Some(visit) => visit.answer(request),
            None => refuse(request, respond::empty(StatusCode::NOT_FOUND)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_one_part_of_a_path_below_the_endpoint() {
        assert_eq!(profile_in("/mcp/coding"), Some("coding"));
        assert_eq!(profile_in("/mcp/A_1-b"), Some("A_1-b"));
        let long = format!("/mcp/{}", "x".repeat(65));
        let none = [
            "/mcp", "/mcp/", "/mcp/a/b", "/mcp/a/", "/mcpx", "/mcp/%61", "/sse/a", "/mcp/a b",
        ];
        for path in none.into_iter().chain([&*long]) {
            assert_eq!(profile_in(path), None, "{path}");
            assert_eq!(is_endpoint(path), path == ENDPOINT, "{path}");
        }
    }
}
