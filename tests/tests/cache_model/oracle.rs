//! What was answered to whom, and which answers may follow from that.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use super::gateways::Answered;
use super::question::{Key, Question};
use super::server::{FAILS, WELL};
use super::{STALE, TTL};

/// Clocks of several processes, and whole milliseconds.
const SLACK: Duration = Duration::from_millis(2);
/// How much sooner than its time a result may be gone.
const EARLY: Duration = Duration::from_millis(20);

/// A call of a step.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) params: String,
    pub(crate) principal: usize,
    /// The place of the gateway that was asked.
    pub(crate) gateway: usize,
}

impl Asked {
    fn key(&self) -> Key {
        self.question.key(self.principal)
    }

    /// Calls with the same of this wait for each other.
    fn flight(&self) -> (usize, Key) {
        (self.gateway, self.question.flight(self.principal))
    }
}

/// Calls at once, and what came of them.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) about: String,
    pub(crate) mode: usize,
    pub(crate) calls: Vec<(Asked, Answered)>,
    /// How many of them the server was asked for.
    pub(crate) made: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// What may be kept under one key.
#[derive(Clone, Debug)]
struct Known {
    /// Of several that were made at once any may be kept.
    serials: Vec<u64>,
    /// Who made them.
    by: HashSet<usize>,
    /// Between these two they were asked for.
    asked: (Instant, Instant),
}

/// How often calls were answered in each of the ways.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) made: usize,
    pub(crate) hits: usize,
    /// Of a result that only another principal had asked for.
    pub(crate) of_others: usize,
    pub(crate) stale: usize,
    pub(crate) coalesced: usize,
}

/// What was answered to whom.
#[derive(Default)]
pub(crate) struct Oracle {
    known: HashMap<Key, Known>,
    pub(crate) seen: Seen,
}

/// What a check is about, if it fails.
struct About<'s>(&'s Step, &'s Asked, &'s Answered);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step, asked, answered) = self;
        write!(f, "{}: {asked:?}: {answered:?} of {step:#?}", step.about)
    }
}

impl Oracle {
    /// Checks a step, and remembers what came of it. Answers which calls brought what is kept now.
    pub(crate) fn check(&mut self, step: &Step) -> Vec<usize> {
        for (asked, answered) in &step.calls {
            self.check_answer(step, asked, answered);
        }
        check_calls(step);
        let mut kept = Vec::new();
        let mut known: HashMap<Key, Known> = HashMap::new();
        for (at, (asked, answered)) in step.calls.iter().enumerate() {
            let is_well = answered.is_complete && step.mode == WELL && answered.state().is_none();
            if !is_well || !asked.question.may_be_kept() {
                continue;
            }
            let made = known.entry(asked.key()).or_insert_with(|| Known {
                serials: Vec::new(),
                by: HashSet::new(),
                asked: (step.began, step.ended),
            });
            made.serials.push(answered.serial().expect("a number"));
            made.by.insert(asked.principal);
            kept.push(at);
        }
        self.known.extend(known);
        kept
    }

    fn check_answer(&mut self, step: &Step, asked: &Asked, answered: &Answered) {
        let about = About(step, asked, answered);
        let known = self.known.get(&asked.key());
        let Some(state) = answered.state() else {
            self.seen.made += 1;
            // It would have been there for as long as all clocks agree.
            let most = known.map(|known| step.ended.saturating_duration_since(known.asked.0));
            let is_fresh = most.is_some_and(|most| most + EARLY < TTL);
            let may_be_kept = asked.question.may_be_kept();
            assert!(
                !(may_be_kept && is_fresh),
                "it was asked for again: {about}"
            );
            return;
        };
        assert!(
            asked.question.may_be_kept(),
            "what must not be kept answered: {about}"
        );
        let age = answered.cache()["ageMs"].as_u64().expect("an age");
        let age = Duration::from_millis(age);
        let took = step.ended - step.began;
        let is_of_step = |(other, its): &(Asked, Answered)| {
            other.key() == asked.key() && its.state().is_none() && its.serial() == answered.serial()
        };
        let of_step = step.calls.iter().find(|call| is_of_step(call));
        if state == "coalesced" || (state == "hit" && of_step.is_some()) {
            let (other, _) = of_step.unwrap_or_else(|| panic!("nobody's: {about}"));
            if state == "coalesced" {
                self.seen.coalesced += 1;
                assert_eq!(other.flight(), asked.flight(), "{about}");
            }
            assert_eq!(step.mode, WELL, "{about}");
            assert!(age <= 2 * took + SLACK, "{age:?}: {about}");
            return;
        }
        let known = known.unwrap_or_else(|| panic!("nobody asked for it: {about}"));
        let serial = answered.serial().expect("a number");
        assert!(known.serials.contains(&serial), "another's: {about}");
        let bound = match state {
            "hit" => TTL,
            // Redis is told how long in whole milliseconds.
            "stale" => TTL + STALE,
            _ => panic!("no such state: {about}"),
        };
        let least = step.began.saturating_duration_since(known.asked.1);
        let most = step.ended.saturating_duration_since(known.asked.0);
        assert!(least < bound, "after its time, {least:?}: {about}");
        // Of what is in Redis, the time that it took to ask counts twice: nothing seems younger than it
        // is.
        let most = most + took + SLACK;
        assert!(age <= most && age + SLACK >= least, "{age:?}: {about}");
        if let Some(ttl) = answered.result["ttlMs"].as_u64() {
            assert!(u128::from(ttl) <= TTL.as_millis(), "{about}");
            assert!(state == "stale" || ttl > 0, "{about}");
        }
        match state {
            "hit" => {
                self.seen.hits += 1;
                self.seen.of_others += usize::from(!known.by.contains(&asked.principal));
            }
            _ => {
                assert_eq!(step.mode, FAILS, "{about}");
                self.seen.stale += 1;
            }
        }
    }
}

/// Checks how often the server was asked: of equal calls at once for one, unless what came is for nobody
/// else.
fn check_calls(step: &Step) {
    let mut flights: HashMap<_, Vec<&Answered>> = HashMap::new();
    for (asked, answered) in &step.calls {
        let flight = (asked.flight(), asked.question.may_be_kept());
        flights.entry(flight).or_default().push(answered);
    }
    let (mut least, mut most) = (0, 0);
    for ((_, may_be_kept), answers) in &flights {
        let count = |state: Option<&str>| {
            let answers = answers.iter().filter(|it| it.state() == state);
            answers.count() as u64
        };
        let (own, stale) = (count(None), count(Some("stale")));
        assert!(
            !(*may_be_kept && step.mode == WELL) || own <= 1,
            "equal calls were made more than once: {step:#?}"
        );
        // The call that failed, for which all of them got what was there before.
        least += own + u64::from(stale > 0);
        most += own + stale;
    }
    let made = step.made;
    assert!((least..=most).contains(&made), "{made} calls: {step:#?}");
}
