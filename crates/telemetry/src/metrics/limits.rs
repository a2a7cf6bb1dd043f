//! What limits and budgets decide, and whether their store answers.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::retain_series;
use super::{counters, families, gauges, handles};
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
        LimitMetrics(handles(
            &self.decisions,
            &[policy, name],
            &LimitDecision::NAMES,
        ))
    }

    /// Takes away the series of those that are not configured, by policy and name.
    pub(super) fn retain(&self, is_configured: impl Fn(&str, &str) -> bool) {
        retain_series(&self.decisions, |labels| {
            let of = |label| labels.get(label).copied().unwrap_or_default();
            is_configured(of("policy"), of("name"))
        });
    }

    pub(super) fn store(&self) -> StoreMetrics {
        StoreMetrics {
            up: self.store_up.clone(),
            failures: handles(&self.store_failures, &[], &StoreFailure::NAMES),
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
