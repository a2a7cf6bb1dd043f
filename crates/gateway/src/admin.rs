//! The admin API: what runs behind the gateway, who uses it, and what operators change. On a listener
//! of its own, always with a credential, one that is good for nothing else. `routes` has what there
//! is, of which the OpenAPI document is made too.
//!
//! Nothing that it takes is a command, an argument or a variable of one: what runs is decided by the
//! configuration alone. Errors are problem details (RFC 9457).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use http::header::WWW_AUTHENTICATE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use switchboard_backends::Backend;
use switchboard_orchestrator::Orchestrator;
use switchboard_orchestrator::config::did_you_mean;
use switchboard_policy::authenticate::AuthError;
use switchboard_protocol::call::Principal;
use switchboard_telemetry::{LogControl, Metrics};
use tokio::sync::Semaphore;
use tower::{Service, ServiceBuilder};

use self::answer::{json, problem};
pub(crate) use self::config::ConfigView;
pub(crate) use self::reload::ReloadSender;
use self::reload::ReloadView;
pub use self::reload::{ReloadAnswer, ReloadRequest, ReloadRequests};
use self::report::{BackendView, BackendsView};
use self::routes::Asked;
use self::sessions::{MAX_SESSIONS, SessionsView};
pub(crate) use self::sessions::{OpenSessions, SessionReport};
use self::views::{AuditView, CatalogueView, LimitsView, PrincipalsView};
use crate::access::AccessInForce;
use crate::audit::query::{Filter, QueryError, Records};
use crate::audit::{AuditLog, Refusals};
use crate::authenticate::dismiss;
use crate::count::CountLayer;
use crate::edge::refuse::refuse;
use crate::listener::{HttpApp, HttpService, Standing};
use crate::policy::LimitsInForce;

mod answer;
mod config;
mod log;
mod openapi;
mod reload;
mod report;
mod routes;
mod sessions;
mod views;

/// The most searches of the audit at once: each reads a disk.
const MAX_SEARCHES: usize = 2;

/// What the admin API is made of, the same for all connections.
#[derive(Clone)]
pub(crate) struct AdminApi {
    pub(crate) access: AccessInForce,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) orchestrator: Orchestrator,
    /// Where is noted what is changed, if somewhere.
    pub(crate) audit: Option<AuditLog>,
    /// The database of the audit, if there is one.
    pub(crate) audit_database: Option<PathBuf>,
    pub(crate) searches: Arc<Semaphore>,
    pub(crate) sessions: Arc<dyn OpenSessions>,
    pub(crate) config: Arc<ArcSwap<ConfigView>>,
    pub(crate) limits: LimitsInForce,
    /// Changes what is logged.
    pub(crate) log: LogControl,
    pub(crate) reloads: ReloadSender,
}

impl AdminApi {
    /// As many searches as there may be at once.
    pub(crate) fn searches() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_SEARCHES))
    }
}

impl HttpApp for AdminApi {
    fn serve(&self, peer: SocketAddr, standing: Standing) -> impl HttpService {
        ServiceBuilder::new()
            .layer(CountLayer {
                metrics: Arc::clone(&self.metrics),
            })
            .service(AdminService {
                refusals: Refusals::of_admin(self.audit.clone(), peer.ip()),
                api: self.clone(),
                peer,
                standing,
            })
    }
}

/// The admin API as one connection sees it.
#[derive(Clone)]
struct AdminService {
    api: AdminApi,
    peer: SocketAddr,
    standing: Standing,
    refusals: Refusals,
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
            let asked = Asked::of(request.method(), request.uri())?;
            Ok((who, asked))
        });
        match asked {
            Ok((who, asked)) => {
                let (api, peer) = (self.api.clone(), self.peer);
                let path = request.uri().path().to_owned();
                async move {
                    let change = asked.changes();
                    let response = match asked {
                        Asked::SetLog => api.set_log(&who, request).await,
                        asked => api.answer(&who, asked).await,
                    };
                    if let (Some(log), Some(method)) = (&api.audit, change) {
                        let status = response.status().as_u16();
                        log.changed_by(&who, Some(peer.ip()), method, path, status);
                    }
                    Ok(response)
                }
                .boxed()
            }
            Err(refusal) => refuse(request, *refusal),
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
                let reason = match error {
                    AuthError::Missing => "missing",
                    AuthError::Invalid => "invalid",
                };
                self.refusals.note(StatusCode::UNAUTHORIZED, reason);
                let mut response = problem(StatusCode::UNAUTHORIZED, &error.to_string());
                let headers = response.headers_mut();
                headers.insert(WWW_AUTHENTICATE, error.challenge());
                dismiss(&self.standing, request.version(), &mut response);
                response
            })
    }
}

