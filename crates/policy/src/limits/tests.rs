use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_protocol::call::Principal;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::Reason;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;

use super::*;

const START: Nanos = 1_700_000_000_000_000_000;

/// The sections of a configuration.
pub(crate) struct Sections {
    limits: Vec<LimitConfig>,
    budgets: Vec<BudgetConfig>,
    costs: CostsConfig,
}

impl Sections {
    pub(crate) fn new(limits: Value, budgets: Value, costs: Value) -> Self {
        Self {
            limits: serde_json::from_value(limits).unwrap(),
            budgets: serde_json::from_value(budgets).unwrap(),
            costs: serde_json::from_value(costs).unwrap(),
        }
    }

    pub(crate) fn config(&self) -> LimitsConfig<'_> {
        LimitsConfig {
            limits: &self.limits,
            budgets: &self.budgets,
            costs: &self.costs,
        }
    }
}

pub(crate) fn metrics() -> Metrics {
    Metrics::new().expect("the table of metrics is consistent")
}

fn manual(sections: &Sections) -> (Arc<Limits>, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(START));
    let clock = Clock::Manual(Arc::clone(&now));
    let limits = Limits::with_counts_of(&[], sections.config(), Store::Memory, &metrics(), clock);
    (Arc::new(limits), now)
}

pub(crate) fn call_in(user: &str, conversation: Option<&str>) -> Call {
    let mut params = json!({ "name": "t", "arguments": {} });
    if let Some(conversation) = conversation {
        params["_meta"] = json!({ "dev.switchboard/conversation": conversation });
    }
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = Envelope::parse(Bytes::from(message.to_string())).unwrap();
    let principal = Arc::new(Principal::new(user));
    Call::new(request, Method::ToolsCall, principal, Version::V2026_07_28)
}

pub(crate) const TARGET: Target<'static> = Target {
    kind: TargetKind::Tool,
    backend: "search",
    name: "search__web",
};

fn decided(admission: Admission) -> Result<Permit, Box<Fault>> {
    match admission {
        Admission::Decided(verdict) => verdict,
        Admission::Pending(_) => panic!("memory decides at once"),
    }
}

fn admit(limits: &Arc<Limits>, user: &str) -> Result<Permit, Box<Fault>> {
    decided(limits.admit(&call_in(user, None), &TARGET, false))
}

const DONE: Ending = Ending {
    did_something: true,
    bytes: 0,
};
const NOTHING: Ending = Ending {
    did_something: false,
    bytes: 0,
};

