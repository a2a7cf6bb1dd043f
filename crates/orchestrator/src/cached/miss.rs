//! A call that is made since nothing was found for it, and what becomes of its result.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::call::{Outcome, Payload};
use switchboard_protocol::delivery::Terms;
use switchboard_protocol::error::{CallError, Reason};
use switchboard_protocol::result_cache::{CachedResult, Lookup, ResultCache, Served};

use super::flights::Lead;
use super::recording::{Recorded, Recording};
use super::{Answer, Question, now};
use crate::delivery::WayBack;

/// A call that is made since nothing was found for it.
pub(crate) struct Miss {
    pub(super) question: Question,
    pub(super) lead: Option<Lead>,
    /// What was found and is fresh no longer.
    pub(super) stale: Option<CachedResult>,
    pub(super) store: Arc<dyn ResultCache>,
    pub(super) max_entry: usize,
    pub(super) recorded: Arc<Recorded>,
}

impl Miss {
    pub(super) async fn look(&mut self) -> Option<Answer> {
        for key in self.question.keys() {
            let result = match self.store.get(&key) {
                Lookup::Known(result) => result,
                Lookup::Pending(result) => result.await,
            };
            let Some(result) = result else { continue };
            if result.is_fresh(now()) && self.question.is_right(&result) {
                return Some(Answer {
                    result,
                    served: Served::Hit,
                });
            }
            if result.is_usable(now()) {
                self.stale = Some(result);
            }
        }
        None
    }

    /// Caches what came of the call if it may be cached, and gives what the caller gets: the outcome,
    /// or what was cached last in the place of a failure. `is_final`: whether a result is one, and no
    /// task; `is_collected`: whether one that is still arriving is read at once, whoever reads it.
    fn finished(
        mut self: Box<Self>,
        outcome: Outcome,
        is_final: bool,
        is_collected: bool,
    ) -> Finished {
        match outcome {
            Outcome::Complete(completed) if !completed.is_error && is_final => {
                let text = own(&completed.result, self.max_entry);
                self.cache(text);
                Finished::Outcome(Outcome::Complete(completed))
            }
            Outcome::Arriving(result) => {
                // Whoever reads slowly makes nobody wait.
                if !is_collected {
                    self.end(None);
                }
                Finished::Outcome(Outcome::Arriving(Box::new(Recording::new(result, self))))
            }
            Outcome::Failed(error) if is_failure(&error) => match self.stale() {
                Some(result) => {
                    let served = Served::Stale;
                    let answer = Answer { result, served };
                    self.end(Some(answer.clone()));
                    Finished::Stale(answer, error)
                }
                None => self.for_nobody_else(Outcome::Failed(error)),
            },
            outcome => self.for_nobody_else(outcome),
        }
    }

    /// Ends it with what came of the call, and gives what the caller gets under these terms; with the
    /// error that it takes the place of, if it does. `is_final`: whether a result is one, and no task.
    pub(crate) async fn finish(
        mut self: Box<Self>,
        terms: Option<&Terms>,
        outcome: Outcome,
        is_final: bool,
        way_back: WayBack<'_>,
    ) -> (Outcome, Option<CallError>) {
        // Nothing that was found may be in what is cached.
        let outcome = match terms {
            Some(terms) => way_back.redacted(terms, outcome).await,
            None => outcome,
        };
        let is_collected = terms.is_some_and(|terms| terms.cap.is_some());
        let metrics = self.question.metrics.clone();
        // What breaks off while it is collected has failed as well.
        let stale = match &outcome {
            Outcome::Arriving(_) if is_collected => self.stale(),
            _ => None,
        };
        let (outcome, error) = match self.finished(outcome, is_final, is_collected) {
            Finished::Outcome(outcome) => (outcome, None),
            Finished::Stale(answer, error) => (answer.deliver(&metrics, way_back), Some(error)),
        };
        let Some(terms) = terms else {
            return (outcome, error);
        };
        match (way_back.fit(terms, outcome).await, stale) {
            (Outcome::Failed(broken), Some(result)) if is_failure(&broken) => {
                let served = Served::Stale;
                let outcome = Answer { result, served }.deliver(&metrics, way_back);
                (way_back.fit(terms, outcome).await, Some(broken))
            }
            (outcome, _) => (outcome, error),
        }
    }

    fn for_nobody_else(mut self: Box<Self>, outcome: Outcome) -> Finished {
        self.end(None);
        Finished::Outcome(outcome)
    }

    /// What was found and still answers while the backend fails.
    fn stale(&mut self) -> Option<CachedResult> {
        let result = self.stale.take()?;
        (!self.question.stale_for.is_zero() && result.is_usable(now())).then_some(result)
    }

    pub(super) fn cache(&mut self, text: Option<Bytes>) {
        let cached = text.and_then(|text| self.question.cached(text));
        let answer = cached.map(|(key, result)| {
            self.store.put(&key, result.clone());
            Answer {
                result,
                served: Served::Coalesced,
            }
        });
        self.end(answer);
    }

    /// Tells equal calls that wait for this one what came of it; `None`: nothing that is for them.
    pub(super) fn end(&mut self, answer: Option<Answer>) {
        if let Some(lead) = self.lead.take() {
            lead.finish(answer);
        }
    }
}

/// What becomes of a call that has ended.
enum Finished {
    /// What came.
    Outcome(Outcome),
    /// What was cached last, in the place of this failure.
    Stale(Answer, CallError),
}

/// A result in one piece of its own, unless it is larger than may be.
fn own(result: &Payload, most: usize) -> Option<Bytes> {
    (result.len() <= most).then(|| Vec::from(result.clone().into_contiguous()).into())
}

/// Whether an error says that the backend, or the way to it, does not work, or is not tried since it did not.
fn is_failure(error: &CallError) -> bool {
    match error {
        CallError::Backend { is_failure, .. } => *is_failure,
        CallError::Fault(fault) => {
            let is_not_tried = matches!(fault.reason, Reason::BreakerOpen | Reason::Starting);
            is_not_tried || fault.reason.is_failure_of_backend()
        }
        CallError::Protocol(_) => false,
    }
}
