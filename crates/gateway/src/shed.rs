//! What the gateway takes on at once: the layer of the call stack that holds every caller to it, and
//! the early answer of the HTTP stack, which costs a stranger's request next to nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::future::{BoxFuture, Either, Ready, ready as now};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::{Call, Completed, Outcome, Principal};
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_protocol::method::Method as CallMethod;
use switchboard_telemetry::{Metrics, ShedReason};
use tower::{Layer, Service};

use self::answer_memory::{AnswerMemory, Held, LARGE};
use self::queue_delay::QueueDelay;
use crate::edge::respond;

pub(crate) mod answer_memory;
mod queue_delay;

/// In how many seconds a refused client may come again: the same as in the fault itself.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Which calls are let in: how many are under way in the whole gateway, how many may be, and how
/// late a thread may be. Shared by `Arc`.
pub(crate) struct AdmissionControl {
    cap: usize,
    max_queue_delay: Duration,
    calls: Arc<AtomicUsize>,
    /// Of the places in the upper half, how many are whose: looked at there alone, so that a gateway
    /// with room pays nothing for it.
    crowd: Mutex<HashMap<PrincipalHash, usize>>,
    answers: Arc<AnswerMemory>,
    metrics: Arc<Metrics>,
}

impl AdmissionControl {
    /// At most `cap` calls at once, and none while the thread that would serve it is late by more
    /// than `max_queue_delay`; zero: however late it is.
    pub(crate) fn new(cap: usize, max_queue_delay: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            cap,
            max_queue_delay,
            calls: Arc::default(),
            crowd: Mutex::default(),
            answers: Arc::default(),
            metrics,
        }
    }

    /// A place for one call, or why there is none.
    fn take(self: &Arc<Self>, principal: PrincipalHash) -> Result<Place, Box<Fault>> {
        if self.is_late() {
            return Err(self.refuse(ShedReason::QueueDelay));
        }
        let add = |calls| (calls < self.cap).then_some(calls + 1);
        let before = self
            .calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map_err(|_| self.refuse(ShedReason::InFlight))?;
        let mut place = Place {
            admission: Arc::clone(self),
            principal,
            is_in_crowd: false,
        };
        if before >= self.cap / 2 && principal.has_share() {
            self.join_crowd(principal)?;
            place.is_in_crowd = true;
        }
        if !self.max_queue_delay.is_zero() {
            QueueDelay::measure_while(&self.calls);
        }
        Ok(place)
    }

    /// Counts a place in the upper half. One principal has half of that half, so that a quarter of
    /// all places is left for others, whoever took the lower half.
    fn join_crowd(&self, principal: PrincipalHash) -> Result<(), Box<Fault>> {
        let mut crowd = self.crowd.lock();
        let own = crowd.get(&principal).copied().unwrap_or(0);
        if own >= (self.cap / 4).max(1) {
            return Err(self.refuse(ShedReason::Share));
        }
        crowd.insert(principal, own + 1);
        Ok(())
    }

    fn leave_crowd(&self, principal: PrincipalHash) {
        let mut crowd = self.crowd.lock();
        if let Some(own) = crowd.get_mut(&principal) {
            *own -= 1;
            if *own == 0 {
                crowd.remove(&principal);
            }
        }
    }

    /// The answer to a request that could not become a call now.
    pub(crate) fn check(
        &self,
        request: &Request<Body>,
        is_in_session: impl FnOnce() -> bool,
    ) -> Option<Response> {
        // Asked first: finding a header costs more, and most requests come while there is room.
        let reason = if self.calls.load(Ordering::Relaxed) >= self.cap {
            ShedReason::InFlight
        } else if self.is_late() {
            ShedReason::QueueDelay
        } else {
            return None;
        };
        // What else there is opens and ends streams and sessions, which are no calls. What comes in
        // a session may be the answer that a call waits for; a call among it finds no place.
        if request.method() != Method::POST || is_in_session() {
            return None;
        }
        let mut response = respond::unavailable(&self.refuse(reason));
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        Some(response)
    }

    fn is_late(&self) -> bool {
        !self.max_queue_delay.is_zero() && QueueDelay::of_this_thread() > self.max_queue_delay
    }

    fn refuse(&self, reason: ShedReason) -> Box<Fault> {
        self.metrics.shed(reason);
        let why = match reason {
            ShedReason::InFlight => "as many calls are under way as it may have at once",
            ShedReason::Share => {
                "your own calls take as much of it as they may while others need it"
            }
            ShedReason::QueueDelay => "it is behind with the calls that it has",
            ShedReason::Answers => "it has no memory for more answers",
        };
        let message = format!(
            "The gateway is overloaded: {why}. Nothing was executed. Try again in a second."
        );
        Box::new(Fault::not_sent(Reason::Overloaded, message))
    }
}

/// Tells principals apart without holding them, which every call would pay for: by a keyed hash of
/// the id. An address would be another principal's after a reload, while calls are still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PrincipalHash(u64);

impl PrincipalHash {
    /// All callers where nobody needs a credential.
    const ANYBODY: Self = Self(0);

    fn of(principal: &Principal) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        if principal.is_anonymous() {
            return Self::ANYBODY;
        }
        Self(KEY.hash_one(&principal.id).max(1))
    }

    /// Whether there are others to leave something to.
    fn has_share(self) -> bool {
        self != Self::ANYBODY
    }
}

