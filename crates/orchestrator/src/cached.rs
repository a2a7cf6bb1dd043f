//! Results that answer equal calls: looked up behind the decision about a call and before its backend,
//! kept behind redaction and before whatever is the caller's own ([decision 19]).
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use switchboard_backends::Backend;
use switchboard_protocol::call::{Call, Completed, Outcome, Payload};
use switchboard_protocol::delivery::Terms;
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::millis;
use switchboard_protocol::policy::TargetKind;
use switchboard_protocol::result_cache::{
    CacheKey, CachedResult, Lookup, Places, ResultCache, Served,
};
use switchboard_protocol::trail::{Incident, Step};
use switchboard_telemetry::{BackendMetrics, CacheOutcome};
use tokio::time::timeout_at;

pub(crate) mod changes;
mod check;
mod flights;
mod key;
mod recording;

use self::changes::Changes;
pub(crate) use self::check::problems;
use self::flights::{Flights, Landed, Lead, Turn};
use self::key::{KeyBase, Subject};
use self::recording::{Recorded, Recording};
use crate::delivery::WayBack;
use crate::resolve::Destination;

/// What results are kept with.
#[derive(Clone, Debug)]
pub struct CacheParts {
    /// Where they are kept.
    pub store: Arc<dyn ResultCache>,
    /// How long they answer calls where their backend says nothing else.
    pub ttl: Duration,
    /// The largest that is kept, in bytes.
    pub max_entry: usize,
}

/// Answers calls with results that are kept, and keeps them.
pub(crate) struct Cached {
    parts: CacheParts,
    flights: Arc<Flights>,
    changes: Arc<Changes>,
    recorded: Arc<Recorded>,
}

/// What is asked of the cache for one call.
pub(crate) struct Question {
    /// Of a result that is the caller's, or everybody's where the backend is `shared`.
    key: CacheKey,
    /// Of a result of which the server said that it is everybody's.
    public: Option<CacheKey>,
    kind: TargetKind,
    backend: Arc<str>,
    ttl: Duration,
    stale_for: Duration,
    asked_at: Instant,
    /// When what is asked for changed last.
    changed_at: Option<Instant>,
    metrics: BackendMetrics,
}

/// What was found for a call.
pub(crate) enum Found {
    /// A result.
    Answer(Outcome),
    /// None; the call is to be made, and what comes of it told.
    Nothing(Box<Seat>),
    /// None, and its time is over.
    TooLate(CallError),
}

/// A result that answers a call.
struct Answer {
    result: CachedResult,
    served: Served,
}

/// A call that is made since nothing was found for it.
pub(crate) struct Seat {
    question: Question,
    lead: Option<Lead>,
    /// What was found and is fresh no longer.
    stale: Option<CachedResult>,
    store: Arc<dyn ResultCache>,
    max_entry: usize,
    recorded: Arc<Recorded>,
}

impl Cached {
    pub(crate) fn new(parts: CacheParts) -> Self {
        Self {
            parts,
            flights: Arc::default(),
            changes: Arc::default(),
            recorded: Arc::default(),
        }
    }

