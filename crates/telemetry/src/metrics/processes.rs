//! What the processes of local backends use, of which a remote one has nothing to show.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Counter, CounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::families;
use super::forget_series;
use super::{gauges, register};

/// The families, of which a backend has its handles once it has processes.
#[derive(Clone, Debug)]
pub(super) struct ProcessFamilies {
    processes: IntGaugeVec,
    memory: IntGaugeVec,
    start: IntGaugeVec,
    write_queue: IntGaugeVec,
    cpu: CounterVec,
}

impl ProcessFamilies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let cpu = &families::BACKEND_CPU;
        let cpu = CounterVec::new(Opts::new(cpu.name, cpu.help), cpu.labels)?;
        Ok(Self {
            processes: gauges(registry, &families::PROCESSES)?,
            memory: gauges(registry, &families::BACKEND_MEMORY)?,
            start: gauges(registry, &families::BACKEND_START)?,
            write_queue: gauges(registry, &families::BACKEND_WRITE_QUEUE)?,
            cpu: register(registry, cpu)?,
        })
    }

    pub(super) fn of(&self, backend: &str) -> ProcessMetrics {
        ProcessMetrics {
            processes: self.processes.with_label_values(&[backend]),
            memory: self.memory.with_label_values(&[backend]),
            start: self.start.with_label_values(&[backend]),
            write_queue: self.write_queue.with_label_values(&[backend]),
            cpu: self.cpu.with_label_values(&[backend]),
        }
    }

    /// Takes away all series of a backend.
    pub(super) fn forget(&self, backend: &str) {
        for gauges in [
            &self.processes,
            &self.memory,
            &self.start,
            &self.write_queue,
        ] {
            forget_series(gauges, "backend", backend);
        }
        forget_series(&self.cpu, "backend", backend);
    }
}

/// The handles of one local backend.
#[derive(Clone, Debug)]
pub struct ProcessMetrics {
    processes: IntGauge,
    memory: IntGauge,
    start: IntGauge,
    write_queue: IntGauge,
    cpu: Counter,
}

impl ProcessMetrics {
    /// Shows how many processes there are, what they use, and how many messages wait for them.
    pub fn show(
        &self,
        processes: usize,
        resident_bytes: u64,
        write_queue: usize,
        started: Option<SystemTime>,
    ) {
        let start = started.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let start = start.map_or(0, |since| since.as_secs());
        self.processes.set(clamped(processes));
        self.memory.set(clamped(resident_bytes));
        self.write_queue.set(clamped(write_queue));
        self.start.set(clamped(start));
    }

    /// Counts CPU time that was used since it was counted last.
    pub fn used_cpu(&self, time: Duration) {
        self.cpu.inc_by(time.as_secs_f64());
    }
}

fn clamped<N>(number: N) -> i64
where
    i64: TryFrom<N>,
{
    i64::try_from(number).unwrap_or(i64::MAX)
}
