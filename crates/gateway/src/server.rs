//! The gateway as a whole: put together, bound, served, drained.

use std::env;
use std::future::Future;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use switchboard_backends::KnownLists;
use switchboard_orchestrator::{CacheParts, Orchestrator, Parts};
use switchboard_policy::cache;
use switchboard_policy::facade::secrets::SecretsError;
use switchboard_policy::limits::Limits as CallLimits;
use switchboard_policy::origin::HostPolicyError;
use switchboard_policy::store::Store;
use switchboard_protocol::token::{KeyError, SealError, Sealer};
use switchboard_telemetry::{LogControl, Metrics, Sampler};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessInForce};
use crate::admin::{AdminApi, ConfigView, ReloadRequests, ReloadSender};
use crate::audit::{self, AuditError, AuditLog, AuditWriter};
use crate::cluster::{self, Cluster, Door, Identity, IdentityError};
use crate::config::{Config, ServerConfig};
use crate::edge::decode::BodyLimits;
use crate::endpoint::EndpointParts;
use crate::facade::FacadeMemory;
use crate::heartbeat::{Heartbeat, Target};
use crate::legacy;
use crate::listener::{self, HttpApp, Limits};
use crate::ops;
use crate::policy::LimitsInForce;
use crate::reload::Reloader;
use crate::shed::AdmissionControl;
use crate::stack::{ENDPOINT, HttpParts, call_stack};
use crate::tls::{Certificate, TlsError};
use crate::workers::Workers;

/// Connections of probes and scrapers.
const MAX_OPS_CONNECTIONS: usize = 64;

/// Connections of operators.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// Connections of other replicas that have proved themselves: as many as four of them may have at
/// once.
const MAX_REPLICA_CONNECTIONS: usize = 4 * cluster::MAX_TO_ONE;

/// Connections to the listener for replicas that have proved nothing yet, again as many as four of
/// them make: with one more the oldest ends.
const MAX_REPLICA_HANDSHAKES: usize = 4 * cluster::MAX_CONNECTING;

