//! The calls of each tool, under names that the gateway lists and none that a client invents.
//!
//! Every listed tool has a handle, which its entry in the catalogue holds. The first call of it takes
//! one of a bounded number of places among the series; a tool that finds none, and all later calls of
//! it, count with the rest of its backend, as does what was counted of a tool that is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::families;
use super::observed::Observed;
use crate::labels::ToolOutcome;

/// The most tools that have series of their own.
const MAX_TOOLS: usize = 400;
/// How long the place of a tool that is gone stays taken: a server whose names change all the time makes no
/// more series in that time than there are places.
const REST: Duration = Duration::from_secs(24 * 3600);
/// The longest name that a series has, in bytes.
const MAX_NAME_LEN: usize = 128;
/// The name of all others of a backend.
const OTHER: &str = "other";

/// The tools that are listed, and what was counted of each.
#[derive(Debug, Default)]
pub struct ToolTable {
    backends: Mutex<BTreeMap<Arc<str>, OfBackend>>,
    places: Arc<Places>,
}

/// Places among the series.
#[derive(Debug, Default)]
struct Places {
    /// How many are taken, those at rest included.
    taken: AtomicUsize,
    /// Since when those are at rest whose tools are gone, the longest first.
    resting: Mutex<VecDeque<Instant>>,
}

