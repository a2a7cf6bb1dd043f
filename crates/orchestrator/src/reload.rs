//! Exchanging backends while calls go on.
//!
//! Backends whose configuration is the same are not touched: their processes, connections, sessions
//! and breakers stay. A changed one is started beside the old one, which answers until the new one
//! has been learned; then it gets time for its calls and ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard_backends::Backend;
use switchboard_backends::config::BackendConfig;
use switchboard_backends::status::State;
use switchboard_protocol::policy::Policy;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backends::{Set, dependencies};
use crate::config::NamesConfig;
use crate::config::chains::ChainsConfig;
use crate::config::kept_results::KeptResultsConfig;
use crate::config::profiles::ProfilesConfig;
use crate::orchestrator::publish::Rules;
use crate::orchestrator::{Inner, Orchestrator};
use crate::start_order;

#[cfg(test)]
mod tests;

/// After this long a new backend takes over even if it has not been learned yet.
const TAKE_OVER: Duration = Duration::from_secs(10);
/// How often a backend that was replaced is looked at: nobody tells when its last call leaves it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The most backends that were replaced and still have calls. One more is ended at once.
const MAX_RETIRING: usize = 1_024;

/// What is to be in force after a reload.
#[derive(Clone, Debug)]
pub struct DesiredState {
    /// All backends.
    pub backends: BTreeMap<String, BackendConfig>,
    /// How names are made.
    pub names: NamesConfig,
    /// What takes the place of a tool that cannot answer.
    pub chains: ChainsConfig,
    /// Whether callers are told apart.
    pub private: bool,
    /// What decides who sees what, and about calls.
    pub policy: Arc<dyn Policy>,
    /// The parts of what there is that are servers of their own.
    pub profiles: ProfilesConfig,
    /// What is kept of results that are too large to send; `None`: nothing.
    pub kept_results: Option<KeptResultsConfig>,
    /// How long the calls of a replaced or removed backend may still take.
    pub drain_timeout: Duration,
}

/// The backends that a reload touched, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendChanges {
    /// Those that were not there before.
    pub added: Vec<Arc<str>>,
    /// Those that were started anew, with another configuration.
    pub changed: Vec<Arc<str>>,
    /// Those that are there no longer.
    pub removed: Vec<Arc<str>>,
}

/// The orchestrator has been shut down, so nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is shutting down")]
pub struct ShutDown;

/// What makes reloads orderly.
pub(crate) struct ReloadLock {
    /// Whose turn it is: a reload holds it from its first look at the backends to the exchange, so
    /// that several are done one after the other.
    turn: tokio::sync::Mutex<()>,
    retiring: Arc<Semaphore>,
}

impl Default for ReloadLock {
    fn default() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            retiring: Arc::new(Semaphore::new(MAX_RETIRING)),
        }
    }
}

impl ReloadLock {
    /// Waits until no reload is under way.
    pub(crate) async fn settled(&self) {
        drop(self.turn.lock().await);
    }
}

impl Orchestrator {
    /// Has calls decided about by this policy and these profiles from now on, before a reload puts the
    /// backends in force that they were written for: no call is decided about by older rules than
    /// those that let its caller in. `private`: whether callers are told apart.
    pub fn decide_by(&self, policy: &Arc<dyn Policy>, profiles: &ProfilesConfig, private: bool) {
        self.inner().decide_by(policy, profiles, private);
    }

    /// Puts another configuration in force. Returns when it is, at the latest 10 s after the
    /// reloads that began before; new backends may still be starting then. Dropping the future
    /// gives the reload up: then nothing was changed.
    ///
    /// A call that waits for its client's answer in a legacy server that is replaced or removed
    /// fails with it, as do tasks in its sessions.
    ///
    /// # Errors
    /// [`ShutDown`].
    pub async fn reload(&self, wanted: DesiredState) -> Result<BackendChanges, ShutDown> {
        let inner = self.inner();
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => Err(ShutDown),
            exchanged = exchange(inner, wanted) => Ok(exchanged),
        }
    }
}

