//! What comes back, on its way from a backend to whoever called ([decision 19]): without secrets, in
//! a form that the client can use, and no larger than it may be.
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use std::sync::Arc;

use switchboard_backends::Take;
use switchboard_protocol::call::{Call, Outcome};
use switchboard_protocol::delivery::{Conversions, Terms};
use switchboard_protocol::policy::Target;
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;

use self::cut::Schemas;
use crate::catalogue::Snapshot;
use crate::kept::Kept;
use crate::resolve::Destination;

mod cap;
mod convert;
pub(crate) mod cut;
mod error;
pub(crate) mod mend;
mod redact;

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
    target: Target<'d>,
    backend: &'d Arc<str>,
    /// What the tool that was called says of its structured content.
    output_schema: Option<&'d [u8]>,
    kept: &'d Kept,
    schemas: &'d Schemas,
    metrics: &'d Metrics,
}

/// What holds for the results of a call: what the policy says, and what its profile does.
pub(crate) fn terms(snapshot: &Snapshot, call: &Call, target: &Target<'_>) -> Option<Terms> {
    let terms = snapshot.policy().terms(call, target);
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

impl Deliverer {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            kept: Kept::default(),
            schemas: Schemas::default(),
            metrics,
        }
    }

    /// The outcome of a call under these terms.
    pub(crate) async fn deliver(
        &self,
        terms: &Terms,
        snapshot: &Snapshot,
        call: &Call,
        destination: &Destination<'_>,
        outcome: Outcome,
    ) -> Outcome {
        let delivery = Delivery {
            terms,
            call,
            target: destination.policy_target(),
            backend: &destination.backend,
            output_schema: destination.output_schema(snapshot),
            kept: &self.kept,
            schemas: &self.schemas,
            metrics: &self.metrics,
        };
        delivery.deliver(outcome).await
    }
}

impl Delivery<'_> {
    /// Order is behaviour, change it with an ADR.
    async fn deliver(&self, outcome: Outcome) -> Outcome {
        // First, so that nothing behind it ever has a secret that was found.
        let outcome = match &self.terms.redactor {
            Some(redactor) => redact::redacted(redactor, outcome),
            None => outcome,
        };
        self.capped(outcome).await
    }

    /// Whether the client knows content that is a link (since 2025-06-18).
    fn knows_links(&self) -> bool {
        self.call.version >= Version::V2025_06_18
    }
}
