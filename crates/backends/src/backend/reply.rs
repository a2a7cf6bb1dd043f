//! The way of a call through a backend: its place, its attempts, and the pauses between them.

use std::time::Duration;

use futures_util::future::BoxFuture;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::{CallError, Effect, Reason};
use switchboard_telemetry::{CallEvent, CallSpan, Refusal, Retry, Wait};
use tokio::time::{Instant, sleep};

use super::{Backend, Inner};
use crate::answer::{self, Answer};
use crate::arriving::Reply;
use crate::bulkhead::Permit;
use crate::call_attempts::CallAttempts;
use crate::message::Rewrite;
use crate::retry::Backoff;
use crate::safety;

impl Backend {
    /// Makes a call that takes no [`Outcome::Arriving`], or of a method whose results never are; as
    /// [`Backend::reply`] else.
    ///
    /// # Errors
    /// As [`Backend::reply`].
    ///
    /// [`Outcome::Arriving`]: switchboard_protocol::call::Outcome::Arriving
    pub async fn call(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Answer, CallError> {
        match self.reply(call, rewrite, parent).await? {
            Reply::Whole(answer) => Ok(answer),
            Reply::Arriving(_) => Err(answer::not_whole(&self.inner.name).into()),
        }
    }

    /// Makes the call. Takes at most what is left until its deadline, or the backend's timeout if it
    /// has none, up to the last byte of a result that is still arriving; dropping the future, or
    /// that result, cancels the call in the way of the server's era. `parent` is the span that its
    /// attempts belong to.
    ///
    /// Outermost first: order is behaviour, change it with an ADR (decision 12).
    ///
    /// # Errors
    /// The backend's own error, or the gateway's fault when no answer could be had.
    pub async fn reply(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
    ) -> Result<Reply, CallError> {
        let backend = &*self.inner;
        // Before anything is tried: what does not fit waits for a bounded time, or is refused.
        let permit = backend.enter(call, parent).await?;
        backend.budget.count_call(Instant::now());
        let mut attempts = CallAttempts::new();
        // Around all that may differ from attempt to attempt.
        loop {
            let attempt = backend.attempt_next(call, rewrite, parent, &mut attempts);
            let error = match attempt.await {
                Ok(Reply::Whole(answer)) => return Ok(Reply::Whole(answer)),
                Ok(Reply::Arriving(mut arriving)) => {
                    arriving.keep(permit);
                    return Ok(Reply::Arriving(arriving));
                }
                Err(error) => error,
            };
            let pause = match backend.may_retry(call, rewrite, &error) {
                true => backend.backoff(call, &error, &mut attempts),
                false => None,
            };
            match pause {
                Some(pause) => backend.before_retry(parent, &error, pause).await,
                None => return Err(attempts.into_error(error)),
            }
        }
    }
}

impl Inner {
    /// A place among the calls that are in the backend.
    async fn enter(&self, call: &Call, parent: &CallSpan) -> Result<Permit, CallError> {
        if let Some(permit) = self.bulkhead.try_enter() {
            return Ok(permit);
        }
        let deadline = call.deadline.map(|deadline| Instant::from_std(deadline.at));
        // Boxed, since it is rare.
        let entering = self.bulkhead.enter(deadline);
        let entered = Box::pin(parent.around(Wait::Place, &self.name, entering)).await;
        entered.map_err(|full| {
            self.metrics.refused(Refusal::Full);
            parent.event(CallEvent::Refused {
                backend: &self.name,
                reason: Reason::Overloaded.as_str(),
            });
            answer::full(&self.name, full.retry_after).into()
        })
    }

    /// One attempt, at the endpoint whose turn it is and whose breaker lets it in.
    async fn attempt_next(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        attempts: &mut CallAttempts,
    ) -> Result<Reply, CallError> {
        let started = Instant::now();
        loop {
            let endpoint = self
                .choose(call, rewrite, attempts, started)
                .inspect_err(|error| self.tell_refusal(parent, error))?;
            // Refused only if another call has become the probe since it was chosen.
            if let Ok(admission) = endpoint.breaker().admit(started) {
                let attempt = endpoint.attempt(call, rewrite, parent, started, admission);
                let result = attempt.await;
                if let Err(CallError::Fault(fault)) = &result {
                    attempts.failed(endpoint.key(), fault);
                }
                return result;
            }
        }
    }

    /// Waits before the next attempt. Boxed, since it is rare.
    fn before_retry<'a>(
        &'a self,
        parent: &'a CallSpan,
        error: &CallError,
        pause: Duration,
    ) -> BoxFuture<'a, ()> {
        if let CallError::Fault(fault) = error {
            parent.event(CallEvent::Retry {
                backend: &self.name,
                reason: fault.reason.as_str(),
                pause,
            });
        }
        Box::pin(parent.around(Wait::Retry, &self.name, sleep(pause)))
    }

    /// Has the call's span say that no breaker let it in.
    fn tell_refusal(&self, parent: &CallSpan, error: &CallError) {
        if let CallError::Fault(fault) = error
            && fault.reason == Reason::BreakerOpen
        {
            parent.event(CallEvent::Refused {
                backend: &self.name,
                reason: fault.reason.as_str(),
            });
        }
    }

    /// Whether another attempt does no more than the first, if the first failed like this.
    fn may_retry(&self, call: &Call, rewrite: &Rewrite<'_>, error: &CallError) -> bool {
        let CallError::Fault(fault) = error else {
            return false;
        };
        // Without an attempt nothing has changed since nobody could be asked.
        let was_attempted = !fault.attempts.is_empty();
        was_attempted
            && safety::may_try_again(call, fault, || {
                let target = call.target();
                let tool = rewrite.target.or(target.as_deref());
                safety::is_safe(&self.config, self.lists().as_deref(), call, tool)
            })
    }

    /// How long to wait before the next attempt; `None` if there are no more, there is no time left
    /// for it, or the budget is spent.
    fn backoff(
        &self,
        call: &Call,
        error: &CallError,
        attempts: &mut CallAttempts,
    ) -> Option<Duration> {
        let now = Instant::now();
        let retry_after = match error {
            // What was not sent has no word of the server's in it.
            CallError::Fault(fault) if fault.effect != Effect::NotSent => {
                fault.retry_after_ms.map(Duration::from_millis)
            }
            _ => None,
        };
        let deadline = call.deadline.map(|deadline| Instant::from_std(deadline.at));
        let config = &self.config.retry;
        let backoff = attempts.backoff.get_or_insert_with(|| Backoff::new(config));
        let pause = backoff.next(now, retry_after, deadline)?;
        let is_allowed = self.budget.try_take(now);
        self.metrics.retried(match is_allowed {
            true => Retry::Made,
            false => Retry::OverBudget,
        });
        is_allowed.then_some(pause)
    }
}