/// How long such a connection may prove nothing: no longer than a replica waits.
const REPLICA_HANDSHAKE: Duration = cluster::CONNECT_WITHIN;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("{key}: cannot listen on {address}: {}", remedy(.source))]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configured hosts or origins are not valid.
    #[error(transparent)]
    Hosts(#[from] HostPolicyError),
    /// The sealing keys are not usable.
    #[error("server.sealing_keys: {0}")]
    Keys(#[from] KeyError),
    /// There are no keys for tokens of the gateway's own.
    #[error("auth.facade: {0}")]
    Facade(#[from] SecretsError),
    /// No sealing key could be made.
    #[error("cannot make a sealing key: {0}")]
    Random(#[from] SealError),
    /// The certificate of the listener is not usable.
    #[error("server.tls: {0}")]
    Tls(#[from] TlsError),
    /// Nothing can be made for replicas to know each other by.
    #[error("server.cluster: {0}")]
    Cluster(#[from] IdentityError),
    /// There is nothing to call the URL of the heartbeat with.
    #[error("heartbeat: {0}")]
    Heartbeat(#[source] reqwest::Error),
    /// What calls are noted in cannot be written.
    #[error("audit.{0}")]
    Audit(#[from] AuditError),
    /// The system gives no threads.
    #[error("cannot start the worker threads: {0}")]
    Workers(#[source] io::Error),
}

/// A gateway whose backends are starting and whose sockets are bound.
pub struct Gateway {
    config: Config,
    listeners: Listeners,
    orchestrator: Orchestrator,
    limits: LimitsInForce,
    app: App,
    ops: axum::Router,
    admin: Option<AdminApi>,
    facade: Arc<FacadeMemory>,
    shown: Arc<ArcSwap<ConfigView>>,
    log: LogControl,
    reload_requests: ReloadRequests,
    draining: Arc<AtomicBool>,
    drain: CancellationToken,
    metrics: Arc<Metrics>,
    audit: Option<AuditWriter>,
    heartbeat: Heartbeat,
    workers: Workers,
}

impl Gateway {
    /// Binds the sockets, then starts the backends; nothing is served before [`Gateway::run`].
    ///
    /// # Errors
    /// [`StartError`]; then nothing was started.
    pub async fn start(
        config: Config,
        metrics: Arc<Metrics>,
        sampler: Sampler,
        log: LogControl,
    ) -> Result<Self, StartError> {
        // All that can fail comes before anything is started.
        let server = &config.server;
        let listeners = Listeners::bind(&config).await?;
        let facade = FacadeMemory::new(server)?;
        let access = Access::new(listeners.address, server, config.auth.as_ref(), &facade)?
            .for_backends(&config.backends);
        let admin_access = match listeners.admin_address() {
            Some(bound) => Some(Access::of_admin(bound, server, config.admin.as_ref())?),
            None => None,
        };
        let (sealer, session_sealer) = sealers(server)?;
        let cluster = match &listeners.cluster {
            Some((_, identity)) => Some(Arc::new(Cluster::new(identity, Arc::clone(&metrics))?)),
            None => None,
        };
        let target = Target::new(&config.heartbeat).map_err(StartError::Heartbeat)?;
        let (audit_log, audit) = match &config.audit {
            Some(config) => {
                let (log, writer) = audit::start(config, &metrics)?;
                (Some(log), Some(writer))
            }
            None => (None, None),
        };
        let counts = !config.limits.is_empty() || !config.budgets.is_empty();
        if cluster.is_some() && counts && config.store.redis.is_none() {
            tracing::warn!(
                "server.cluster: without `store.redis` each replica counts limits and budgets for itself"
            );
        }
        let workers = Workers::start(server.worker_threads).map_err(StartError::Workers)?;

        let runtime = Handle::current();
        let (here, on_workers) = (runtime.clone(), workers.alive_tasks());
        metrics.count_tasks_with(move || here.metrics().num_alive_tasks() + on_workers());
        let store = Store::start(&config.store, &metrics).await;
        let limits = CallLimits::new(config.limits(), store, &metrics);
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        config.redact_outlets(&metrics);
        let orchestrator = Orchestrator::start(Parts {
            names: config.names.clone(),
            backends: config.backends.clone(),
            chains: config.chains(),
            parked_calls: config.parked_calls,
            known_lists: known_lists(server),
            private: config.auth.is_some(),
            cache: Some(result_cache(&config, &metrics).await),
            policy: config.policy(limits.load_full(), &metrics),
            profiles: config.profiles.clone(),
            kept_results: config.kept_results(),
            sealer,
            replica: server.replica(),
            metrics: Arc::clone(&metrics),
            runtimes: workers.runtimes().cloned().collect(),
        });
        let app = App::new(
            &config,
            access,
            session_sealer,
            sampler,
            &metrics,
            audit_log.clone(),
            &orchestrator,
        )
        .passing_on(cluster);
        let heartbeat = Heartbeat::new(
            config.heartbeat.interval,
            target,
            iter::once(runtime).chain(workers.runtimes().cloned()),
            &metrics,
            &orchestrator,
        );
        let shown = Arc::new(ArcSwap::from_pointee(ConfigView::of(&config)));
        let (reloads, reload_requests) = ReloadSender::new();
        let sqlite = config
            .audit
            .as_ref()
            .and_then(|audit| audit.sqlite.as_ref());
        let audit_database = sqlite.map(|sqlite| sqlite.path.clone());
        let admin = admin_access.map(|access| AdminApi {
            access: Arc::new(ArcSwap::from_pointee(access)),
            metrics: Arc::clone(&metrics),
            orchestrator: orchestrator.clone(),
            audit: audit_log,
            audit_database,
            searches: AdminApi::searches(),
            sessions: Arc::new(app.legacy.clone()),
            config: Arc::clone(&shown),
            limits: Arc::clone(&limits),
            log: log.clone(),
            reloads,
        });
        let draining = Arc::new(AtomicBool::new(false));
        let ops = ops::router(
            Arc::clone(&metrics),
            orchestrator.clone(),
            Arc::clone(&limits),
            Arc::clone(&draining),
        );
        Ok(Self {
            config,
            listeners,
            orchestrator,
            limits,
            app,
            ops,
            admin,
            facade,
            shown,
            log,
            reload_requests,
            draining,
            drain: CancellationToken::new(),
            metrics,
            audit,
            heartbeat,
            workers,
        })
    }

    /// The endpoint at the bound address; clients behind a proxy use `server.public_url`.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn url(&self) -> io::Result<String> {
        let scheme = match self.listeners.main.certificate {
            Some(_) => "https",
            None => "http",
        };
        let address = self.listeners.main.listener.local_addr()?;
        Ok(format!("{scheme}://{address}{ENDPOINT}"))
    }

    /// The address of probes and scrapers, if there is one.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.listeners.ops.as_ref()?.listener.local_addr().ok()
    }

    /// The address of the admin API, such as `http://127.0.0.1:8081`, if there is one.
    #[must_use]
    pub fn admin_url(&self) -> Option<String> {
        let scheme = match self.config.is_admin_encrypted() {
            true => "https",
            false => "http",
        };
        let address = self.listeners.admin_address()?;
        Some(format!("{scheme}://{address}"))
    }

    /// The one virtual server.
    #[must_use]
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.orchestrator
    }

    /// What puts a changed configuration in force while the gateway runs. Take one: another would
    /// not know what this one did.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader {
            in_force: self.config.clone(),
            bound: self.listeners.address,
            access: Arc::clone(&self.app.http.access),
            admin: self.admin_in_force(),
            facade: Arc::clone(&self.facade),
            shown: Arc::clone(&self.shown),
            orchestrator: self.orchestrator.clone(),
            limits: Arc::clone(&self.limits),
            metrics: Arc::clone(&self.metrics),
            log: self.log.clone(),
            drain: self.drain.clone(),
        }
    }

    /// What operators ask of whoever reads the configuration. Take it once: another has none.
    #[must_use]
    pub fn take_reload_requests(&mut self) -> ReloadRequests {
        let (_, nothing) = ReloadSender::new();
        std::mem::replace(&mut self.reload_requests, nothing)
    }

    fn admin_in_force(&self) -> Option<(SocketAddr, AccessInForce)> {
        let admin = self.admin.as_ref()?;
        let address = self.listeners.admin_address()?;
        Some((address, Arc::clone(&admin.access)))
    }

    /// Serves until `shutdown` resolves, then drains: no new connections, streams end gracefully,
    /// calls have `server.drain_timeout` to finish, and the backends end last.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            config: _,
            listeners,
            orchestrator,
            limits: _,
            app,
            ops,
            admin,
            facade: _,
            shown: _,
            log: _,
            reload_requests: _,
            draining,
            drain,
            metrics,
            audit,
            heartbeat,
            workers,
        } = self;
        let end = CancellationToken::new();
        let certificate = listeners.main.certificate.clone();
        let main = listeners.main;
        let serving_replicas = async {
            if let Some((listener, _)) = listeners.cluster {
                let door = Door::new(app.http.clone());
                listener.serve(door, None, &workers, drain.clone()).await;
            }
        };
        let serving = main.serve(app.http.clone(), Some(metrics), &workers, drain.clone());
        let serving_ops = async {
            if let Some(listener) = listeners.ops {
                let here = Workers::here();
                listener.serve(ops, None, &here, end.clone()).await;
            }
        };
        let serving_admin = async {
            if let (Some(listener), Some(admin)) = (listeners.admin, admin) {
                // Beside the workers: an operator looks when they have too much to do.
                let here = Workers::here();
                listener.serve(admin, None, &here, end.clone()).await;
            }
        };
        let draining = async {
            shutdown.await;
            draining.store(true, Ordering::Relaxed);
            tracing::info!("draining");
            orchestrator.close_streams();
            drain.cancel();
        };
        let watching_certificate = async {
            if let Some(certificate) = certificate {
                drain.run_until_cancelled(certificate.watch()).await;
            }
        };
        let main = async {
            let beating = drain.run_until_cancelled(heartbeat.beat());
            tokio::join!(
                serving,
                serving_replicas,
                draining,
                watching_certificate,
                beating
            );
            // Before the backends, since calls that lost their client may run there.
            app.legacy.shut_down().await;
            orchestrator.shut_down().await;
            // Probes see the gateway until there is nothing left of it.
            end.cancel();
        };
        tokio::join!(main, serving_ops, serving_admin);
        // Since calls and their connections to servers run there.
        drop(workers);
        // Last, when there is nobody left who could leave a record.
        if let Some(audit) = audit {
            // Fails only if it panicked, and then nothing is left to write.
            let _ = tokio::task::spawn_blocking(|| audit.finish()).await;
        }
    }
}

/// The sockets of a gateway.
struct Listeners {
    /// Where the endpoint really is.
    address: SocketAddr,
    main: Bound,
    ops: Option<Bound>,
    admin: Option<Bound>,
    /// That of replicas, and what they know each other by.
    cluster: Option<(Bound, Identity)>,
}

/// A socket that is bound, and what its connections may cost.
struct Bound {
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    limits: Limits,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, StartError> {
        let server = &config.server;
        let certificate = match server.tls.clone() {
            Some(files) => Some(Arc::new(Certificate::load(files)?)),
            None => None,
        };
        let limits = Limits {
            max_connections: server.max_connections,
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
            drain_timeout: server.drain_timeout,
            max_body_bytes: server.max_body_bytes,
            ..Limits::default()
        };
        let main = Bound::bind("server.listen", server.listen, certificate, limits).await?;
        let ops_limits = Limits {
            max_connections: MAX_OPS_CONNECTIONS,
            drain_timeout: Duration::from_secs(1),
            ..limits
        };
        let ops = match server.ops_listen {
            Some(address) => {
                Some(Bound::bind("server.ops_listen", address, None, ops_limits).await?)
            }
            None => None,
        };
        let admin = match config.admin_address() {
            Some(address) => {
                let certificate = main.certificate.clone();
                let certificate = certificate.filter(|_| config.is_admin_encrypted());
                if certificate.is_none() && !address.ip().to_canonical().is_loopback() {
                    tracing::warn!(
                        "server.admin_listen: its keys cross the network as they are; give `server.tls`, \
                         or a loopback address"
                    );
                }
                let limits = Limits {
                    max_connections: MAX_ADMIN_CONNECTIONS,
                    ..ops_limits
                };
                Some(Bound::bind("server.admin_listen", address, certificate, limits).await?)
            }
            None => None,
        };
        let cluster = match &server.cluster {
            Some(config) => {
                let identity = Identity::new(config.secret.expose())?;
                let certificate = Arc::new(Certificate::fixed(identity.server.clone()));
                // Beside what the client sent there is what its replica says, and what HTTP/2 has no headers for.
                let limits = Limits {
                    max_connections: MAX_REPLICA_CONNECTIONS,
                    max_handshakes: Some(MAX_REPLICA_HANDSHAKES),
                    handshake_timeout: REPLICA_HANDSHAKE,
                    max_headers: limits.max_headers + 3,
                    max_header_bytes: limits.max_header_bytes * 2,
                    ..limits
                };
                let key = "server.cluster.listen";
                let bound = Bound::bind(key, config.address(), Some(certificate), limits).await?;
                Some((bound, identity))
            }
            None => None,
        };
        let address = main
            .listener
            .local_addr()
            .map_err(|source| StartError::Bind {
                key: "server.listen",
                address: server.listen,
                source,
            })?;
        Ok(Self {
            address,
            main,
            ops,
            admin,
            cluster,
        })
    }

    /// Where the admin API really is, if there is one.
    fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.listener.local_addr().ok()
    }
}

