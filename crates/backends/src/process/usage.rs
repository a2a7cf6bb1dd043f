//! What the trees of local servers use right now, from one pass over `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use foldhash::fast::RandomState;
use rustix::param::{clock_ticks_per_second, page_size};

/// What a tree of processes uses, its owner left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The processes in it.
    pub processes: usize,
    /// Their resident memory in bytes. What several share counts for each.
    pub resident_bytes: u64,
    /// The CPU time of all that ever were in it, user and system.
    pub cpu: Duration,
}

/// What the kernel says of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// CPU time of its own, in ticks.
    own_ticks: u64,
    /// CPU time of its children that have ended and were waited for, in ticks.
    ended_ticks: u64,
    resident_pages: u64,
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub(super) struct Processes {
    stats: HashMap<u32, Stat, RandomState>,
    children: HashMap<u32, Vec<u32>, RandomState>,
}

impl Processes {
    /// Reads `/proc` once; without one there is nothing in it. Blocks: about 10 µs for each process
    /// of the machine.
    pub(super) fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut all = Self::default();
        for id in ids {
            // It may have ended since.
            if let Some(stat) = read_stat(id) {
                all.children.entry(stat.parent).or_default().push(id);
                all.stats.insert(id, stat);
            }
        }
        all
    }

    /// What everything below this owner uses; `None` if the owner is gone.
    pub(super) fn below(&self, owner: u32) -> Option<Usage> {
        let mut ticks = self.stats.get(&owner)?.ended_ticks;
        let (mut pages, mut count) = (0, 0);
        let mut left = self.children_of(owner).to_vec();
        while let Some(id) = left.pop() {
            let Some(stat) = self.stats.get(&id) else {
                continue;
            };
            ticks += stat.own_ticks + stat.ended_ticks;
            pages += stat.resident_pages;
            count += 1;
            // A parent and its child cannot be below each other, so this ends: but numbers are
            // used again while they are read.
            if count > self.stats.len() {
                break;
            }
            left.extend_from_slice(self.children_of(id));
        }
        Some(Usage {
            processes: count,
            resident_bytes: pages.saturating_mul(page_size() as u64),
            cpu: of_ticks(ticks),
        })
    }

    fn children_of(&self, id: u32) -> &[u32] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// The CPU time of a tree that is about to end: that of the program, if it is still there, and of all
/// that its owner has waited for. Reads two small files.
pub(super) fn cpu_at_end(owner: u32, program: u32) -> Duration {
    let ended = read_stat(owner).map_or(0, |stat| stat.ended_ticks);
    let own = read_stat(program).filter(|stat| stat.parent == owner);
    of_ticks(ended + own.map_or(0, |stat| stat.own_ticks + stat.ended_ticks))
}

fn of_ticks(ticks: u64) -> Duration {
    let each = clock_ticks_per_second().max(1);
    Duration::from_secs(ticks / each) + Duration::from_secs(1) * (ticks % each) as u32 / each as u32
}

fn read_stat(id: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads `/proc/ID/stat` (proc_pid_stat(5)).
fn parse(text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Numbered from 1 there; the first behind the name is the third.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // Times of children may be shown negative by old kernels.
    let ticks = |field: usize| number(field).unwrap_or(0);
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        own_ticks: ticks(14) + ticks(15),
        ended_ticks: ticks(16) + ticks(17),
        resident_pages: number(24).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(id: u32, parent: u32, own: u64, ended: u64, pages: u64) -> String {
        format!(
            "{id} (a b) c) S {parent} 1 1 0 -1 4194560 9 9 9 9 {own} 1 {ended} 2 20 0 1 0 77 999 {pages} 18446744073709551615 1\n"
        )
    }

    fn processes(stats: &[(u32, u32, u64, u64, u64)]) -> Processes {
        let mut all = Processes::default();
        for (id, parent, own, ended, pages) in stats {
            let stat = parse(&stat(*id, *parent, *own, *ended, *pages)).expect("valid");
            all.children.entry(stat.parent).or_default().push(*id);
            all.stats.insert(*id, stat);
        }
        all
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse(&stat(7, 3, 10, 20, 5)).expect("valid");
        let expected = Stat {
            parent: 3,
            own_ticks: 11,
            ended_ticks: 22,
            resident_pages: 5,
        };
        assert_eq!(stat, expected);
        assert_eq!(parse("7 (x"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_tree_is_all_below_its_owner_and_what_has_ended_in_it() {
        // The owner is 10; 20 is a stranger.
        let all = processes(&[
            (10, 1, 500, 0, 50),
            (11, 10, 9, 0, 1),
            (12, 11, 19, 8, 2),
            (20, 1, 1000, 0, 1000),
        ]);
        let usage = all.below(10).expect("it is there");
        assert_eq!(usage.processes, 2);
        assert_eq!(usage.resident_bytes, 3 * page_size() as u64);
        // The owner's ended 2, of 11 10 + 2, of 12 20 + 10.
        assert_eq!(usage.cpu, of_ticks(44));
        assert_eq!(all.below(99), None);
    }

    #[test]
    fn numbers_that_are_used_again_do_not_hold_it_up() {
        let all = processes(&[
            (10, 1, 0, 0, 0),
            (11, 12, 0, 0, 0),
            (12, 11, 0, 0, 0),
            (11, 10, 0, 0, 0),
        ]);
        assert!(all.below(10).expect("it is there").processes <= 4);
    }

    #[test]
    fn this_process_is_seen() {
        let all = Processes::read();
        let own = all.stats.get(&std::process::id()).expect("this process");
        assert!(own.resident_pages > 0);
    }
}