    /// What is told of changes.
    pub(crate) fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// What is to be asked for a call; `None`: nothing is kept of it.
    pub(crate) fn question(
        &self,
        backend: &Backend,
        destination: &Destination<'_>,
        call: &Call,
        param_headers: &[(HeaderName, HeaderValue)],
        terms: Option<&Terms>,
    ) -> Option<Box<Question>> {
        let (config, fingerprint) = backend.cache()?;
        let kind = destination.policy_target().kind;
        let is_kept = match (kind, destination.effects) {
            (TargetKind::Tool, Some(effects)) => {
                let trusts_hints = backend.config().trust_annotations;
                config.keeps(&destination.target, effects, trusts_hints)
            }
            (TargetKind::Resource, _) => config.resources && call.method == Method::ResourcesRead,
            _ => false,
        };
        let redactor = terms.and_then(|terms| terms.redactor.as_ref());
        let subject = Subject {
            kind,
            target: &destination.target,
            param_headers,
            rules: redactor.map(|redactor| redactor.rules()),
            fingerprint,
        };
        let base = is_kept.then(|| KeyBase::of(call, &subject)).flatten();
        let Some(base) = base else {
            backend.metrics().looked_up(CacheOutcome::Bypassed);
            return None;
        };
        let is_tool = kind == TargetKind::Tool;
        let key = match is_tool && config.shared {
            true => base.of_anybody(),
            false => base.of_caller(call, backend),
        };
        let may_be_public = !is_tool && !backend.tells_callers_apart();
        let changed_at = self
            .changes
            .last(&destination.backend, kind, &destination.target);
        Some(Box::new(Question {
            key,
            public: may_be_public.then(|| base.of_anybody()),
            kind,
            backend: Arc::clone(&destination.backend),
            ttl: config.ttl.unwrap_or(self.parts.ttl),
            stale_for: config.stale_if_error.unwrap_or_default(),
            asked_at: now(),
            changed_at,
            metrics: backend.metrics().clone(),
        }))
    }

    /// What the caller gets of what is kept or what an equal call got, or the seat of the one that is
    /// made.
    pub(crate) async fn answer_or_seat(
        &self,
        question: Box<Question>,
        terms: Option<&Terms>,
        way_back: WayBack<'_>,
    ) -> Found {
        let WayBack {
            call, destination, ..
        } = way_back;
        let metrics = question.metrics.clone();
        let found = match self.look(&question) {
            Some(answer) => Ok(answer),
            // Boxed, so that a hit does not pay for its size.
            None => Box::pin(self.find(*question, call)).await,
        };
        let outcome = match found {
            Ok(answer) => answer.deliver(&metrics, call, destination),
            Err(nothing) => return nothing,
        };
        Found::Answer(match terms {
            Some(terms) => {
                way_back
                    .deliver(&terms.clone().after_keeping(), outcome)
                    .await
            }
            None => outcome,
        })
    }

    /// Looks where the answer is known at once.
    fn look(&self, question: &Question) -> Option<Answer> {
        let mut keys = question.keys();
        keys.find_map(|key| match self.parts.store.get(&key) {
            Lookup::Known(result) => question.fresh(result?),
            Lookup::Pending(_) => None,
        })
    }

    /// Looks for a result, waits for that of an equal call, or takes the seat of the one that is made.
    async fn find(&self, question: Question, call: &Call) -> Result<Answer, Found> {
        let mut seat = Box::new(Seat {
            question,
            lead: None,
            stale: None,
            store: Arc::clone(&self.parts.store),
            max_entry: self.parts.max_entry,
            recorded: Arc::clone(&self.recorded),
        });
        let deadline = call.deadline.map(|deadline| deadline.at.into());
        if let Some(aboard) = self.flights.board(&seat.question.key) {
            let turn = match deadline {
                Some(deadline) => timeout_at(deadline, aboard.turn()).await,
                None => Ok(aboard.turn().await),
            };
            match turn {
                Ok(Turn::Lead(lead)) => seat.lead = Some(lead),
                // What was kept for longer than it may be while this call waited is none.
                Ok(Turn::Landed(Some(landed))) if seat.question.may_have(&landed) => {
                    return Ok(Answer {
                        result: landed.result,
                        served: landed.served,
                    });
                }
                Ok(Turn::Landed(_)) => {}
                Err(_) => return Err(Found::TooLate(too_late(&seat.question.backend))),
            }
        }
        // Again, since the call that went before may have ended in between; and for the first time
        // where somebody else has to be asked.
        if let Some(answer) = seat.look().await {
            if let Some(lead) = seat.lead.take() {
                lead.land(Some(Landed {
                    result: answer.result.clone(),
                    served: Served::Hit,
                }));
            }
            return Ok(answer);
        }
        seat.question.metrics.looked_up(CacheOutcome::Miss);
        if let Some(trail) = &call.trail {
            trail.tell(Incident::CacheMiss {
                backend: &seat.question.backend,
            });
        }
        // It may have waited until now.
        seat.question.asked_at = now();
        Err(Found::Nothing(seat))
    }
}

