//! The keys of what is counted, and what the scripts are told about each.

use std::fmt::Write as _;

use redis::ScriptInvocation;
use sha2::{Digest as _, Sha256};

use super::LEASE;
use crate::limits::Limits;
use crate::limits::concerns::Parts;
use crate::limits::terms::{BudgetTerms, Nanos, Price, RateTerms, Terms};

/// The longest part of a key that is written out; a longer one is a digest.
const MAX_PART: usize = 128;

/// One key of one limit or budget.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) rule: u16,
    pub(super) key: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rate(RateTerms),
    Concurrency { most: u32, lease: String },
    Budget(BudgetTerms),
}

/// The keys of these rules for a call. `lease` stands for the call in concurrency limits.
pub(super) fn counts_of(
    limits: &Limits,
    concerned: &[u16],
    parts: &Parts<'_>,
    prefix: &str,
    lease: &str,
) -> Vec<Count> {
    let mut counts = Vec::with_capacity(concerned.len() + 1);
    for index in concerned {
        let rule = limits.rule(*index);
        let mut add = |word: &str, kind| {
            let key = key(prefix, word, &rule.name, &parts.of(rule.per));
            let rule = *index;
            counts.push(Count { rule, key, kind });
        };
        match rule.terms {
            Terms::Limit(limit) => {
                if let Some(most) = limit.concurrency {
                    let lease = lease.to_owned();
                    add("concurrency", Kind::Concurrency { most, lease });
                }
                if let Some(rate) = limit.rate {
                    add("rate", Kind::Rate(rate));
                }
            }
            Terms::Budget(budget) => add("budget", Kind::Budget(budget)),
        }
    }
    counts
}

/// `switchboard:budget:daily:alice::::`, each part percent-encoded.
pub(super) fn key(prefix: &str, word: &str, name: &str, parts: &[&str]) -> String {
    let mut key = String::with_capacity(prefix.len() + 64);
    key.push_str(prefix);
    key.push_str(word);
    for part in std::iter::once(&name).chain(parts) {
        key.push(':');
        if part.len() > MAX_PART {
            key.push_str("sha256=");
            for byte in Sha256::digest(part.as_bytes()) {
                let _ = write!(key, "{byte:02x}");
            }
            continue;
        }
        for byte in part.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'@' | b'/' => {
                    key.push(char::from(byte));
                }
                _ => {
                    let _ = write!(key, "%{byte:02X}");
                }
            }
        }
    }
    key
}

fn micros(nanos: Nanos) -> f64 {
    nanos as f64 / 1000.0
}

/// -1 stands for what is not counted.
fn of(most: Option<u64>) -> i64 {
    most.map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX))
}

impl Count {
    /// The key, if what is taken of it is a lease.
    pub(super) fn leased(&self) -> Option<&str> {
        matches!(self.kind, Kind::Concurrency { .. }).then_some(&self.key)
    }

    pub(super) fn add_to_take(&self, script: &mut ScriptInvocation<'_>, price: Price) {
        script.key(&*self.key);
        match &self.kind {
            Kind::Rate(rate) => {
                script
                    .arg("rate")
                    .arg(micros(rate.interval))
                    .arg(micros(rate.capacity));
                script.arg(0).arg(0).arg(0);
            }
            Kind::Concurrency { most, lease } => {
                script
                    .arg("concurrency")
                    .arg(*most)
                    .arg(LEASE.as_millis() as u64);
                script.arg(&**lease).arg(0).arg(0);
            }
            Kind::Budget(budget) => {
                script
                    .arg("budget")
                    .arg(micros(budget.window))
                    .arg(of(budget.calls));
                script
                    .arg(of(budget.bytes))
                    .arg(of(budget.cost))
                    .arg(price.cost);
            }
        }
    }

    /// `taken` is what Redis said when it was.
    pub(super) fn add_to_end(&self, script: &mut ScriptInvocation<'_>, taken: u64, price: Price) {
        script.key(&*self.key);
        match &self.kind {
            Kind::Rate(rate) => {
                // A continuation took nothing of it, and so gives nothing back.
                let interval = if price.is_continuation {
                    0
                } else {
                    rate.interval
                };
                script
                    .arg("rate")
                    .arg(micros(interval))
                    .arg(taken)
                    .arg(0)
                    .arg(0);
            }
            Kind::Concurrency { lease, .. } => {
                script.arg("concurrency").arg(&**lease).arg(0).arg(0).arg(0);
            }
            Kind::Budget(budget) => {
                // What a continuation was not charged it cannot be given back: no window is the 0th.
                let window = if price.is_continuation { 0 } else { taken };
                script.arg("budget").arg(micros(budget.window)).arg(window);
                script.arg(price.cost).arg(u8::from(budget.bytes.is_some()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_are_distinct_whatever_the_parts_are_and_never_choose_a_node() {
        assert_eq!(key("p:", "rate", "a", &["b", ""]), "p:rate:a:b:");
        assert_ne!(
            key("", "r", "a", &["b:", ""]),
            key("", "r", "a", &["b", ":"])
        );
        assert_eq!(key("", "r", "{a}", &[]), "r:%7Ba%7D");
        assert!(key("", "r", "a", &[&"x".repeat(1000)]).len() < 100);
    }
}
