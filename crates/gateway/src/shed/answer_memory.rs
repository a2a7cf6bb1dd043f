//! The memory that whole answers take while their clients read them.
//!
//! What a server answered is read at the server's pace and sent at the client's, so a client that
//! does not read would have the gateway keep as much as it asks for. A large answer is therefore
//! counted from when it is there until the last of its bytes was handed to the system, wherever they
//! are by then: the bytes themselves hold what is counted ([`Held::bind`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_protocol::call::Payload;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::PrincipalHash;

/// Answers up to this size are not counted: what a connection holds of them is bounded by its
/// streams, and most answers are no larger.
pub(crate) const LARGE: usize = 64 * 1024;
/// How many bytes of answers there are at once: four of the largest that a backend gives by default
/// (`max_message_bytes`), so that two principals who read slowly leave room for others.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// How many of these are one principal's.
const MAX_OF_PRINCIPAL: usize = MAX_HELD / 2;
/// How many bytes wait for room. They are in memory as well, though not for long.
const MAX_WAITING: usize = MAX_HELD / 2;
/// How long they wait: clients that read make room in less.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// All memory of answers.
#[derive(Default)]
pub(super) struct AnswerMemory {
    state: Mutex<State>,
    /// Some was given back.
    freed: Notify,
}

#[derive(Default)]
struct State {
    held: usize,
    waiting: usize,
    of_principal: HashMap<PrincipalHash, usize>,
}

impl AnswerMemory {
    /// Room for an answer of this size, if there is any now.
    pub(super) fn try_hold(
        self: &Arc<Self>,
        principal: PrincipalHash,
        size: usize,
    ) -> Option<Held> {
        let mut state = self.state.lock();
        let own = state.of_principal.get(&principal).copied().unwrap_or(0);
        if !fits(state.held, size, MAX_HELD)
            || (principal.has_share() && !fits(own, size, MAX_OF_PRINCIPAL))
        {
            return None;
        }
        state.held += size;
        state.of_principal.insert(principal, own + size);
        Some(Held {
            memory: Arc::clone(self),
            principal,
            size,
        })
    }

    /// Room for an answer of this size, as soon as there is some; none if that takes too long, or
    /// if too much waits for it.
    pub(super) async fn hold(
        self: Arc<Self>,
        principal: PrincipalHash,
        size: usize,
    ) -> Option<Held> {
        let _waiting = self.wait_for(size)?;
        let room = async {
            loop {
                // Begins before the look, so that nothing given back in between is missed.
                let freed = self.freed.notified();
                if let Some(held) = self.try_hold(principal, size) {
                    return held;
                }
                freed.await;
            }
        };
        timeout(MAX_WAIT, room).await.ok()
    }

    fn wait_for(&self, size: usize) -> Option<Waiting<'_>> {
        let mut state = self.state.lock();
        if !fits(state.waiting, size, MAX_WAITING) {
            return None;
        }
        state.waiting += size;
        Some(Waiting { memory: self, size })
    }
}

/// Whether there is room. What is larger than all that there is has it alone, for an operator may
/// have allowed answers of any size.
fn fits(used: usize, size: usize, max: usize) -> bool {
    used == 0 || used.saturating_add(size) <= max
}

/// An answer that waits for room.
struct Waiting<'m> {
    memory: &'m AnswerMemory,
    size: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.memory.state.lock().waiting -= self.size;
    }
}

/// The memory of one answer, given back when this is dropped.
pub(super) struct Held {
    memory: Arc<AnswerMemory>,
    principal: PrincipalHash,
    size: usize,
}

