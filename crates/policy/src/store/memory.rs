//! The counts of one limit or budget in memory: a bounded map, in shards, so that two threads seldom
//! meet.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::limits::concerns::PARTS;
use crate::limits::terms::{Nanos, State, Terms};

/// How many combinations a limit or budget counts apart. Further ones of a principal share a count,
/// one of 64, until others are back to full.
pub const MAX_COMBINATIONS: usize = 100_000;

const SHARDS: usize = 16;

/// How many counts there are for those combinations that have none of their own: by the principal, so
/// that who makes many takes from few others.
const RESTS: usize = 64;

/// How long it takes until a full shard is looked through again: that takes as long as many calls.
const SWEEP_EVERY: Nanos = 1_000_000_000;

/// The counts of one limit or budget, by combination.
pub(crate) struct Table {
    /// Tells it from every other of this process: the order in which a call locks its counts.
    pub(crate) id: u64,
    name: Arc<str>,
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    hasher: RandomState,
    /// Those of all combinations for which there is no room, by principal.
    rests: Box<[Arc<Entry>]>,
    was_full: AtomicBool,
}

#[derive(Default)]
struct Shard {
    entries: HashTable<Arc<Entry>>,
    swept_at: Nanos,
}

/// What is counted of one combination.
pub(crate) struct Entry {
    hash: u64,
    parts: [Box<str>; PARTS],
    pub(crate) state: Mutex<State>,
}

impl Entry {
    fn new(hash: u64, parts: [&str; PARTS]) -> Arc<Self> {
        Arc::new(Self {
            hash,
            parts: parts.map(Into::into),
            state: Mutex::default(),
        })
    }

    fn is(&self, hash: u64, parts: &[&str; PARTS]) -> bool {
        self.hash == hash
            && self
                .parts
                .iter()
                .zip(parts)
                .all(|(own, part)| **own == **part)
    }

    pub(crate) fn parts(&self) -> [&str; PARTS] {
        self.parts.each_ref().map(|part| &**part)
    }
}

impl Table {
    pub(crate) fn new(name: Arc<str>) -> Arc<Self> {
        Self::with_room(name, MAX_COMBINATIONS)
    }

    pub(crate) fn with_room(name: Arc<str>, combinations: usize) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: combinations.div_ceil(SHARDS),
            hasher: RandomState::default(),
            rests: (0..RESTS).map(|_| Entry::new(0, [""; PARTS])).collect(),
            was_full: AtomicBool::new(false),
        })
    }

    /// The count of this combination; one for the rest if there is no room for it.
    pub(crate) fn entry(&self, parts: &[&str; PARTS], terms: &Terms, now: Nanos) -> Arc<Entry> {
        let hash = self.hasher.hash_one(parts);
        // The table takes its own bits from the other end.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        let mut shard = shard.lock();
        if let Some(known) = shard.entries.find(hash, |entry| entry.is(hash, parts)) {
            return Arc::clone(known);
        }
        if shard.entries.len() >= self.per_shard && !shard.sweep(terms, now) {
            drop(shard);
            self.warn_once();
            let principal = self.hasher.hash_one(parts[0]);
            return Arc::clone(&self.rests[principal as usize % RESTS]);
        }
        let entry = Entry::new(hash, *parts);
        shard
            .entries
            .insert_unique(hash, Arc::clone(&entry), |entry| entry.hash);
        entry
    }

    /// At most `cap` counts that `wanted` takes, those of the rest last.
    pub(crate) fn some(&self, cap: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let room = cap - found.len();
            let wanted = shard.entries.iter().filter(|entry| wanted(entry));
            found.extend(wanted.take(room).cloned());
        }
        let room = cap - found.len();
        let rests = self.rests.iter().filter(|entry| wanted(entry));
        found.extend(rests.take(room).cloned());
        found
    }

    /// Looks at all counts, those of the rest last; shard by shard, so that no call waits for all.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Entry)) {
        for shard in &self.shards {
            let entries: Vec<Arc<Entry>> = shard.lock().entries.iter().cloned().collect();
            entries.iter().for_each(|entry| look(entry));
        }
        self.rests.iter().for_each(|entry| look(entry));
    }

    fn warn_once(&self) {
        if !self.was_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                limit = &*self.name,
                "more than {MAX_COMBINATIONS} combinations are counted, so further ones share counts"
            );
        }
    }
}

impl Shard {
    /// Forgets what says no more than a new count would, and that no call holds; whether there is
    /// room now.
    fn sweep(&mut self, terms: &Terms, now: Nanos) -> bool {
        if now.abs_diff(self.swept_at) < SWEEP_EVERY {
            return false;
        }
        self.swept_at = now;
        let before = self.entries.len();
        self.entries.retain(|entry| {
            // Whoever takes a count from the table holds this shard's lock, so nobody takes it now.
            Arc::strong_count(entry) > 1 || !terms.is_idle(&entry.state.lock(), now)
        });
        self.entries.len() < before
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::terms::{BudgetTerms, Price};

    const TERMS: Terms = Terms::Budget(BudgetTerms {
        calls: Some(1),
        bytes: None,
        cost: None,
        window: 10_000_000_000,
    });
    const PRICE: Price = Price {
        cost: 1,
        is_continuation: false,
    };

    fn take(table: &Table, user: &str, now: Nanos) -> bool {
        let entry = table.entry(&[user, "", "", "", ""], &TERMS, now);
        let mut state = entry.state.lock();
        let is_enough = TERMS.check(&state, now, PRICE).is_ok();
        if is_enough {
            TERMS.take(&mut state, now, PRICE);
        }
        is_enough
    }

    fn len(table: &Table) -> usize {
        table.some(usize::MAX, |_| true).len()
    }

    #[test]
    fn a_full_table_counts_the_rest_together_until_others_are_back_to_full() {
        let table = Table::with_room("a".into(), SHARDS);
        let start = 20_000_000_000;
        let passed = (0..1000)
            .filter(|n| take(&table, &n.to_string(), start))
            .count();
        // One for each combination with a count of its own, and one for each count of the others.
        let some = SHARDS + 1..=SHARDS + RESTS;
        assert!(some.contains(&passed), "{passed}");
        assert_eq!(len(&table), SHARDS + RESTS);
        assert!(!take(&table, "0", start));
        let passed = (1000..2000).filter(|n| take(&table, &n.to_string(), start + 10_000_000_000));
        assert!(some.contains(&passed.count()));
    }

    #[test]
    fn who_makes_many_combinations_takes_from_few_others() {
        let table = Table::with_room("a".into(), SHARDS);
        let rest = |user: &str, conversation: &str| {
            let entry = table.entry(&[user, "", "", "", conversation], &TERMS, 0);
            (0..RESTS).find(|at| Arc::ptr_eq(&table.rests[*at], &entry))
        };
        for conversation in 0..1000 {
            rest("many", &conversation.to_string());
        }
        let many = rest("many", "last").expect("there is no room");
        let shared = (0..1000).filter(|n| rest(&n.to_string(), "") == Some(many));
        assert!(shared.count() < 200);
    }

    #[test]
    fn what_a_call_holds_is_never_forgotten() {
        let table = Table::with_room("a".into(), SHARDS);
        let held = table.entry(&["held", "", "", "", ""], &TERMS, 0);
        for second in 1..10 {
            for n in 0..100 {
                let name = format!("{second} {n}");
                table.entry(&[&name, "", "", "", ""], &TERMS, second * 2_000_000_000);
            }
        }
        let again = table.entry(&["held", "", "", "", ""], &TERMS, 0);
        assert!(Arc::ptr_eq(&held, &again));
    }
}
