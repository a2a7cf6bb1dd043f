//! The layer of the call stack that leaves a record of every call.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::Outcome;
use switchboard_protocol::error::CallError;
use switchboard_protocol::trail::Trail;
use tower::{Layer, Service};

use super::event::{CallEnd, CallEvent, Event, Quotes};
use super::queue::AuditLog;
use crate::end_watch::{EndWatcher, Ending, WatchedFuture};
use crate::trace::error_code;

/// Makes [`Audit`].
#[derive(Clone)]
pub(crate) struct AuditLayer {
    /// Where records go; `None`: there are none.
    pub(crate) log: Option<AuditLog>,
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Audit<S> {
        Audit {
            inner,
            log: self.log.clone(),
        }
    }
}

/// Gives every call a trail, and leaves a record of it when it has ended.
#[derive(Clone)]
pub(crate) struct Audit<S> {
    inner: S,
    log: Option<AuditLog>,
}

impl<S> Service<TracedCall> for Audit<S>
where
    S: Service<TracedCall, Response = Outcome, Error = Infallible>,
{
    type Response = Outcome;
    type Error = Infallible;
    type Future = WatchedFuture<S::Future, AuditedCall>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut traced: TracedCall) -> Self::Future {
        let log = self.log.as_ref();
        let audited = log.and_then(|log| AuditedCall::begin(log, &mut traced));
        WatchedFuture::new(self.inner.call(traced), audited)
    }
}

/// A call that leaves a record when it ends; one that is dropped before was cancelled.
pub(crate) struct AuditedCall {
    log: AuditLog,
    event: Option<Box<CallEvent>>,
}

impl AuditedCall {
    fn begin(log: &AuditLog, traced: &mut TracedCall) -> Option<Self> {
        let call = &mut traced.call;
        if !log.includes_method(call.method) {
            return None;
        }
        // One that is traced has a trail.
        let trail = call.trail.get_or_insert_with(|| Arc::new(Trail::default()));
        let trail = Arc::clone(trail);
        let event = CallEvent {
            at: SystemTime::now(),
            began: Instant::now(),
            took: std::time::Duration::ZERO,
            method: call.method,
            quotes: Quotes::of(call),
            principal: Arc::clone(&call.principal),
            profile: call.profile.clone(),
            version: call.version,
            session: call.client.as_ref().map(|client| client.id().into()),
            peer: call.peer,
            trail,
            trace: traced.span.trace_id(),
            result_bytes: 0,
            end: CallEnd::Cancelled,
        };
        Some(Self {
            log: log.clone(),
            event: Some(Box::new(event)),
        })
    }

    fn leave(&mut self, end: Option<CallEnd>) {
        let Some(mut event) = self.event.take() else {
            return;
        };
        event.took = event.began.elapsed();
        if let Some(end) = end {
            event.end = end;
        }
        self.log.push(Event::Call(event));
    }
}

impl EndWatcher for AuditedCall {
    fn handed_on(&mut self, bytes: usize) {
        if let Some(event) = &mut self.event {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            event.result_bytes = event.result_bytes.saturating_add(bytes);
        }
    }

    fn ended(&mut self, ending: Ending<'_>) {
        let end = match ending {
            Ending::Complete { is_error: false } => CallEnd::Ok,
            Ending::Complete { is_error: true } => CallEnd::ToolError,
            Ending::InputRequired => CallEnd::InputRequired,
            Ending::Failed(error) => failed(error),
        };
        self.leave(Some(end));
    }
}

impl Drop for AuditedCall {
    fn drop(&mut self) {
        self.leave(None);
    }
}

fn failed(error: &CallError) -> CallEnd {
    let code = error_code(error);
    match error {
        CallError::Protocol(_) => CallEnd::Invalid { code },
        CallError::Backend { .. } => CallEnd::BackendError { code },
        CallError::Fault(fault) => CallEnd::Fault {
            code,
            reason: fault.reason,
            backend: fault.backend.clone(),
        },
    }
}
