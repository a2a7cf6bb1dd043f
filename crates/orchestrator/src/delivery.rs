//! What comes back, on its way from a backend to whoever called ([decision 19]): without secrets, in
//! a form that the client can use, and no larger than it may be.
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use std::sync::Arc;

use futures_util::future::BoxFuture;
use switchboard_backends::Take;
use switchboard_protocol::call::{Call, Completed, Outcome, Payload};
use switchboard_protocol::delivery::{Cap, Conversions, Terms};
use switchboard_protocol::json::Span;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::Target;
use switchboard_protocol::splice::member;
use switchboard_protocol::trail::{Incident, Trail};
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;

use self::cut::Schemas;
use self::redact::Redacted;
use crate::catalogue::{Entry, Snapshot};
use crate::kept::Kept;
use crate::resolve::Destination;

mod cap;
mod convert;
pub(crate) mod cut;
mod error;
mod held;
mod links;
pub(crate) mod mend;
pub(crate) mod notifications;
mod reading;
mod redact;
mod skim;
#[cfg(test)]
mod tests;

/// What results are delivered with, the same for all calls.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) kept: Kept,
    schemas: Schemas,
    metrics: Arc<Metrics>,
}

/// One result on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'d> {
    terms: &'d Terms,
    call: &'d Call,
    /// Whose shape the result has.
    method: Method,
    target: Target<'d>,
    backend: &'d Arc<str>,
    /// The tool whose result it is, if it is known which.
    tool: Option<&'d Entry>,
    kept: &'d Kept,
    schemas: &'d Schemas,
    metrics: &'d Metrics,
}

/// What holds for the results of a call: what the policy says, and what its profile does.
pub(crate) fn terms(snapshot: &Snapshot, call: &Call, target: &Target<'_>) -> Option<Terms> {
    let terms = snapshot.policy().terms(call, target);
    let terms = terms.map(|terms| Terms {
        cap: terms.cap.map(|cap| cap.leaving(call.reserved)),
        ..terms
    });
    let profile = call.profile.as_deref().and_then(|it| snapshot.profile(it));
    let conversions = profile.map_or_else(Conversions::default, |it| it.conversions());
    if conversions.is_none() {
        return terms;
    }
    Some(Terms {
        conversions,
        ..terms.unwrap_or_default()
    })
}

/// How a result is taken from its backend: what has a cap is collected up to that, and never held as a
/// whole; what is converted has to be whole.
pub(crate) fn take(terms: Option<&Terms>, call: &Call) -> Take {
    match terms {
        Some(terms) if terms.cap.is_some() => Take::AtOnce,
        Some(terms) if !terms.conversions.is_none() => Take::Whole,
        _ if call.takes_arriving => Take::AsRead,
        _ => Take::Whole,
    }
}

/// The outcome without what the redactor finds, if there is one.
fn redacted(terms: &Terms, outcome: Outcome) -> Redacted {
    match &terms.redactor {
        Some(redactor) => redact::redacted(redactor, outcome),
        None => Redacted::Now(outcome),
    }
}

/// Whether an outcome is neither converted nor too large, for certain, as nearly all.
fn passes(terms: &Terms, call: &Call, outcome: &Outcome) -> bool {
    let fits = |cap: Cap| match outcome {
        Outcome::Complete(completed) => completed.result.len() as u64 <= cap.always_within(),
        Outcome::Arriving(result) if call.takes_arriving => result
            .upper_bound()
            .is_some_and(|bound| bound <= cap.always_within()),
        _ => false,
    };
    terms.conversions.is_none() && terms.cap.is_none_or(fits)
}

/// The way of the results of one call to whoever made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WayBack<'w> {
    pub(crate) deliverer: &'w Deliverer,
    pub(crate) snapshot: &'w Snapshot,
    pub(crate) call: &'w Call,
    pub(crate) destination: &'w Destination<'w>,
}

impl WayBack<'_> {
    /// The outcome under these terms. Order is behaviour, change it with an ADR.
    pub(crate) async fn deliver(self, terms: &Terms, outcome: Outcome) -> Outcome {
        // First, so that nothing behind it ever has a secret that was found. What is rare is boxed, since
        // it would make the future of every call larger.
        let outcome = match self.watched_trail(terms) {
            Some(trail) => Box::pin(self.redacted_and_reported(trail, terms, outcome)).await,
            None => match redacted(terms, outcome) {
                Redacted::Now(outcome) => outcome,
                Redacted::InSteps(outcome) => outcome.await,
            },
        };
        if passes(terms, self.call, &outcome) {
            return outcome;
        }
        self.deliverer.fitted(terms, self, outcome).await
    }

    /// The outcome without what the redactor finds, if there is one.
    pub(crate) async fn redacted(&self, terms: &Terms, outcome: Outcome) -> Outcome {
        match self.watched_trail(terms) {
            Some(trail) => Box::pin(self.redacted_and_reported(trail, terms, outcome)).await,
            None => redacted(terms, outcome).outcome().await,
        }
    }

    /// An outcome without secrets, in a form that its caller can use, and no larger than it may be.
    pub(crate) async fn fit(self, terms: &Terms, outcome: Outcome) -> Outcome {
        if passes(terms, self.call, &outcome) {
            return outcome;
        }
        self.deliverer.fitted(terms, self, outcome).await
    }

    /// The trail of a call that is traced, if anything may be taken out of its result.
    fn watched_trail(&self, terms: &Terms) -> Option<&Trail> {
        let trail = self.call.trail.as_deref()?;
        (terms.redactor.is_some() && trail.is_watched()).then_some(trail)
    }

    /// The outcome without what the redactor finds; its trace says whether that is anything. What is
    /// still arriving is not known yet.
    async fn redacted_and_reported(
        &self,
        trail: &Trail,
        terms: &Terms,
        outcome: Outcome,
    ) -> Outcome {
        let text = |outcome: &Outcome| match outcome {
            Outcome::Complete(completed) => Some(completed.result.clone()),
            Outcome::InputRequired(result) => Some(result.clone()),
            Outcome::Arriving(_) | Outcome::Failed(_) => None,
        };
        let before = text(&outcome);
        let outcome = redacted(terms, outcome).outcome().await;
        if let Some((before, after)) = before.zip(text(&outcome))
            && !is_same(&before, &after)
        {
            trail.report(Incident::Redacted {
                backend: &self.destination.backend,
            });
        }
        outcome
    }
}

