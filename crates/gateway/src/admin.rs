//! The admin API: what runs behind the gateway, and its restart. On a listener of its own, always with
//! a credential, one that is good for nothing else.
//!
//! | | |
//! |---|---|
//! | `GET /api/v1/backends` | all backends |
//! | `GET /api/v1/backends/NAME` | one |
//! | `POST /api/v1/backends/NAME/restart` | begins it anew, and answers 202 with how it is doing |
//!
//! Errors are problem details (RFC 9457).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use switchboard_backends::Backend;
use switchboard_orchestrator::Orchestrator;
use switchboard_orchestrator::config::did_you_mean;
use switchboard_protocol::call::Principal;
use switchboard_telemetry::Metrics;
use tower::{Service, ServiceBuilder};

use self::answer::{json, problem};
use self::report::{BackendView, BackendsView};
use crate::access::AccessInForce;
use crate::authenticate::dismiss;
use crate::count::CountLayer;
use crate::edge::refuse::refuse;
use crate::listener::{HttpApp, HttpService, Standing};

mod answer;
mod report;

/// What its paths begin with.
const BACKENDS: &str = "/api/v1/backends";

/// What the admin API is made of, the same for all connections.
#[derive(Clone)]
pub(crate) struct AdminApi {
    pub(crate) access: AccessInForce,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) orchestrator: Orchestrator,
}

impl HttpApp for AdminApi {
    fn serve(&self, _peer: SocketAddr, standing: Standing) -> impl HttpService {
        ServiceBuilder::new()
            .layer(CountLayer {
                metrics: Arc::clone(&self.metrics),
            })
            .service(AdminService {
                api: self.clone(),
                standing,
            })
    }
}

/// The admin API as one connection sees it.
#[derive(Clone)]
struct AdminService {
    api: AdminApi,
    standing: Standing,
}

impl Service<Request<Incoming>> for AdminService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let asked = self.admit(&request).and_then(|who| {
            let asked = Asked::of(request.method(), request.uri().path())?;
            Ok((who, asked))
        });
        match asked {
            Ok((who, asked)) => {
                let api = self.api.clone();
                async move { Ok(api.answer(&who, asked).await) }.boxed()
            }
            Err(refusal) => refuse(request, *refusal).boxed(),
        }
    }
}

impl AdminService {
    /// Whose request this is, or why it is not answered.
    fn admit(&self, request: &Request<Incoming>) -> Result<Arc<Principal>, Box<Response>> {
        let access = self.api.access.load();
        // First: a page of another site must not even learn that there is an API.
        access
            .hosts
            .check(request.uri(), request.headers())
            .map_err(|refused| problem(StatusCode::FORBIDDEN, &refused.to_string()))?;
        let known = access.authenticator.authenticate(request.headers());
        known
            .inspect(|_| self.standing.is_of_a_principal())
            .map_err(|error| {
                let mut response = problem(StatusCode::UNAUTHORIZED, &error.to_string());
                let headers = response.headers_mut();
                headers.insert(WWW_AUTHENTICATE, error.challenge());
                dismiss(&self.standing, request.version(), &mut response);
                response
            })
    }
}

/// What somebody wants.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    One(String),
    Restart(String),
}

impl Asked {
    fn of(method: &Method, path: &str) -> Result<Self, Box<Response>> {
        let unknown = || problem(StatusCode::NOT_FOUND, "there is nothing at this path");
        let rest = path.strip_prefix(BACKENDS).ok_or_else(unknown)?;
        let name = |text: &str| {
            let name = percent_decode_str(text).decode_utf8();
            name.map(|name| name.into_owned()).map_err(|_| unknown())
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let (allowed, asked) = match parts[..] {
            [""] => ("GET, HEAD", Self::All),
            ["", one] if !one.is_empty() => ("GET, HEAD", Self::One(name(one)?)),
            ["", one, "restart"] if !one.is_empty() => ("POST", Self::Restart(name(one)?)),
            _ => return Err(unknown()),
        };
        if allowed
            .split(", ")
            .any(|allowed| allowed == method.as_str())
        {
            return Ok(asked);
        }
        let mut response = problem(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("use {allowed} here"),
        );
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
        Err(response)
    }
}

impl AdminApi {
    async fn answer(&self, who: &Principal, asked: Asked) -> Response {
        let answer = match asked {
            Asked::All => Ok(self.all().await),
            Asked::One(name) => self.one(&name).await,
            Asked::Restart(name) => self.restart(who, &name).await,
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }

    async fn all(&self) -> Response {
        self.orchestrator.measure_processes().await;
        let backends = self.orchestrator.backends();
        let backends = backends
            .iter()
            .map(|backend| BackendView::of(&backend.inspect()));
        let view = BackendsView {
            backends: backends.collect(),
        };
        json(StatusCode::OK, &view)
    }

    async fn one(&self, name: &str) -> Result<Response, Box<Response>> {
        let backend = self.find(name)?;
        self.orchestrator.measure_processes().await;
        Ok(json(StatusCode::OK, &BackendView::of(&backend.inspect())))
    }

    async fn restart(&self, who: &Principal, name: &str) -> Result<Response, Box<Response>> {
        let backend = self.find(name)?;
        tracing::info!(backend = name, by = who.id, "it is restarted");
        backend.restart();
        Ok(json(
            StatusCode::ACCEPTED,
            &BackendView::of(&backend.inspect()),
        ))
    }

    fn find(&self, name: &str) -> Result<Backend, Box<Response>> {
        self.orchestrator.backend(name).ok_or_else(|| {
            let backends = self.orchestrator.backends();
            let names = backends.iter().map(|backend| &**backend.name());
            let near = did_you_mean(name, names);
            let detail = format!("there is no backend `{name}`{near}");
            problem(StatusCode::NOT_FOUND, &detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, path: &str) -> Result<Asked, u16> {
        Asked::of(method, path).map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn paths_and_methods_lead_to_what_is_asked() {
        let (get, post) = (&Method::GET, &Method::POST);
        assert_eq!(asked(get, "/api/v1/backends"), Ok(Asked::All));
        assert_eq!(asked(&Method::HEAD, "/api/v1/backends"), Ok(Asked::All));
        let one = |name: &str| Ok(Asked::One(name.to_owned()));
        assert_eq!(asked(get, "/api/v1/backends/a"), one("a"));
        assert_eq!(asked(get, "/api/v1/backends/a%2Fb%20c"), one("a/b c"));
        let restart = Ok(Asked::Restart("a".to_owned()));
        assert_eq!(asked(post, "/api/v1/backends/a/restart"), restart);
        assert_eq!(asked(post, "/api/v1/backends"), Err(405));
        assert_eq!(asked(get, "/api/v1/backends/a/restart"), Err(405));
        for path in [
            "/",
            "/mcp",
            "/api",
            "/api/v1/backendsx",
            "/api/v1/backends/",
            "/api/v1/backends//restart",
            "/api/v1/backends/a/restart/",
            "/api/v1/backends/%ff",
        ] {
            assert_eq!(asked(get, path), Err(404), "{path}");
        }
    }
}
