//! What limits and budgets decide, and whether their store answers.

use std::collections::HashMap;

use prometheus::core::Collector as _;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::{counters, families, gauges};
use crate::labels::{LimitDecision, StoreFailure};

/// The families, of which the store has its handles once there is one.
#[derive(Clone, Debug)]
pub(super) struct LimitFamilies {
    decisions: IntCounterVec,
    store_up: IntGaugeVec,
    store_failures: IntCounterVec,
}

impl LimitFamilies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            decisions: counters(registry, &families::LIMIT_DECISIONS)?,
            store_up: gauges(registry, &families::STORE_UP)?,
            store_failures: counters(registry, &families::STORE_FAILURES)?,
        })
    }

    pub(super) fn of(&self, policy: &str, name: &str) -> LimitMetrics {
        let decisions = LimitDecision::ALL.iter();
        let decisions = decisions.map(|decision| {
            self.decisions
                .with_label_values(&[policy, name, decision.as_str()])
        });
        LimitMetrics(decisions.collect())
    }

    /// Takes away the series of those that are not configured, by policy and name.
    pub(super) fn retain(&self, is_configured: impl Fn(&str, &str) -> bool) {
        for shown in self.decisions.collect() {
            for metric in shown.get_metric() {
                let labels = metric.get_label().iter();
                let labels: HashMap<&str, &str> =
                    labels.map(|pair| (pair.name(), pair.value())).collect();
                let of = |label| labels.get(label).copied().unwrap_or_default();
                if !is_configured(of("policy"), of("name")) {
                    // The only error is that it is gone already.
                    let _ = self.decisions.remove(&labels);
                }
            }
        }
    }

    pub(super) fn store(&self) -> StoreMetrics {
        let failures = StoreFailure::ALL.iter();
        let failures =
            failures.map(|reason| self.store_failures.with_label_values(&[reason.as_str()]));
        StoreMetrics {
            up: self.store_up.clone(),
            failures: failures.collect(),
        }
    }
}

/// The handles of one limit or budget.
#[derive(Clone, Debug)]
pub struct LimitMetrics(Box<[IntCounter]>);

impl LimitMetrics {
    /// Counts a decision.
    pub fn decided(&self, decision: LimitDecision) {
        self.0[decision as usize].inc();
    }
}

/// The handles of the store of limits and budgets.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    up: IntGaugeVec,
    failures: Box<[IntCounter]>,
}

impl StoreMetrics {
    /// Shows whether it answers.
    pub fn set_up(&self, is_up: bool) {
        let none: &[&str] = &[];
        self.up.with_label_values(none).set(i64::from(is_up));
    }

    /// Counts that it gave no usable answer.
    pub fn failed(&self, reason: StoreFailure) {
        self.failures[reason as usize].inc();
    }
}
