//! How many connections a listener has, and which of them have still to prove themselves.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Limits;

/// Those of a listener.
pub(super) struct Slots {
    open: Arc<Semaphore>,
    /// Where only those count that have proved themselves.
    handshakes: Option<Arc<Handshakes>>,
}

/// What a connection has when it is accepted.
pub(super) enum Slot {
    /// One of those that there are.
    Taken(OwnedSemaphorePermit),
    /// None yet.
    Unproven(Unproven),
}

/// Those that have not ended, the oldest first.
struct Handshakes {
    most: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    all: BTreeMap<u64, CancellationToken>,
}

/// A handshake, until it is dropped.
pub(super) struct Unproven {
    id: u64,
    crowded_out: CancellationToken,
    handshakes: Arc<Handshakes>,
    open: Arc<Semaphore>,
}

impl Slots {
    pub(super) fn new(limits: &Limits) -> Self {
        let most = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let handshakes = limits.max_handshakes.map(|most| Handshakes {
            most: most.max(1),
            under_way: Mutex::default(),
        });
        Self {
            open: Arc::new(Semaphore::new(most)),
            handshakes: handshakes.map(Arc::new),
        }
    }

    /// Waits until there is room for a connection.
    pub(super) async fn wait(&self) -> Option<Ready<'_>> {
        let permit = Arc::clone(&self.open).acquire_owned().await.ok()?;
        Some(match self.handshakes {
            // It goes to whoever proves himself first.
            Some(_) => Ready(self, None),
            None => Ready(self, Some(permit)),
        })
    }
}

/// Room for one connection.
pub(super) struct Ready<'s>(&'s Slots, Option<OwnedSemaphorePermit>);

impl Ready<'_> {
    /// That of a connection that was accepted now. Where there are too many handshakes the oldest
    /// ends: who belongs here needs a moment, and who does not may come as often as he likes.
    pub(super) fn accepted(self) -> Option<Slot> {
        if let Some(permit) = self.1 {
            return Some(Slot::Taken(permit));
        }
        let handshakes = self.0.handshakes.as_ref()?;
        let crowded_out = CancellationToken::new();
        let mut under_way = handshakes.under_way.lock();
        if under_way.all.len() >= handshakes.most
            && let Some((_, oldest)) = under_way.all.pop_first()
        {
            oldest.cancel();
        }
        let id = under_way.next;
        under_way.next += 1;
        under_way.all.insert(id, crowded_out.clone());
        drop(under_way);
        Some(Slot::Unproven(Unproven {
            id,
            crowded_out,
            handshakes: Arc::clone(handshakes),
            open: Arc::clone(&self.0.open),
        }))
    }
}

impl Unproven {
    /// What `handshake` comes to, with a place among the connections that have proved themselves,
    /// for which it waits so long.
    ///
    /// # Errors
    /// That of the handshake; or there were too many, or no place.
    pub(super) async fn prove<S>(
        self,
        handshake: impl Future<Output = io::Result<S>>,
        wait: Duration,
    ) -> io::Result<(S, OwnedSemaphorePermit)> {
        let proved = self.crowded_out.run_until_cancelled(handshake).await;
        let proved = proved.ok_or_else(|| io::Error::other("too many handshakes at once"))??;
        let permit = timeout(wait, Arc::clone(&self.open).acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok((proved, permit)),
            _ => Err(io::Error::other("too many connections at once")),
        }
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.handshakes.under_way.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const WAIT: Duration = Duration::from_secs(2);

    async fn unproven(slots: &Slots) -> Unproven {
        let ready = slots.wait().await.expect("room");
        match ready.accepted() {
            Some(Slot::Unproven(unproven)) => unproven,
            _ => unreachable!("nobody has proved himself yet"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_handshake_makes_way_and_takes_no_slot() {
        let slots = Slots::new(&Limits {
            max_connections: 1,
            max_handshakes: Some(2),
            ..Limits::default()
        });
        let first = unproven(&slots).await;
        let _second = unproven(&slots).await;
        let third = unproven(&slots).await;
        assert!(
            first
                .prove(pending::<io::Result<()>>(), WAIT)
                .await
                .is_err()
        );
        let proved = third.prove(ready(Ok(())), WAIT).await.expect("a slot");
        assert_eq!(slots.open.available_permits(), 0);
        // Who comes now waits until that one has gone.
        assert!(timeout(WAIT, slots.wait()).await.is_err());
        drop(proved);
        let fourth = unproven(&slots).await;
        drop(fourth.prove(ready(Ok(())), WAIT).await.expect("a slot"));
        let handshakes = slots.handshakes.as_ref().expect("bounded");
        assert_eq!(handshakes.under_way.lock().all.len(), 1);
    }
}
