//! What is wanted of Switchboard, and whether a run shows it.

use serde::Serialize;

use super::results::{Results, Round};

/// A target and what was measured of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is held against it.
    pub(crate) what: String,
    /// The most that it may be; the least, if [`Verdict::at_least`].
    pub(crate) limit: f64,
    /// Whether the limit is a lower one.
    pub(crate) at_least: bool,
    /// The unit of both.
    pub(crate) unit: String,
    /// What it was, if it was measured.
    pub(crate) measured: Option<f64>,
}

impl Verdict {
    /// Whether it was measured and is within its limit.
    pub(crate) fn is_met(&self) -> bool {
        self.measured.is_some_and(|measured| {
            if self.at_least {
                measured >= self.limit
            } else {
                measured <= self.limit
            }
        })
    }
}

const BARE: &str = "switchboard";
const CACHED: &str = "switchboard, cached";
const CAPPED: &str = "switchboard, caps";
const REDACTING: &str = "switchboard, redaction";
const POLICIES: &str = "switchboard, all policies";

fn cpu(round: &Round) -> f64 {
    round.cpu_us_per_call
}

/// All targets, in the order in which they were set.
pub(crate) fn judge(results: &Results) -> Vec<Verdict> {
    let at_most = |what: &str, limit, unit: &str, measured| Verdict {
        what: what.to_owned(),
        limit,
        at_least: false,
        unit: unit.to_owned(),
        measured,
    };
    let times = |what: &str, limit, unit, one, other| {
        at_most(what, limit, unit, results.ratio(one, other, cpu))
    };
    let small = ("small", BARE);
    let within = |what: &str, limit, unit, row, figure| {
        at_most(what, limit, unit, results.figure_of(row, figure))
    };
    let mut all = vec![
        times(
            "CPU of a small call",
            1.3,
            "× floor",
            small,
            ("small", "floor"),
        ),
        times(
            "CPU of a small call",
            1.8,
            "× nginx",
            small,
            ("small", "nginx"),
        ),
        times(
            "the same with every policy, metrics, traces of 1 %",
            2.2,
            "× nginx",
            ("small", POLICIES),
            ("small", "nginx"),
        ),
        times(
            "CPU of a legacy client's call",
            1.3,
            "× modern",
            ("legacy-client", BARE),
            small,
        ),
        times(
            "CPU of a call to a legacy backend",
            1.3,
            "× modern",
            ("legacy-backend", BARE),
            small,
        ),
        times(
            "CPU of a call to a stdio backend",
            1.0,
            "× HTTP",
            ("stdio-backend", BARE),
            small,
        ),
        at_most(
            "CPU of a call that the cache answers, servers counted",
            0.333,
            "× the call",
            results.ratio(
                ("cached-server", CACHED),
                ("cached-server", BARE),
                |round| cpu(round) + round.servers_cpu_us_per_call,
            ),
        ),
        times(
            "CPU of a small call with caps that it does not reach",
            1.1,
            "× without",
            ("small", CAPPED),
            small,
        ),
        times(
            "CPU of a result of 1 MiB with caps that it does not reach",
            1.1,
            "× without",
            ("result-1m", CAPPED),
            ("result-1m", BARE),
        ),
        at_most(
            "CPU that redaction adds to a result of 1 MiB",
            1_000.0,
            "µs",
            results.difference(("result-1m", REDACTING), ("result-1m", BARE), cpu),
        ),
        times(
            "CPU of a result of 1 MiB",
            1.5,
            "× nginx",
            ("result-1m", BARE),
            ("result-1m", "nginx"),
        ),
        at_most(
            "added p50 at half the maximum",
            2.0,
            "× nginx",
            added_p50(results),
        ),
        times(
            "CPU of a small call, 500 backends and 10,000 tools",
            1.1,
            "× 1 and 10",
            ("backends-500", BARE),
            small,
        ),
        times(
            "the same, all backends called in turn",
            1.1,
            "× 1 and 10",
            ("backends-500-in-turn", BARE),
            small,
        ),
        times(
            "CPU of tools/list, 10,000 tools",
            1.5,
            "× nginx",
            ("list-10000", BARE),
            ("list-10000", "nginx"),
        ),
        within(
            "RSS after the quickstart's start",
            20.0,
            "MiB",
            "quickstart",
            "RSS",
        ),
        within(
            "RSS for 10,000 idle legacy sessions",
            10.0,
            "MiB",
            "sessions-10000",
            "RSS added",
        ),
        within(
            "RSS for a listen stream, of 1,000",
            20.0,
            "KiB",
            "streams",
            "RSS per stream",
        ),
        within(
            "RSS for a slow reader of 100 MiB",
            2.0,
            "MiB",
            "slow-reader",
            "RSS added",
        ),
        within(
            "start to the first answered call",
            100.0,
            "ms",
            "start",
            "start to first answered call",
        ),
    ];
    all.extend(peers(results));
    all
}

