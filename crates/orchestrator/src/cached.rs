//! Results that answer equal calls: looked up behind the decision about a call and before its backend,
//! cached behind redaction and before whatever is the caller's own ([decision 19]).
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use switchboard_backends::Backend;
use switchboard_protocol::call::{Call, Completed, Outcome};
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
mod miss;
mod recording;

use self::changes::Changes;
pub use self::check::uncacheable_marks;
use self::flights::{Flights, Role};
use self::key::{KeyBase, Subject};
use self::miss::Miss;
use self::recording::Recorded;
use crate::catalogue::Snapshot;
use crate::delivery::WayBack;
use crate::resolve::Destination;
use crate::results::{may_name_resources, readdressed};

/// What results are cached with.
#[derive(Clone, Debug)]
pub struct CacheParts {
    /// Where they are cached.
    pub store: Arc<dyn ResultCache>,
    /// How long they answer calls where their backend says nothing else.
    pub ttl: Duration,
    /// The largest that is cached, in bytes.
    pub max_entry: usize,
}

/// Answers calls with cached results, and caches them.
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
    /// None; the call is to be made, and what comes of it handed to this.
    Miss(Box<Miss>),
    /// None, and its time is over.
    TooLate(CallError),
}

/// A result that answers a call.
#[derive(Clone, Debug)]
struct Answer {
    result: CachedResult,
    served: Served,
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

    /// What is to be asked for a call; `None`: its result is not cached.
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
        let may_be_cached = match (kind, destination.effects) {
            (TargetKind::Tool, Some(effects)) => {
                let trusts_hints = backend.config().trust_annotations;
                config.caches(&destination.target, effects, trusts_hints)
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
        let base = may_be_cached.then(|| KeyBase::of(call, &subject)).flatten();
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

    /// What the caller gets of a cached result or of what an equal call got, or the miss of the call
    /// that is made.
    pub(crate) async fn answer_or_miss(
        &self,
        question: Box<Question>,
        terms: Option<&Terms>,
        way_back: WayBack<'_>,
    ) -> Found {
        let metrics = question.metrics.clone();
        let found = match self.look(&question) {
            Some(answer) => Ok(answer),
            // Boxed, so that a hit does not pay for its size.
            None => Box::pin(self.find(*question, way_back.call)).await,
        };
        let outcome = match found {
            Ok(answer) => answer.deliver(&metrics, way_back),
            Err(none) => return none,
        };
        // Secrets were taken out before it was cached, by the same rules.
        Found::Answer(match terms {
            Some(terms) => way_back.fit(terms, outcome).await,
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

    /// Looks for a result, waits for that of an equal call, or gives the miss of the call that is made.
    async fn find(&self, question: Question, call: &Call) -> Result<Answer, Found> {
        let mut miss = Box::new(Miss {
            question,
            lead: None,
            stale: None,
            store: Arc::clone(&self.parts.store),
            max_entry: self.parts.max_entry,
            recorded: Arc::clone(&self.recorded),
        });
        let deadline = call.deadline.map(|deadline| deadline.at.into());
        if let Some(member) = self.flights.join(&miss.question.key) {
            let role = match deadline {
                Some(deadline) => timeout_at(deadline, member.role()).await,
                None => Ok(member.role().await),
            };
            match role {
                Ok(Role::Lead(lead)) => miss.lead = Some(lead),
                // What became too old while this call waited is none.
                Ok(Role::Follow(Some(answer))) if miss.question.may_have(&answer) => {
                    return Ok(answer);
                }
                Ok(Role::Follow(_)) => {}
                Err(_) => return Err(Found::TooLate(too_late(&miss.question.backend))),
            }
        }
        // Again, since the call that went before may have ended in between; and for the first time
        // where somebody else has to be asked.
        if let Some(answer) = miss.look().await {
            miss.end(Some(answer.clone()));
            return Ok(answer);
        }
        miss.question.metrics.looked_up(CacheOutcome::Miss);
        if let Some(trail) = &call.trail {
            trail.report(Incident::CacheMiss {
                backend: &miss.question.backend,
            });
        }
        // It may have waited until now.
        miss.question.asked_at = now();
        Err(Found::Miss(miss))
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
    fn may_have(&self, answer: &Answer) -> bool {
        let now = now();
        let is_in_time = match answer.served {
            Served::Stale => answer.result.is_usable(now),
            Served::Hit | Served::Coalesced => answer.result.is_fresh(now),
        };
        is_in_time && self.is_right(&answer.result)
    }

    /// A result as it is cached, if it may be, and under which key.
    fn cached(&self, text: Bytes) -> Option<(CacheKey, CachedResult)> {
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
            may_name_resources: may_name_resources(&text),
            text,
            asked_at: self.asked_at,
            fresh_for,
            usable_for: fresh_for.saturating_add(self.stale_for),
            places,
        };
        result.is_fresh(now()).then_some((key, result))
    }
}

impl Answer {
    /// What the caller gets of it, counted and noted.
    fn deliver(self, metrics: &BackendMetrics, way_back: WayBack<'_>) -> Outcome {
        let WayBack {
            call,
            destination: to,
            snapshot,
            ..
        } = way_back;
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
        let kind = to.policy_target().kind;
        let result = with_addresses_of(snapshot, &to.backend, kind, self.result);
        Outcome::Complete(Completed {
            result: result.answer(self.served, now),
            is_error: false,
        })
    }
}

/// A result with the addresses of this catalogue: another may have been in force when it was cached, in
/// which a URI still led to its server.
fn with_addresses_of(
    snapshot: &Snapshot,
    backend: &str,
    kind: TargetKind,
    result: CachedResult,
) -> CachedResult {
    if !result.may_name_resources {
        return result;
    }
    let changed = readdressed(snapshot, backend, &result.text).and_then(|text| {
        let (places, _) = Places::find(&text, kind == TargetKind::Resource)?;
        Some((text, places))
    });
    match changed {
        Some((text, places)) => CachedResult {
            text,
            places,
            ..result
        },
        None => result,
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
