//! One attempt at a call: the connection it takes, how long it may last, and what its end tells of the
//! endpoint.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use switchboard_protocol::call::Call;
use switchboard_protocol::error::{Attempt, CallError};
use switchboard_protocol::method::Method;
use switchboard_telemetry::{CallSpan, ErrorType, Wait};
use tokio::time::Instant;

use super::{Endpoint, Inner};
use crate::answer::{self, Answer};
use crate::arriving::{Arriving, Limit, Reply};
use crate::breaker::Admission;
use crate::connect::Connection;
use crate::exchange::Exchanged;
use crate::message::Rewrite;
use crate::method_label::method_label;
use crate::safety::Verdict;
use crate::status::State;

impl Endpoint {
    /// Makes one attempt at the call, which the breaker has admitted. Takes at most what is left
    /// until the call's deadline, or the backend's timeout if it has none, up to the last byte of a
    /// result that is still arriving; dropping the future, or that result, cancels the attempt in
    /// the way of the server's era. `parent` is the span that it belongs to.
    ///
    /// # Errors
    /// The server's own error, or the gateway's fault when no answer could be had.
    pub(crate) async fn attempt(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        started: Instant,
        admission: Admission<'_>,
    ) -> Result<Reply, CallError> {
        let inner = &*self.inner;
        let is_clients = call.deadline.is_some_and(|deadline| deadline.is_clients);
        let limit = call.deadline.map_or(inner.config.timeout, |deadline| {
            deadline.at.saturating_duration_since(started.into_std())
        });
        if limit.is_zero() {
            return Err(answer::too_late(&inner.name).into());
        }
        let in_flight = InFlight::begin(&inner.in_flight);
        if inner.config.is_process() {
            inner.demand.count_call();
        }
        let abandoned = Abandoned {
            inner,
            method: call.method,
            started,
            answered: false,
        };
        let connection = match inner.connection_within(limit, rewrite, parent).await {
            Ok(connection) => connection,
            // Nothing was tried, so nothing is known of the endpoint that its keeper does not know.
            Err(mut error) => {
                abandoned.answered();
                inner.leave_unsent(call, rewrite, parent, &error);
                inner.count_failed(call.method, started.elapsed(), &mut error);
                return Err(error);
            }
        };
        // Pinned first: `select!` would move the whole future of the exchange twice.
        let mut exchange = pin!(self.inner.exchange(call, rewrite, parent, connection));
        let result = tokio::select! {
            biased;
            result = &mut exchange => Some(result),
            () = tokio::time::sleep_until(started + limit) => None,
        };
        abandoned.answered();
        let now = Instant::now();
        // A client that gives it too little time says nothing of the endpoint.
        let is_hurried = is_clients && result.is_none();
        let result = result.unwrap_or_else(|| Err(answer::timed_out(&inner.name, limit).into()));
        if is_hurried {
            drop(admission);
        } else {
            let verdict = match &result {
                // It ends a probe; whether it is an answer shows at its end.
                Ok(Exchanged::Large(_)) => Verdict::Nothing,
                result => Verdict::of_result(result),
            };
            inner.judge(admission, verdict, now);
        }
        let result = match result {
            Ok(Exchanged::Large(ongoing)) => {
                let limit = Limit { limit, is_clients };
                let arriving = Arriving::new(Arc::clone(&self.inner), started, limit, *ongoing);
                return Ok(Reply::Arriving(Box::new(arriving.holding(in_flight))));
            }
            Ok(Exchanged::Whole(mut answer)) => {
                answer.endpoint = self.key();
                answer.stays |= inner.config.is_process();
                Ok(answer)
            }
            Err(error) => Err(error),
        };
        inner.finish(call, now - started, result).map(Reply::Whole)
    }
}

impl Inner {
    /// The connection, or none if the call goes on where it waits. Takes at most `limit`.
    async fn connection_within(
        &self,
        limit: Duration,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Option<Arc<Connection>>, CallError> {
        if let Some(connection) = self.connection.load_full() {
            return Ok(Some(connection));
        }
        if self.finds_parked(rewrite) {
            return Ok(None);
        }
        let connected = tokio::time::timeout(limit, self.connected());
        // Boxed, since it is rare.
        match Box::pin(parent.around(Wait::Start, &self.name, connected)).await {
            Ok(connected) => connected.map(Some),
            Err(_) => Err(answer::not_connected(&self.name, State::Starting, "").into()),
        }
    }

    /// The connection, or why there is none. Waits only while nothing has gone wrong yet.
    pub(crate) async fn connected(&self) -> Result<Arc<Connection>, CallError> {
        let mut changed = self.changed.subscribe();
        let _waiting = self.demand.wait();
        loop {
            changed.mark_unchanged();
            if let Some(connection) = self.connection.load_full() {
                return Ok(connection);
            }
            let status = self.status.read().clone();
            if status.state.is_bad() {
                return Err(answer::not_connected(&self.name, status.state, &status.reason).into());
            }
            if changed.changed().await.is_err() {
                return Err(answer::not_connected(&self.name, State::Unavailable, "").into());
            }
        }
    }

    /// Closes an admission of the breaker; says so if that opened or closed it.
    pub(crate) fn judge(&self, admission: Admission<'_>, verdict: Verdict, now: Instant) {
        let turned = match verdict {
            Verdict::Answered => admission.succeeded(now),
            Verdict::Nothing => admission.ignored(now),
            Verdict::Failed => admission.failed(now),
        };
        if let Some(state) = turned {
            self.breaker_turned(state, now);
        }
    }

    /// Takes note of how a call ended.
    fn finish(
        &self,
        call: &Call,
        took: Duration,
        mut result: Result<Answer, CallError>,
    ) -> Result<Answer, CallError> {
        match &mut result {
            Ok(answer) => {
                let is_error = answer.response.is_tool_error();
                self.count(call.method, took, is_error.then_some(ErrorType::ToolError));
            }
            Err(error) => self.count_failed(call.method, took, error),
        }
        if let Err(CallError::Fault(fault)) = &result
            && let Some(detail) = &fault.detail
        {
            tracing::debug!(backend = %self.name, reason = fault.reason.as_str(), detail, "a call failed");
        }
        result
    }

    /// Counts an attempt that was answered, or given up.
    pub(crate) fn count(&self, method: Method, took: Duration, error: Option<ErrorType>) {
        self.ended.count(error);
        self.metrics.operation(method_label(method), error, took);
    }

    /// Counts an attempt that failed. Adds what every failure tells: the attempt and how long it
    /// took.
    pub(crate) fn count_failed(&self, method: Method, took: Duration, error: &mut CallError) {
        let code = match error {
            CallError::Fault(fault) => {
                fault.attempts.push(Attempt {
                    backend: Arc::clone(&self.name),
                    reason: fault.reason,
                    ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                });
                i64::from(fault.code)
            }
            CallError::Backend { code, .. } => *code,
            // Was never made.
            CallError::Protocol(_) => return,
        };
        self.count(method, took, Some(ErrorType::from_code(code)));
    }
}

/// Counts an attempt that is dropped before it was answered.
struct Abandoned<'a> {
    inner: &'a Inner,
    method: Method,
    started: Instant,
    answered: bool,
}

impl Abandoned<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let cancelled = Some(ErrorType::Cancelled);
            self.inner
                .count(self.method, self.started.elapsed(), cancelled);
        }
    }
}

/// Counts an attempt until it is dropped.
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