#[test]
fn of_fifty_calls_for_the_last_one_exactly_one_passes() {
    for _ in 0..50 {
        let sections = Sections::new(
            json!([{ "name": "r", "rate": "1/1h" }, { "name": "c", "concurrency": 1 }]),
            json!([{ "name": "b", "calls": 1, "window": "1h" }]),
            json!({}),
        );
        let (limits, _) = manual(&sections);
        let (start, passed) = (Barrier::new(2), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..25 {
                        if let Ok(permit) = admit(&limits, "anna") {
                            passed.fetch_add(1, Ordering::SeqCst);
                            permit.settle(DONE);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_call_takes_from_all_or_none() {
    let sections = Sections::new(
        json!([
            { "name": "each", "per": ["principal"], "rate": "10/1h" },
            { "name": "all", "rate": "3/1h" },
        ]),
        json!([{ "name": "calls", "per": ["principal"], "calls": 10, "window": "1h" }]),
        json!({}),
    );
    let (limits, _) = manual(&sections);
    for _ in 0..3 {
        admit(&limits, "anna").unwrap().settle(DONE);
    }
    for _ in 0..20 {
        let fault = admit(&limits, "anna").unwrap_err();
        assert_eq!(fault.reason, Reason::RateLimited);
        assert!(fault.message.contains("\"all\""), "{}", fault.message);
    }
    let report = limits.report(Some("anna"), 10);
    let used: Vec<(&str, u64)> = report
        .iter()
        .map(|state| (&*state.name, state.uses[0].used))
        .collect();
    assert_eq!(used, [("each", 3), ("calls", 3)]);
    assert_eq!(report[0].key, [("principal", "anna".to_owned())]);
    assert!(limits.report(Some("ben"), 10).is_empty());
    assert_eq!(limits.report(None, 2).len(), 2);
}

/// Policy, measure, size, and what is left.
type Level = (&'static str, &'static str, u64, Option<(u64, usize)>);

#[test]
fn what_is_left_is_told_of_who_has_least_and_for_how_many_nothing_is() {
    let sections = Sections::new(
        json!([{ "name": "c", "concurrency": 10 }]),
        json!([{ "name": "b", "per": ["principal"], "calls": 3, "window": "1h" }]),
        json!({}),
    );
    let (limits, now) = manual(&sections);
    let levels = || -> Vec<Level> {
        let each = limits.levels().into_iter();
        let each = each.map(|it| (it.policy, it.measure, it.level.size, it.level.left));
        each.collect()
    };
    let untouched = [
        ("limit", "concurrency", 10, Some((10, 0))),
        ("budget", "calls", 3, Some((3, 0))),
    ];
    assert_eq!(levels(), untouched);
    for user in ["anna", "anna", "anna", "ben", "ben", "ben", "cleo"] {
        admit(&limits, user).unwrap().settle(DONE);
    }
    let _held = admit(&limits, "cleo").unwrap();
    let used = [
        ("limit", "concurrency", 10, Some((9, 0))),
        ("budget", "calls", 3, Some((0, 2))),
    ];
    assert_eq!(levels(), used);
    now.fetch_add(3_600_000_000_000, Ordering::SeqCst);
    assert_eq!(levels()[1], untouched[1]);
}

#[test]
fn what_did_nothing_is_given_back_and_what_was_given_up_is_not() {
    let sections = Sections::new(
        json!([{ "name": "c", "concurrency": 2, "rate": "2/1h" }]),
        json!([{ "name": "b", "calls": 2, "cost": 10, "window": "1h" }]),
        json!({ "search__*": 5 }),
    );
    let (limits, _) = manual(&sections);
    for _ in 0..1_000 {
        admit(&limits, "anna").unwrap().settle(NOTHING);
    }
    drop(admit(&limits, "anna").unwrap());
    admit(&limits, "anna").unwrap().settle(DONE);
    let fault = admit(&limits, "anna").unwrap_err();
    assert_eq!((fault.code, fault.reason), (429, Reason::RateLimited));
    let report = limits.report(None, 10);
    assert_eq!(
        report[0].uses.iter().map(|u| u.used).collect::<Vec<_>>(),
        [2, 0]
    );
    assert_eq!(
        report[1].uses.iter().map(|u| u.used).collect::<Vec<_>>(),
        [2, 10]
    );
}

#[test]
fn a_budget_of_bytes_is_charged_at_the_end_and_a_continuation_brings_its_own() {
    let budgets = json!([{ "name": "b", "bytes": 100, "calls": 2, "window": "1h" }]);
    let sections = Sections::new(json!([]), budgets, json!({}));
    let (limits, now) = manual(&sections);
    let ending = |bytes| Ending {
        did_something: true,
        bytes,
    };
    admit(&limits, "anna").unwrap().settle(ending(60));
    let again = || decided(limits.admit(&call_in("anna", None), &TARGET, true));
    again().unwrap().settle(ending(60));
    let fault = admit(&limits, "anna").unwrap_err();
    assert_eq!((fault.code, fault.reason), (402, Reason::OverBudget));
    let left = fault.retry_after_ms.unwrap();
    assert!(
        left <= 3_600_000 && fault.message.contains("100 bytes"),
        "{}",
        fault.message
    );
    // One more question of a call that was let in is never refused.
    again().unwrap().settle(ending(1));

    now.fetch_add(left * 1_000_000, Ordering::SeqCst);
    admit(&limits, "anna").unwrap().settle(DONE);
    admit(&limits, "anna").unwrap().settle(DONE);
    assert!(admit(&limits, "anna").is_err());
}

#[test]
fn each_combination_counts_for_itself() {
    let sections = Sections::new(
        json!([{ "name": "r", "per": ["principal", "backend"], "backends": ["se*"], "rate": "1/1h" }]),
        json!([{ "name": "b", "per": ["conversation"], "users": ["*a"], "calls": 1, "window": "1h" }]),
        json!({}),
    );
    let (limits, _) = manual(&sections);
    let files = Target {
        kind: TargetKind::Resource,
        backend: "files",
        name: "file:///a",
    };
    let ask = |user: &str, conversation: Option<&str>, target: &Target<'_>| {
        let verdict = decided(limits.admit(&call_in(user, conversation), target, false));
        verdict
            .map(|permit| permit.settle(DONE))
            .map_err(|fault| fault.reason)
    };
    assert_eq!(ask("ben", None, &TARGET), Ok(()));
    assert_eq!(ask("ben", None, &TARGET), Err(Reason::RateLimited));
    assert_eq!(ask("ben", None, &files), Ok(()));
    assert_eq!(ask("anna", Some("x"), &TARGET), Ok(()));
    assert_eq!(ask("anna", Some("x"), &files), Err(Reason::OverBudget));
    assert_eq!(ask("anna", Some("y"), &files), Ok(()));
    assert_eq!(ask("anna", None, &files), Ok(()));
    // What is too long to be one is none, and so is an empty one.
    assert_eq!(
        ask("anna", Some(&"z".repeat(129)), &files),
        Err(Reason::OverBudget)
    );
    assert_eq!(ask("anna", Some(""), &files), Err(Reason::OverBudget));
    // A conversation is its principal's.
    assert_eq!(ask("maria", Some("x"), &files), Ok(()));
}

#[test]
fn a_reload_keeps_the_counts_of_what_stays() {
    let sections = |calls: u64, window: &str, per: Value| {
        Sections::new(
            json!([{ "name": "r", "per": per, "concurrency": 1 }]),
            json!([{ "name": "b", "calls": calls, "window": window }]),
            json!({}),
        )
    };
    let (limits, _) = manual(&sections(2, "1h", json!([])));
    let held = admit(&limits, "anna").unwrap();
    let next = Arc::new(limits.next(sections(3, "1h", json!([])).config(), &metrics()));
    assert_eq!(
        admit(&next, "anna").unwrap_err().reason,
        Reason::RateLimited
    );
    held.settle(DONE);
    admit(&next, "anna").unwrap().settle(DONE);
    admit(&next, "anna").unwrap().settle(DONE);
    assert_eq!(admit(&next, "anna").unwrap_err().reason, Reason::OverBudget);
    // Another window is another budget.
    let other = Arc::new(next.next(sections(3, "2h", json!([])).config(), &metrics()));
    admit(&other, "anna").unwrap().settle(DONE);
}

#[test]
fn what_tools_cost_is_said_by_the_most_exact_pattern_and_noted() {
    let costs = json!({ "*": 2, "search__*": 5, "search__web": 7, "s*": 3 });
    let budgets = json!([{ "name": "b", "cost": 14, "window": "1h" }]);
    let (limits, _) = manual(&Sections::new(json!([]), budgets, costs));
    let other = Target {
        name: "search__x",
        ..TARGET
    };
    let mut call = call_in("anna", None);
    let trail = Arc::new(Trail::default());
    call.trail = Some(Arc::clone(&trail));
    decided(limits.admit(&call, &other, false))
        .unwrap()
        .settle(NOTHING);
    assert_eq!(trail.steps().cost, 0);
    decided(limits.admit(&call, &other, false))
        .unwrap()
        .settle(DONE);
    decided(limits.admit(&call, &TARGET, false))
        .unwrap()
        .settle(DONE);
    assert_eq!(trail.steps().cost, 12);
    let fault = decided(limits.admit(&call, &other, false)).unwrap_err();
    assert!(
        fault.message.contains("a cost of 14 units"),
        "{}",
        fault.message
    );
    let last = trail.steps().steps.pop();
    let denied = Step::Decision {
        policy: "budget",
        rule: "b".into(),
        decision: Decision::Denied,
    };
    assert_eq!(last, Some(denied));
}