impl Places {
    fn take(&self, now: Instant) -> bool {
        let mut resting = self.resting.lock();
        while resting
            .front()
            .is_some_and(|since| now.duration_since(*since) >= REST)
        {
            resting.pop_front();
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        drop(resting);
        let take = |taken: usize| (taken < MAX_TOOLS).then_some(taken + 1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.taken.fetch_update(set, fetch, take).is_ok()
    }

    fn let_go(&self, now: Instant) {
        self.resting.lock().push_back(now);
    }
}

#[derive(Debug, Default)]
struct OfBackend {
    others: Arc<Counts>,
    tools: HashMap<Arc<str>, Arc<ToolCalls>>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: [AtomicU64; ToolOutcome::ALL.len()],
    nanos: AtomicU64,
}

/// Counts the calls of one tool.
#[derive(Debug)]
pub struct ToolCalls {
    own: Counts,
    others: Arc<Counts>,
    places: Arc<Places>,
    may_be_named: bool,
    /// Whether it has a place, once it was called.
    has_place: OnceLock<bool>,
}

impl ToolTable {
    /// The handles of the tools that are listed from now on, in their order: backend and name of each.
    /// What was counted of any other tool counts with the rest of its backend.
    pub fn listed<'t>(
        &self,
        tools: impl Iterator<Item = (&'t Arc<str>, &'t Arc<str>)>,
    ) -> Vec<Arc<ToolCalls>> {
        let mut known = self.backends.lock();
        let mut next: BTreeMap<Arc<str>, OfBackend> = BTreeMap::new();
        let handles = tools.map(|(backend, tool)| {
            let before = known.get(backend);
            let listed = next
                .entry(Arc::clone(backend))
                .or_insert_with(|| OfBackend {
                    others: before.map_or_else(Arc::default, |it| Arc::clone(&it.others)),
                    tools: HashMap::new(),
                });
            let calls = before.and_then(|it| it.tools.get(tool)).cloned();
            let calls = calls.unwrap_or_else(|| {
                Arc::new(ToolCalls {
                    own: Counts::default(),
                    others: Arc::clone(&listed.others),
                    places: Arc::clone(&self.places),
                    may_be_named: **tool != *OTHER && tool.len() <= MAX_NAME_LEN,
                    has_place: OnceLock::new(),
                })
            });
            listed.tools.insert(Arc::clone(tool), Arc::clone(&calls));
            calls
        });
        let handles = handles.collect();
        *known = next;
        handles
    }

    /// Tells what was counted of all of them.
    pub(super) fn observe(&self, observed: &mut Observed) {
        let backends = self.backends.lock();
        for (backend, listed) in backends.iter() {
            for (tool, calls) in &listed.tools {
                if calls.has_place.get() == Some(&true) {
                    calls.own.observe(backend, tool, observed);
                }
            }
            if !listed.others.is_untouched() {
                listed.others.observe(backend, OTHER, observed);
            }
        }
    }
}

impl ToolCalls {
    /// Counts a call that has ended.
    pub fn ended(&self, outcome: ToolOutcome, took: Duration) {
        let has_place = *self.has_place.get_or_init(|| self.take_place());
        let counts = if has_place { &self.own } else { &*self.others };
        counts.ended[outcome as usize].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counts.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn take_place(&self) -> bool {
        self.may_be_named && self.places.take(Instant::now())
    }
}

impl Drop for ToolCalls {
    fn drop(&mut self) {
        if self.has_place.get() == Some(&true) {
            self.others.add(&self.own);
            self.places.let_go(Instant::now());
        }
    }
}

impl Counts {
    fn add(&self, other: &Self) {
        let (into, from) = (self.ended.iter(), other.ended.iter());
        for (into, from) in into.chain([&self.nanos]).zip(from.chain([&other.nanos])) {
            into.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn is_untouched(&self) -> bool {
        let mut ended = self.ended.iter();
        ended.all(|count| count.load(Ordering::Relaxed) == 0)
    }

    fn observe(&self, backend: &str, tool: &str, observed: &mut Observed) {
        for (outcome, count) in ToolOutcome::ALL.iter().zip(&self.ended) {
            let labels = [backend, tool, outcome.as_str()];
            let count = count.load(Ordering::Relaxed) as f64;
            observed.add(&families::TOOL_CALLS, &labels, count);
        }
        let seconds = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        observed.add(&families::TOOL_SECONDS, &[backend, tool], seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(table: &ToolTable, backend: &str, names: &[String]) -> Vec<Arc<ToolCalls>> {
        let backend: Arc<str> = backend.into();
        let names: Vec<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
        table.listed(names.iter().map(|name| (&backend, name)))
    }

    /// The calls by name.
    fn shown(table: &ToolTable) -> BTreeMap<String, f64> {
        let mut observed = Observed::default();
        table.observe(&mut observed);
        let mut shown = BTreeMap::new();
        let mut families = observed.into_families();
        let calls = families.find(|family| family.name() == families::TOOL_CALLS.name);
        for metric in calls.iter().flat_map(|family| family.get_metric()) {
            let labels = metric.get_label();
            let tool = labels.iter().find(|pair| pair.name() == "tool");
            let tool = tool.map(|pair| pair.value().to_owned()).unwrap_or_default();
            *shown.entry(tool).or_default() += metric.get_counter().get_value();
        }
        shown
    }

    #[test]
    fn so_many_tools_have_series_and_the_rest_are_counted_together() {
        let table = ToolTable::default();
        let names: Vec<String> = (0..MAX_TOOLS + 5).map(|n| format!("t{n}")).collect();
        let handles = listed(&table, "a", &names);
        assert!(shown(&table).is_empty(), "none was called");
        for calls in &handles {
            calls.ended(ToolOutcome::Ok, Duration::from_secs(1));
            calls.ended(ToolOutcome::Failed, Duration::from_secs(1));
        }
        let all = shown(&table);
        assert_eq!(all.len(), MAX_TOOLS + 1);
        assert_eq!((all["t0"], all[OTHER]), (2.0, 10.0));
    }

    #[test]
    fn what_is_listed_again_goes_on_and_what_is_not_counts_with_the_rest() {
        let table = ToolTable::default();
        let mut before = Vec::new();
        for round in 0..4 {
            let own = (0..MAX_TOOLS / 2).map(|n| format!("{round}-{n}"));
            let names: Vec<String> = std::iter::once("stays".to_owned()).chain(own).collect();
            let handles = listed(&table, "a", &names);
            drop(std::mem::take(&mut before));
            for calls in &handles {
                calls.ended(ToolOutcome::Ok, Duration::ZERO);
            }
            before = handles;
        }
        let all = shown(&table);
        assert_eq!(all["stays"], 4.0);
        // Those of the rounds before, and of this one, for which there was no place any more.
        assert_eq!(all[OTHER], (4 * (MAX_TOOLS / 2)) as f64);
        assert_eq!(all.len(), 2, "{all:?}");
        drop(before);
        listed(&table, "b", &[]);
        assert!(shown(&table).is_empty());
    }

    #[test]
    fn the_place_of_a_tool_that_is_gone_is_taken_for_a_day() {
        let places = Places::default();
        let begun = Instant::now();
        let taken = (0..2 * MAX_TOOLS).filter(|_| places.take(begun)).count();
        assert_eq!(taken, MAX_TOOLS);
        places.let_go(begun);
        assert!(!places.take(begun + REST - Duration::from_secs(1)));
        assert!(places.take(begun + REST));
        assert!(!places.take(begun + REST));
    }

    #[test]
    fn a_name_that_is_too_long_or_stands_for_the_rest_is_among_the_rest() {
        let table = ToolTable::default();
        let names = [OTHER.to_owned(), "x".repeat(MAX_NAME_LEN + 1)];
        for calls in listed(&table, "a", &names) {
            calls.ended(ToolOutcome::Refused, Duration::ZERO);
        }
        let all = shown(&table);
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [(OTHER.to_owned(), 2.0)]
        );
    }
}
