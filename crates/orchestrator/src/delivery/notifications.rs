//! What a call's caller is told meanwhile, without secrets.
//!
//! A sink never waits, and whoever offers may hold what others wait for, so no more than a [`STEP`] is looked
//! through at once there. What is larger, and all that comes behind it, waits until the call is polled,
//! which looks through it step by step. Before all that was heard is told the call hears nothing more, as
//! far as it reads itself, and does not end: everything is told in order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use switchboard_backends::Backend;
use switchboard_backends::redaction::in_steps;
use switchboard_protocol::call::{Call, Sink};
use switchboard_protocol::delivery::{Redactor, STEP, Terms};
use switchboard_telemetry::{BackendMetrics, IgnoredMessage};

/// How many notifications of a call wait, a large one and those behind it, before the call has its turn; further
/// ones are dropped and counted.
const MAX_WAITING: usize = 256;
/// How many bytes of them wait, beside one of any size.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Hands on what a call's caller is told, without what the redactor finds in it.
pub(crate) struct Notifications {
    shared: Arc<Shared>,
    /// The first of what waits, while secrets are taken out of it.
    first: Option<BoxFuture<'static, Bytes>>,
    metrics: BackendMetrics,
}

/// The sink that servers are given.
struct Shared {
    redactor: Arc<dyn Redactor>,
    sink: Arc<dyn Sink>,
    waiting: Mutex<Waiting>,
    /// Of the call.
    waker: AtomicWaker,
}

/// What was heard and is not told yet.
#[derive(Default)]
struct Waiting {
    /// Whether one that was taken out is not told yet.
    has_first: bool,
    others: VecDeque<Bytes>,
    bytes: usize,
    /// How many were put in since the call was polled last.
    since_polled: usize,
    /// Whether nobody will tell what is put in any more.
    is_over: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        !self.has_first && self.others.is_empty()
    }

    /// Adds one; `false`: there is no room, or so many came that the call, with its deadline, has to have its
    /// turn first.
    fn put(&mut self, notification: Bytes) -> bool {
        let bytes = self.bytes + notification.len();
        let fits = self.others.is_empty() || bytes <= MAX_WAITING_BYTES;
        if !fits || self.is_over || self.since_polled >= MAX_WAITING {
            return false;
        }
        self.since_polled += 1;
        self.bytes = bytes;
        self.others.push_back(notification);
        true
    }

    fn take_first(&mut self) -> Option<Bytes> {
        let first = self.others.pop_front();
        self.bytes -= first.as_ref().map_or(0, Bytes::len);
        self.has_first = first.is_some();
        if !self.has_first {
            // The call is polled next.
            self.since_polled = 0;
        }
        first
    }
}

impl Sink for Shared {
    fn offer(&self, notification: Bytes) -> bool {
        {
            let mut waiting = self.waiting.lock();
            if notification.len() > STEP || !waiting.is_empty() {
                let is_taken = waiting.put(notification);
                drop(waiting);
                self.waker.wake();
                return is_taken;
            }
        }
        self.sink.offer(self.redactor.redact(notification))
    }

    fn rises(&self, progress: f64) -> bool {
        self.sink.rises(progress)
    }
}

impl Notifications {
    /// Those that go to this sink. What it does not take of those that waited is counted here.
    fn new(redactor: &Arc<dyn Redactor>, sink: &Arc<dyn Sink>, metrics: &BackendMetrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                redactor: Arc::clone(redactor),
                sink: Arc::clone(sink),
                waiting: Mutex::default(),
                waker: AtomicWaker::new(),
            }),
            first: None,
            metrics: metrics.clone(),
        }
    }

    /// Where servers offer theirs.
    fn heard(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.shared) as Arc<dyn Sink>
    }

    /// The sink that they go to.
    fn told(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.shared.sink)
    }

    /// Whether something that was heard is not told yet.
    fn are_waiting(&self) -> bool {
        !self.shared.waiting.lock().is_empty()
    }

    /// Polls the call to which they belong, once all that it heard is told.
    fn poll_call<T>(
        &mut self,
        context: &mut Context<'_>,
        mut call: Pin<&mut impl Future<Output = T>>,
    ) -> Poll<T> {
        loop {
            ready!(self.poll_told(context));
            let polled = call.as_mut().poll(context);
            if polled.is_ready() || !self.are_waiting() {
                return polled;
            }
        }
    }

    /// What the call ended with, once all that it heard is told.
    pub(crate) async fn all_told<T>(mut self: Box<Self>, ended: T) -> T {
        poll_fn(|context| self.poll_told(context)).await;
        ended
    }

    /// Takes the next step; ready once nothing waits.
    fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Before the look, so that nothing is missed that comes between look and wait.
        self.shared.waker.register(context.waker());
        if self.first.is_none() {
            self.begin_next();
        }
        let Some(first) = &mut self.first else {
            return Poll::Ready(());
        };
        let notification = ready!(first.as_mut().poll(context));
        if !self.shared.sink.offer(notification) {
            self.metrics.ignored(IgnoredMessage::DroppedNotification);
        }
        self.begin_next();
        // What is told takes room until the client's side has its turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn begin_next(&mut self) {
        let next = self.shared.waiting.lock().take_first();
        self.first = next.map(|text| in_steps(self.shared.redactor.begin_whole(text)).boxed());
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.shared.waiting.lock().is_over = true;
    }
}

/// Has secrets taken out of what the call's caller is told meanwhile, if there are any to take out. The
/// call is then to be made by [`hearing`].
pub(crate) fn redact_notifications(
    call: &mut Call,
    terms: Option<&Terms>,
    backend: &Backend,
) -> Option<Box<Notifications>> {
    let redactor = terms?.redactor.as_ref()?;
    let notifications = Notifications::new(redactor, call.sink.as_ref()?, backend.metrics());
    call.sink = Some(notifications.heard());
    Some(Box::new(notifications))
}

/// Makes a call that may have such notifications.
pub(crate) async fn hearing<T>(
    notifications: &mut Option<Box<Notifications>>,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> T {
    poll_fn(|context| match notifications {
        Some(notifications) => notifications.poll_call(context, call.as_mut()),
        None => call.as_mut().poll(context),
    })
    .await
}

/// Puts the sink back as it was, since a substitute's backend has a redactor of its own. Gives the
/// notifications again if some of them are to be told yet.
pub(crate) fn give_sink_back(
    call: &mut Call,
    notifications: Option<Box<Notifications>>,
) -> Option<Box<Notifications>> {
    let notifications = notifications?;
    call.sink = Some(notifications.told());
    notifications.are_waiting().then_some(notifications)
}

#[cfg(test)]
mod tests;
