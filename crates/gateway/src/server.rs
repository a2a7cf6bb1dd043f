//! The gateway as a whole: put together, bound, served, drained.

use std::future::Future;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::ExposeSecret;
use switchboard_orchestrator::{Orchestrator, Parts};
use switchboard_policy::origin::HostPolicyError;
use switchboard_protocol::token::{KeyError, SealError, Sealer};
use switchboard_telemetry::{Metrics, Sampler};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::config::Config;
use crate::edge::decode::BodyLimits;
use crate::endpoint::EndpointParts;
use crate::heartbeat::{Heartbeat, Target};
use crate::legacy;
use crate::listener::{self, Limits};
use crate::ops;
use crate::reload::Reloader;
use crate::shed::InFlight;
use crate::stack::{ENDPOINT, HttpParts, call_stack};
use crate::tls::{Certificate, TlsError};
use crate::workers::Workers;

/// Connections of probes and scrapers.
const MAX_OPS_CONNECTIONS: usize = 64;

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
    /// No sealing key could be made.
    #[error("cannot make a sealing key: {0}")]
    Random(#[from] SealError),
    /// The certificate of the listener is not usable.
    #[error("server.tls: {0}")]
    Tls(#[from] TlsError),
    /// There is nothing to call the URL of the heartbeat with.
    #[error("heartbeat: {0}")]
    Heartbeat(#[source] reqwest::Error),
    /// The system gives no threads.
    #[error("cannot start the worker threads: {0}")]
    Workers(#[source] io::Error),
}

/// A gateway whose backends are starting and whose sockets are bound.
pub struct Gateway {
    config: Config,
    bound: SocketAddr,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    ops_listener: Option<TcpListener>,
    orchestrator: Orchestrator,
    legacy: legacy::Edge,
    app: HttpParts,
    ops: axum::Router,
    draining: Arc<AtomicBool>,
    drain: CancellationToken,
    metrics: Arc<Metrics>,
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
    ) -> Result<Self, StartError> {
        let server = &config.server;
        let certificate = match server.tls.clone() {
            Some(files) => Some(Arc::new(Certificate::load(files)?)),
            None => None,
        };
        let listener = bind("server.listen", server.listen).await?;
        let ops_listener = match server.ops_listen {
            Some(address) => Some(bind("server.ops_listen", address).await?),
            None => None,
        };
        let bound = listener.local_addr().map_err(|source| StartError::Bind {
            key: "server.listen",
            address: server.listen,
            source,
        })?;
        let access = Access::new(bound, server, config.auth.as_ref())?;
        let keys: Vec<&[u8]> = server
            .sealing_keys
            .iter()
            .map(|key| key.expose_secret().as_bytes())
            .collect();
        let sealer = || {
            Ok::<_, StartError>(if keys.is_empty() {
                Sealer::with_random_key()?
            } else {
                Sealer::new(&keys)?
            })
        };
        let (sealer, session_sealer) = (sealer()?, sealer()?);

        let heartbeat_target = match config.heartbeat.url.clone() {
            Some(url) => Some(Target::new(url).map_err(StartError::Heartbeat)?),
            None => None,
        };
        let workers = Workers::start(server.worker_threads).map_err(StartError::Workers)?;
        let runtime = tokio::runtime::Handle::current();
        let on_workers = workers.alive_tasks();
        let main = runtime.clone();
        metrics.count_tasks_with(move || main.metrics().num_alive_tasks() + on_workers());
        let orchestrator = Orchestrator::start(Parts {
            names: config.names.clone(),
            backends: config.backends.clone(),
            chains: config.chains(),
            parked_calls: config.parked_calls,
            private: config.auth.is_some(),
            sealer,
            metrics: Arc::clone(&metrics),
            runtimes: workers.runtimes().cloned().collect(),
        });
        let in_flight = Arc::new(InFlight::new(
            server.max_in_flight,
            server.max_queue_delay,
            Arc::clone(&metrics),
        ));
        let calls = call_stack(
            sampler,
            Arc::clone(&metrics),
            Arc::clone(&in_flight),
            orchestrator.clone(),
        );
        let limits = BodyLimits {
            bytes: server.max_body_bytes,
            timeout: server.body_timeout,
        };
        let legacy = legacy::Edge::start(legacy::Parts {
            config: server.legacy.clone(),
            limits,
            ask_timeout: config.parked_calls.timeout,
            sealer: session_sealer,
            metrics: Arc::clone(&metrics),
            orchestrator: orchestrator.clone(),
            calls: calls.clone(),
        });
        let app = HttpParts {
            access: Arc::new(ArcSwap::from_pointee(access)),
            metrics: Arc::clone(&metrics),
            in_flight,
            endpoint: Arc::new(EndpointParts {
                limits,
                metrics: Arc::clone(&metrics),
                orchestrator: orchestrator.clone(),
                calls,
                legacy: legacy.clone(),
            }),
            http_sse: server.legacy.http_sse,
        };
        let heartbeat = Heartbeat {
            interval: config.heartbeat.interval,
            target: heartbeat_target,
            orchestrator: orchestrator.clone(),
            runtimes: iter::once(&runtime)
                .chain(workers.runtimes())
                .cloned()
                .collect(),
            metrics: Arc::clone(&metrics),
        };
        let draining = Arc::new(AtomicBool::new(false));
        let ops = ops::router(
            Arc::clone(&metrics),
            orchestrator.clone(),
            Arc::clone(&draining),
        );
        Ok(Self {
            config,
            bound,
            listener,
            certificate,
            ops_listener,
            orchestrator,
            legacy,
            app,
            ops,
            draining,
            drain: CancellationToken::new(),
            metrics,
            heartbeat,
            workers,
        })
    }

    /// The endpoint at the bound address; clients behind a proxy use `server.public_url`.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn url(&self) -> io::Result<String> {
        let scheme = match self.certificate {
            Some(_) => "https",
            None => "http",
        };
        let address = self.listener.local_addr()?;
        Ok(format!("{scheme}://{address}{ENDPOINT}"))
    }

    /// The address of probes and scrapers, if there is one.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops_listener.as_ref()?.local_addr().ok()
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
            bound: self.bound,
            access: Arc::clone(&self.app.access),
            orchestrator: self.orchestrator.clone(),
            drain: self.drain.clone(),
        }
    }

    /// Serves until `shutdown` resolves, then drains: no new connections, streams end gracefully,
    /// calls have `server.drain_timeout` to finish, and the backends end last.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            config,
            bound: _,
            listener,
            certificate,
            ops_listener,
            orchestrator,
            legacy,
            app,
            ops,
            draining,
            drain,
            metrics,
            heartbeat,
            workers,
        } = self;
        let server = &config.server;
        let limits = Limits {
            max_connections: server.max_connections,
            header_timeout: server.header_timeout,
            idle_timeout: server.idle_timeout,
            drain_timeout: server.drain_timeout,
            ..Limits::default()
        };
        let end = CancellationToken::new();
        let serving = listener::serve(
            listener,
            certificate.clone(),
            app,
            limits,
            Some(metrics),
            &workers,
            drain.clone(),
        );
        let ops_limits = Limits {
            max_connections: MAX_OPS_CONNECTIONS,
            drain_timeout: Duration::from_secs(1),
            ..limits
        };
        let serving_ops = async {
            if let Some(listener) = ops_listener {
                let here = Workers::here();
                listener::serve(listener, None, ops, ops_limits, None, &here, end.clone()).await;
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
            if let Some(certificate) = &certificate {
                drain.run_until_cancelled(certificate.watch()).await;
            }
        };
        let main = async {
            let beating = drain.run_until_cancelled(heartbeat.beat());
            tokio::join!(serving, draining, watching_certificate, beating);
            // Before the backends, since calls that lost their client may run there.
            legacy.shut_down().await;
            orchestrator.shut_down().await;
            // Probes see the gateway until there is nothing left of it.
            end.cancel();
        };
        tokio::join!(main, serving_ops);
        // Last, since calls and their connections to servers run there.
        drop(workers);
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            key,
            address,
            source,
        })
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