impl Bound {
    async fn bind(
        key: &'static str,
        address: SocketAddr,
        certificate: Option<Arc<Certificate>>,
        limits: Limits,
    ) -> Result<Self, StartError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| StartError::Bind {
            key,
            address,
            source,
        })?;
        Ok(Self {
            listener,
            certificate,
            limits,
        })
    }

    /// As [`listener::serve`].
    async fn serve<A: HttpApp>(
        self,
        app: A,
        metrics: Option<Arc<Metrics>>,
        workers: &Workers,
        drain: CancellationToken,
    ) {
        let Self {
            listener,
            certificate,
            limits,
        } = self;
        listener::serve(listener, certificate, app, limits, metrics, workers, drain).await;
    }
}

/// Where is kept what local servers offer: in the configured folder, or the user's for caches.
fn known_lists(server: &ServerConfig) -> KnownLists {
    let of_user = || {
        let from = |name, rest| Some(PathBuf::from(env::var_os(name)?).join(rest));
        from("XDG_CACHE_HOME", "switchboard").or_else(|| from("HOME", ".cache/switchboard"))
    };
    match server.cache_dir.clone().or_else(of_user) {
        Some(folder) => KnownLists::in_folder(&folder.join("lists")),
        None => KnownLists::none(),
    }
}