/// What Switchboard adds to a direct call's median at the fixed rate, as a ratio to what nginx
/// adds. Where nginx adds nothing there is none.
fn added_p50(results: &Results) -> Option<f64> {
    let added = |subject| results.difference(("rate", subject), ("rate", "direct"), |r| r.p50_us);
    let (bare, nginx) = (added(BARE)?, added("nginx")?);
    (nginx > 0.0).then_some(bare / nginx)
}

/// One for each peer that was measured.
fn peers(results: &Results) -> impl Iterator<Item = Verdict> {
    let others = results
        .rows
        .iter()
        .filter(|measured| measured.row.starts_with("peers-") && measured.subject != BARE);
    others.map(|peer| Verdict {
        what: format!("calls per CPU-second, {}", peer.row),
        limit: 10.0,
        at_least: true,
        unit: format!("× {}", peer.subject),
        measured: results.ratio((peer.row, &peer.subject), (peer.row, BARE), cpu),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Scale;

    fn results() -> Results {
        let scale = Scale {
            calls: 1,
            rounds: 1,
            quick: true,
        };
        Results::new(scale, &[])
    }

    fn round(cpu_us_per_call: f64, p50_us: f64) -> Vec<Round> {
        vec![Round {
            cpu_us_per_call,
            p50_us,
            ..Round::default()
        }]
    }

    fn verdict(results: &Results, what: &str, unit: &str) -> Verdict {
        let mut all = judge(results).into_iter();
        all.find(|verdict| verdict.what == what && verdict.unit == unit)
            .unwrap()
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(judge(&results()).iter().all(|verdict| !verdict.is_met()));
    }

    #[test]
    fn ratios_are_held_against_their_limits() {
        let mut results = results();
        results.rounds("small", "floor".to_owned(), round(10.0, 0.0));
        results.rounds("small", "nginx".to_owned(), round(5.0, 0.0));
        results.rounds("small", BARE.to_owned(), round(12.0, 0.0));
        let of = |unit| verdict(&results, "CPU of a small call", unit);
        assert_eq!(of("× floor").measured, Some(1.2));
        assert!(of("× floor").is_met());
        assert!(!of("× nginx").is_met());
    }

    #[test]
    fn latency_is_what_is_added() {
        let mut results = results();
        results.rounds("rate", "direct".to_owned(), round(0.0, 100.0));
        results.rounds("rate", "nginx".to_owned(), round(0.0, 140.0));
        results.rounds("rate", BARE.to_owned(), round(0.0, 160.0));
        assert_eq!(added_p50(&results), Some(1.5));
        let mut odd = self::results();
        odd.rounds("rate", "direct".to_owned(), round(0.0, 100.0));
        odd.rounds("rate", "nginx".to_owned(), round(0.0, 90.0));
        odd.rounds("rate", BARE.to_owned(), round(0.0, 160.0));
        assert_eq!(added_p50(&odd), None);
    }

    #[test]
    fn a_peer_has_to_be_ten_times_as_dear() {
        let mut results = results();
        results.rounds("peers-http", BARE.to_owned(), round(40.0, 0.0));
        results.rounds("peers-http", "other".to_owned(), round(800.0, 0.0));
        let peer = verdict(&results, "calls per CPU-second, peers-http", "× other");
        assert_eq!(peer.measured, Some(20.0));
        assert!(peer.is_met());
    }
}
