//! The arithmetic of limits and budgets: pure, with the time passed in.
//!
//! Rates are counted by the generic cell rate algorithm (GCRA): one number says when all of what was
//! taken is back. Own code rather than the crate `governor`, whose keyed states have no bound, which
//! gives nothing back, and which cannot take from several limits all or none.

use std::time::Duration;

use super::config::{BudgetConfig, LimitConfig, Rate};

/// Nanoseconds since 1970.
pub(crate) type Nanos = u64;

/// When somebody is to try again who waits for another call to end, in milliseconds.
const TRY_AGAIN_MS: u64 = 1000;

/// What is counted for one combination. A limit uses the first three, a budget the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// When all that was taken of the rate is back.
    full_at: Nanos,
    /// Since when something of the rate has always been taken: what was taken before is back by
    /// itself.
    busy_since: Nanos,
    in_flight: u32,
    /// Which window the rest counts.
    window: u64,
    calls: u64,
    bytes: u64,
    cost: u64,
}

/// What of a limit or budget does not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Rate,
    Concurrency,
    Calls,
    Bytes,
    Cost,
}

/// Why a call may not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) measure: Measure,
    /// When there may be enough again.
    pub(crate) retry_ms: u64,
}

/// How much of what is taken, as one call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    /// In units of `costs`.
    pub(crate) cost: u64,
    /// Whether it is the call that was charged before, so that it is neither charged nor refused.
    pub(crate) is_continuation: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terms {
    Limit(LimitTerms),
    Budget(BudgetTerms),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitTerms {
    pub(crate) rate: Option<RateTerms>,
    pub(crate) concurrency: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateTerms {
    pub(crate) rate: Rate,
    pub(crate) burst: u32,
    /// The time in which one call comes back.
    pub(crate) interval: Nanos,
    /// The time in which all of a burst comes back.
    pub(crate) capacity: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetTerms {
    pub(crate) calls: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) cost: Option<u64>,
    pub(crate) window: Nanos,
}

fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// As milliseconds, rounded up.
fn up_to_millis(time: Nanos) -> u64 {
    time.div_ceil(1_000_000).max(1)
}

impl From<&LimitConfig> for LimitTerms {
    fn from(config: &LimitConfig) -> Self {
        let rate = config.rate.map(|rate| {
            let burst = config.burst.unwrap_or(rate.calls).max(1);
            let interval = (nanos(rate.period) / u64::from(rate.calls.max(1))).max(1);
            RateTerms {
                rate,
                burst,
                interval,
                capacity: interval.saturating_mul(u64::from(burst)),
            }
        });
        Self {
            rate,
            concurrency: config.concurrency,
        }
    }
}

impl From<&BudgetConfig> for BudgetTerms {
    fn from(config: &BudgetConfig) -> Self {
        Self {
            calls: config.calls,
            bytes: config.bytes,
            cost: config.cost,
            window: nanos(config.window).max(1),
        }
    }
}

impl RateTerms {
    /// When all is back. A clock that was set back must not make anybody wait for longer than a burst
    /// takes.
    pub(crate) fn full_at(&self, state: &State, now: Nanos) -> Nanos {
        state.full_at.clamp(now, now.saturating_add(self.capacity))
    }

    fn check(&self, state: &State, now: Nanos) -> Result<(), Shortage> {
        let after = self.full_at(state, now).saturating_add(self.interval);
        match (after - now).checked_sub(self.capacity) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(Shortage {
                measure: Measure::Rate,
                retry_ms: up_to_millis(missing),
            }),
        }
    }
}

impl BudgetTerms {
    pub(crate) fn window_at(&self, now: Nanos) -> u64 {
        now / self.window
    }

    /// When the window ends, in nanoseconds since 1970.
    pub(crate) fn ends_at(&self, now: Nanos) -> Nanos {
        (self.window_at(now) + 1).saturating_mul(self.window)
    }

    /// What was used in the window that it is now: calls, bytes, units of cost.
    pub(crate) fn used(&self, state: &State, now: Nanos) -> [u64; 3] {
        match state.window == self.window_at(now) {
            true => [state.calls, state.bytes, state.cost],
            false => [0; 3],
        }
    }

    fn begin(&self, state: &mut State, now: Nanos) {
        let [calls, bytes, cost] = self.used(state, now);
        state.window = self.window_at(now);
        (state.calls, state.bytes, state.cost) = (calls, bytes, cost);
    }

    fn check(&self, state: &State, now: Nanos, cost: u64) -> Result<(), Shortage> {
        let [calls, bytes, spent] = self.used(state, now);
        let short = |measure| {
            Err(Shortage {
                measure,
                retry_ms: up_to_millis(self.ends_at(now) - now),
            })
        };
        if self.calls.is_some_and(|of| calls >= of) {
            return short(Measure::Calls);
        }
        if self.bytes.is_some_and(|of| bytes >= of) {
            return short(Measure::Bytes);
        }
        if self.cost.is_some_and(|of| spent.saturating_add(cost) > of) {
            return short(Measure::Cost);
        }
        Ok(())
    }
}

impl Terms {
    /// Whether anything is taken for a continuation: its time, and the bytes of its result.
    pub(crate) fn concern_continuations(&self) -> bool {
        match self {
            Self::Limit(limit) => limit.concurrency.is_some(),
            Self::Budget(budget) => budget.bytes.is_some(),
        }
    }

    /// Whether there is enough.
    pub(crate) fn check(&self, state: &State, now: Nanos, price: Price) -> Result<(), Shortage> {
        if price.is_continuation {
            return Ok(());
        }
        match self {
            Self::Limit(limit) => {
                if limit.concurrency.is_some_and(|of| state.in_flight >= of) {
                    return Err(Shortage {
                        measure: Measure::Concurrency,
                        retry_ms: TRY_AGAIN_MS,
                    });
                }
                limit.rate.map_or(Ok(()), |rate| rate.check(state, now))
            }
            Self::Budget(budget) => budget.check(state, now, price.cost),
        }
    }

    /// Takes what the call costs, whether there is enough or not. When it was taken of a rate, or of
    /// which window of a budget.
    pub(crate) fn take(&self, state: &mut State, now: Nanos, price: Price) -> u64 {
        let is_charged = !price.is_continuation;
        match self {
            Self::Limit(limit) => {
                state.in_flight = state.in_flight.saturating_add(1);
                if let Some(rate) = limit.rate.filter(|_| is_charged) {
                    let full_at = rate.full_at(state, now);
                    if full_at == now {
                        state.busy_since = now;
                    }
                    state.full_at = full_at + rate.interval;
                }
                now
            }
            Self::Budget(budget) => {
                budget.begin(state, now);
                if is_charged {
                    state.calls = state.calls.saturating_add(1);
                    state.cost = state.cost.saturating_add(price.cost);
                }
                state.window
            }
        }
    }

    /// The call has ended.
    pub(crate) fn release(&self, state: &mut State) {
        if let Self::Limit(_) = self {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
    }

    /// Gives back what was charged, unless time has done so already. `taken` is what
    /// [`Terms::take`] said.
    pub(crate) fn give_back(&self, state: &mut State, taken: u64, price: Price) {
        if price.is_continuation {
            return;
        }
        match self {
            Self::Limit(limit) if taken >= state.busy_since => {
                let interval = limit.rate.map_or(0, |rate| rate.interval);
                state.full_at = state.full_at.saturating_sub(interval);
            }
            Self::Budget(_) if state.window == taken => {
                state.calls = state.calls.saturating_sub(1);
                state.cost = state.cost.saturating_sub(price.cost);
            }
            Self::Limit(_) | Self::Budget(_) => {}
        }
    }

    /// Charges what a result was long, in the window in which it ended.
    pub(crate) fn charge_bytes(&self, state: &mut State, now: Nanos, bytes: u64) {
        if let Self::Budget(budget) = self {
            budget.begin(state, now);
            state.bytes = state.bytes.saturating_add(bytes);
        }
    }

    /// Whether a state says no more than a new one would.
    pub(crate) fn is_idle(&self, state: &State, now: Nanos) -> bool {
        match self {
            Self::Limit(limit) => {
                let is_full = |rate: RateTerms| rate.full_at(state, now) <= now;
                state.in_flight == 0 && limit.rate.is_none_or(is_full)
            }
            Self::Budget(budget) => budget.used(state, now) == [0; 3],
        }
    }
}

impl State {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

#[cfg(test)]
mod tests;