/// What results are cached with. Nothing is cached before a backend asks for it.
async fn result_cache(config: &Config, metrics: &Arc<Metrics>) -> CacheParts {
    let keys = config.server.sealing_keys.expose();
    let key = keys.first().copied();
    let store = cache::start(&config.cache, &config.store, key).await;
    let counted = Arc::clone(&store);
    metrics.count_cache_with(move || {
        let usage = counted.usage()?;
        Some((usage.entries, usage.bytes))
    });
    CacheParts {
        store,
        ttl: config.cache.ttl,
        max_entry: usize::try_from(config.cache.max_entry).unwrap_or(usize::MAX),
    }
}

/// What seals `requestState`, and what seals the ids of legacy clients' sessions.
fn sealers(server: &ServerConfig) -> Result<(Sealer, Sealer), StartError> {
    let keys = server.sealing_keys.expose();
    if keys.is_empty() {
        return Ok((Sealer::with_random_key()?, Sealer::with_random_key()?));
    }
    Ok((Sealer::new(&keys)?, Sealer::new(&keys)?))
}

/// What connections are served with, and what of it has an end of its own.
struct App {
    http: HttpParts,
    legacy: legacy::Edge,
}

impl App {
    fn new(
        config: &Config,
        access: Access,
        session_sealer: Sealer,
        sampler: Sampler,
        metrics: &Arc<Metrics>,
        audit: Option<AuditLog>,
        orchestrator: &Orchestrator,
    ) -> Self {
        let server = &config.server;
        let admission = Arc::new(AdmissionControl::new(
            server.max_in_flight,
            server.max_queue_delay,
            Arc::clone(metrics),
        ));
        let calls = call_stack(
            sampler,
            Arc::clone(metrics),
            audit.clone(),
            Arc::clone(&admission),
            orchestrator.clone(),
        );
        let limits = BodyLimits {
            bytes: server.max_body_bytes,
            timeout: server.body_timeout,
        };
        let access = Arc::new(ArcSwap::from_pointee(access));
        let legacy = legacy::Edge::start(legacy::Parts {
            config: server.legacy.clone(),
            access: Arc::clone(&access),
            limits,
            ask_timeout: config.parked_calls.timeout,
            sealer: session_sealer,
            replica: server.replica(),
            metrics: Arc::clone(metrics),
            orchestrator: orchestrator.clone(),
            calls: calls.clone(),
            audit: audit.clone(),
        });
        let http = HttpParts {
            access: Arc::clone(&access),
            metrics: Arc::clone(metrics),
            audit: audit.clone(),
            admission,
            endpoint: Arc::new(EndpointParts {
                access,
                limits,
                metrics: Arc::clone(metrics),
                orchestrator: orchestrator.clone(),
                calls,
                legacy: legacy.clone(),
                audit,
            }),
            http_sse: server.legacy.http_sse,
            cluster: None,
        };
        Self { http, legacy }
    }

    /// The same, with a way to other replicas, if there are any.
    fn passing_on(mut self, cluster: Option<Arc<Cluster>>) -> Self {
        self.http.cluster = cluster;
        self
    }
}

/// What the system said when an address could not be bound, and what to do.
fn remedy(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there, perhaps a gateway that runs already: end it, or choose \
             another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "it is no address of this machine: choose one that is, such as 127.0.0.1 or 0.0.0.0"
        }
        io::ErrorKind::PermissionDenied => {
            "the system keeps this port for privileged programs: choose one from 1024 up"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}
