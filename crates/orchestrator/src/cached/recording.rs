//! A result that is cached once it has arrived.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::error::CallError;

use super::miss::Miss;

/// How many bytes of results that are still arriving are recorded at once. More are not cached.
const MAX_RECORDED: usize = 64 * 1024 * 1024;

/// How many bytes are recorded at this moment, of all results that are still arriving.
#[derive(Default)]
pub(super) struct Recorded(AtomicUsize);

impl Recorded {
    /// Takes room for so many more; whether there is any.
    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| Some(taken + bytes).filter(|sum| *sum <= MAX_RECORDED);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A result under way, of which a copy is cached when it was whole, no error, and not too large.
pub(super) struct Recording {
    result: Box<dyn ResultStream>,
    /// `None`: it is not cached.
    tape: Option<Tape>,
}

struct Tape {
    miss: Box<Miss>,
    text: Vec<u8>,
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.miss.recorded.give_back(self.text.len());
    }
}

impl Recording {
    pub(super) fn new(result: Box<dyn ResultStream>, miss: Box<Miss>) -> Self {
        let text = Vec::new();
        Self {
            result,
            tape: Some(Tape { miss, text }),
        }
    }

    fn record(&mut self, bytes: &Bytes) {
        let Some(tape) = &mut self.tape else { return };
        let is_small = tape.text.len().saturating_add(bytes.len()) <= tape.miss.max_entry;
        if is_small && tape.miss.recorded.take(bytes.len()) {
            tape.text.extend_from_slice(bytes);
        } else {
            self.give_up();
        }
    }

    /// It is for nobody else.
    fn give_up(&mut self) {
        if let Some(mut tape) = self.tape.take() {
            tape.miss.cache(None);
        }
    }

    fn cache(&mut self) {
        if let Some(mut tape) = self.tape.take() {
            // A copy of the right length.
            let text = Bytes::copy_from_slice(&tape.text);
            tape.miss.cache(Some(text));
        }
    }
}

/// Dropped before its end, and not cut off, it goes to the next of those that wait for it.
impl ResultStream for Recording {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let piece = ready!(self.result.poll_piece(context));
        match &piece {
            Ok(Piece::Bytes(bytes)) => self.record(bytes),
            Ok(Piece::End { is_error: false }) => self.cache(),
            Ok(Piece::End { is_error: true }) | Err(_) => self.give_up(),
        }
        Poll::Ready(piece)
    }

    // Equal calls may wait for it.
    fn upper_bound(&self) -> Option<u64> {
        None
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }

    fn cut_off(&mut self) {
        // Those that wait would be cut off one after another.
        self.give_up();
        self.result.cut_off();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Duration;

    use switchboard_protocol::policy::TargetKind;
    use switchboard_protocol::result_cache::{
        CacheKey, CacheUsage, CachedResult, Lookup, ResultCache,
    };
    use switchboard_telemetry::Metrics;

    use super::super::flights::{Flights, Lead, Role};
    use super::super::{Question, now};
    use super::*;

    const KEY: CacheKey = CacheKey::new([1; 32]);

    #[derive(Debug)]
    struct Nothing;

    impl ResultCache for Nothing {
        fn get(&self, _: &CacheKey) -> Lookup {
            Lookup::Known(None)
        }

        fn put(&self, _: &CacheKey, _: CachedResult) {}

        fn usage(&self) -> Option<CacheUsage> {
            None
        }
    }

    struct Endless;

    impl ResultStream for Endless {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
            Poll::Ready(Ok(Piece::Bytes(Bytes::from_static(b"[0,"))))
        }

        fn upper_bound(&self) -> Option<u64> {
            None
        }

        fn keep(&mut self, _: Box<dyn Send>) {}
    }

    async fn role(flights: &Arc<Flights>) -> Role {
        flights.join(&KEY).expect("there is room").role().await
    }

    fn recording(lead: Lead) -> Recording {
        let question = Question {
            key: KEY,
            public: None,
            kind: TargetKind::Tool,
            backend: "one".into(),
            ttl: Duration::from_secs(1),
            stale_for: Duration::ZERO,
            asked_at: now(),
            changed_at: None,
            metrics: Metrics::new().expect("a registry").backend("one"),
        };
        let miss = Miss {
            question,
            lead: Some(lead),
            stale: None,
            store: Arc::new(Nothing),
            max_entry: 1024,
            recorded: Arc::default(),
        };
        Recording::new(Box::new(Endless), Box::new(miss))
    }

    #[tokio::test]
    async fn cut_off_it_sets_all_free_and_given_up_it_goes_to_the_next() {
        for is_cut_off in [true, false] {
            let flights = Arc::new(Flights::default());
            let Role::Lead(lead) = role(&flights).await else {
                panic!("the first leads");
            };
            let mut recording = recording(lead);
            let waiting = flights.join(&KEY).expect("there is room");
            let piece = recording.poll_piece(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(piece, Poll::Ready(Ok(Piece::Bytes(_)))));
            if is_cut_off {
                recording.cut_off();
            }
            drop(recording);
            let role = waiting.role().await;
            assert_eq!(matches!(role, Role::Follow(None)), is_cut_off);
        }
    }
}
