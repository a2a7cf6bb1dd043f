//! What is looked at when somebody scrapes: how backends, endpoints, lists and limits are at that
//! moment. Nothing of it is kept, so it costs calls nothing, and what is gone is not shown any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::families::{self, Family};
use crate::labels::{AttemptOutcome, BackendState, BreakerShown, ErrorType, ListKind};

/// The most endpoints of a backend that have series of their own.
const MAX_ENDPOINTS: usize = 64;
/// The label of all others.
const OTHER: &str = "other";

/// How everything is that is looked at for one scrape. Each may be told once.
#[derive(Debug, Default)]
pub struct Observed {
    families: BTreeMap<&'static str, MetricFamily>,
}

/// The calls of a backend.
#[derive(Clone, Copy, Debug)]
pub struct BackendLoad {
    /// Calls that are in it.
    pub in_flight: usize,
    /// How many may be.
    pub in_flight_max: usize,
    /// Calls that wait.
    pub queued: usize,
    /// How many may wait.
    pub queued_max: usize,
}

/// An endpoint of a backend.
#[derive(Clone, Debug)]
pub struct EndpointObserved {
    /// What a person calls it; empty where there is but one.
    pub label: String,
    /// How it is doing.
    pub state: BackendState,
    /// What its breaker does with calls.
    pub breaker: BreakerShown,
    /// Attempts that have not ended.
    pub in_flight: usize,
    /// Those that have.
    pub ended: AttemptTotals,
}

/// How many attempts ended how, in the order of [`AttemptOutcome::ALL`].
pub type AttemptTotals = [u64; AttemptOutcome::ALL.len()];

/// What a list costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSize {
    /// How many items it has.
    pub items: usize,
    /// Their bytes.
    pub bytes: u64,
    /// An estimate of the tokens that they are for a model.
    pub tokens: u64,
}

/// How much there is of a limit or budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitLevel {
    /// How much there is.
    pub size: u64,
    /// How much the one has left that has least, and how many have nothing; `None`: not known here.
    pub left: Option<(u64, usize)>,
}

/// Counts the attempts at an endpoint: one addition each.
#[derive(Debug, Default)]
pub struct AttemptCounts([AtomicU64; AttemptOutcome::ALL.len()]);

