//! Tools that do the same: which of them is called first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::arguments::Mapping;
use super::judge::Terms;
use super::latency::Latency;
use crate::config::chains::{EquivalentsConfig, MAX_TOOLS, Prefer};

/// How much of the favourite's latency another tool may take at most to become the favourite.
const CLEARLY_FASTER: f64 = 0.8;

/// The members of a group, by index.
pub(crate) type Order = SmallVec<[usize; MAX_TOOLS]>;

/// Tools that do the same.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    pub(crate) terms: Terms,
    prefer: Prefer,
    /// The fastest one, until another is clearly faster.
    favourite: AtomicUsize,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) tool: Arc<str>,
    /// From the arguments of the first member to those of this.
    from_first: Mapping,
    /// The other way.
    to_first: Mapping,
    cost: f64,
    latency: Latency,
}

impl Group {
    pub(crate) fn new(config: &EquivalentsConfig, now: Instant) -> Self {
        let members = config.tools.iter().map(|tool| {
            let from_first = Mapping::new(config.map.get(tool));
            Member {
                tool: Arc::from(&**tool),
                to_first: from_first.inverse(),
                from_first,
                cost: config.costs.get(tool).copied().unwrap_or(f64::MAX),
                latency: Latency::new(now),
            }
        });
        Self {
            members: members.collect(),
            terms: Terms {
                when: config.when.clone(),
                only_safe: config.only_safe,
            },
            prefer: config.prefer,
            favourite: AtomicUsize::new(0),
        }
    }

    /// What becomes of the arguments of `from` on their way to `to`: one after the other.
    pub(crate) fn mappings(&self, from: usize, to: usize) -> [&Mapping; 2] {
        [&self.members[from].to_first, &self.members[to].from_first]
    }

    /// Takes note of how a call of a member ended.
    pub(crate) fn measure(&self, member: usize, now: Instant, took: Duration, failed: bool) {
        self.members[member].latency.measure(now, took, failed);
    }

    /// All members in the order in which they are to be tried: those that are available first.
    pub(crate) fn order(&self, now: Instant, is_available: impl Fn(&str) -> bool) -> Order {
        let away: SmallVec<[bool; MAX_TOOLS]> = self
            .members
            .iter()
            .map(|member| !is_available(&member.tool))
            .collect();
        let mut order: Order = (0..self.members.len()).collect();
        match self.prefer {
            Prefer::Listed => order.sort_by_key(|index| away[*index]),
            Prefer::Cheapest => order.sort_by(|a, b| {
                let cost = |index: usize| self.members[index].cost;
                away[*a].cmp(&away[*b]).then(cost(*a).total_cmp(&cost(*b)))
            }),
            Prefer::Fastest => self.by_latency(now, &away, &mut order),
        }
        order
    }

    fn by_latency(&self, now: Instant, away: &[bool], order: &mut Order) {
        let estimates: SmallVec<[f64; MAX_TOOLS]> = self
            .members
            .iter()
            .map(|member| member.latency.estimate(now))
            .collect();
        order.sort_by(|a, b| {
            away[*a]
                .cmp(&away[*b])
                .then(estimates[*a].total_cmp(&estimates[*b]))
        });
        let favourite = self.favourite.load(Ordering::Relaxed);
        let fastest = order[0];
        let is_clearly_faster = estimates[fastest] < estimates[favourite] * CLEARLY_FASTER;
        if fastest == favourite {
            return;
        }
        if is_clearly_faster || away[favourite] {
            self.favourite.store(fastest, Ordering::Relaxed);
        } else if let Some(at) = order.iter().position(|index| *index == favourite) {
            order[..=at].rotate_right(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(config: serde_json::Value) -> Group {
        let config = serde_json::from_value(config).expect("a group");
        Group::new(&config, Instant::now())
    }

    fn order(group: &Group, away: &[&str]) -> Vec<usize> {
        let order = group.order(Instant::now(), |tool| !away.contains(&tool));
        order.to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn the_listed_and_the_cheapest_come_first_if_they_are_there() {
        let listed = group(json!({ "tools": ["a", "b", "c"] }));
        assert_eq!(order(&listed, &[]), [0, 1, 2]);
        assert_eq!(order(&listed, &["a"]), [1, 2, 0]);
        let cheapest = group(json!({
            "tools": ["a", "b", "c"],
            "prefer": "cheapest",
            "costs": { "a": 3, "b": 1, "c": 2 },
        }));
        assert_eq!(order(&cheapest, &[]), [1, 2, 0]);
        assert_eq!(order(&cheapest, &["b"]), [2, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_fastest_comes_first_and_only_a_clearly_faster_one_takes_its_place() {
        let group = group(json!({ "tools": ["a", "b", "c"], "prefer": "fastest" }));
        let measure = |member: usize, ms: u64| {
            for _ in 0..50 {
                let took = Duration::from_millis(ms);
                group.measure(member, Instant::now(), took, false);
            }
        };
        // All are measured once before any is preferred.
        for member in 0..3 {
            assert_eq!(order(&group, &[])[0], member);
            group.measure(member, Instant::now(), Duration::from_millis(100), false);
        }
        let favourite = order(&group, &[])[0];
        let other = (favourite + 1) % 3;
        measure(other, 90);
        assert_eq!(order(&group, &[])[0], favourite, "10 % is no reason");
        measure(other, 70);
        assert_eq!(order(&group, &[])[0], other);
        measure(favourite, 60);
        assert_eq!(order(&group, &[])[0], other, "nor is it backwards");
        let away = [&*group.members[other].tool];
        assert_eq!(order(&group, &away)[0], favourite);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_left_and_measured_again_later() {
        let group = group(json!({ "tools": ["a", "b"], "prefer": "fastest" }));
        group.measure(0, Instant::now(), Duration::from_millis(1), true);
        group.measure(1, Instant::now(), Duration::from_millis(50), false);
        assert_eq!(order(&group, &[])[0], 1);
        let mut first = 1;
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(20)).await;
            first = order(&group, &[])[0];
            if first == 0 {
                break;
            }
            group.measure(1, Instant::now(), Duration::from_millis(50), false);
        }
        assert_eq!(first, 0, "it was measured again");
    }

    #[test]
    fn arguments_go_by_way_of_the_first() {
        let config = json!({
            "tools": ["a", "b", "c"],
            "map": { "b": { "query": "q" }, "c": { "query": "text", "n": { "const": 5 } } },
        });
        let config = serde_json::from_value(config).expect("a group");
        let group = Group::new(&config, Instant::now());
        let [back, there] = group.mappings(1, 2);
        let first = back.apply(br#"{"q":"x"}"#).expect("maps");
        let mapped = there.apply(&first).expect("maps");
        assert_eq!(&*mapped, br#"{"text":"x","n":5}"#);
    }
}
