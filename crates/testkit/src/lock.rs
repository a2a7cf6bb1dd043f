//! Locks of servers that tests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also one that a panic has poisoned: nothing behind one is left half done, and the test that
/// panicked fails by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