/// A call's place, free again when this is dropped.
struct Place {
    admission: Arc<AdmissionControl>,
    principal: PrincipalHash,
    /// Whether it is counted among the principal's in the upper half.
    is_in_crowd: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_in_crowd {
            self.admission.leave_crowd(self.principal);
        }
        self.admission.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes [`Shed`].
#[derive(Clone)]
pub(crate) struct ShedLayer {
    pub(crate) admission: Arc<AdmissionControl>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            inner,
            admission: Arc::clone(&self.admission),
        }
    }
}

/// Gives every call a place, or refuses it at once; and its answer memory, if it is large.
#[derive(Clone)]
pub(crate) struct Shed<S> {
    inner: S,
    admission: Arc<AdmissionControl>,
}

impl<S> Service<TracedCall> for Shed<S>
where
    S: Service<TracedCall, Response = Outcome, Error = Infallible>,
{
    type Response = Outcome;
    type Error = Infallible;
    type Future = Either<Placed<S::Future>, Ready<Result<Outcome, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, call: TracedCall) -> Self::Future {
        match self.admission.take(PrincipalHash::of(&call.call.principal)) {
            Ok(place) => Either::Left(Placed {
                is_counted: !is_of_catalogue(&call.call),
                inner: self.inner.call(call),
                place: Some(place),
                waiting: None,
            }),
            Err(fault) => Either::Right(now(Ok(CallError::Fault(fault).into()))),
        }
    }
}

/// Whether the answer is of the catalogue's own bytes, which are there once for all clients. A legacy
/// client's are translated.
fn is_of_catalogue(call: &Call) -> bool {
    let is_list = matches!(
        call.method,
        CallMethod::Discover
            | CallMethod::ToolsList
            | CallMethod::PromptsList
            | CallMethod::ResourcesList
            | CallMethod::ResourceTemplatesList
            | CallMethod::SkillsList
    );
    is_list && call.client.is_none()
}

pin_project! {
    /// A call that has a place: until this is dropped, or longer if its answer is large.
    pub(crate) struct Placed<F> {
        #[pin]
        inner: F,
        place: Option<Place>,
        is_counted: bool,
        // The answer that waits for memory.
        waiting: Option<BoxFuture<'static, Outcome>>,
    }
}

impl<F> Future for Placed<F>
where
    F: Future<Output = Result<Outcome, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(waiting) = this.waiting {
            return waiting.as_mut().poll(context).map(Ok);
        }
        let Ok(mut outcome) = ready!(this.inner.poll(context));
        if let Outcome::Arriving(result) = &mut outcome {
            if let Some(place) = this.place.take() {
                result.keep(Box::new(place));
            }
            return Poll::Ready(Ok(outcome));
        }
        let size = size(&outcome);
        if size <= LARGE || !*this.is_counted {
            return Poll::Ready(Ok(outcome));
        }
        let Some(place) = this.place.take() else {
            return Poll::Ready(Ok(outcome));
        };
        if let Some(held) = place.admission.answers.try_hold(place.principal, size) {
            return Poll::Ready(Ok(bind(outcome, held, place)));
        }
        let waiting = this
            .waiting
            .insert(Box::pin(when_there_is_room(outcome, size, place)));
        waiting.as_mut().poll(context).map(Ok)
    }
}

/// How large an answer is that is there.
fn size(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Complete(completed) => completed.result.len(),
        Outcome::InputRequired(result) => result.len(),
        Outcome::Failed(CallError::Backend { error, .. }) => error.len(),
        Outcome::Failed(_) | Outcome::Arriving(_) => 0,
    }
}

/// The outcome, of which each byte holds its memory and its place.
fn bind(outcome: Outcome, held: Held, place: Place) -> Outcome {
    match outcome {
        Outcome::Complete(Completed { result, is_error }) => Outcome::Complete(Completed {
            result: held.bind(result, place),
            is_error,
        }),
        Outcome::InputRequired(result) => Outcome::InputRequired(held.bind(result, place)),
        Outcome::Failed(CallError::Backend {
            code,
            error,
            is_failure,
        }) => {
            let bound = held.bind(error.into(), place);
            Outcome::Failed(CallError::Backend {
                code,
                error: bound.into_segments().next().unwrap_or_default(),
                is_failure,
            })
        }
        other => other,
    }
}

async fn when_there_is_room(outcome: Outcome, size: usize, place: Place) -> Outcome {
    let answers = Arc::clone(&place.admission.answers);
    match answers.hold(place.principal, size).await {
        Some(held) => bind(outcome, held, place),
        None => {
            place.admission.metrics.shed(ShedReason::Answers);
            no_room(size).into()
        }
    }
}

/// What a caller is told whose answer could not be kept.
fn no_room(size: usize) -> CallError {
    let message = format!(
        "The server answered, but the gateway has no memory for its answer of {size} bytes: clients \
         take too little of those that wait for them. What was asked for was done. Read other answers \
         first, and do not simply repeat a call that changes something."
    );
    Fault::unknown(Reason::Overloaded, message).into()
}

#[cfg(test)]
mod tests;
