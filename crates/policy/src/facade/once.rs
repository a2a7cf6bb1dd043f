//! What may be used once: states, codes, and each refresh token.
//!
//! Everything that follows from one login is a family, and each use of it a generation: the code is
//! the first, every refresh token one more. A generation that was used before is a copy in strange
//! hands, and ends its family (OAuth 2.1, section 4.3.1).
//!
//! This is memory of one process, and bounded. A family that is not known, after a restart or on
//! another replica, is believed once.

use std::collections::{BTreeSet, HashMap};

/// How many are remembered. Beyond that those that end first are forgotten.
pub(super) const MOST: usize = 100_000;

/// The id of a family.
pub(super) type FamilyId = [u8; 16];

/// What has ended for good.
const ENDED: u64 = u64::MAX;

/// Which generations were used.
#[derive(Debug, Default)]
pub(super) struct Once {
    /// The generation of each that may be used next.
    next: HashMap<FamilyId, u64>,
    /// When nothing of each is valid any more, in seconds since 1970.
    ends: BTreeSet<(u64, FamilyId)>,
}

/// It was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UsedBefore;

impl Once {
    /// Uses a generation of a family, of which nothing is valid after `ends_at`.
    ///
    /// # Errors
    ///
    /// If it was used before; then the family has ended.
    pub(super) fn take(
        &mut self,
        id: FamilyId,
        generation: u64,
        ends_at: u64,
        now: u64,
    ) -> Result<(), UsedBefore> {
        self.forget(now);
        if let Some(next) = self.next.get_mut(&id) {
            if generation < *next {
                *next = ENDED;
                return Err(UsedBefore);
            }
            *next = generation + 1;
            return Ok(());
        }
        self.next.insert(id, generation + 1);
        self.ends.insert((ends_at, id));
        Ok(())
    }

    fn forget(&mut self, now: u64) {
        while let Some(&(ends_at, id)) = self.ends.first()
            && (ends_at <= now || self.next.len() >= MOST)
        {
            self.ends.remove(&(ends_at, id));
            self.next.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Once, UsedBefore};

    #[test]
    fn each_generation_is_used_once_and_a_copy_ends_all() {
        let mut once = Once::default();
        let mut take = |generation| once.take([1; 16], generation, 100, 0);
        assert_eq!(take(0), Ok(()));
        assert_eq!(take(1), Ok(()));
        assert_eq!(take(2), Ok(()));
        assert_eq!(take(1), Err(UsedBefore));
        assert_eq!(take(3), Err(UsedBefore), "the family has ended");
        assert_eq!(once.take([2; 16], 7, 100, 0), Ok(()), "another has not");
    }

    #[test]
    fn what_has_ended_is_forgotten_and_there_is_a_bound() {
        let mut once = Once::default();
        once.take([1; 16], 0, 10, 0).unwrap();
        once.take([2; 16], 0, 1_000_000, 0).unwrap();
        for n in 0..MOST as u128 {
            once.take((n + 1000).to_be_bytes(), 0, 100 + n as u64, 20)
                .unwrap();
        }
        assert!(once.next.len() <= MOST);
        assert_eq!(once.next.len(), once.ends.len());
        assert!(!once.next.contains_key(&[1; 16]));
        assert!(once.next.contains_key(&[2; 16]), "what ends last stays");
    }
}