async fn exchange(inner: &Arc<Inner>, wanted: DesiredState) -> BackendChanges {
    let _turn = inner.reload_lock.turn.lock().await;
    let mut exchanged = BackendChanges::default();
    let mut kept = Set::new();
    let mut newcomers = Newcomers::of(inner);
    let mut left = Set::clone(&inner.backends.all());
    for (name, config) in start_order::ordered(wanted.backends) {
        match left.get(name.as_str()) {
            Some(backend) if *backend.config() == config => {
                kept.extend(left.remove_entry(name.as_str()));
            }
            before => {
                let is_new = before.is_none();
                let find = |name: &str| kept.get(name).or(newcomers.get(name)).cloned();
                let dependencies = dependencies(&config, find);
                let name = newcomers.start(name.into(), config, &dependencies);
                match is_new {
                    true => exchanged.added.push(name),
                    false => exchanged.changed.push(name),
                }
            }
        }
    }
    newcomers.are_known(Instant::now() + TAKE_OVER).await;

    // Nothing waits from here on, so that a reload happens as a whole or not at all.
    let newcomers = newcomers.take();
    let mut next = kept;
    next.extend(
        newcomers
            .iter()
            .map(|new| (Arc::clone(new.name()), new.clone())),
    );
    inner.backends.exchange(next);
    for old in left.values() {
        old.retire();
    }
    for new in &newcomers {
        new.show();
    }
    let rules = Rules {
        names: wanted.names,
        chains: wanted.chains,
        private: wanted.private,
        policy: wanted.policy,
        profiles: wanted.profiles,
        kept_results: wanted.kept_results,
    };
    inner.apply(rules, left.keys());
    for (name, old) in left {
        if !exchanged.changed.contains(&name) {
            inner.backends.starter().metrics.forget_backend(&name);
            exchanged.removed.push(name);
        }
        retire(inner, old, wanted.drain_timeout);
    }
    exchanged
}

/// Backends that were started and are not in force yet. Dropped with it they end.
struct Newcomers<'i> {
    inner: &'i Arc<Inner>,
    started: Vec<Backend>,
}

impl<'i> Newcomers<'i> {
    fn of(inner: &'i Arc<Inner>) -> Self {
        Self {
            inner,
            started: Vec::new(),
        }
    }

    fn get(&self, name: &str) -> Option<&Backend> {
        self.started.iter().find(|new| **new.name() == *name)
    }

    fn start(
        &mut self,
        name: Arc<str>,
        config: BackendConfig,
        dependencies: &[Backend],
    ) -> Arc<str> {
        let starter = self.inner.backends.starter();
        let backend = starter.start(name, config, dependencies);
        let name = Arc::clone(backend.name());
        // Before it is asked anything, so that no change is missed when it takes over.
        backend.watch_resources(&self.inner.watched_at(&name));
        self.started.push(backend);
        name
    }

    /// Waits until each has been learned or has failed, but not beyond `until`.
    async fn are_known(&self, until: Instant) {
        loop {
            // Taken before the look, so that no change between look and wait is missed.
            let changed = self.inner.events.changed();
            let mut started = self.started.iter();
            let all_known = started.all(|new| new.status().state != State::Starting);
            if all_known || timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }

    fn take(mut self) -> Vec<Backend> {
        std::mem::take(&mut self.started)
    }
}

impl Drop for Newcomers<'_> {
    fn drop(&mut self) {
        for given_up in std::mem::take(&mut self.started) {
            given_up.retire();
            match self.inner.backends.get(given_up.name()) {
                Some(in_force) => in_force.show(),
                None => {
                    let metrics = &self.inner.backends.starter().metrics;
                    metrics.forget_backend(given_up.name());
                }
            }
            retire(self.inner, given_up, Duration::ZERO);
        }
    }
}

/// Ends a backend that is in force no longer, as soon as its calls have.
fn retire(inner: &Inner, old: Backend, drain_timeout: Duration) {
    let stop = inner.stop.clone();
    let metrics = Arc::clone(&inner.backends.starter().metrics);
    let place = Arc::clone(&inner.reload_lock.retiring)
        .try_acquire_owned()
        .ok();
    inner.tasks.spawn(async move {
        if let Some(_place) = place.as_ref().filter(|_| !drain_timeout.is_zero()) {
            let last = Instant::now() + drain_timeout;
            tokio::select! {
                () = stop.cancelled() => {}
                () = is_idle(&old, last) => {}
            }
        }
        old.shut_down().await;
        let name = Arc::clone(old.name());
        drop(old);
        // What its last calls have brought back, if nobody has its name by now.
        metrics.forget_ended_backend(&name);
    });
}

async fn is_idle(old: &Backend, last: Instant) {
    while !old.is_idle() && Instant::now() < last {
        sleep(POLL_INTERVAL).await;
    }
}