/// The moment that ages are counted to, by the runtime's clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Question {
    fn keys(&self) -> impl Iterator<Item = CacheKey> + use<> {
        [Some(self.key), self.public].into_iter().flatten()
    }

    /// Whether nothing was told since that makes this result wrong.
    fn is_right(&self, result: &CachedResult) -> bool {
        self.changed_at
            .is_none_or(|changed| result.asked_at > changed)
    }

    fn fresh(&self, result: CachedResult) -> Option<Answer> {
        let is_fresh = result.is_fresh(now()) && self.is_right(&result);
        is_fresh.then_some(Answer {
            result,
            served: Served::Hit,
        })
    }

    /// Whether the result of an equal call answers this one.
    fn may_have(&self, landed: &Landed) -> bool {
        let now = now();
        let is_in_time = match landed.served {
            Served::Stale => landed.result.is_kept(now),
            Served::Hit | Served::Coalesced => landed.result.is_fresh(now),
        };
        is_in_time && self.is_right(&landed.result)
    }

    /// A result as it is kept, if it may be, and under which key.
    fn kept(&self, text: Bytes) -> Option<(CacheKey, CachedResult)> {
        let is_resource = self.kind == TargetKind::Resource;
        let (places, hints) = Places::find(&text, is_resource)?;
        let (fresh_for, key) = match is_resource {
            false => (self.ttl, self.key),
            true => {
                let public = self.public.filter(|_| hints.is_public);
                (hints.ttl?.min(self.ttl), public.unwrap_or(self.key))
            }
        };
        let result = CachedResult {
            text,
            asked_at: self.asked_at,
            fresh_for,
            kept_for: fresh_for.saturating_add(self.stale_for),
            places,
        };
        result.is_fresh(now()).then_some((key, result))
    }
}

impl Answer {
    /// What the caller gets of it, counted and noted.
    fn deliver(self, metrics: &BackendMetrics, call: &Call, to: &Destination<'_>) -> Outcome {
        metrics.looked_up(match self.served {
            Served::Hit => CacheOutcome::Hit,
            Served::Coalesced => CacheOutcome::Coalesced,
            Served::Stale => CacheOutcome::Stale,
        });
        let now = now();
        if let Some(trail) = &call.trail {
            trail.note(Step::Cached {
                backend: Arc::clone(&to.backend),
                target: to.name(),
                served: self.served,
                age_ms: millis(self.result.age(now)),
            });
        }
        Outcome::Complete(Completed {
            result: self.result.answer(self.served, now),
            is_error: false,
        })
    }
}

