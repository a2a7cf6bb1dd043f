//! Putting a changed configuration in force in a gateway that runs.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use switchboard_orchestrator::config::ConfigProblem;
use switchboard_orchestrator::{BackendChanges, DesiredState, Orchestrator};
use switchboard_policy::origin::HostPolicyError;
use switchboard_telemetry::{LogConfig, LogControl, Metrics, TelemetryConfig};
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessInForce};
use crate::admin::ConfigView;
use crate::config::{AdminListen, Config, ServerConfig};
use crate::facade::FacadeMemory;
use crate::policy::LimitsInForce;

#[cfg(test)]
mod tests;

/// Puts changed configurations in force, one after the other.
pub struct Reloader {
    pub(crate) in_force: Config,
    /// Where the gateway really listens.
    pub(crate) bound: SocketAddr,
    pub(crate) access: AccessInForce,
    /// Where the admin API really is, and its rules, if there is one.
    pub(crate) admin: Option<(SocketAddr, AccessInForce)>,
    /// What the gateway's authorization server keeps.
    pub(crate) facade: Arc<FacadeMemory>,
    /// What operators are shown of the configuration.
    pub(crate) shown: Arc<ArcSwap<ConfigView>>,
    pub(crate) orchestrator: Orchestrator,
    /// What was counted goes on under the next configuration.
    pub(crate) limits: LimitsInForce,
    pub(crate) metrics: Arc<Metrics>,
    /// Changes what is logged.
    pub(crate) log: LogControl,
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
    pub backends: BackendChanges,
    /// The keys that differ from those in force and that only a restart puts in force.
    pub needs_restart: Vec<&'static str>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration does not fit what stays in force until a restart.
    #[error("{}: {}", .0.path.join("."), .0.message)]
    Problem(ConfigProblem),
    /// The configured hosts or origins are not valid.
    #[error(transparent)]
    Hosts(#[from] HostPolicyError),
    /// It was given up.
    #[error("the gateway is shutting down")]
    ShutDown,
}

impl Reloader {
    /// Whether callers need a credential.
    #[must_use]
    pub fn has_auth(&self) -> bool {
        self.in_force.auth.is_some()
    }

    /// Whether there are rules of who may do what.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.in_force.access.is_some()
    }

    /// Whether there are backends.
    #[must_use]
    pub fn has_backends(&self) -> bool {
        !self.in_force.backends.is_empty()
    }

    /// Puts a configuration in force: API keys, also those of the admin API, hosts and origins at once, which ends streams and
    /// sessions whose key is gone within seconds, then names and backends,
    /// which takes at most 10 s. What needs a restart stays as it is.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing was changed, or it ends with the gateway.
    pub async fn reload(&mut self, config: &Config) -> Result<Reloaded, ReloadError> {
        let next = without_restart(&self.in_force, config, self.admin.is_some());
        let needs_restart = differing_keys(&next, config);
        // The listener's address stays, so keys that were not needed at another may be needed here.
        if let Some(problem) = next.problems().into_iter().next() {
            return Err(ReloadError::Problem(problem));
        }
        let access = Access::new(self.bound, &next.server, next.auth.as_ref(), &self.facade)?
            .for_backends(&next.backends);
        let access = access.keeping(&self.access.load());
        let admin = match &self.admin {
            Some((bound, _)) => Some(Access::of_admin(*bound, &next.server, next.admin.as_ref())?),
            None => None,
        };
        // Whoever loads it again may have mended what a process needs.
        self.orchestrator.try_again();
        let keys = differing_keys(&self.in_force, &next);
        if keys.is_empty() {
            return Ok(Reloaded {
                needs_restart,
                ..Reloaded::default()
            });
        }
        if let Err(error) = self.log.configure(&next.telemetry.log.level) {
            tracing::warn!("telemetry.log.level stays as it is: {error}");
        }
        let limits = self.limits.load();
        let limits = Arc::new(limits.next(next.limits(), &self.metrics));
        let policy = next.policy(Arc::clone(&limits), &self.metrics);
        next.redact_outlets(&self.metrics);
        // Before anybody gets in who could not before: new backends may take a while.
        self.orchestrator
            .decide_by(&policy, &next.profiles, next.auth.is_some());
        self.access.store(Arc::new(access));
        if let (Some((_, in_force)), Some(admin)) = (&self.admin, admin) {
            in_force.store(Arc::new(admin));
        }
        let wanted = DesiredState {
            backends: next.backends.clone(),
            names: next.names.clone(),
            chains: next.chains(),
            private: next.auth.is_some(),
            policy,
            profiles: next.profiles.clone(),
            kept_results: next.kept_results(),
            drain_timeout: next.server.drain_timeout,
        };
        let backends = tokio::select! {
            biased;
            () = self.drain.cancelled() => return Err(ReloadError::ShutDown),
            exchanged = self.orchestrator.reload(wanted) => {
                exchanged.map_err(|_| ReloadError::ShutDown)?
            }
        };
        self.shown.store(Arc::new(ConfigView::of(&next)));
        self.in_force = next;
        limits.forget_others(&self.metrics);
        self.limits.store(limits);
        Ok(Reloaded {
            is_changed: true,
            keys,
            backends,
            needs_restart,
        })
    }
}

