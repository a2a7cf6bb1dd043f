//! What was measured, as a table and as JSON.

use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::Failure;
use crate::load::Loaded;
use crate::subject::Kind;

/// What a run was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Calls to each subject in each round.
    pub(crate) calls: u64,
    /// Keep-alive connections.
    pub(crate) connections: u16,
    /// Rounds.
    pub(crate) rounds: u16,
}

/// One subject in one round, or the median of its rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Round {
    /// CPU time of the subject, in microseconds.
    cpu_us_per_call: f64,
    /// CPU time of processes that the subject started, in microseconds.
    children_cpu_us_per_call: f64,
    calls_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Round {
    /// What `calls` calls took.
    pub(crate) fn new(calls: u64, own: Duration, children: Duration, loaded: &Loaded) -> Self {
        let calls = calls as f64;
        Self {
            cpu_us_per_call: us(own) / calls,
            children_cpu_us_per_call: us(children) / calls,
            calls_per_s: calls / loaded.elapsed.as_secs_f64(),
            p50_us: us(loaded.quantile(0.5)),
            p99_us: us(loaded.quantile(0.99)),
        }
    }

    fn median_of(rounds: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| median(rounds.iter().map(part));
        Self {
            cpu_us_per_call: of(|round| round.cpu_us_per_call),
            children_cpu_us_per_call: of(|round| round.children_cpu_us_per_call),
            calls_per_s: of(|round| round.calls_per_s),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
        }
    }
}

/// All that was measured of one subject.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    subject: Kind,
    median: Round,
    /// How far the CPU times of the rounds lie apart, as a share of their median.
    cpu_spread: f64,
    /// The median of each round's ratio to nginx in the same round. For `direct` there is none:
    /// its CPU time is the backend's own.
    cpu_ratio_to_nginx: Option<f64>,
    peak_rss_bytes: Option<u64>,
    rounds: Vec<Round>,
}

impl Summary {
    /// Sums the rounds of a subject up.
    pub(crate) fn new(subject: Kind, rounds: Vec<Round>, peak_rss_bytes: Option<u64>) -> Self {
        let median = Round::median_of(&rounds);
        let cpu = rounds.iter().map(|round| round.cpu_us_per_call);
        let most = cpu.clone().fold(f64::NEG_INFINITY, f64::max);
        let least = cpu.fold(f64::INFINITY, f64::min);
        Self {
            subject,
            cpu_spread: (most - least) / median.cpu_us_per_call,
            median,
            cpu_ratio_to_nginx: None,
            peak_rss_bytes,
            rounds,
        }
    }
}

/// A subject that was not measured, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Absent {
    subject: Kind,
    reason: String,
}

impl Absent {
    /// Notes why a subject was not measured.
    pub(crate) fn new(subject: Kind, failure: &Failure) -> Self {
        Self {
            subject,
            reason: failure.to_string(),
        }
    }
}

/// Where and when a run was made.
#[derive(Clone, Debug, Serialize)]
struct Machine {
    date: String,
    cpu: String,
    cores: usize,
    kernel: String,
    optimised: bool,
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
pub(crate) struct Report {
    machine: Machine,
    settings: Settings,
    subjects: Vec<Summary>,
    not_measured: Vec<Absent>,
}

impl Report {
    /// Puts the subjects beside each other.
    pub(crate) fn new(
        settings: Settings,
        mut subjects: Vec<Summary>,
        not_measured: Vec<Absent>,
    ) -> Self {
        let nginx = subjects
            .iter()
            .find(|summary| summary.subject == Kind::Nginx)
            .map(|summary| summary.rounds.clone());
        for summary in &mut subjects {
            if let Some(nginx) = &nginx
                && summary.subject != Kind::Direct
            {
                let pairs = summary.rounds.iter().zip(nginx);
                let ratios =
                    pairs.map(|(round, nginx)| round.cpu_us_per_call / nginx.cpu_us_per_call);
                summary.cpu_ratio_to_nginx = Some(median(ratios));
            }
        }
        Self {
            machine: Machine::this(),
            settings,
            subjects,
            not_measured,
        }
    }

    /// How many times nginx's CPU time a call takes through `kind`, if both were measured.
    pub(crate) fn ratio_to_nginx(&self, kind: Kind) -> Option<f64> {
        let mut summaries = self.subjects.iter();
        summaries
            .find(|summary| summary.subject == kind)?
            .cpu_ratio_to_nginx
    }

    /// The whole report as JSON, each round included.
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            calls,
            connections,
            rounds,
        } = self.settings;
        let machine = &self.machine;
        writeln!(
            f,
            "{} · {} · {} cores · Linux {}",
            machine.date, machine.cpu, machine.cores, machine.kernel
        )?;
        writeln!(
            f,
            "small tools/call, closed loop, {connections} connections, medians of {rounds} rounds of {calls} calls\n"
        )?;
        writeln!(
            f,
            "{:<12} {:>11} {:>8} {:>10} {:>8} {:>8} {:>9} {:>8}",
            "subject",
            "CPU µs/call",
            "spread",
            "calls/s",
            "p50 µs",
            "p99 µs",
            "peak RSS",
            "× nginx"
        )?;
        for summary in &self.subjects {
            let Round {
                cpu_us_per_call,
                calls_per_s,
                p50_us,
                p99_us,
                ..
            } = summary.median;
            let rss = summary.peak_rss_bytes.map_or_else(
                || "-".to_owned(),
                |bytes| format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0)),
            );
            let ratio = summary
                .cpu_ratio_to_nginx
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(
                f,
                "{:<12} {cpu_us_per_call:>11.2} {:>7.1}% {calls_per_s:>10.0} {p50_us:>8.0} {p99_us:>8.0} {rss:>9} {ratio:>8}",
                summary.subject.name(),
                summary.cpu_spread * 100.0,
            )?;
        }
        writeln!(
            f,
            "\nCPU is the subject's alone; for direct it is the backend's. Spread: the rounds' highest less their lowest."
        )?;
        for absent in &self.not_measured {
            writeln!(
                f,
                "not measured: {}: {}",
                absent.subject.name(),
                absent.reason
            )?;
        }
        Ok(())
    }
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The middle one, or the mean of the two in the middle; zero of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
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

    fn summary(kind: Kind, cpu: &[f64]) -> Summary {
        let rounds = cpu.iter().map(|cpu| Round {
            cpu_us_per_call: *cpu,
            ..Round::default()
        });
        Summary::new(kind, rounds.collect(), Some(1024 * 1024))
    }

    fn report(subjects: Vec<Summary>, absent: Vec<Absent>) -> Report {
        let settings = Settings {
            calls: 1,
            connections: 1,
            rounds: 3,
        };
        Report::new(settings, subjects, absent)
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let nginx = summary(Kind::Nginx, &[10.0, 20.0, 10.0]);
        let switchboard = summary(Kind::Switchboard, &[20.0, 40.0, 30.0]);
        let report = report(vec![nginx, switchboard], Vec::new());
        assert_eq!(report.ratio_to_nginx(Kind::Switchboard), Some(2.0));
        assert_eq!(report.ratio_to_nginx(Kind::Floor), None);
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        let absent = Absent::new(Kind::Nginx, &Failure("nginx is not installed".to_owned()));
        let report = report(vec![summary(Kind::Switchboard, &[1.0])], vec![absent]);
        assert_eq!(report.ratio_to_nginx(Kind::Switchboard), None);
        let table = report.to_string();
        assert!(
            table.contains("not measured: nginx: nginx is not installed"),
            "{table}"
        );
    }
}
