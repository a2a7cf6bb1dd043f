//! How many processes a local server has, when they run, and when each is replaced.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most processes of one local server that calls are spread over.
pub const MAX_INSTANCES: usize = 64;
/// The default of [`ProcessesConfig::idle_stop`] where processes are started lazily.
const LAZY_IDLE_STOP: Duration = Duration::from_secs(5 * 60);

/// The processes of a local server. No part of it concerns remote ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessesConfig {
    /// How many of them calls are spread over, 1 to [`MAX_INSTANCES`].
    pub instances: usize,
    /// When they are started.
    pub start: StartPolicy,
    /// How long one may be without a call before it is ended, to be started again by the next;
    /// `None`: for ever.
    pub idle_stop: Option<Duration>,
    /// After how many calls one is replaced; `None`: never.
    pub max_calls: Option<u64>,
    /// At what age one is replaced; `None`: never.
    pub max_age: Option<Duration>,
}

/// When the processes of a local server are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartPolicy {
    /// With the gateway.
    #[default]
    Eager,
    /// Once, to learn what the server offers, and then when a call needs one.
    Lazy,
}

impl ProcessesConfig {
    /// What is written of it, with the defaults for the rest.
    pub(super) fn new(
        instances: Option<usize>,
        start: Option<StartPolicy>,
        idle_stop: Option<Duration>,
        max_calls: Option<u64>,
        max_age: Option<Duration>,
    ) -> Self {
        let start = start.unwrap_or_default();
        let lazy = (start == StartPolicy::Lazy).then_some(LAZY_IDLE_STOP);
        Self {
            instances: instances.unwrap_or(1),
            start,
            idle_stop: idle_stop.or(lazy),
            max_calls,
            max_age,
        }
    }
}

impl Default for ProcessesConfig {
    fn default() -> Self {
        Self::new(None, None, None, None, None)
    }
}
