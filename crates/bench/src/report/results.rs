//! All that a run measured, round by round.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::targets::Verdict;
use crate::Failure;
use crate::accounting::CpuUsed;
use crate::load::Loaded;
use crate::rows::{Row, Scale};

/// One load on one subject in one round, or the median of its rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Round {
    /// CPU time of the subject, in microseconds.
    pub(crate) cpu_us_per_call: f64,
    /// CPU time of servers that the subject started, in microseconds.
    pub(crate) servers_cpu_us_per_call: f64,
    /// Calls answered in a second.
    pub(crate) calls_per_s: f64,
    /// Latencies, in microseconds.
    pub(crate) p50_us: f64,
    /// As above.
    pub(crate) p99_us: f64,
    /// As above.
    pub(crate) p999_us: f64,
    /// The most memory that the subject held in the round; zero if it is unknown.
    pub(crate) peak_rss_bytes: f64,
}

impl Round {
    /// What `calls` calls took.
    pub(crate) fn new(calls: u64, used: CpuUsed, loaded: &Loaded, peak_rss: Option<u64>) -> Self {
        let calls = calls as f64;
        Self {
            cpu_us_per_call: us(used.subject) / calls,
            servers_cpu_us_per_call: us(used.servers) / calls,
            calls_per_s: calls / loaded.elapsed.as_secs_f64(),
            p50_us: us(loaded.quantile(0.5)),
            p99_us: us(loaded.quantile(0.99)),
            p999_us: us(loaded.quantile(0.999)),
            peak_rss_bytes: peak_rss.unwrap_or_default() as f64,
        }
    }

    fn median_of(rounds: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| median(rounds.iter().map(part).collect());
        Self {
            cpu_us_per_call: of(|round| round.cpu_us_per_call),
            servers_cpu_us_per_call: of(|round| round.servers_cpu_us_per_call),
            calls_per_s: of(|round| round.calls_per_s),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            p999_us: of(|round| round.p999_us),
            peak_rss_bytes: of(|round| round.peak_rss_bytes),
        }
    }
}

/// The rounds of one row and subject.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// The row's name.
    pub(crate) row: &'static str,
    /// The subject's name.
    pub(crate) subject: String,
    /// The medians of the rounds, each by itself.
    pub(crate) median: Round,
    /// How far the CPU times of the rounds lie apart, as a share of their median.
    pub(crate) cpu_spread: f64,
    /// Each round.
    pub(crate) rounds: Vec<Round>,
}

/// A single quantity of Switchboard.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// The row's name.
    pub(crate) row: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The median of its values.
    pub(crate) median: f64,
    /// Each value.
    pub(crate) values: Vec<f64>,
}

/// A subject that was not measured, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absent {
    /// The row's name.
    pub(crate) row: &'static str,
    /// The subject's name.
    pub(crate) subject: String,
    /// Why.
    pub(crate) reason: String,
}

/// What a run was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Small calls to each subject in each round.
    pub(crate) calls: u64,
    /// Rounds.
    pub(crate) rounds: usize,
    /// The names of the rows.
    pub(crate) rows: Vec<&'static str>,
}

/// Where and when a run was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// When, in UTC.
    pub(crate) date: String,
    /// The processor.
    pub(crate) cpu: String,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// The version of Linux.
    pub(crate) kernel: String,
    /// Whether this program was built with optimisation.
    pub(crate) optimised: bool,
}

impl Machine {
    fn this() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned());
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cpu,
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

/// All that a run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    /// Where and when.
    pub(crate) machine: Machine,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// How the targets were met.
    pub(crate) targets: Vec<Verdict>,
    /// Loads.
    pub(crate) rows: Vec<Measured>,
    /// Single quantities.
    pub(crate) figures: Vec<Figure>,
    /// What was not measured.
    pub(crate) not_measured: Vec<Absent>,
}

