//! The response to a call: JSON if nothing was sent before the outcome, else an event stream.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use switchboard_protocol::call::{HighestProgress, Outcome, Payload, Sink};
use switchboard_protocol::method::Method;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use super::arriving::{ArrivingResponse, BrokenOff, one_line};
use super::respond;
use crate::stack::CallFuture;

/// How many notifications wait for a slow client; further ones are dropped and counted.
const NOTIFICATIONS: usize = 256;
/// How many bytes of them wait.
const NOTIFICATION_BYTES: usize = 1024 * 1024;
/// After this long without a word the stream is opened, and a comment follows as often:
/// intermediaries cut idle exchanges.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);
/// A comment (specification: `basic/transports/streamable-http`, Receiving Messages).
pub(crate) const COMMENT: &[u8] = b":\n\n";

/// The end of a call's notifications that the call holds.
struct Notifications {
    sender: mpsc::Sender<Bytes>,
    highest: HighestProgress,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Sink for Notifications {
    fn offer(&self, notification: Bytes) -> bool {
        let size = notification.len();
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        // One of any size fits into an empty queue; its size is bounded where it was read.
        let fits = waiting == 0 || waiting + size <= NOTIFICATION_BYTES;
        let taken = fits && self.sender.try_send(notification).is_ok();
        if !taken {
            self.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        taken
    }

    fn rises(&self, progress: f64) -> bool {
        self.highest.rises(progress)
    }
}

/// The end of a call's notifications that its response holds.
pub(crate) struct Queue {
    receiver: mpsc::Receiver<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Queue {
    async fn recv(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let notification = ready!(self.receiver.poll_recv(context));
        Poll::Ready(notification.inspect(|notification| self.taken(notification)))
    }

    fn try_recv(&mut self) -> Option<Bytes> {
        let notification = self.receiver.try_recv().ok();
        notification.inspect(|notification| self.taken(notification))
    }

    fn taken(&self, notification: &Bytes) {
        self.waiting_bytes
            .fetch_sub(notification.len(), Ordering::Relaxed);
    }
}

/// A pair of sink and what comes out of it.
pub(crate) fn notifications() -> (Arc<dyn Sink>, Queue) {
    let (sender, receiver) = mpsc::channel(NOTIFICATIONS);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let sink = Notifications {
        sender,
        highest: HighestProgress::default(),
        waiting_bytes: Arc::clone(&waiting_bytes),
    };
    (
        Arc::new(sink),
        Queue {
            receiver,
            waiting_bytes,
        },
    )
}

/// A call under way: its method and id, its future, and its notifications if it wants any.
pub(crate) struct Running {
    pub(crate) method: Method,
    pub(crate) id: Bytes,
    pub(crate) outcome: CallFuture,
    pub(crate) notifications: Option<Queue>,
}

/// Waits for whatever comes first, and answers in the form that suits it. Dropping the future, or
/// the body of the response that it gives, cancels the call.
pub(crate) async fn respond(mut running: Running) -> Response {
    tokio::select! {
        biased;
        Ok(outcome) = &mut running.outcome => {
            let buffered = running.notifications.as_mut().and_then(|notifications| notifications.try_recv());
            match buffered {
                None => respond::response(running.method, &running.id, outcome),
                Some(first) => event_stream(running, Some(first), Some(outcome)),
            }
        }
        notification = next(&mut running.notifications) => event_stream(running, Some(notification), None),
        () = sleep(SILENCE) => event_stream(running, None, None),
    }
}

/// The next notification; never, if there are none (any more).
async fn next(notifications: &mut Option<Queue>) -> Bytes {
    match notifications {
        Some(receiver) => match receiver.recv().await {
            Some(notification) => notification,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

fn event_stream(running: Running, first: Option<Bytes>, outcome: Option<Outcome>) -> Response {
    let mut body = CallStream {
        running,
        ready: VecDeque::new(),
        outcome,
        arriving: None,
        ended: false,
        silence: Box::pin(sleep(SILENCE)),
    };
    match first {
        Some(notification) => body.push_event(notification.into()),
        None => body.ready.push_back(Bytes::from_static(COMMENT)),
    }
    respond::event_stream(Body::new(body))
}

/// The event stream of one call: notifications, then the response, then the end.
struct CallStream {
    running: Running,
    /// Bytes that wait to be sent.
    ready: VecDeque<Bytes>,
    /// The outcome, held back until the notifications before it are sent.
    outcome: Option<Outcome>,
    /// The response, once its result is arriving.
    arriving: Option<ArrivingResponse>,
    ended: bool,
    silence: Pin<Box<Sleep>>,
}

impl CallStream {
    fn push_event(&mut self, message: Payload) {
        event(message, &mut self.ready);
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.silence.as_mut().reset(Instant::now() + SILENCE);
                return Poll::Ready(Some(Ok(bytes)));
            }
            // A comment cannot stand in the middle of an event.
            if let Some(arriving) = &mut self.arriving {
                return arriving.poll_bytes(context);
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if self.outcome.is_none()
                && let Poll::Ready(Ok(outcome)) = Pin::new(&mut self.running.outcome).poll(context)
            {
                self.outcome = Some(outcome);
            }
            let notification = match &mut self.running.notifications {
                Some(notifications) => match notifications.poll_recv(context) {
                    Poll::Ready(notification) => notification,
                    Poll::Pending => None,
                },
                None => None,
            };
            if let Some(notification) = notification {
                self.push_event(notification.into());
            } else if let Some(Outcome::Arriving(result)) = self
                .outcome
                .take_if(|outcome| matches!(outcome, Outcome::Arriving(_)))
            {
                self.arriving = Some(ArrivingResponse::event(&self.running.id, result));
            } else if let Some(outcome) = self.outcome.take() {
                let message = respond::message(self.running.method, &self.running.id, outcome);
                self.push_event(message.body);
                self.ended = true;
            } else {
                ready!(self.silence.as_mut().poll(context));
                self.ready.push_back(Bytes::from_static(COMMENT));
            }
        }
    }
}

impl hyper::body::Body for CallStream {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.poll_bytes(context)
            .map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
    }
}

/// Writes a message as one event. An event's data is one line: line ends that a server put between
/// the tokens of its JSON become spaces.
pub(crate) fn event(message: Payload, out: &mut VecDeque<Bytes>) {
    const SMALL: usize = 4 * 1024;
    if message.len() <= SMALL {
        let mut event = Vec::with_capacity(message.len() + 8);
        event.extend_from_slice(b"data: ");
        for segment in message.into_segments() {
            event.extend_from_slice(&one_line(segment));
        }
        event.extend_from_slice(b"\n\n");
        out.push_back(event.into());
        return;
    }
    out.push_back(Bytes::from_static(b"data: "));
    out.extend(message.into_segments().map(one_line));
    out.push_back(Bytes::from_static(b"\n\n"));
}