impl AdminApi {
    async fn answer(&self, who: &Principal, asked: Asked) -> Response {
        let answer = match asked {
            Asked::OpenApi => Ok(json(StatusCode::OK, &openapi::document())),
            Asked::Backends => Ok(self.all().await),
            Asked::Backend(name) => self.one(&name).await,
            Asked::Restart(name) => self.restart(who, &name).await,
            Asked::Catalogue => {
                let snapshot = self.orchestrator.catalogue().load_full();
                Ok(json(StatusCode::OK, &CatalogueView::of(&snapshot)))
            }
            Asked::Config => Ok(json(StatusCode::OK, &**self.config.load())),
            Asked::Reload => self.reload(who).await,
            Asked::Sessions => {
                let (sessions, total) = self.sessions.list(MAX_SESSIONS);
                Ok(json(StatusCode::OK, &SessionsView { sessions, total }))
            }
            Asked::EndSession(digest) => self.end_session(who, &digest),
            Asked::Principals => {
                let principals = self.config.load().principals().to_vec();
                Ok(json(StatusCode::OK, &PrincipalsView { principals }))
            }
            Asked::Limits => {
                let view = LimitsView::of(&self.limits.load());
                Ok(json(StatusCode::OK, &view))
            }
            Asked::Audit(filter) => self.search(*filter).await,
            // What it is to be stands in the body.
            Asked::Log | Asked::SetLog => Ok(log::view(&self.log.levels())),
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

    async fn reload(&self, who: &Principal) -> Result<Response, Box<Response>> {
        tracing::info!(by = who.id, "the configuration is to be read again");
        match self.reloads.ask().await {
            Some(Ok(reloaded)) => Ok(json(StatusCode::OK, &ReloadView::of(reloaded))),
            Some(Err(problems)) => {
                let detail = format!("it stays as it was: {}", problems.join("; "));
                Err(problem(StatusCode::UNPROCESSABLE_ENTITY, &detail))
            }
            None => Err(problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "nobody reads the configuration now; try again in a moment",
            )),
        }
    }

    fn end_session(&self, who: &Principal, digest: &str) -> Result<Response, Box<Response>> {
        if !self.sessions.end(digest) {
            let detail = "there is no such session; it may have ended";
            return Err(problem(StatusCode::NOT_FOUND, detail));
        }
        tracing::info!(session = digest, by = who.id, "a session is ended");
        Ok(answer::empty())
    }

    async fn search(&self, filter: Filter) -> Result<Response, Box<Response>> {
        let Some(path) = self.audit_database.clone() else {
            let detail =
                "the configuration has no `audit.sqlite`, so there are no records to search";
            return Err(problem(StatusCode::NOT_FOUND, detail));
        };
        let Ok(permit) = Arc::clone(&self.searches).try_acquire_owned() else {
            let detail = "as many searches run as may at once; try again in a moment";
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, detail));
        };
        // Reads a disk, so not where connections are served.
        let found = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let found = Records::open(&path)?.next(&filter)?;
            Ok::<_, QueryError>(found)
        });
        match found.await {
            Ok(Ok(found)) => {
                let records = found.into_iter().map(|found| found.record).collect();
                Ok(json(StatusCode::OK, &AuditView { records }))
            }
            Ok(Err(error)) => {
                tracing::warn!("the audit cannot be searched: {error}");
                Err(unreadable())
            }
            Err(error) => {
                tracing::warn!("the audit cannot be searched: {error}");
                Err(unreadable())
            }
        }
    }
}

fn unreadable() -> Box<Response> {
    let detail = "the records cannot be read; the log of the gateway says why";
    problem(StatusCode::INTERNAL_SERVER_ERROR, detail)
}
