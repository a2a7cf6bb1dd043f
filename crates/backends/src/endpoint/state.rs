//! How an endpoint is doing, by what its keeper says of it and by its breaker, and who hears of changes.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use switchboard_telemetry::BreakerTurn;
use tokio::time::Instant;

use super::{Endpoint, Inner};
use crate::breaker::BreakerState;
use crate::connect::ConnectError;
use crate::status::{Stage, State, Status};

impl Endpoint {
    /// How it is doing, by its breaker first: what calls show counts for more than what it says.
    pub(crate) fn status(&self) -> Status {
        let status = self.inner.status.read().clone();
        if !status.state.is_usable() {
            return status;
        }
        let now = Instant::now();
        if self.inner.breaker.state(now) == BreakerState::Closed {
            return match self.inner.pool.needs_attention(now) {
                Some((reason, since)) => Status {
                    state: State::Degraded,
                    stage: Stage::Calling,
                    reason: format!("a session for some of its calls needs attention: {reason}"),
                    cause: None,
                    since,
                },
                None => status,
            };
        }
        Status {
            state: State::Unavailable,
            stage: Stage::Calling,
            reason: "calls to it keep failing, so it is left alone for a while".to_owned(),
            cause: None,
            since: *self.inner.breaker_turned.lock(),
        }
    }
}

impl Inner {
    /// Shows that it begins anew, as an operator asked.
    pub(crate) fn say_restarting(&self) {
        let reason = "it is restarted, as an operator asked";
        self.set_status(State::Starting, Stage::Connecting, reason);
    }

    /// Changes the status; says so if it really changed.
    pub(crate) fn set_status(&self, state: State, stage: Stage, reason: &str) {
        self.set_failed(state, stage, ConnectError::new(reason));
    }

    /// Changes the status to what this error comes to; says so if it really changed.
    pub(crate) fn set_failed(&self, state: State, stage: Stage, error: ConnectError) {
        let ConnectError { reason, cause, .. } = error;
        let status = Status {
            state,
            stage,
            reason,
            cause,
            since: SystemTime::now(),
        };
        let told = status.story();
        {
            let mut current = self.status.write();
            if current.state == state
                && current.reason == status.reason
                && current.cause == status.cause
            {
                return;
            }
            let since = if current.state == state {
                current.since
            } else {
                status.since
            };
            let was_bad = current.state.is_bad();
            *current = Status { since, ..status };
            let is_well = state.is_usable();
            self.is_well.store(is_well, Ordering::Relaxed);
            if was_bad && is_well {
                *self.recovered.lock() = Some(Instant::now());
            }
        }
        let endpoint = self.spec.label.as_deref();
        match state {
            State::Ready => self.log_ready(),
            State::Starting => tracing::info!(backend = %self.name, endpoint, "starting: {told}"),
            State::Degraded | State::Unavailable | State::NeedsAuth | State::NeedsAttention => {
                tracing::warn!(
                    backend = %self.name,
                    endpoint,
                    state = state.as_str(),
                    stage = stage.as_str(),
                    "{told}"
                )
            }
        }
        self.tell();
    }

    /// Says once, when the backend becomes ready, with whom one deals.
    fn log_ready(&self) {
        let lists = self.lists.load();
        let Some(server) = lists.as_ref().map(|lists| &lists.server) else {
            return;
        };
        let offers: Vec<_> = server.offers().collect();
        tracing::info!(
            backend = %self.name,
            endpoint = self.spec.label.as_deref(),
            era = server.version.era().as_str(),
            version = server.version.as_str(),
            found = %server.found,
            offers = offers.join(", "),
            "ready"
        );
    }

    /// Tells whoever waits or watches that something changed.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
        self.observer.changed(&self.name);
    }

    /// Says that its breaker opened or closed.
    pub(super) fn breaker_turned(&self, state: BreakerState, now: Instant) {
        *self.breaker_turned.lock() = SystemTime::now();
        let endpoint = self.spec.label.as_deref();
        if state == BreakerState::Closed {
            *self.recovered.lock() = Some(now);
            self.metrics.breaker_turned(BreakerTurn::Closed);
            tracing::info!(backend = %self.name, endpoint, "it is back: its breaker is closed");
        } else {
            self.metrics.breaker_turned(BreakerTurn::Open);
            tracing::warn!(backend = %self.name, endpoint, "calls keep failing: its breaker is open");
        }
        // What its lists and its session are worth is looked at as well.
        self.suspicion.notify_one();
        self.tell();
    }

    /// A health check, or a reading of the lists, went well: that closes the breaker if no call is
    /// there to do it.
    pub(crate) fn probed(&self) {
        let now = Instant::now();
        if let Some(state) = self.breaker.recovered(now) {
            self.breaker_turned(state, now);
        }
    }
}
