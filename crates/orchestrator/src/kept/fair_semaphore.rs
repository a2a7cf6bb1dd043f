//! A semaphore for readings, of whose permits no principal has more than half.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Principals are looked through for those that read no more once there are so many.
const LEAST_TO_PURGE: usize = 64;

/// A number of permits, of which principals have a fair share: each waits for its own, however many it
/// asks for.
#[derive(Debug)]
pub(super) struct FairSemaphore {
    permits: Arc<Semaphore>,
    /// The most of one principal.
    share: usize,
    of_principals: Mutex<Principals>,
}

#[derive(Debug)]
struct Principals {
    shares: HashMap<Arc<str>, Weak<Semaphore>>,
    purge_at: usize,
}

/// A permit, free again when this is dropped.
#[derive(Debug)]
pub(super) struct FairPermit {
    _of_share: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl FairSemaphore {
    pub(super) fn new(permits: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            share: (permits / 2).max(1),
            of_principals: Mutex::new(Principals {
                shares: HashMap::new(),
                purge_at: LEAST_TO_PURGE,
            }),
        }
    }

    /// A permit, once there is one for this principal. So few requests of each principal wait for one of
    /// all that nobody waits for long behind them.
    pub(super) async fn acquire(&self, principal: &Arc<str>) -> FairPermit {
        let of_share = acquire(self.share_of(principal)).await;
        let of_all = acquire(Arc::clone(&self.permits)).await;
        FairPermit {
            _of_share: of_share,
            _of_all: of_all,
        }
    }

    fn share_of(&self, principal: &Arc<str>) -> Arc<Semaphore> {
        let mut principals = self.of_principals.lock();
        let known = principals.shares.get(principal).and_then(Weak::upgrade);
        if let Some(share) = known {
            return share;
        }
        if principals.shares.len() >= principals.purge_at {
            principals
                .shares
                .retain(|_, share| share.strong_count() > 0);
            principals.purge_at = (2 * principals.shares.len()).max(LEAST_TO_PURGE);
        }
        let share = Arc::new(Semaphore::new(self.share));
        let weak = Arc::downgrade(&share);
        principals.shares.insert(Arc::clone(principal), weak);
        share
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use futures_util::FutureExt as _;

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn nobody_has_all_permits_and_those_who_wait_take_turns() {
        let semaphore = FairSemaphore::new(4);
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(Arc::from);
        let acquire = |who| semaphore.acquire(who).now_or_never();
        let (first, second) = (acquire(&alice), acquire(&alice));
        assert!(first.is_some() && second.is_some());
        let mut third = pin!(semaphore.acquire(&alice));
        assert!(poll(third.as_mut()).is_pending(), "she has her share");
        let of_bob = [acquire(&bob), acquire(&bob)];
        assert!(of_bob.iter().all(Option::is_some));
        let mut of_carol = pin!(semaphore.acquire(&carol));
        assert!(
            poll(of_carol.as_mut()).is_pending(),
            "all permits are taken"
        );
        drop(first);
        // Alice asked before her, but has a permit.
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(of_carol.as_mut()).is_ready());
        drop(second);
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn principals_that_read_no_more_are_forgotten() {
        let semaphore = FairSemaphore::new(4);
        for number in 0..1000 {
            let who = Arc::from(format!("{number}"));
            assert!(semaphore.acquire(&who).now_or_never().is_some());
        }
        assert!(semaphore.of_principals.lock().shares.len() <= LEAST_TO_PURGE);
    }
}