/// Whether both are the same bytes: where they are in the same place, without a look at them.
fn is_same(one: &Payload, other: &Payload) -> bool {
    let (mut ones, mut others) = (one.segments().iter(), other.segments().iter());
    let (mut left, mut right): (&[u8], &[u8]) = (&[], &[]);
    if one.len() != other.len() {
        return false;
    }
    loop {
        if left.is_empty() {
            match ones.next() {
                Some(segment) => left = segment,
                None => return true,
            }
        }
        if right.is_empty() {
            match others.next() {
                Some(segment) => right = segment,
                None => return true,
            }
        }
        let length = left.len().min(right.len());
        let ((a, rest_of_left), (b, rest_of_right)) =
            (left.split_at(length), right.split_at(length));
        if a.as_ptr() != b.as_ptr() && a != b {
            return false;
        }
        (left, right) = (rest_of_left, rest_of_right);
    }
}

impl Deliverer {
    pub(crate) fn new(kept: Kept, metrics: Arc<Metrics>) -> Self {
        Self {
            kept,
            schemas: Schemas::default(),
            metrics,
        }
    }

    /// The outcome of a call, converted and no larger than it may be. Boxed, since it is rare and would
    /// make the future of every call larger.
    fn fitted<'d>(
        &'d self,
        terms: &'d Terms,
        way_back: WayBack<'d>,
        outcome: Outcome,
    ) -> BoxFuture<'d, Outcome> {
        let WayBack {
            snapshot,
            call,
            destination,
            ..
        } = way_back;
        let delivery = Delivery {
            terms,
            call,
            method: call.method,
            target: destination.policy_target(),
            backend: &destination.backend,
            tool: destination.tool(snapshot),
            kept: &self.kept,
            schemas: &self.schemas,
            metrics: &self.metrics,
        };
        Box::pin(async move { delivery.capped(outcome).await })
    }

    /// The outcome of a request for a task of this backend, whose result is that of the tool `target`.
    pub(crate) async fn deliver_task(
        &self,
        snapshot: &Snapshot,
        call: &Call,
        backend: &Arc<str>,
        target: Target<'_>,
        outcome: Outcome,
    ) -> Outcome {
        let Some(terms) = terms(snapshot, call, &target) else {
            return outcome;
        };
        let tool = snapshot.tool(target.name);
        let delivery = Delivery {
            terms: &terms,
            call,
            method: Method::ToolsCall,
            target,
            backend,
            // Its name may be another's by now.
            tool: tool.filter(|tool| *tool.backend == *target.backend),
            kept: &self.kept,
            schemas: &self.schemas,
            metrics: &self.metrics,
        };
        let outcome = redacted(&terms, outcome).outcome().await;
        match outcome {
            Outcome::Complete(task) => delivery.capped_in_task(task).await,
            other => delivery.capped(other).await,
        }
    }
}

impl Delivery<'_> {
    /// A task whose result is no larger than it may be.
    async fn capped_in_task(&self, task: Completed) -> Outcome {
        let text = task.result.into_contiguous();
        let result = member(&text, "result").filter(|result| result.starts_with(b"{"));
        let Some(at) = result.map(|result| Span::of_part(&text, result).range()) else {
            return Outcome::Complete(Completed {
                result: text.into(),
                ..task
            });
        };
        let inner = Completed {
            result: text.slice(at.clone()).into(),
            is_error: member(&text[at.clone()], "isError") == Some(b"true"),
        };
        let capped = match self.capped(Outcome::Complete(inner)).await {
            Outcome::Complete(capped) => capped,
            other => return other,
        };
        let mut result = Payload::default();
        result.push(text.slice(..at.start));
        for segment in capped.result.into_segments() {
            result.push(segment);
        }
        result.push(text.slice(at.end..));
        Outcome::Complete(Completed { result, ..task })
    }

    /// What the tool says of its structured content, if it is one that does.
    fn output_schema(&self) -> Option<&[u8]> {
        member(&self.tool?.item.raw, "outputSchema")
    }

    /// Whether the client knows content that is a link (since 2025-06-18).
    fn knows_links(&self) -> bool {
        self.call.version >= Version::V2025_06_18
    }
}