impl Held {
    /// The answer, of which each byte holds this and what is to be given back with it.
    pub(super) fn bind(self, answer: Payload, with: impl Send + Sync + 'static) -> Payload {
        bound_to(answer, &Arc::new((self, with)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.memory.state.lock();
        state.held -= self.size;
        if let Some(own) = state.of_principal.get_mut(&self.principal) {
            *own -= self.size;
            if *own == 0 {
                state.of_principal.remove(&self.principal);
            }
        }
        drop(state);
        self.memory.freed.notify_waiters();
    }
}

/// A payload that is what another one became: as long as a byte of it is there, so is the other,
/// whose bytes may hold the memory that is counted. Small ones hold nothing.
pub(crate) fn in_place_of(original: Payload, made: Payload) -> Payload {
    if original.len() <= LARGE {
        return made;
    }
    bound_to(made, &Arc::new(original))
}

/// The same of bytes.
pub(crate) fn bytes_in_place_of(original: Bytes, made: Bytes) -> Bytes {
    if original.len() <= LARGE {
        return made;
    }
    Bytes::from_owner(Bound {
        bytes: made,
        _to: Arc::new(original),
    })
}

fn bound_to<T: Send + Sync + 'static>(payload: Payload, to: &Arc<T>) -> Payload {
    let mut bound = Payload::default();
    for bytes in payload.into_segments() {
        bound.push(Bytes::from_owner(Bound {
            bytes,
            _to: Arc::clone(to),
        }));
    }
    bound
}

/// Bytes, and what is kept for as long as they are.
struct Bound<T> {
    bytes: Bytes,
    _to: Arc<T>,
}

impl<T> AsRef<[u8]> for Bound<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const A: PrincipalHash = PrincipalHash(1);
    const B: PrincipalHash = PrincipalHash(2);

    fn fill(memory: &Arc<AnswerMemory>, principal: PrincipalHash, size: usize) -> Vec<Held> {
        std::iter::from_fn(|| memory.try_hold(principal, size)).collect()
    }

    #[test]
    fn nobody_takes_all_of_it_and_the_largest_answer_has_room() {
        let memory = Arc::new(AnswerMemory::default());
        let of_a = fill(&memory, A, 16 * MIB);
        assert_eq!(of_a.len() * 16 * MIB, MAX_OF_PRINCIPAL);
        let of_b = fill(&memory, B, MIB);
        assert_eq!(of_b.len() * MIB, MAX_OF_PRINCIPAL);
        assert!(memory.try_hold(PrincipalHash(3), LARGE + 1).is_none());
        drop((of_a, of_b));
        assert!(memory.state.lock().of_principal.is_empty());
        assert_eq!(fill(&memory, A, 2 * MAX_HELD).len(), 1);
    }

    #[test]
    fn without_credentials_there_is_nobody_to_share_with() {
        let memory = Arc::new(AnswerMemory::default());
        assert_eq!(
            fill(&memory, PrincipalHash::ANYBODY, MIB).len() * MIB,
            MAX_HELD
        );
    }

    #[test]
    fn an_answer_is_counted_until_its_last_byte_is_gone() {
        let memory = Arc::new(AnswerMemory::default());
        let place = Arc::new(());
        let held = memory.try_hold(A, 2 * LARGE).expect("room");
        let mut answer = Payload::default();
        answer.push(vec![b'a'; LARGE]);
        answer.push(vec![b'b'; LARGE]);
        let answer = held.bind(answer, Arc::clone(&place));
        let made = in_place_of(answer.clone(), Bytes::from_static(b"short").into());
        let last = answer.segments()[1].slice(LARGE - 1..);
        drop(answer);
        drop(made);
        let copy = bytes_in_place_of(last.slice(..), Bytes::from_static(b"b"));
        assert_eq!(memory.state.lock().held, 2 * LARGE);
        assert_eq!(Arc::strong_count(&place), 2);
        drop((last, copy));
        assert_eq!(memory.state.lock().held, 0);
        assert_eq!(Arc::strong_count(&place), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_room_and_not_for_long() {
        let memory = Arc::new(AnswerMemory::default());
        let mut of_all = fill(&memory, PrincipalHash::ANYBODY, MIB);
        let waiting = tokio::spawn(Arc::clone(&memory).hold(A, MIB));
        tokio::task::yield_now().await;
        let too_much = Arc::clone(&memory).hold(A, MAX_WAITING).await;
        assert!(too_much.is_none(), "more waited than may");
        of_all.pop();
        assert!(waiting.await.expect("a task").is_some());

        of_all.extend(fill(&memory, PrincipalHash::ANYBODY, MIB));
        let asked = tokio::time::Instant::now();
        assert!(Arc::clone(&memory).hold(A, MIB).await.is_none());
        assert_eq!(asked.elapsed(), MAX_WAIT);
        assert_eq!(memory.state.lock().waiting, 0);
    }
}
