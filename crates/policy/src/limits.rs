//! How often calls may be made, how many at once, and how much they may use in a window of time.
//!
//! A call that several limits and budgets concern takes from all of them or from none, and is charged
//! once: what goes on after a question is the same call. What it took for its time is back when it
//! has ended; what it was charged stays charged unless it did nothing, for certain.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::MutexGuard;
use smallvec::SmallVec;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::Fault;
use switchboard_protocol::pattern::Pattern;
use switchboard_protocol::policy::{Admission, Ending, Hold, Permit, Target, TargetKind};
use switchboard_protocol::trail::{Decision, Step, Trail};
use switchboard_telemetry::{LimitDecision, LimitMetrics, Metrics};

use crate::store::{Store, memory};

pub(crate) mod concerns;
pub mod config;
pub mod level;
mod refusal;
pub mod report;
pub(crate) mod terms;

use self::concerns::{Concerns, Parts, Per};
use self::config::{BudgetConfig, CostsConfig, IfStoreIsAway, LimitConfig};
use self::terms::{LimitTerms, Measure, Nanos, Price, Shortage, Terms};

/// The sections of the configuration that say what is limited.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig<'c> {
    /// `limits`.
    pub limits: &'c [LimitConfig],
    /// `budgets`.
    pub budgets: &'c [BudgetConfig],
    /// `costs`.
    pub costs: &'c CostsConfig,
}

/// All limits and budgets of one configuration, and what was counted of them. Immutable but for the
/// counts: a reload makes another, which goes on with them.
#[derive(Debug)]
pub struct Limits {
    /// In the order in which a call locks their counts.
    rules: Box<[Rule]>,
    costs: Costs,
    pub(crate) store: Store,
    with_conversation: bool,
    clock: Clock,
}

/// A limit or a budget.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) terms: Terms,
    pub(crate) per: Per,
    concerns: Concerns,
    if_store_is_away: IfStoreIsAway,
    pub(crate) counts: Arc<memory::Table>,
    metrics: LimitMetrics,
}

