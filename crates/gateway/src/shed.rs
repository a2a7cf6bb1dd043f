//! What the gateway takes on at once: the layer of the call stack that holds every caller to it, and
//! the early answer of the HTTP stack, which costs a stranger's request next to nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::future::{Either, Ready, ready as now};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request};
use pin_project_lite::pin_project;
use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::{Outcome, Piece, ResultStream};
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_protocol::header;
use switchboard_telemetry::{Metrics, ShedReason};
use tower::{Layer, Service};

use self::queue_delay::QueueDelay;
use crate::counted::Counted;
use crate::edge::respond;

mod queue_delay;

/// In how many seconds a refused client may come again: the same as in the fault itself.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Which calls are let in: how many are under way in the whole gateway, how many may be, and how
/// late a thread may be. Shared by `Arc`.
pub(crate) struct AdmissionControl {
    cap: usize,
    max_queue_delay: Duration,
    calls: Arc<AtomicUsize>,
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
            metrics,
        }
    }

    /// A place for one call, or why there is none.
    fn take(&self) -> Result<Counted, Box<Fault>> {
        if self.is_late() {
            return Err(self.refuse(ShedReason::QueueDelay));
        }
        let place = Counted::below(self.cap, &self.calls)
            .ok_or_else(|| self.refuse(ShedReason::InFlight))?;
        if !self.max_queue_delay.is_zero() {
            QueueDelay::measure_while(&self.calls);
        }
        Ok(place)
    }

    /// The answer to a request that could not become a call now.
    pub(crate) fn check(&self, request: &Request<Body>) -> Option<Response> {
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
        let in_session = request.headers().contains_key(header::SESSION_ID);
        if request.method() != Method::POST || in_session {
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
            ShedReason::QueueDelay => "it is behind with the calls that it has",
        };
        let message = format!(
            "The gateway is overloaded: {why}. Nothing was executed. Try again in a second."
        );
        Box::new(Fault::not_sent(Reason::Overloaded, message))
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

/// Gives every call a place, to the last byte of its result, or refuses it at once.
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
        match self.admission.take() {
            Ok(place) => Either::Left(Placed {
                inner: self.inner.call(call),
                place: Some(place),
            }),
            Err(fault) => Either::Right(now(Ok(CallError::Fault(fault).into()))),
        }
    }
}

pin_project! {
    /// A call that has a place.
    pub(crate) struct Placed<F> {
        #[pin]
        inner: F,
        place: Option<Counted>,
    }
}

impl<F> Future for Placed<F>
where
    F: Future<Output = Result<Outcome, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(outcome) = ready!(this.inner.poll(context));
        let place = this.place.take();
        Poll::Ready(Ok(match outcome {
            Outcome::Arriving(result) => Outcome::Arriving(Box::new(PlacedStream {
                result,
                _place: place,
            })),
            outcome => outcome,
        }))
    }
}

/// A result under way, whose call keeps its place.
struct PlacedStream {
    result: Box<dyn ResultStream>,
    _place: Option<Counted>,
}

impl ResultStream for PlacedStream {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        self.result.poll_piece(context)
    }
}

#[cfg(test)]
mod tests;
