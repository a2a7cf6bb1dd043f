//! A call on its way to its backend: resolved, rewritten, sent, and its answer made an outcome.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use switchboard_backends::status::State;
use switchboard_backends::{Reply, RequestState, Rewrite};
use switchboard_protocol::call::{Call, Deadline, Outcome};
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason, code};
use switchboard_protocol::method::Method;
use switchboard_protocol::millis;
use switchboard_protocol::policy::{Admission, Permit, Target};
use switchboard_protocol::trail::{Step, Trail};
use switchboard_telemetry::{CallSpan, Wait};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cached::Found;
use crate::catalogue::{Snapshot, Source};
use crate::continuation::{self, Continuation};
use crate::delivery::notifications::{give_sink_back, hearing, redact_notifications};
use crate::delivery::{self, WayBack};
use crate::orchestrator::{FIRST_MOMENTS, Inner};
use crate::replicas::replica_away;
use crate::resolve::{Destination, Resolution, resolve};
use crate::results::{self, SealedAt};
use crate::settle::{settle, settle_unexecuted};
use crate::tool_calls::CountedCall;

impl Inner {
    pub(crate) async fn call(
        &self,
        call: &mut Call,
        span: &CallSpan,
    ) -> Result<Outcome, CallError> {
        if call.method.names_task() {
            return Box::pin(self.call_of_task(call, span)).await;
        }
        let continuation = self.continuation(call)?;
        let outcome = self.try_once(call, continuation.as_ref(), span).await;
        // Another use than the first takes nothing of what that one has.
        if continuation.as_ref().is_some_and(|it| it.is_first_use) && did_nothing(&outcome) {
            self.forget_use(call);
        }
        let outcome = outcome?;
        if matches!(
            &outcome,
            Outcome::Failed(CallError::Backend {
                code: code::HEADER_MISMATCH,
                ..
            })
        ) {
            // Boxed, since it is rare and would double the size of every call's future.
            return Box::pin(self.after_mismatch(call, continuation.as_ref(), span, outcome)).await;
        }
        Ok(outcome)
    }

    /// The server's schema changed since its list was read: it refused before it did anything, so
    /// the list is read again and the call made once more (specification:
    /// `basic/transports/streamable-http`, Client Behavior).
    async fn after_mismatch(
        &self,
        call: &mut Call,
        continuation: Option<&Continuation>,
        span: &CallSpan,
        refused: Outcome,
    ) -> Result<Outcome, CallError> {
        let snapshot = self.catalogue.load_full();
        let Resolution::To(destination) = resolve(&snapshot, call)? else {
            return Ok(refused);
        };
        let Some(backend) = self.backends.get(&destination.backend) else {
            return Ok(refused);
        };
        let mut changed = self.catalogue.changed();
        let read_again = async {
            backend.refresh().await;
            let _ = timeout(Duration::from_secs(1), changed.changed()).await;
        };
        let in_time = match ends_at(call) {
            Some(deadline) => timeout_at(deadline, read_again).await.is_ok(),
            None => {
                read_again.await;
                true
            }
        };
        if !in_time {
            return Ok(refused);
        }
        self.try_once(call, continuation, span).await
    }

    fn continuation(&self, call: &Call) -> Result<Option<Continuation>, CallError> {
        if !call.method.may_require_input() || call.request.params.request_state.is_none() {
            return Ok(None);
        }
        let token = call.request.text(call.request.params.request_state);
        let token = token
            .ok_or_else(|| ProtocolError::invalid_params("params.requestState is a string"))?;
        let mut continuation = continuation::open(&self.sealer, call, &token)?;
        continuation.is_first_use = self.spent.is_first_use(&token);
        Ok(Some(continuation))
    }

    /// The state that came with a call may come again, since nothing was done with it.
    fn forget_use(&self, call: &Call) {
        if let Some(token) = call.request.text(call.request.params.request_state) {
            self.spent.forget(&token);
        }
    }

    async fn try_once(
        &self,
        call: &mut Call,
        continuation: Option<&Continuation>,
        span: &CallSpan,
    ) -> Result<Outcome, CallError> {
        let began = Instant::now();
        let mut changed = None;
        loop {
            let snapshot = self.catalogue.load_full();
            let source = match resolve(&snapshot, call)? {
                Resolution::To(destination) => {
                    let counted = CountedCall::new(destination.calls, began);
                    let outcome = self
                        .send(&snapshot, &destination, call, continuation, began, span)
                        .await;
                    return counted.end(outcome);
                }
                Resolution::MayBe(source) => source,
            };
            let fault = absent(source);
            if source.status.state != State::Starting {
                return Err(fault.into());
            }
            // Waiting begins before the second look, so that no change between look and wait is
            // missed.
            let Some(changed) = &mut changed else {
                changed = Some(self.catalogue.changed());
                continue;
            };
            let limit = self
                .backends
                .get(&source.name)
                .map_or(FIRST_MOMENTS, |backend| backend.config().timeout);
            let limit = began + limit;
            let deadline = ends_at(call).map_or(limit, |deadline| deadline.min(limit));
            let name = Arc::clone(&source.name);
            drop(snapshot);
            // Boxed, since it is rare.
            let waiting = timeout_at(deadline, changed.changed());
            let waiting = Box::pin(span.around(Wait::Start, &name, waiting));
            if !matches!(waiting.await, Ok(Ok(()))) {
                return Err(fault.into());
            }
        }
    }

