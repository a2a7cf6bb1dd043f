//! Asking an endpoint, again and again, whether it is well.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use crate::config::HealthConfig;
use crate::connect::{ConnectError, Connection, OWN_META};
use crate::endpoint::Inner;
use crate::link::watch::Watch;
use crate::link::{LinkError, next_id};
use crate::message;
use crate::pause::jittered;
use crate::status::State;

type Check = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send>>;

/// The checks of one connection: one after the other, with pauses.
pub(crate) struct Checks {
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    /// The pause before the next check, and the check.
    next: Check,
    failures: u32,
}

impl Checks {
    pub(crate) fn new(inner: Arc<Inner>, connection: Arc<Connection>) -> Self {
        Self {
            next: next(Arc::clone(&inner), Arc::clone(&connection)),
            inner,
            connection,
            failures: 0,
        }
    }

    /// Resolves after each check, with what the endpoint's state is by it; `None`: it is well, or
    /// the check judges nothing. Dropping the future loses nothing.
    pub(crate) async fn finished(&mut self) -> Option<ConnectError> {
        let result = (&mut self.next).await;
        self.next = next(Arc::clone(&self.inner), Arc::clone(&self.connection));
        match result {
            Ok(()) => {
                self.failures = 0;
                None
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                Some(error)
            }
        }
    }

    /// Whether the last check found it well, or there was none.
    pub(crate) fn are_well(&self) -> bool {
        self.failures == 0
    }

    /// What the failures come to.
    pub(crate) fn state(&self, error: &ConnectError) -> State {
        match error.state() {
            State::Unavailable if self.failures < self.inner.config.health.failures => {
                State::Degraded
            }
            state => state,
        }
    }
}

fn next(inner: Arc<Inner>, connection: Arc<Connection>) -> Check {
    Box::pin(async move {
        let config = &inner.config.health;
        sleep(jittered(config.interval)).await;
        match timeout(config.timeout, ask(config, &connection)).await {
            Ok(answer) => answer.map_err(ConnectError::from),
            Err(_) => Err(ConnectError::new(format!(
                "it does not answer a health check within {} ms",
                config.timeout.as_millis()
            ))),
        }
    })
}

/// Asks once: the path that is configured, or what a server of its era always answers
/// (`server/discover`; 2025-11-25: `basic/utilities/ping`).
async fn ask(config: &HealthConfig, connection: &Connection) -> Result<(), LinkError> {
    if let (Some(path), Some(http)) = (&config.path, &connection.http) {
        return http.is_well(path).await;
    }
    let (method, meta) = if connection.legacy.is_none() {
        ("server/discover", OWN_META)
    } else {
        ("ping", "")
    };
    let out = message::own(method, next_id(), meta, "");
    let answer = connection
        .link
        .request(&connection.wire, out, Watch::deaf());
    match answer.await {
        // It answers, whatever it says.
        Ok(_) => Ok(()),
        Err(LinkError::Status { status, .. }) if (400..500).contains(&status) => Ok(()),
        Err(error) => Err(error),
    }
}
