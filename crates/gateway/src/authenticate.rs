//! The layer that knows on whose behalf a request is made: what stands behind it cannot be reached
//! without a principal.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::{BoxFuture, Either};
use http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, StatusCode, Version};
use switchboard_orchestrator::Orchestrator;
use switchboard_policy::authenticate::{Authentication, Presented, Reason};
use switchboard_protocol::call::Principal;
use switchboard_protocol::error::code;
use switchboard_telemetry::{AuthOutcome, Metrics};
use tower::{Layer, Service};

use crate::access::{Access, AccessInForce};
use crate::audit::Refusals;
use crate::edge::decode::Rejection;
use crate::edge::refuse::{Refused, refuse};
use crate::edge::respond;
use crate::listener::Standing;
use crate::paths::profile_in;
use crate::subject;

/// When it is worth trying again while the issuer of a token cannot be reached.
const ISSUER_RETRY_SECONDS: &str = "15";

/// A request, on whose behalf it is made, and the profile that it came to.
pub(crate) struct Authenticated {
    pub(crate) principal: Arc<Principal>,
    pub(crate) profile: Option<Arc<str>>,
    pub(crate) request: Request<Body>,
}

/// Makes [`Authenticate`].
#[derive(Clone)]
pub(crate) struct AuthenticateLayer {
    pub(crate) access: AccessInForce,
    pub(crate) metrics: Arc<Metrics>,
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
            layer: self.clone(),
        }
    }
}

/// Answers requests without a valid credential with 401, those whose credential is for something else
/// with 403, and those to a profile that is not there with 404.
#[derive(Clone)]
pub(crate) struct Authenticate<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S> Service<Request<Body>> for Authenticate<S>
where
    S: Service<Authenticated, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Answer>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let access = self.layer.access.load();
        let authentication = access.authenticator.identify(&Presented {
            headers: request.headers(),
            certificate: self.layer.standing.certificate(),
            path: request.uri().path(),
        });
        match authentication {
            Authentication::Decided(Ok(principal)) => {
                match self.layer.accept(&access, &principal, &mut request) {
                    Ok(profile) => Either::Left(self.inner.call(Authenticated {
                        principal,
                        profile,
                        request,
                    })),
                    Err(NoSuchProfile) => Either::Right(not_found(request)),
                }
            }
            Authentication::Decided(Err(reason)) => {
                Either::Right(self.layer.refuse(request, &access, reason))
            }
            // The issuer of a token is asked for a key: once in a while.
            Authentication::Pending(verdict) => {
                let (mut inner, layer) = (self.inner.clone(), self.layer.clone());
                Either::Right(Box::pin(async move {
                    let verdict = verdict.await;
                    let access = layer.access.load_full();
                    let principal = match verdict {
                        Ok(principal) => principal,
                        Err(reason) => return layer.refuse(request, &access, reason).await,
                    };
                    match layer.accept(&access, &principal, &mut request) {
                        Ok(profile) => {
                            let authenticated = Authenticated {
                                principal,
                                profile,
                                request,
                            };
                            inner.call(authenticated).await
                        }
                        Err(NoSuchProfile) => not_found(request).await,
                    }
                }))
            }
        }
    }
}

/// An answer that somebody else is waited for, or a refusal.
type Answer = BoxFuture<'static, Result<Response, Infallible>>;

/// A request came to a profile that is not there.
struct NoSuchProfile;

/// As any other path that leads nowhere, but only to who may call.
fn not_found(request: Request<Body>) -> Refused {
    refuse(request, respond::empty(StatusCode::NOT_FOUND))
}

impl AuthenticateLayer {
    /// The profile that the request came to, whose credential is good.
    fn accept(
        &self,
        access: &Access,
        principal: &Principal,
        request: &mut Request<Body>,
    ) -> Result<Option<Arc<str>>, NoSuchProfile> {
        self.standing.is_of_a_principal();
        if access.authenticator.is_closed() {
            self.metrics.authentication(AuthOutcome::Accepted);
        }
        // Only a token that was verified says whose it is: a key of the gateway's may look like one.
        if access.exchanges_tokens && principal.claims.is_some() {
            subject::note(request);
        }
        let Some(name) = profile_in(request.uri().path()) else {
            return Ok(None);
        };
        let snapshot = self.orchestrator.catalogue().load();
        let profile = snapshot.profile(name).ok_or(NoSuchProfile)?;
        Ok(Some(Arc::clone(profile.name())))
    }

    /// Notes a refusal, and of a credential that is good for something else whose it is.
    fn note_refusal(
        &self,
        request: &Request<Body>,
        access: &Access,
        reason: Reason,
        outcome: AuthOutcome,
    ) {
        let (status, word) = (reason.status(), outcome.as_str());
        let principal = access.authenticator.principal_of(request.headers(), reason);
        if principal.is_none() {
            return self.refusals.note(status, word);
        }
        let snapshot = self.orchestrator.catalogue().load();
        let profile = profile_in(request.uri().path()).and_then(|name| snapshot.profile(name));
        let profile = profile.map(|profile| &**profile.name());
        self.refusals.note_of(status, word, principal, profile);
    }

    fn refuse(&self, request: Request<Body>, access: &Access, reason: Reason) -> Refused {
        let outcome = outcome(reason);
        self.metrics.authentication(outcome);
        self.note_refusal(&request, access, reason, outcome);
        let mut response = respond::rejected(&Rejection::new(
            reason.status(),
            code::INVALID_REQUEST,
            reason.to_string(),
        ));
        let headers = response.headers_mut();
        let path = request.uri().path();
        if let Some(challenge) = access.authenticator.challenge(reason, path) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        match reason.status() {
            StatusCode::UNAUTHORIZED => {
                dismiss(&self.standing, request.version(), &mut response);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(ISSUER_RETRY_SECONDS));
            }
            _ => {}
        }
        refuse(request, response)
    }
}

fn outcome(reason: Reason) -> AuthOutcome {
    match reason {
        Reason::Missing => AuthOutcome::Missing,
        Reason::Malformed => AuthOutcome::Malformed,
        Reason::UnknownKey => AuthOutcome::UnknownKey,
        Reason::ExpiredKey => AuthOutcome::ExpiredKey,
        Reason::Profile => AuthOutcome::Profile,
        Reason::Certificate => AuthOutcome::Certificate,
        Reason::TokenMalformed => AuthOutcome::TokenMalformed,
        Reason::TokenAlgorithm => AuthOutcome::TokenAlgorithm,
        Reason::TokenIssuer => AuthOutcome::TokenIssuer,
        Reason::TokenKey => AuthOutcome::TokenKey,
        Reason::TokenSignature => AuthOutcome::TokenSignature,
        Reason::TokenExpired => AuthOutcome::TokenExpired,
        Reason::TokenEarly => AuthOutcome::TokenEarly,
        Reason::TokenAudience => AuthOutcome::TokenAudience,
        Reason::TokenClaims => AuthOutcome::TokenClaims,
        Reason::InsufficientScope => AuthOutcome::InsufficientScope,
        Reason::IssuerAway => AuthOutcome::IssuerAway,
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
