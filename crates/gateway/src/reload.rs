//! Putting a changed configuration in force in a gateway that runs.

use std::net::SocketAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use switchboard_orchestrator::{Exchanged, Orchestrator, Reload};
use switchboard_policy::origin::HostPolicyError;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessInForce};
use crate::config::{Config, Problem, ServerConfig};

#[cfg(test)]
mod tests;

/// Puts changed configurations in force, one after the other.
pub struct Reloader {
    pub(crate) in_force: Config,
    /// Where the gateway really listens.
    pub(crate) bound: SocketAddr,
    pub(crate) access: AccessInForce,
    pub(crate) orchestrator: Orchestrator,
    /// Cancelled when the gateway begins to shut down.
    pub(crate) drain: CancellationToken,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Whether anything is in force now that was not before.
    pub is_changed: bool,
    /// The keys whose values are others now.
    pub keys: Vec<&'static str>,
    /// The backends that it touched.
    pub exchanged: Exchanged,
    /// The keys that differ from those in force and that only a restart puts in force.
    pub needs_restart: Vec<&'static str>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration does not fit what stays in force until a restart.
    #[error("{}: {}", .0.key.join("."), .0.message)]
    Problem(Problem),
    /// The configured hosts or origins are not valid.
    #[error(transparent)]
    Hosts(#[from] HostPolicyError),
    /// It was given up.
    #[error("the gateway is shutting down")]
    ShutDown,
}

impl Reloader {
    /// Puts a configuration in force: API keys, hosts and origins at once, then names and backends,
    /// which takes at most 10 s. What needs a restart stays as it is.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing was changed, or it ends with the gateway.
    pub async fn reload(&mut self, config: Config) -> Result<Reloaded, ReloadError> {
        let needs_restart = needs_restart(&self.in_force, &config);
        let next = self.without_restart(config);
        // The listener's address stays, so keys that were not needed at another may be needed here.
        if let Some(problem) = next.problems().into_iter().next() {
            return Err(ReloadError::Problem(problem));
        }
        let access = Access::new(self.bound, &next.server, next.auth.as_ref())?;
        let keys = exchanged_keys(&self.in_force, &next);
        if keys.is_empty() {
            return Ok(Reloaded {
                needs_restart,
                ..Reloaded::default()
            });
        }
        self.access.store(Arc::new(access));
        let wanted = Reload {
            backends: next.backends.clone(),
            names: next.names.clone(),
            chains: next.chains(),
            private: next.auth.is_some(),
            drain_timeout: next.server.drain_timeout,
        };
        let exchanged = tokio::select! {
            biased;
            () = self.drain.cancelled() => return Err(ReloadError::ShutDown),
            exchanged = self.orchestrator.reload(wanted) => {
                exchanged.map_err(|_| ReloadError::ShutDown)?
            }
        };
        self.in_force = next;
        Ok(Reloaded {
            is_changed: true,
            keys,
            exchanged,
            needs_restart,
        })
    }

    /// What the configuration in force becomes.
    fn without_restart(&self, config: Config) -> Config {
        let in_force = &self.in_force;
        Config {
            server: ServerConfig {
                public_url: config.server.public_url,
                allowed_hosts: config.server.allowed_hosts,
                allowed_origins: config.server.allowed_origins,
                watch_config: config.server.watch_config,
                ..in_force.server.clone()
            },
            auth: config.auth,
            names: config.names,
            backends: config.backends,
            fallbacks: config.fallbacks,
            equivalents: config.equivalents,
            heartbeat: in_force.heartbeat.clone(),
            parked_calls: in_force.parked_calls,
            telemetry: in_force.telemetry.clone(),
        }
    }
}

/// The keys that differ of what a reload puts in force.
fn exchanged_keys(a: &Config, b: &Config) -> Vec<&'static str> {
    let (server, other) = (&a.server, &b.server);
    let differing = [
        ("server.public_url", server.public_url != other.public_url),
        (
            "server.allowed_hosts",
            server.allowed_hosts != other.allowed_hosts,
        ),
        (
            "server.allowed_origins",
            server.allowed_origins != other.allowed_origins,
        ),
        (
            "server.watch_config",
            server.watch_config != other.watch_config,
        ),
        ("auth", a.auth != b.auth),
        ("names", a.names != b.names),
        ("backends", a.backends != b.backends),
        ("fallbacks", a.fallbacks != b.fallbacks),
        ("equivalents", a.equivalents != b.equivalents),
    ];
    only_differing(differing)
}

/// The keys that differ and that only a restart puts in force.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // Taken apart whole, so that it is decided of each new key whether it needs one.
    let ServerConfig {
        listen,
        ops_listen,
        public_url: _,
        allowed_hosts: _,
        allowed_origins: _,
        watch_config: _,
        drain_timeout,
        sealing_keys,
        tls,
        max_connections,
        max_in_flight,
        max_queue_delay,
        max_body_bytes,
        header_timeout,
        body_timeout,
        idle_timeout,
        worker_threads,
        legacy,
    } = &old.server;
    let server = &new.server;
    let differing = [
        ("server.listen", *listen != server.listen),
        ("server.ops_listen", *ops_listen != server.ops_listen),
        (
            "server.drain_timeout",
            *drain_timeout != server.drain_timeout,
        ),
        (
            "server.sealing_keys",
            !same_secrets(sealing_keys, &server.sealing_keys),
        ),
        (
            "server.max_connections",
            *max_connections != server.max_connections,
        ),
        ("server.tls", *tls != server.tls),
        (
            "server.max_in_flight",
            *max_in_flight != server.max_in_flight,
        ),
        (
            "server.max_queue_delay",
            *max_queue_delay != server.max_queue_delay,
        ),
        (
            "server.max_body_bytes",
            *max_body_bytes != server.max_body_bytes,
        ),
        (
            "server.header_timeout",
            *header_timeout != server.header_timeout,
        ),
        ("server.body_timeout", *body_timeout != server.body_timeout),
        ("server.idle_timeout", *idle_timeout != server.idle_timeout),
        (
            "server.worker_threads",
            *worker_threads != server.worker_threads,
        ),
        ("server.legacy", *legacy != server.legacy),
        ("heartbeat", old.heartbeat != new.heartbeat),
        ("parked_calls", old.parked_calls != new.parked_calls),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    only_differing(differing)
}

fn only_differing<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    let keys = keys.into_iter().filter(|(_, differs)| *differs);
    keys.map(|(key, _)| key).collect()
}

fn same_secrets(a: &[SecretString], b: &[SecretString]) -> bool {
    let exposed = |secrets: &[SecretString]| -> Vec<_> {
        secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned())
            .collect()
    };
    exposed(a) == exposed(b)
}