/// Where the time comes from.
#[derive(Clone, Debug)]
enum Clock {
    System,
    #[cfg(test)]
    Manual(Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    fn now(&self) -> Nanos {
        match self {
            Self::System => {
                let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
                u64::try_from(since_1970.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
            }
            #[cfg(test)]
            Self::Manual(now) => now.load(std::sync::atomic::Ordering::SeqCst),
        }
    }
}

/// The indices of the rules that concern a call.
type Concerned = SmallVec<[u16; 8]>;

impl Limits {
    /// Those of a configuration, nothing counted yet.
    #[must_use]
    pub fn new(config: LimitsConfig<'_>, store: Store, metrics: &Metrics) -> Self {
        Self::with_counts_of(&[], config, store, metrics, Clock::System)
    }

    /// Those of another configuration in the same store. What was counted stays for each limit and
    /// budget whose name, parts and window are the same, though there may be more or less now.
    #[must_use]
    pub fn next(&self, config: LimitsConfig<'_>, metrics: &Metrics) -> Self {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Self::with_counts_of(&self.rules, config, store, metrics, clock)
    }

    fn with_counts_of(
        known: &[Rule],
        config: LimitsConfig<'_>,
        store: Store,
        metrics: &Metrics,
        clock: Clock,
    ) -> Self {
        let limits = config.limits.iter().map(|limit| {
            let terms = Terms::Limit(limit.into());
            let (per, concerns) = (Per::from(&*limit.per), limit.into());
            Rule::new(
                known,
                &limit.name,
                terms,
                per,
                concerns,
                limit.if_store_is_away,
                metrics,
            )
        });
        let budgets = config.budgets.iter().map(|budget| {
            let terms = Terms::Budget(budget.into());
            let (per, concerns) = (Per::from(&*budget.per), budget.into());
            Rule::new(
                known,
                &budget.name,
                terms,
                per,
                concerns,
                budget.if_store_is_away,
                metrics,
            )
        });
        let mut rules: Vec<Rule> = limits.chain(budgets).collect();
        // Calls of two configurations may meet at the same counts, and have to lock them in one order.
        rules.sort_by_key(|rule| rule.counts.id);
        Self {
            with_conversation: rules.iter().any(|rule| rule.per.conversation),
            rules: rules.into(),
            costs: Costs::new(config.costs),
            store,
            clock,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.costs.is_empty()
    }

    /// Whether a Redis counts, and if so whether it answers, as far as is known.
    #[must_use]
    pub fn redis(&self) -> Option<bool> {
        match &self.store {
            Store::Memory => None,
            Store::Redis(redis) => Some(redis.is_up()),
        }
    }

    /// Decides about a call, and takes what it costs of all limits and budgets that concern it. In
    /// memory it is decided at once.
    #[must_use]
    pub fn admit(
        self: &Arc<Self>,
        call: &Call,
        target: &Target<'_>,
        is_continuation: bool,
    ) -> Admission {
        if self.is_empty() {
            return Admission::Decided(Ok(Permit::FREE));
        }
        let parts = Parts::new(call, target, self.with_conversation);
        let price = Price {
            cost: self.costs.of(target),
            is_continuation,
        };
        let concerned = self.concerned(call, &parts, target, price);
        if concerned.is_empty() {
            return Admission::Decided(Ok(self.free(call.trail.as_ref(), price)));
        }
        match &self.store {
            Store::Memory => Admission::Decided(self.take(call, &parts, &concerned, price)),
            Store::Redis(redis) => redis.admit(self, call, &parts, &concerned, price),
        }
    }

    /// What a call holds that no limit concerns: its cost may have to be noted.
    fn free(&self, trail: Option<&Arc<Trail>>, price: Price) -> Permit {
        match self.bill(trail, price) {
            None => Permit::FREE,
            Some(bill) => Permit::holding(Box::new(bill)),
        }
    }

    fn concerned(
        &self,
        call: &Call,
        parts: &Parts<'_>,
        target: &Target<'_>,
        price: Price,
    ) -> Concerned {
        let mut concerned = Concerned::new();
        for (index, rule) in (0_u16..).zip(&self.rules) {
            let is_charged = !price.is_continuation || rule.terms.concern_continuations();
            if is_charged && rule.concerns.call(&call.principal, parts.profile(), target) {
                concerned.push(index);
            }
        }
        concerned
    }

    pub(crate) fn rule(&self, index: u16) -> &Rule {
        &self.rules[usize::from(index)]
    }

    /// Takes from the counts in memory.
    fn take(
        self: &Arc<Self>,
        call: &Call,
        parts: &Parts<'_>,
        concerned: &[u16],
        price: Price,
    ) -> Result<Permit, Box<Fault>> {
        let now = self.clock.now();
        let mut taken: SmallVec<[Taken; 4]> = concerned
            .iter()
            .map(|index| {
                let rule = self.rule(*index);
                let entry = rule.counts.entry(&parts.of(rule.per), &rule.terms, now);
                let rule = *index;
                Taken {
                    rule,
                    taken: 0,
                    entry,
                }
            })
            .collect();
        let shortage = self.take_all_or_none(&mut taken, now, price);
        if let Some((index, shortage)) = shortage {
            return Err(self.refuse(call.trail.as_ref(), index, shortage, now));
        }
        self.allow(call.trail.as_ref(), concerned);
        Ok(Permit::holding(Box::new(MemoryHold {
            limits: Arc::clone(self),
            taken,
            price,
            bill: self.bill(call.trail.as_ref(), price),
            is_settled: false,
        })))
    }

    /// Locks all counts before it looks at any: between the look and the taking nobody else takes, and
    /// nobody sees what is taken and then given back.
    fn take_all_or_none(
        &self,
        taken: &mut [Taken],
        now: Nanos,
        price: Price,
    ) -> Option<(u16, Shortage)> {
        let mut marks: SmallVec<[u64; 4]> = SmallVec::new();
        {
            let mut states: SmallVec<[MutexGuard<'_, terms::State>; 4]> =
                taken.iter().map(|taken| taken.entry.state.lock()).collect();
            for (taken, state) in taken.iter().zip(&states) {
                if let Err(shortage) = self.rule(taken.rule).terms.check(state, now, price) {
                    return Some((taken.rule, shortage));
                }
            }
            for (taken, state) in taken.iter().zip(&mut states) {
                marks.push(self.rule(taken.rule).terms.take(state, now, price));
            }
        }
        for (taken, mark) in taken.iter_mut().zip(marks) {
            taken.taken = mark;
        }
        None
    }

    /// Notes that these have let a call pass.
    pub(crate) fn allow(&self, trail: Option<&Arc<Trail>>, concerned: &[u16]) {
        for index in concerned {
            let rule = self.rule(*index);
            rule.metrics.decided(LimitDecision::Allowed);
            if let Some(trail) = trail {
                trail.note(rule.step(None, Decision::Allowed));
            }
        }
    }

    /// Notes that this one refuses a call, and says so to its caller.
    pub(crate) fn refuse(
        &self,
        trail: Option<&Arc<Trail>>,
        index: u16,
        shortage: Shortage,
        now: Nanos,
    ) -> Box<Fault> {
        let rule = self.rule(index);
        rule.metrics.decided(LimitDecision::Refused);
        if let Some(trail) = trail {
            trail.note(rule.step(Some(shortage.measure), Decision::Denied));
        }
        Box::new(refusal::of(rule, shortage, now))
    }

    /// Decides about a call while the store does not answer.
    pub(crate) fn while_away(
        &self,
        trail: Option<&Arc<Trail>>,
        concerned: &[u16],
        price: Price,
    ) -> Result<Permit, Box<Fault>> {
        let is_closed = |rule: &&Rule| rule.if_store_is_away == IfStoreIsAway::Closed;
        let rules = concerned.iter().map(|index| self.rule(*index));
        let closed = rules
            .clone()
            .find(is_closed)
            .filter(|_| !price.is_continuation);
        if let Some(rule) = closed {
            rule.metrics.decided(LimitDecision::Unavailable);
            if let Some(trail) = trail {
                trail.note(rule.step(None, Decision::Denied));
            }
            return Err(Box::new(refusal::away(rule)));
        }
        for rule in rules {
            rule.metrics.decided(LimitDecision::Unchecked);
            if let Some(trail) = trail {
                trail.note(rule.step(None, Decision::Unchecked));
            }
        }
        Ok(self.free(trail, price))
    }

    /// Where the call's cost is to be noted when it has ended, if somebody wants to know.
    pub(crate) fn bill(&self, trail: Option<&Arc<Trail>>, price: Price) -> Option<Bill> {
        let trail = trail.filter(|_| !price.is_continuation)?;
        Some(Bill {
            trail: Arc::clone(trail),
            cost: price.cost,
            is_due: true,
        })
    }

    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }
}

impl Rule {
    fn new(
        known: &[Self],
        name: &str,
        terms: Terms,
        per: Per,
        concerns: Concerns,
        if_store_is_away: IfStoreIsAway,
        metrics: &Metrics,
    ) -> Self {
        let same = |rule: &&Self| {
            let same_kind = match (&rule.terms, &terms) {
                (Terms::Limit(_), Terms::Limit(_)) => true,
                (Terms::Budget(known), Terms::Budget(new)) => known.window == new.window,
                _ => false,
            };
            same_kind && &*rule.name == name && rule.per == per
        };
        let known = known.iter().find(same);
        let name: Arc<str> = name.into();
        let kind = match terms {
            Terms::Limit(_) => "limit",
            Terms::Budget(_) => "budget",
        };
        Self {
            counts: known.map_or_else(
                || memory::Table::new(Arc::clone(&name)),
                |rule| Arc::clone(&rule.counts),
            ),
            metrics: metrics.limit(kind, &name),
            name,
            terms,
            per,
            concerns,
            if_store_is_away,
        }
    }

    /// What is noted of a decision; without a measure none fell short.
    fn step(&self, short: Option<Measure>, decision: Decision) -> Step {
        let policy = match (&self.terms, short) {
            (Terms::Budget(_), _) => "budget",
            (Terms::Limit(_), Some(Measure::Concurrency)) => "concurrency",
            (Terms::Limit(LimitTerms { rate: None, .. }), _) => "concurrency",
            (Terms::Limit(_), _) => "rate",
        };
        Step::Decision {
            policy,
            rule: Arc::clone(&self.name),
            decision,
        }
    }
}

/// What tools cost.
#[derive(Debug, Default)]
struct Costs {
    /// Patterns, those that say more first.
    patterns: Box<[(Pattern, u64)]>,
}

impl Costs {
    fn new(config: &CostsConfig) -> Self {
        let mut patterns: Vec<(String, u64)> = config.clone().into_iter().collect();
        patterns.sort_by_key(|(pattern, _)| {
            let said = pattern.bytes().filter(|byte| *byte != b'*').count();
            (pattern.contains('*'), std::cmp::Reverse(said))
        });
        Self {
            patterns: patterns
                .iter()
                .map(|(pattern, cost)| (Pattern::new(pattern), *cost))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// What the most exact pattern says; 1 if none does.
    fn of(&self, target: &Target<'_>) -> u64 {
        let is_tool = target.kind == TargetKind::Tool;
        let mut patterns = self.patterns.iter().filter(|_| is_tool);
        let fitting = patterns.find(|(pattern, _)| pattern.matches(target.name));
        fitting.map_or(1, |(_, cost)| *cost)
    }
}

/// What a call costs, to be noted when it has ended.
#[derive(Debug)]
pub(crate) struct Bill {
    trail: Arc<Trail>,
    cost: u64,
    is_due: bool,
}

impl Bill {
    pub(crate) fn cancel(&mut self) {
        self.is_due = false;
    }
}

impl Hold for Bill {
    fn settle(mut self: Box<Self>, ending: Ending) {
        if !ending.did_something {
            self.cancel();
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        if self.is_due {
            self.trail.charge(self.cost);
        }
    }
}

/// What a call took of one count in memory.
struct Taken {
    rule: u16,
    /// When, or of which window, as its terms say it.
    taken: u64,
    entry: Arc<memory::Entry>,
}

/// What a call holds in memory.
struct MemoryHold {
    limits: Arc<Limits>,
    taken: SmallVec<[Taken; 4]>,
    price: Price,
    bill: Option<Bill>,
    is_settled: bool,
}

impl MemoryHold {
    fn end(&mut self, ending: Option<Ending>) {
        self.is_settled = true;
        let did_nothing = ending.is_some_and(|ending| !ending.did_something);
        let bytes = ending.map_or(0, |ending| ending.bytes);
        for taken in &self.taken {
            let terms = &self.limits.rule(taken.rule).terms;
            let mut state = taken.entry.state.lock();
            terms.release(&mut state);
            if did_nothing {
                terms.give_back(&mut state, taken.taken, self.price);
            } else if bytes > 0 {
                terms.charge_bytes(&mut state, self.limits.clock.now(), bytes);
            }
        }
        if let Some(bill) = self.bill.as_mut().filter(|_| did_nothing) {
            bill.cancel();
        }
    }
}

impl Hold for MemoryHold {
    fn settle(mut self: Box<Self>, ending: Ending) {
        self.end(Some(ending));
    }
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        if !self.is_settled {
            self.end(None);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