impl AttemptCounts {
    /// Counts one that has ended.
    pub fn count(&self, error: Option<ErrorType>) {
        self.0[AttemptOutcome::of(error) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    #[must_use]
    pub fn totals(&self) -> AttemptTotals {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl ListSize {
    /// What a list of these items costs. Four bytes of ASCII are about a token of English or JSON for
    /// the usual models, and so is any other character.
    #[must_use]
    pub fn of<'i>(items: impl Iterator<Item = &'i [u8]>) -> Self {
        let mut size = Self::default();
        let (mut ascii, mut others) = (0, 0);
        for item in items {
            size.items += 1;
            size.bytes += item.len() as u64;
            ascii += item.iter().filter(|byte| byte.is_ascii()).count() as u64;
            // Each other character begins with one of these, in UTF-8.
            others += item.iter().filter(|byte| **byte >= 0xC0).count() as u64;
        }
        size.tokens = ascii.div_ceil(4) + others;
        size
    }
}

impl Observed {
    /// Tells the calls of a backend.
    pub fn backend(&mut self, backend: &str, load: BackendLoad) {
        let labels = [backend];
        self.add(&families::BACKEND_IN_FLIGHT, &labels, load.in_flight as f64);
        let max = load.in_flight_max as f64;
        self.add(&families::BACKEND_IN_FLIGHT_MAX, &labels, max);
        self.add(&families::BACKEND_QUEUE, &labels, load.queued as f64);
        let max = load.queued_max as f64;
        self.add(&families::BACKEND_QUEUE_MAX, &labels, max);
    }

    /// Tells all endpoints of a backend. Those of one label are told apart by their order; beyond the
    /// first 64 they are counted together.
    pub fn endpoints(&mut self, backend: &str, endpoints: &[EndpointObserved]) {
        let (shown, others) = endpoints.split_at(endpoints.len().min(MAX_ENDPOINTS));
        for (index, endpoint) in shown.iter().enumerate() {
            let same = shown[..index]
                .iter()
                .filter(|it| it.label == endpoint.label);
            let label = match same.count() {
                0 => endpoint.label.clone(),
                before => format!("{} #{}", endpoint.label, before + 1),
            };
            self.attempts(backend, &label, endpoint.in_flight, &endpoint.ended);
            for state in BackendState::ALL {
                let is_in = f64::from(*state == endpoint.state);
                let labels = [backend, &label, state.as_str()];
                self.add(&families::ENDPOINT_STATE, &labels, is_in);
            }
            for state in BreakerShown::ALL {
                let is_in = f64::from(*state == endpoint.breaker);
                let labels = [backend, &label, state.as_str()];
                self.add(&families::ENDPOINT_BREAKER, &labels, is_in);
            }
        }
        if !others.is_empty() {
            let in_flight = others.iter().map(|other| other.in_flight).sum();
            let mut ended = AttemptTotals::default();
            for (outcome, total) in ended.iter_mut().enumerate() {
                *total = others.iter().map(|other| other.ended[outcome]).sum();
            }
            self.attempts(backend, OTHER, in_flight, &ended);
        }
    }

    fn attempts(&mut self, backend: &str, label: &str, in_flight: usize, ended: &AttemptTotals) {
        let labels = [backend, label];
        self.add(&families::ENDPOINT_IN_FLIGHT, &labels, in_flight as f64);
        for (outcome, total) in AttemptOutcome::ALL.iter().zip(ended) {
            let labels = [backend, label, outcome.as_str()];
            self.add(&families::ENDPOINT_CALLS, &labels, *total as f64);
        }
    }

    /// Tells what a list of a backend costs.
    pub fn list(&mut self, backend: &str, list: ListKind, size: ListSize) {
        let labels = [backend, list.as_str()];
        self.add(&families::LIST_ITEMS, &labels, size.items as f64);
        self.add(&families::LIST_BYTES, &labels, size.bytes as f64);
        self.add(&families::LIST_TOKENS, &labels, size.tokens as f64);
    }

    /// Tells what a list of a profile costs; of the endpoint without a profile if its name is empty.
    pub fn profile_list(&mut self, profile: &str, list: ListKind, size: ListSize) {
        let labels = [profile, list.as_str()];
        self.add(&families::PROFILE_LIST_ITEMS, &labels, size.items as f64);
        self.add(&families::PROFILE_LIST_BYTES, &labels, size.bytes as f64);
        self.add(&families::PROFILE_LIST_TOKENS, &labels, size.tokens as f64);
    }

    /// Tells how much is left of a limit or budget; `policy` says which it is.
    pub fn limit(&mut self, policy: &str, name: &str, measure: &str, level: LimitLevel) {
        let labels = [policy, name, measure];
        self.add(&families::LIMIT_SIZE, &labels, level.size as f64);
        if let Some((left, exhausted)) = level.left {
            self.add(&families::LIMIT_LEFT, &labels, left as f64);
            self.add(&families::LIMIT_EXHAUSTED, &labels, exhausted as f64);
        }
    }

    /// Tells how many large results are kept, and their bytes.
    pub fn kept_results(&mut self, results: usize, bytes: u64) {
        self.add(&families::KEPT_RESULTS, &[], results as f64);
        self.add(&families::KEPT_RESULT_BYTES, &[], bytes as f64);
    }

    /// A sample of `family`, with the values of its labels in order.
    pub(super) fn add(&mut self, family: &'static Family, values: &[&str], value: f64) {
        let is_counter = family.kind == "counter";
        let mut labels: Vec<LabelPair> = family
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value((*value).to_owned());
                pair
            })
            .collect();
        // As the registry has them.
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        let mut metric = Metric::from_label(labels);
        if is_counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        let shown = self.families.entry(family.name).or_insert_with(|| {
            let mut shown = MetricFamily::default();
            shown.set_name(family.name.to_owned());
            shown.set_help(family.help.to_owned());
            shown.set_field_type(match is_counter {
                true => MetricType::COUNTER,
                false => MetricType::GAUGE,
            });
            shown
        });
        shown.mut_metric().push(metric);
    }

    /// All families, by name.
    pub(super) fn into_families(self) -> impl Iterator<Item = MetricFamily> {
        self.families.into_values()
    }
}