impl Seat {
    async fn look(&mut self) -> Option<Answer> {
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
            if result.is_kept(now()) {
                self.stale = Some(result);
            }
        }
        None
    }

    /// Tells what came of the call, keeps it if it may be kept, and gives what the caller gets: the
    /// outcome, or what was kept last in the place of a failure. `is_final`: whether a result is one,
    /// and no task; `is_collected`: whether one that is still arriving is read at once, whoever reads
    /// it.
    fn told(mut self: Box<Self>, outcome: Outcome, is_final: bool, is_collected: bool) -> Told {
        match outcome {
            Outcome::Complete(completed) if !completed.is_error && is_final => {
                let text = whole(&completed.result, self.max_entry);
                self.keep(text);
                Told::Outcome(Outcome::Complete(completed))
            }
            Outcome::Arriving(result) => {
                // Whoever reads slowly makes nobody wait.
                if !is_collected && let Some(lead) = self.lead.take() {
                    lead.land(None);
                }
                Told::Outcome(Outcome::Arriving(Box::new(Recording::new(result, self))))
            }
            Outcome::Failed(error) if is_failure(&error) => match self.stale() {
                Some(result) => {
                    if let Some(lead) = self.lead.take() {
                        lead.land(Some(Landed {
                            result: result.clone(),
                            served: Served::Stale,
                        }));
                    }
                    let served = Served::Stale;
                    Told::Stale(Answer { result, served }, error)
                }
                None => self.for_nobody_else(Outcome::Failed(error)),
            },
            outcome => self.for_nobody_else(outcome),
        }
    }

    /// Tells what came of the call, and gives what the caller gets under these terms; with the error
    /// that it takes the place of, if it does.
    /// `is_final`: whether a result is one, and no task.
    pub(crate) async fn tell(
        self: Box<Self>,
        terms: Option<Terms>,
        outcome: Outcome,
        is_final: bool,
        way_back: WayBack<'_>,
    ) -> (Outcome, Option<CallError>) {
        let outcome = match &terms {
            Some(terms) => way_back.deliver(&terms.before_keeping(), outcome).await,
            None => outcome,
        };
        let is_collected = terms.as_ref().is_some_and(|terms| terms.cap.is_some());
        let metrics = self.question.metrics.clone();
        let (outcome, error) = match self.told(outcome, is_final, is_collected) {
            Told::Outcome(outcome) => (outcome, None),
            Told::Stale(answer, error) => {
                let WayBack {
                    call, destination, ..
                } = way_back;
                (answer.deliver(&metrics, call, destination), Some(error))
            }
        };
        let outcome = match terms.map(Terms::after_keeping) {
            Some(terms) => way_back.deliver(&terms, outcome).await,
            None => outcome,
        };
        (outcome, error)
    }

    fn for_nobody_else(mut self: Box<Self>, outcome: Outcome) -> Told {
        if let Some(lead) = self.lead.take() {
            lead.land(None);
        }
        Told::Outcome(outcome)
    }

    /// What was found and still answers while the backend fails.
    fn stale(&mut self) -> Option<CachedResult> {
        let result = self.stale.take()?;
        (!self.question.stale_for.is_zero() && result.is_kept(now())).then_some(result)
    }

    fn keep(&mut self, text: Option<Bytes>) {
        let kept = text.and_then(|text| self.question.kept(text));
        let landed = kept.map(|(key, result)| {
            self.store.put(&key, result.clone());
            Landed {
                result,
                served: Served::Coalesced,
            }
        });
        if let Some(lead) = self.lead.take() {
            lead.land(landed);
        }
    }
}

/// What becomes of a call of which the cache was told.
enum Told {
    /// What came.
    Outcome(Outcome),
    /// What was kept last, in the place of this failure.
    Stale(Answer, CallError),
}

/// A result in one piece of its own, unless it is larger than may be.
fn whole(result: &Payload, most: usize) -> Option<Bytes> {
    (result.len() <= most).then(|| Bytes::from(result.segments().concat()))
}

/// Whether an error says that the backend, or the way to it, does not work.
fn is_failure(error: &CallError) -> bool {
    match error {
        CallError::Backend { is_failure, .. } => *is_failure,
        CallError::Fault(fault) => fault.reason.is_failure_of_backend(),
        CallError::Protocol(_) => false,
    }
}

/// The fault of a call whose time was over while it waited for an equal one.
fn too_late(backend: &Arc<str>) -> CallError {
    let message = format!(
        "An equal call to the server \"{backend}\" was under way, and its result did not come within the time for this one. Nothing more was executed: call again, with more time."
    );
    let fault = Fault {
        code: Reason::Timeout.code(),
        retry_after_ms: None,
        ..Fault::not_sent(Reason::Timeout, message)
    };
    fault.of(backend).into()
}
