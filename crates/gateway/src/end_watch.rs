//! Sees how a call ends: one that is answered at once, one whose result arrives piece by piece, and
//! one that is given up.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use switchboard_protocol::call::{Outcome, Piece, ResultStream};
use switchboard_protocol::error::CallError;
use switchboard_telemetry::InTrace;

/// Is told of the end of one call. Dropped without it: nobody waited for the end any more.
pub(crate) trait EndWatcher: Send + 'static {
    /// So many bytes of the answer were handed on, or are about to be.
    fn handed_on(&mut self, _bytes: usize) {}

    /// The call has ended. Called once.
    fn ended(&mut self, ending: Ending<'_>);

    /// To be held while the call is worked for.
    fn enter(&self) -> Option<InTrace> {
        None
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ending<'e> {
    /// With a whole result.
    Complete {
        /// Whether it says `isError: true`.
        is_error: bool,
    },
    /// With a question of the server's.
    InputRequired,
    /// With none of these. Something may be added to what the caller is told of it.
    Failed(&'e mut CallError),
}

pin_project! {
    /// A call under way that may be watched.
    pub(crate) struct WatchedFuture<F, W> {
        // Dropped before the watcher, so that it sees all that the call leaves behind.
        #[pin]
        inner: F,
        watcher: Option<W>,
    }
}

impl<F, W> WatchedFuture<F, W> {
    pub(crate) fn new(inner: F, watcher: Option<W>) -> Self {
        Self { inner, watcher }
    }
}

impl<F, W> Future for WatchedFuture<F, W>
where
    F: Future<Output = Result<Outcome, Infallible>>,
    W: EndWatcher,
{
    type Output = Result<Outcome, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // First, so that nothing is moved where nobody watches.
        if this.watcher.is_none() {
            return this.inner.poll(context);
        }
        let polled = {
            let _in_trace = this.watcher.as_ref().and_then(EndWatcher::enter);
            this.inner.poll(context)
        };
        let Ok(outcome) = ready!(polled);
        Poll::Ready(Ok(match this.watcher.take() {
            Some(watcher) => watch(outcome, watcher),
            None => outcome,
        }))
    }
}

fn watch(outcome: Outcome, mut watcher: impl EndWatcher) -> Outcome {
    let mut outcome = match outcome {
        Outcome::Arriving(result) => {
            return Outcome::Arriving(Box::new(WatchedStream { result, watcher }));
        }
        outcome => outcome,
    };
    match &mut outcome {
        Outcome::Arriving(_) => {}
        Outcome::Complete(completed) => {
            watcher.handed_on(completed.result.len());
            watcher.ended(Ending::Complete {
                is_error: completed.is_error,
            });
        }
        Outcome::InputRequired(result) => {
            watcher.handed_on(result.len());
            watcher.ended(Ending::InputRequired);
        }
        Outcome::Failed(error) => {
            if let CallError::Backend { error, .. } = error {
                watcher.handed_on(error.len());
            }
            watcher.ended(Ending::Failed(error));
        }
    }
    outcome
}

/// A result under way, watched to its last byte.
struct WatchedStream<W> {
    // Dropped before the watcher, as above.
    result: Box<dyn ResultStream>,
    watcher: W,
}

impl<W: EndWatcher> ResultStream for WatchedStream<W> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let polled = {
            let _in_trace = self.watcher.enter();
            self.result.poll_piece(context)
        };
        let mut piece = ready!(polled);
        match &mut piece {
            Ok(Piece::Bytes(bytes)) => self.watcher.handed_on(bytes.len()),
            Ok(Piece::End { is_error }) => self.watcher.ended(Ending::Complete {
                is_error: *is_error,
            }),
            Err(error) => self.watcher.ended(Ending::Failed(error)),
        }
        Poll::Ready(piece)
    }

    fn upper_bound(&self) -> Option<u64> {
        self.result.upper_bound()
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        self.result.keep(room);
    }

    fn cut_off(&mut self) {
        self.result.cut_off();
    }
}