/// What a configuration in force becomes without a restart, where another is wanted.
fn without_restart(in_force: &Config, wanted: &Config, has_admin: bool) -> Config {
    let (old, new) = (in_force.clone(), wanted.clone());
    // One that is there stays, and knows nobody once its keys are gone; none is opened.
    let admin = if has_admin { new.admin } else { old.admin };
    let admin_listen = match &admin {
        None if has_admin => AdminListen::Default,
        _ => old.server.admin_listen,
    };
    Config {
        server: ServerConfig {
            admin_listen,
            public_url: new.server.public_url,
            allowed_hosts: new.server.allowed_hosts,
            allowed_origins: new.server.allowed_origins,
            watch_config: new.server.watch_config,
            ..old.server
        },
        auth: new.auth,
        access: new.access,
        admin,
        names: new.names,
        backends: new.backends,
        fallbacks: new.fallbacks,
        equivalents: new.equivalents,
        profiles: new.profiles,
        limits: new.limits,
        budgets: new.budgets,
        costs: new.costs,
        result_caps: new.result_caps,
        redaction: new.redaction,
        store: old.store,
        cache: old.cache,
        audit: old.audit,
        heartbeat: old.heartbeat,
        kept_results: new.kept_results,
        parked_calls: old.parked_calls,
        telemetry: TelemetryConfig {
            log: LogConfig {
                level: new.telemetry.log.level,
                ..old.telemetry.log
            },
            ..old.telemetry
        },
    }
}

/// The names of those of these fields that differ. They have to be all of the type's, so that none is
/// forgotten.
macro_rules! differing {
    ($prefix:literal, $type:ident { $($key:ident,)* } except { $($other:ident),* }, $a:expr, $b:expr) => {{
        let $type { $($key,)* $($other: _,)* } = $a;
        [$(($key != &$b.$key).then_some(concat!($prefix, stringify!($key))),)*]
    }};
}

/// The keys whose values differ.
fn differing_keys(next: &Config, wanted: &Config) -> Vec<&'static str> {
    let of_server = differing!(
        "server.",
        ServerConfig {
            listen,
            ops_listen,
            admin_listen,
            public_url,
            allowed_hosts,
            allowed_origins,
            watch_config,
            cache_dir,
            drain_timeout,
            sealing_keys,
            cluster,
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
        } except {},
        &next.server,
        &wanted.server
    );
    let others = differing!(
        "",
        Config {
            auth,
            access,
            admin,
            names,
            backends,
            fallbacks,
            equivalents,
            profiles,
            limits,
            budgets,
            costs,
            result_caps,
            redaction,
            store,
            cache,
            audit,
            heartbeat,
            kept_results,
            parked_calls,
        } except { server, telemetry },
        next,
        wanted
    );
    let of_telemetry = differing!(
        "telemetry.",
        TelemetryConfig { traces, } except { log },
        &next.telemetry,
        &wanted.telemetry
    );
    let of_log = differing!(
        "telemetry.log.",
        LogConfig { format, level, } except {},
        &next.telemetry.log,
        &wanted.telemetry.log
    );
    let all = of_server.into_iter().chain(others);
    let all = all.chain(of_telemetry).chain(of_log);
    all.flatten().collect()
}
