//! What the caller of a refused call is told, and the model behind it.

use std::time::{Duration, UNIX_EPOCH};

use switchboard_protocol::error::{Fault, Reason};

use super::Rule;
use super::terms::{BudgetTerms, LimitTerms, Measure, Nanos, Shortage, Terms};

/// When to ask again while the store is away, in milliseconds.
const STORE_RETRY_MS: u64 = 1000;

/// The fault of a call for which there is not enough.
pub(super) fn of(rule: &Rule, shortage: Shortage, now: Nanos) -> Fault {
    let name = &rule.name;
    let (reason, message) = match &rule.terms {
        Terms::Limit(limit) => (Reason::RateLimited, limited(name, limit, shortage)),
        Terms::Budget(budget) => (Reason::OverBudget, used_up(name, budget, shortage, now)),
    };
    Fault {
        retryable: true,
        retry_after_ms: Some(shortage.retry_ms),
        ..Fault::refused(reason, message)
    }
}

/// The fault of a call about which nobody can decide.
pub(super) fn away(rule: &Rule) -> Fault {
    let message = format!(
        "Whether \"{}\" allows this call cannot be checked right now. Nothing was executed: try again in a moment.",
        rule.name
    );
    Fault {
        retryable: true,
        retry_after_ms: Some(STORE_RETRY_MS),
        ..Fault::refused(Reason::PolicyUnavailable, message)
    }
}

fn limited(name: &str, limit: &LimitTerms, shortage: Shortage) -> String {
    if shortage.measure == Measure::Concurrency {
        let calls = counted(limit.concurrency.unwrap_or_default().into(), "call");
        return format!(
            "The limit \"{name}\" allows {calls} at once, and no more may begin now. Nothing was executed: try again when another call has ended."
        );
    }
    let rate = limit.rate.map_or_else(String::new, |terms| {
        let calls = counted(terms.rate.calls.into(), "call");
        format!(
            "{calls} in {}",
            humantime::format_duration(terms.rate.period)
        )
    });
    format!(
        "The limit \"{name}\" allows {rate}, and no more may begin now. Nothing was executed: try again in {}.",
        in_words(shortage.retry_ms)
    )
}

fn used_up(name: &str, budget: &BudgetTerms, shortage: Shortage, now: Nanos) -> String {
    let of = match shortage.measure {
        Measure::Bytes => format!(
            "{} of results",
            counted(budget.bytes.unwrap_or_default(), "byte")
        ),
        Measure::Cost => format!(
            "a cost of {}",
            counted(budget.cost.unwrap_or_default(), "unit")
        ),
        _ => counted(budget.calls.unwrap_or_default(), "call"),
    };
    let window = humantime::format_duration(Duration::from_nanos(budget.window));
    let ends_at = UNIX_EPOCH + Duration::from_nanos(budget.ends_at(now));
    format!(
        "The budget \"{name}\" of {of} in {window} does not suffice for this call. Nothing was executed: it begins anew in {}, at {}.",
        in_words(shortage.retry_ms),
        humantime::format_rfc3339_seconds(ends_at)
    )
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Whole seconds, rounded up.
fn in_words(ms: u64) -> String {
    let seconds = Duration::from_secs(ms.div_ceil(1000));
    humantime::format_duration(seconds).to_string()
}
