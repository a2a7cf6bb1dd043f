//! How much of each limit and budget is used, for operators.

use std::sync::Arc;

use super::Limits;
use super::terms::{Nanos, Terms};
use crate::store::Store;

/// The most entries of a report.
pub const MAX_REPORT: usize = 1000;

/// How much of a limit or budget is used by one combination of what it counts apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitState {
    /// `limit` or `budget`.
    pub policy: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// What it counts apart and the combination's part: `principal` and `alice`.
    pub key: Vec<(&'static str, String)>,
    /// What is used of it.
    pub uses: Vec<Use>,
}

/// How much of one measure is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// `rate`, `concurrency`, `calls`, `bytes` or `cost`.
    pub measure: &'static str,
    /// How much is used now; of a rate, how many calls of the burst.
    pub used: u64,
    /// How much there is.
    pub of: u64,
    /// When nothing of it will be used, if nothing more is taken: in milliseconds since 1970. `None`
    /// where that depends on when calls end.
    pub resets_at_ms: Option<u64>,
}

impl Limits {
    /// What is used, of all combinations or of one principal's: at most `cap` entries and at most
    /// [`MAX_REPORT`], none of those of which nothing is used. Of what is counted in Redis nothing is
    /// known here: there the keys say it.
    #[must_use]
    pub fn report(&self, principal: Option<&str>, cap: usize) -> Vec<LimitState> {
        let cap = cap.min(MAX_REPORT);
        let mut report = Vec::new();
        if matches!(self.store, Store::Redis(_)) {
            return report;
        }
        let now = self.now();
        for rule in &self.rules {
            let names = rule.per.names();
            let by_principal = names[0].is_some();
            if principal.is_some() && !by_principal {
                continue;
            }
            let entries = rule.counts.some(cap - report.len(), |entry| {
                principal.is_none_or(|principal| entry.parts()[0] == principal)
                    && !rule.terms.is_idle(&entry.state.lock(), now)
            });
            report.extend(entries.into_iter().map(|entry| {
                let named = names.iter().zip(entry.parts());
                let key = named.filter_map(|(name, part)| Some(((*name)?, part.to_owned())));
                LimitState {
                    policy: match rule.terms {
                        Terms::Limit(_) => "limit",
                        Terms::Budget(_) => "budget",
                    },
                    name: Arc::clone(&rule.name),
                    key: key.collect(),
                    uses: rule.terms.uses(&entry.state.lock(), now),
                }
            }));
        }
        report
    }
}

fn millis(at: Nanos) -> u64 {
    at.div_ceil(1_000_000)
}

impl Terms {
    pub(super) fn uses(&self, state: &super::terms::State, now: Nanos) -> Vec<Use> {
        let mut uses = Vec::new();
        match self {
            Self::Limit(limit) => {
                if let Some(rate) = limit.rate {
                    let full_at = rate.full_at(state, now);
                    uses.push(Use {
                        measure: "rate",
                        used: (full_at - now).div_ceil(rate.interval),
                        of: rate.burst.into(),
                        resets_at_ms: Some(millis(full_at)),
                    });
                }
                if let Some(of) = limit.concurrency {
                    uses.push(Use {
                        measure: "concurrency",
                        used: state.in_flight().into(),
                        of: of.into(),
                        resets_at_ms: None,
                    });
                }
            }
            Self::Budget(budget) => {
                let [calls, bytes, cost] = budget.used(state, now);
                let resets_at_ms = Some(millis(budget.ends_at(now)));
                for (measure, used, of) in [
                    ("calls", calls, budget.calls),
                    ("bytes", bytes, budget.bytes),
                    ("cost", cost, budget.cost),
                ] {
                    let Some(of) = of else { continue };
                    uses.push(Use {
                        measure,
                        used,
                        of,
                        resets_at_ms,
                    });
                }
            }
        }
        uses
    }
}
