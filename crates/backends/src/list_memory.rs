//! The memory that the lists of one backend take, whichever of its endpoints told them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Twice what one endpoint may tell (five lists of 64 MiB): what it told before is kept until it has
/// told all anew. A backend may have hundreds of endpoints, and they tell the same.
const MAX_BYTES: usize = 2 * 5 * 64 * 1024 * 1024;

/// The memory of one backend. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct ListMemory(Arc<AtomicUsize>);

impl ListMemory {
    /// Room for lists that are being read: none yet.
    pub(crate) fn begin(&self) -> Held {
        Held {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

/// What some lists take, given back when this is dropped.
pub(crate) struct Held {
    memory: ListMemory,
    bytes: usize,
}

impl Held {
    /// Takes so much more, if there is room.
    pub(crate) fn grow(&mut self, more: usize) -> bool {
        let room = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= MAX_BYTES);
        let grown = self
            .memory
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_endpoints_together_keep_no_more_than_there_is() {
        let memory = ListMemory::default();
        let (mut one, mut other) = (memory.begin(), memory.begin());
        assert!(one.grow(MAX_BYTES - 10));
        assert!(!other.grow(11));
        assert!(other.grow(10));
        assert!(!one.grow(1));
        drop(one);
        assert!(other.grow(11));
        drop(other);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
