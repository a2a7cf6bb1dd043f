//! The layer that knows on whose behalf a request is made: what stands behind it cannot be reached
//! without a principal.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::Either;
use http::header::{CONNECTION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, StatusCode, Version};
use switchboard_orchestrator::Orchestrator;
use switchboard_policy::authenticate::AuthError;
use switchboard_protocol::call::Principal;
use switchboard_protocol::error::code;
use tower::{Layer, Service};

use crate::access::AccessInForce;
use crate::audit::Refusals;
use crate::edge::decode::Rejection;
use crate::edge::refuse::{Refused, refuse};
use crate::edge::respond;
use crate::listener::Standing;
use crate::paths::profile_in;
use crate::subject;

/// A request and on whose behalf it is made.
pub(crate) struct Authenticated {
    pub(crate) principal: Arc<Principal>,
    /// The profile that its path leads to; `None`: the endpoint without one.
    pub(crate) profile: Option<Arc<str>>,
    pub(crate) request: Request<Body>,
}

/// Makes [`Authenticate`].
#[derive(Clone)]
pub(crate) struct AuthenticateLayer {
    pub(crate) access: AccessInForce,
    /// Of the connection.
    pub(crate) standing: Standing,
    /// Knows the profiles in force.
    pub(crate) orchestrator: Orchestrator,
    /// Where is noted who was refused.
    pub(crate) refusals: Refusals,
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate {
            inner,
            access: Arc::clone(&self.access),
            standing: self.standing.clone(),
            orchestrator: self.orchestrator.clone(),
            refusals: self.refusals.clone(),
        }
    }
}

/// Answers requests without a valid credential with 401, and those to a profile that is not there with
/// 404.
#[derive(Clone)]
pub(crate) struct Authenticate<S> {
    inner: S,
    access: AccessInForce,
    standing: Standing,
    orchestrator: Orchestrator,
    refusals: Refusals,
}

impl<S> Service<Request<Body>> for Authenticate<S>
where
    S: Service<Authenticated, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Refused, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let access = self.access.load();
        match access.authenticator.authenticate(request.headers()) {
            Ok(principal) => {
                self.standing.is_of_a_principal();
                if access.exchanges_tokens {
                    let (mut head, body) = request.into_parts();
                    subject::note(&head.headers, &mut head.extensions);
                    request = Request::from_parts(head, body);
                }
                let profile = match profile_in(request.uri().path()) {
                    None => None,
                    Some(name) => {
                        let snapshot = self.orchestrator.catalogue().load();
                        let Some(profile) = snapshot.profile(name) else {
                            // As of any other path, but only to who may call.
                            let response = respond::empty(StatusCode::NOT_FOUND);
                            return Either::Left(refuse(request, response));
                        };
                        Some(Arc::clone(profile.name()))
                    }
                };
                let authenticated = Authenticated {
                    principal,
                    profile,
                    request,
                };
                Either::Right(self.inner.call(authenticated))
            }
            Err(error) => {
                self.refusals.note(&error);
                let mut response = refused(error);
                dismiss(&self.standing, request.version(), &mut response);
                Either::Left(refuse(request, response))
            }
        }
    }
}

/// Has the connection of a request end whose credential was refused, behind its answer: who cannot
/// call has no use for a connection that others wait for.
pub(crate) fn dismiss(standing: &Standing, version: Version, response: &mut Response) {
    if standing.dismiss() && version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
}

fn refused(error: AuthError) -> Response {
    let mut response = respond::rejected(&Rejection::new(
        StatusCode::UNAUTHORIZED,
        code::INVALID_REQUEST,
        error.to_string(),
    ));
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, error.challenge());
    response
}