    async fn send(
        &self,
        snapshot: &Arc<Snapshot>,
        destination: &Destination<'_>,
        call: &mut Call,
        continuation: Option<&Continuation>,
        began: Instant,
        span: &CallSpan,
    ) -> Result<Outcome, CallError> {
        let Some(backend) = self.backends.get(&destination.backend) else {
            return Err(ProtocolError::invalid_params(
                "its server has just been taken out of the gateway; list again what there is",
            )
            .into());
        };
        // A question's answer goes home to who asked, and to nobody else.
        if continuation.is_some_and(|continuation| continuation.home.backend != *backend.name()) {
            return Err(ProtocolError::invalid_params(
                "requestState belongs to a server that no longer has this target",
            )
            .into());
        }
        if let Some(continuation) = continuation
            && continuation.home.is_elsewhere(self.replica.as_ref())
        {
            return Err(replica_away(backend.name()).into());
        }
        let param_headers = mirrored(destination, call)?;
        let is_continuation = continuation.is_some_and(|it| it.is_first_use);
        let target = destination.policy_target();
        // Not by `admit`, whose future would lie in that of every call.
        let verdict = match snapshot.policy().admit(call, &target, is_continuation) {
            Admission::Decided(verdict) => verdict,
            Admission::Pending(verdict) => verdict.await,
        };
        let permit =
            verdict.map_err(|fault| CallError::Fault(Box::new(fault.of(&destination.backend))))?;
        let terms = delivery::terms(snapshot, call, &target);
        let tool = (call.method == Method::ToolsCall).then_some(&*destination.target);
        call.end_by(Deadline {
            at: (began + backend.config().timeout_of(tool)).into_std(),
            is_clients: false,
        });
        let question = self.cached.as_ref().and_then(|cached| {
            cached.question(&backend, destination, call, &param_headers, terms.as_ref())
        });
        let rewrite = Rewrite {
            target: Some(&destination.target),
            request_state: continuation.map_or(RequestState::Keep, Continuation::upstream_state),
            param_headers,
            endpoint: continuation.and_then(|continuation| continuation.home.endpoint()),
            take: delivery::take(terms.as_ref(), call),
        };
        let mut miss = None;
        if let Some(question) = question
            && let Some(cached) = &self.cached
        {
            // Boxed, and so is all of it: most calls have nothing to do with it.
            let way_back = WayBack {
                deliverer: &self.deliverer,
                snapshot,
                call,
                destination,
            };
            match Box::pin(cached.answer_or_miss(question, terms.as_ref(), way_back)).await {
                Found::Miss(it) => miss = Some(it),
                Found::Answer(outcome) => return Ok(settle_unexecuted(permit, outcome)),
                Found::TooLate(error) => return Ok(settle(permit, error.into(), false)),
            }
        }
        let attempt = Attempt::begin(call, destination);
        let mut notifications = redact_notifications(call, terms.as_ref(), &backend);
        let reply = hearing(
            &mut notifications,
            pin!(backend.reply(call, &rewrite, span)),
        )
        .await;
        let reply = match give_sink_back(call, notifications) {
            None => reply,
            Some(waiting) => Box::pin(waiting.all_told(reply)).await,
        };
        let is_answered = reply.is_ok();
        let is_final = !matches!(&reply, Ok(Reply::Whole(answer)) if !answer.is_final());
        let outcome = self.outcome(snapshot, call, target.name, backend.name(), reply, attempt);
        if miss.is_none() && terms.is_none() {
            return Ok(settle(permit, outcome, is_answered));
        }
        let way_back = WayBack {
            deliverer: &self.deliverer,
            snapshot,
            call,
            destination,
        };
        let (outcome, failure) = match (miss, &terms) {
            (Some(miss), _) => {
                Box::pin(miss.finish(terms.as_ref(), outcome, is_final, way_back)).await
            }
            (None, Some(terms)) => (way_back.deliver(terms, outcome).await, None),
            (None, None) => (outcome, None),
        };
        if let Some(failure) = failure {
            settle(permit, failure.into(), is_answered);
            return Ok(outcome);
        }
        Ok(settle(permit, outcome, is_answered))
    }