impl Results {
    /// Nothing yet, on this machine and now.
    pub(crate) fn new(scale: Scale, rows: &[&'static Row]) -> Self {
        Self {
            machine: Machine::this(),
            settings: Settings {
                calls: scale.calls,
                rounds: scale.rounds,
                rows: rows.iter().map(|row| row.name).collect(),
            },
            targets: Vec::new(),
            rows: Vec::new(),
            figures: Vec::new(),
            not_measured: Vec::new(),
        }
    }

    /// Notes the rounds of a row and subject.
    pub(crate) fn rounds(&mut self, row: &'static str, subject: String, rounds: Vec<Round>) {
        let median = Round::median_of(&rounds);
        let cpu = rounds.iter().map(|round| round.cpu_us_per_call);
        let most = cpu.clone().fold(f64::NEG_INFINITY, f64::max);
        let least = cpu.fold(f64::INFINITY, f64::min);
        self.rows.push(Measured {
            row,
            subject,
            cpu_spread: (most - least) / median.cpu_us_per_call,
            median,
            rounds,
        });
    }

    /// Notes a single quantity of Switchboard, which was measured once or more often.
    pub(crate) fn figure(
        &mut self,
        row: &'static str,
        what: &'static str,
        unit: &'static str,
        values: Vec<f64>,
    ) {
        self.figures.push(Figure {
            row,
            what,
            unit,
            median: median(values.clone()),
            values,
        });
    }

    /// Notes why a subject was not measured.
    pub(crate) fn absent(&mut self, row: &'static str, subject: String, failure: &Failure) {
        eprintln!("{row}: {subject}: not measured: {failure}");
        self.not_measured.push(Absent {
            row,
            subject,
            reason: failure.to_string(),
        });
    }

    /// What was measured of a row and subject.
    pub(crate) fn of(&self, row: &str, subject: &str) -> Option<&Measured> {
        let mut rows = self.rows.iter();
        rows.find(|measured| measured.row == row && measured.subject == subject)
    }

    /// The median of a single quantity of a row.
    pub(crate) fn figure_of(&self, row: &str, what: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        let found = figures.find(|figure| figure.row == row && figure.what == what);
        found.map(|figure| figure.median)
    }

    /// How many times the other's `part` one has: the median of the ratios of each round.
    pub(crate) fn ratio(
        &self,
        one: (&str, &str),
        other: (&str, &str),
        part: fn(&Round) -> f64,
    ) -> Option<f64> {
        self.by_round(one, other, |one, other| part(one) / part(other))
    }

    /// How much more of `part` one has: the median of the differences of each round.
    pub(crate) fn difference(
        &self,
        one: (&str, &str),
        other: (&str, &str),
        part: fn(&Round) -> f64,
    ) -> Option<f64> {
        self.by_round(one, other, |one, other| part(one) - part(other))
    }

    fn by_round(
        &self,
        one: (&str, &str),
        other: (&str, &str),
        compare: impl Fn(&Round, &Round) -> f64,
    ) -> Option<f64> {
        let (one, other) = (self.of(one.0, one.1)?, self.of(other.0, other.1)?);
        let pairs = one.rounds.iter().zip(&other.rounds);
        let values: Vec<f64> = pairs.map(|(one, other)| compare(one, other)).collect();
        (!values.is_empty()).then(|| median(values))
    }

    /// Everything as JSON, each round included.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(crate) fn to_json(&self) -> Result<String, Failure> {
        let mut json =
            serde_json::to_string_pretty(self).map_err(Failure::at("cannot write the report"))?;
        json.push('\n');
        Ok(json)
    }
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle one, or the mean of the two in the middle; zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (n, middle) if n % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let scale = Scale {
            calls: 1,
            rounds: 3,
            quick: true,
        };
        let mut results = Results::new(scale, &[]);
        let rounds = |cpu: [f64; 3]| {
            let round = |cpu_us_per_call| Round {
                cpu_us_per_call,
                ..Round::default()
            };
            cpu.into_iter().map(round).collect()
        };
        results.rounds("small", "nginx".to_owned(), rounds([10.0, 20.0, 10.0]));
        results.rounds(
            "small",
            "switchboard".to_owned(),
            rounds([20.0, 40.0, 30.0]),
        );
        let cpu = |round: &Round| round.cpu_us_per_call;
        let ratio = |subject| results.ratio(("small", "switchboard"), ("small", subject), cpu);
        assert_eq!(ratio("nginx"), Some(2.0));
        assert_eq!(ratio("floor"), None);
    }
}
