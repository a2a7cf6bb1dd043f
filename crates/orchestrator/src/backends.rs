//! The backends by name: looked up by every call, exchanged by a reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use switchboard_backends::config::BackendConfig;
use switchboard_backends::status::Observer;
use switchboard_backends::{Backend, BackendContext, KnownLists, Shared, Supervisor};
use switchboard_telemetry::Metrics;
use tokio::runtime::Handle;

use crate::start_order;

/// All backends at one moment.
pub(crate) type Set = BTreeMap<Arc<str>, Backend>;

/// The backends in force, and what new ones are started with.
pub(crate) struct Backends {
    current: ArcSwap<Set>,
    starter: Starter,
}

/// Starts backends.
pub(crate) struct Starter {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) shared: Shared,
    pub(crate) known_lists: KnownLists,
    /// Each process is kept on one of them, in turn. Empty: on that of the caller.
    pub(crate) runtimes: Vec<Handle>,
    pub(crate) next_runtime: AtomicUsize,
    /// What starts and owns processes, and knows all of them.
    pub(crate) supervisor: Supervisor,
}

impl Backends {
    /// Starts these, each behind those that it depends on, and else in parallel.
    pub(crate) fn start(starter: Starter, configs: BTreeMap<String, BackendConfig>) -> Self {
        let mut set = Set::new();
        for (name, config) in start_order::ordered(configs) {
            let dependencies = dependencies(&config, |name| set.get(name).cloned());
            let backend = starter.start(name.into(), config, &dependencies);
            set.insert(Arc::clone(backend.name()), backend);
        }
        Self {
            current: ArcSwap::from_pointee(set),
            starter,
        }
    }

    /// The backend of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Backend> {
        self.current.load().get(name).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Set> {
        self.current.load_full()
    }

    /// Puts others in their place.
    pub(crate) fn exchange(&self, set: Set) {
        self.current.store(Arc::new(set));
    }

    pub(crate) fn starter(&self) -> &Starter {
        &self.starter
    }
}

impl Starter {
    /// Starts one, which begins to connect as soon as its dependencies are ready.
    pub(crate) fn start(
        &self,
        name: Arc<str>,
        config: BackendConfig,
        dependencies: &[Backend],
    ) -> Backend {
        let context = BackendContext {
            metrics: self.metrics.backend(&name),
            observer: Arc::clone(&self.observer),
            shared: self.shared.clone(),
            supervisor: self.supervisor.clone(),
            known_lists: self.known_lists.clone(),
            runtime: config.is_process().then(|| self.runtime()).flatten(),
        };
        Backend::start(name, config, context, dependencies)
    }

    fn runtime(&self) -> Option<Handle> {
        let turn = self.next_runtime.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(self.runtimes.len())?;
        self.runtimes.get(index).cloned()
    }
}

/// The backends that one depends on, as far as they are there.
pub(crate) fn dependencies(
    config: &BackendConfig,
    find: impl Fn(&str) -> Option<Backend>,
) -> Vec<Backend> {
    let named = config.depends_on.iter();
    named.filter_map(|name| find(name)).collect()
}