    // Apart, since what is borrowed where is waited makes the future of every call larger.
    fn outcome(
        &self,
        snapshot: &Arc<Snapshot>,
        call: &Call,
        target: &str,
        backend: &Arc<str>,
        reply: Result<Reply, CallError>,
        attempt: Option<Attempt<'_>>,
    ) -> Outcome {
        let outcome = match reply {
            Ok(Reply::Whole(answer)) => {
                let sealed_at = SealedAt {
                    sealer: &self.sealer,
                    replica: self.replica.as_ref(),
                };
                results::outcome(snapshot, sealed_at, call, target, backend, &answer)
            }
            Ok(Reply::Arriving(arriving)) => {
                Outcome::Arriving(arriving.edited(results::Edits::new(snapshot, backend)))
            }
            Err(error) => Outcome::Failed(error),
        };
        if let Some(attempt) = attempt {
            attempt.end(&outcome);
        }
        outcome
    }
}

/// Whether a call ended without anything having been done, for certain.
fn did_nothing(outcome: &Result<Outcome, CallError>) -> bool {
    match outcome {
        Err(CallError::Protocol(_)) => true,
        Ok(Outcome::Failed(CallError::Fault(fault))) | Err(CallError::Fault(fault)) => {
            fault.did_nothing()
        }
        _ => false,
    }
}

/// Asks the policy in force whether a call may be made that is not sent by [`Inner::send`], and takes
/// what it holds meanwhile.
pub(crate) async fn admit(
    snapshot: &Snapshot,
    target: &Target<'_>,
    call: &Call,
    is_continuation: bool,
) -> Result<Permit, CallError> {
    let verdict = match snapshot.policy().admit(call, target, is_continuation) {
        Admission::Decided(verdict) => verdict,
        Admission::Pending(verdict) => verdict.await,
    };
    verdict.map_err(|fault| CallError::Fault(Box::new(fault.of(&Arc::from(target.backend)))))
}

/// An attempt that somebody wants to know of. Dropped before its end it was abandoned.
struct Attempt<'c> {
    trail: Arc<Trail>,
    destination: &'c Destination<'c>,
    began: Instant,
    reason: Option<Reason>,
}

impl<'c> Attempt<'c> {
    fn begin(call: &Call, destination: &'c Destination<'_>) -> Option<Self> {
        let trail = call.trail.clone()?;
        Some(Self {
            trail,
            destination,
            began: Instant::now(),
            reason: Some(Reason::Abandoned),
        })
    }

    fn end(mut self, outcome: &Outcome) {
        self.reason = match outcome {
            Outcome::Complete(completed) => completed.is_error.then_some(Reason::Error),
            Outcome::Arriving(_) | Outcome::InputRequired(_) => None,
            Outcome::Failed(CallError::Fault(fault)) => Some(fault.reason),
            Outcome::Failed(_) => Some(Reason::Error),
        };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.trail.note(Step::Attempt {
            backend: Arc::clone(&self.destination.backend),
            target: self.destination.name(),
            reason: self.reason,
            ms: millis(self.began.elapsed()),
        });
    }
}

fn ends_at(call: &Call) -> Option<Instant> {
    call.deadline.map(|deadline| Instant::from_std(deadline.at))
}

/// Checks the `Mcp-Param-*` headers that came, and makes those that go on. Ones that the tool's
/// schema does not know are forwarded as they came (specification:
/// `basic/transports/streamable-http`, Server Behavior for Custom Headers).
fn mirrored(
    destination: &Destination<'_>,
    call: &Call,
) -> Result<Vec<(HeaderName, HeaderValue)>, CallError> {
    let received = call.param_headers.as_ref();
    let Some(known) = destination.param_headers else {
        return Ok(received
            .map(|headers| {
                headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect()
            })
            .unwrap_or_default());
    };
    if let Some(received) = received {
        known
            .validate(received, call.arguments())
            .map_err(|error| ProtocolError::new(code::HEADER_MISMATCH, error.to_string()))?;
    }
    let mut headers = known
        .extract(call.arguments())
        .map_err(|error| ProtocolError::invalid_params(error.to_string()))?;
    for (name, value) in received.into_iter().flatten() {
        if !known.names().contains(name) {
            headers.push((name.clone(), value.clone()));
        }
    }
    Ok(headers)
}

/// The fault of a call to a backend that was never learned.
fn absent(source: &Source) -> Fault {
    let name = &source.name;
    let message = if source.status.state == State::Starting {
        format!(
            "The server \"{name}\" is still starting. Nothing was executed: try again in a moment."
        )
    } else {
        format!(
            "The server \"{name}\", which may have this, is not available: {}. Nothing was executed: try again later, or go on without it.",
            source.status.reason
        )
    };
    Fault::not_sent(source.status.state.reason(), message).of(name)
}
