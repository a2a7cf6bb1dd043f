//! What the kernel says that a process has used.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::time::Duration;

use crate::peers::real_server_modules;

/// Linux counts `utime` and `stime` in hundredths of a second, whatever its timer's rate.
const TICK: Duration = Duration::from_millis(10);
/// The most processes that are counted as one subject.
const MAX_PROCESSES: usize = 4096;

/// The CPU time of one process at one moment.
#[derive(Clone, Debug, Default)]
struct ProcessTime {
    /// Of each thread that lives, by its id, in nanoseconds.
    threads: BTreeMap<u32, u64>,
    /// Of all threads, those that ended included.
    coarse: Duration,
}

/// The CPU time of a subject and of the servers behind it, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime {
    subject: BTreeMap<u32, ProcessTime>,
    servers: BTreeMap<u32, ProcessTime>,
}

/// CPU time used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuUsed {
    /// By the subject's process and those that descend from it, as nginx's workers do.
    pub(crate) subject: Duration,
    /// By the servers that it started, which would do the same behind anything else.
    pub(crate) servers: Duration,
}

impl CpuTime {
    /// Reads the clocks of process `pid` and its descendants. A process that is gone has used
    /// nothing.
    pub(crate) fn read(pid: u32) -> Self {
        let family = Family::of(pid);
        let read = |pids: Vec<u32>| {
            let times = pids.into_iter().map(|pid| (pid, ProcessTime::read(pid)));
            times.collect()
        };
        Self {
            subject: read(family.subject),
            servers: read(family.servers),
        }
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUsed {
        CpuUsed {
            subject: used(&self.subject, &earlier.subject),
            servers: used(&self.servers, &earlier.servers),
        }
    }
}

fn used(now: &BTreeMap<u32, ProcessTime>, earlier: &BTreeMap<u32, ProcessTime>) -> Duration {
    let started = ProcessTime::default();
    now.iter()
        .map(|(pid, now)| now.since(earlier.get(pid).unwrap_or(&started)))
        .sum()
}

/// A subject's process and those that descend from it.
struct Family {
    subject: Vec<u32>,
    servers: Vec<u32>,
}

impl Family {
    /// The servers among the descendants are known by their program: the fake ones by this one, the real
    /// one by the Node that was installed with it.
    fn of(pid: u32) -> Self {
        let this = env::current_exe().ok();
        let real = real_server_modules().canonicalize().ok();
        let is_server = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
            program.is_some_and(|program| {
                let is_real = real.as_ref().is_some_and(|real| program.starts_with(real));
                is_real || Some(program) == this
            })
        };
        let (servers, mut subject): (Vec<_>, Vec<_>) =
            descendants(pid).into_iter().partition(is_server);
        subject.push(pid);
        Self { subject, servers }
    }
}

impl ProcessTime {
    fn read(pid: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let id = entry.file_name().to_str()?.parse().ok()?;
                let times = fs::read_to_string(entry.path().join("schedstat")).ok()?;
                Some((id, times.split_whitespace().next()?.parse().ok()?))
            })
            .collect();
        let coarse = fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| ticks(&stat))
            .map_or(Duration::ZERO, |ticks| TICK * ticks);
        Self { threads, coarse }
    }

    /// To the nanosecond, unless a thread ended in between and took its clock with it.
    fn since(&self, earlier: &Self) -> Duration {
        let all_live = earlier
            .threads
            .keys()
            .all(|thread| self.threads.contains_key(thread));
        if self.threads.is_empty() || !all_live {
            return self.coarse.saturating_sub(earlier.coarse);
        }
        let sum = |times: &BTreeMap<u32, u64>| times.values().sum::<u64>();
        Duration::from_nanos(sum(&self.threads).saturating_sub(sum(&earlier.threads)))
    }
}

/// `utime` + `stime` of a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u32> {
    // The program's name stands in parentheses and may hold anything, spaces too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let utime: u32 = fields.next()?.parse().ok()?;
    let stime: u32 = fields.next()?.parse().ok()?;
    utime.checked_add(stime)
}

/// The processes that descend from `pid`, itself not among them.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = Some(pid);
    let mut asked = 0;
    while let Some(parent) = next {
        for thread in fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
        {
            let children =
                thread.and_then(|thread| fs::read_to_string(thread.path().join("children")));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        found.truncate(MAX_PROCESSES);
        next = found.get(asked).copied();
        asked += 1;
    }
    found
}

/// The memory that a process holds now, in bytes (`VmRSS`). `None` if it is gone.
pub(crate) fn rss(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that a subject has held at once since [`forget_peak`], in bytes (`VmHWM`), the
/// servers behind it not among it. Pages that processes share count in each. `None` if it is gone.
pub(crate) fn peak_rss(pid: u32) -> Option<u64> {
    let peak = |pid| status_bytes(pid, "VmHWM:");
    let own = peak(pid)?;
    let family = Family::of(pid).subject.into_iter();
    let others = family.filter(|other| *other != pid).filter_map(peak);
    Some(own + others.sum::<u64>())
}

/// Lets the peak begin anew at what a process and its descendants hold now (proc(5), `clear_refs`).
pub(crate) fn forget_peak(pid: u32) {
    for pid in std::iter::once(pid).chain(descendants(pid)) {
        // Where the kernel refuses, the peak is that of the whole life.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_hides_no_field() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 9 1 1";
        assert_eq!(ticks(stat), Some(12));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = CpuTime::read(pid);
        let mut sum = 0_u64;
        while CpuTime::read(pid).since(&before).subject < Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(rss(pid).is_some_and(|bytes| bytes > 64 * 1024));
        forget_peak(pid);
        assert!(peak_rss(pid).is_some_and(|bytes| bytes > 64 * 1024));
    }

    #[test]
    fn a_thread_that_ended_makes_the_account_coarse_not_wrong() {
        let time = |threads: &[(u32, u64)], ticks| ProcessTime {
            threads: threads.iter().copied().collect(),
            coarse: TICK * ticks,
        };
        let before = time(&[(1, 1_000), (2, 2_000)], 1);
        let grown = time(&[(1, 1_500), (2, 2_000), (3, 700)], 1);
        assert_eq!(grown.since(&before), Duration::from_nanos(1_200));
        let shrunk = time(&[(1, 1_500)], 4);
        assert_eq!(shrunk.since(&before), TICK * 3);
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing() {
        let gone = CpuTime::read(u32::MAX);
        assert_eq!(gone.since(&gone).subject, Duration::ZERO);
        assert_eq!(peak_rss(u32::MAX), None);
    }
}
