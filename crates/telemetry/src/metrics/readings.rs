//! Metrics whose value is read when somebody asks: counters kept elsewhere, and what the kernel
//! knows of this process.

use std::collections::HashMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::families::{self, Family};

/// A metric with one child whose value a closure gives at the moment of the scrape; absent while it
/// gives none.
pub(super) struct Reading<F> {
    desc: Desc,
    counter: bool,
    read: F,
}

impl<F: Fn() -> Option<f64> + Send + Sync> Reading<F> {
    /// A reading of `family`, with the values of its labels in order.
    pub(super) fn new(family: &Family, values: &[&str], read: F) -> prometheus::Result<Self> {
        let labels: HashMap<_, _> = family
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
            .collect();
        Ok(Self {
            desc: Desc::new(family.name.into(), family.help.into(), Vec::new(), labels)?,
            counter: family.kind == "counter",
            read,
        })
    }
}

impl<F: Fn() -> Option<f64> + Send + Sync> Collector for Reading<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(value) = (self.read)() else {
            return Vec::new();
        };
        let labels: Vec<LabelPair> = self.desc.const_label_pairs.clone();
        let mut metric = Metric::from_label(labels);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        if self.counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
            family.set_field_type(MetricType::COUNTER);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            family.set_field_type(MetricType::GAUGE);
        }
        family.set_metric(vec![metric]);
        vec![family]
    }
}

/// What `/metrics` says of the process itself. Where there is no procfs, the readings that need it
/// are absent.
pub(super) fn process() -> prometheus::Result<Vec<Box<dyn Collector>>> {
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs_f64())
        .ok();
    Ok(vec![
        Box::new(Reading::new(&families::PROCESS_CPU, &[], || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
        })?),
        Box::new(Reading::new(&families::PROCESS_OPEN_FDS, &[], || {
            // The listing itself holds one descriptor, which is closed again by the time anybody
            // reads the number.
            Some(
                fs::read_dir("/proc/self/fd")
                    .ok()?
                    .count()
                    .saturating_sub(1) as f64,
            )
        })?),
        Box::new(Reading::new(&families::PROCESS_MAX_FDS, &[], || {
            getrlimit(Resource::Nofile)
                .current
                .map(|limit| limit as f64)
        })?),
        Box::new(Reading::new(&families::PROCESS_MEMORY, &[], || {
            Some(status_field("VmRSS:")? * 1024.0)
        })?),
        Box::new(Reading::new(&families::PROCESS_THREADS, &[], || {
            status_field("Threads:")
        })?),
        Box::new(Reading::new(&families::PROCESS_START, &[], move || start)?),
    ])
}

/// The number in a line of `/proc/self/status`; memory is in KiB there.
fn status_field(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
