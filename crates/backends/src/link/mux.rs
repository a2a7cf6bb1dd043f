//! Many requests over one channel: one writer task, one reader task, answers matched by id.
//!
//! Whatever the peer does hurts only this channel: its queue is bounded, a write has a deadline, a
//! message that is none is counted and forgotten, and when the channel ends every request that
//! waits is told at once whether it was sent.

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use switchboard_protocol::envelope::{Envelope, Response};
use switchboard_protocol::method::Method;
use switchboard_telemetry::IgnoredMessage;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::inbox::Inbox;
use super::watch::{Asked, Watch};
use super::{LinkError, MayArrive, Outgoing, Reply};
use crate::legacy::{Relay, attribute};

mod ends;
mod reading;
mod writing;

pub(crate) use self::ends::{Incoming, LastWord, MessageReader, MessageWriter, WriteError};
use self::reading::read_all;
pub(crate) use self::writing::cancellation;
use self::writing::write_all;

/// How many messages wait to be written.
const OUTBOX: usize = 256;
/// How many requests wait for an answer.
const MAX_PENDING: usize = 4096;
/// How long a call that was given up counts as one that may still log.
pub(crate) const GIVEN_UP_MEMORY: Duration = Duration::from_secs(300);
/// How long a process that has closed its pipe, and was told to end, may take until calls in it are
/// told without its word.
const LATE_WORD: Duration = Duration::from_secs(1);
/// How long what an ended server wrote last is still read.
const DRAIN: Duration = Duration::from_secs(1);

/// One channel. Cheap to clone; ends when [`Mux::shut_down`] is called or the peer ends it.
#[derive(Clone)]
pub(crate) struct Mux {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    outbox: mpsc::Sender<Outbound>,
    cancelled: Notify,
    /// Tells the tasks to stop.
    stop: CancellationToken,
    stage: watch::Receiver<Stage>,
    inbox: Arc<Inbox>,
    /// Set when the server has shown that it is a legacy one: not before may it be sent responses
    /// (specification: `basic/transports/stdio`, Sending Messages).
    legacy: OnceLock<Legacy>,
}

/// Whose doing the end of a channel is, and what is known of it.
enum End {
    /// The peer's.
    Seen(&'static str),
    /// This side's: for this reason.
    Made(String),
}

impl End {
    fn reason(self) -> String {
        match self {
            Self::Seen(reason) => reason.to_owned(),
            Self::Made(reason) => reason,
        }
    }
}

/// How far the end of a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It is of use.
    Open,
    /// It is known why it ended, and whoever waited has been told.
    Ended,
    /// All that it owned is gone.
    Gone,
}

/// What a channel to a legacy server has.
struct Legacy {
    /// The way to the client that the session belongs to, if it belongs to one.
    relay: Option<Arc<Relay>>,
}

#[derive(Default)]
struct State {
    pending: HashMap<u64, Pending, RandomState>,
    /// Requests that were written and that nobody waits for any more, to be told to the server.
    cancels: Vec<u64>,
    /// Calls that were given up and not answered, with the time: the server may still work on them
    /// and log.
    given_up: HashMap<u64, Instant, RandomState>,
    closed: Option<String>,
    /// Whether the channel ends because a message could not be written.
    stopped_reading: bool,
    /// Whether the channel ended before the peer had read anything.
    never_read: bool,
}

struct Pending {
    reply: oneshot::Sender<Result<Reply, LinkError>>,
    watch: Watch,
    /// Of which method a large result may be given before it is whole, if it may.
    arriving: Option<Method>,
    /// Whether writing has begun.
    sent: bool,
}

struct Outbound {
    /// The request that the message is; `None` for notifications and answers.
    id: Option<u64>,
    message: Bytes,
}

impl Mux {
    /// Starts the two tasks. `owned` is whatever must end with the channel (a process): it is
    /// polled until it is done, and is told to end by the token.
    pub(crate) fn start<R, W, O, F>(reader: R, writer: W, inbox: Arc<Inbox>, owned: O) -> Self
    where
        R: MessageReader,
        W: MessageWriter,
        O: FnOnce(CancellationToken) -> F,
        F: Future<Output: Into<LastWord> + Send> + Send + 'static,
    {
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let (stage_sender, stage) = watch::channel(Stage::Open);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            outbox,
            cancelled: Notify::new(),
            stop: stop.clone(),
            stage,
            inbox,
            legacy: OnceLock::new(),
        });
        let owned = owned(stop.clone());
        let tasks = shared.inbox.tasks.clone();
        let writing = tasks.spawn(write_all(Arc::clone(&shared), writer, queue));
        let keeper = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut owned = std::pin::pin!(owned);
            let (end, last_word) = {
                let mut reading = std::pin::pin!(read_all(&keeper, reader));
                let mut last_word = None;
                let end = tokio::select! {
                    biased;
                    () = stop.cancelled() => End::Made(keeper.why_stopped()),
                    end = &mut reading => {
                        if matches!(end, End::Seen(_)) {
                            last_word = tokio::time::timeout(R::ENDS_WITHIN, &mut owned).await.ok();
                        }
                        end
                    }
                    word = &mut owned => {
                        last_word = Some(word);
                        // What it wrote before it ended still counts.
                        let _ = tokio::time::timeout(DRAIN, &mut reading).await;
                        End::Seen("the server ended")
                    }
                };
                stop.cancel();
                // Where it reads from stays open until it was told what it has to be. What is still
                // arriving breaks off behind that.
                let _ = writing.await;
                (end, last_word)
            };
            let rest = match (end, last_word.map(Into::into)) {
                (End::Made(reason), None) => {
                    // Nobody has to wait until what is made to end has done so.
                    keeper.close(&reason);
                    let _ = stage_sender.send(Stage::Ended);
                    owned.await.into().rest
                }
                (end, word) => {
                    let mut word = word;
                    if word.is_none() {
                        let late = tokio::time::timeout(LATE_WORD, &mut owned).await;
                        word = late.ok().map(Into::into);
                    }
                    let is_over = word.is_some();
                    let LastWord { reason, rest } = word.unwrap_or_else(|| None.into());
                    // What the owned process says of its end is worth more than that its pipe
                    // closed.
                    keeper.close(&reason.unwrap_or_else(|| end.reason()));
                    let _ = stage_sender.send(Stage::Ended);
                    match is_over {
                        true => rest,
                        false => owned.await.into().rest,
                    }
                }
            };
            if let Some(rest) = rest {
                rest.await;
            }
            let _ = stage_sender.send(Stage::Gone);
        });
        Self { shared }
    }

    pub(crate) async fn request(&self, out: Outgoing, watch: Watch) -> Result<Response, LinkError> {
        self.reply(out, watch, None).await?.whole().await
    }

    /// As [`Mux::request`]; a large result may be given while it arrives, if `arriving` says so and that
    /// it is read at once: the others of the channel wait meanwhile.
    pub(crate) async fn reply(
        &self,
        out: Outgoing,
        watch: Watch,
        arriving: Option<MayArrive>,
    ) -> Result<Reply, LinkError> {
        let (reply, answer) = oneshot::channel();
        let arriving = arriving.filter(|arriving| arriving.at_once);
        let arriving = arriving.map(|arriving| arriving.method);
        self.shared.register(
            out.id,
            Pending {
                reply,
                watch,
                arriving,
                sent: false,
            },
        )?;
        let _forget = Forget {
            shared: &self.shared,
            id: out.id,
        };
        let message = Outbound {
            id: Some(out.id),
            message: out.body,
        };
        if self.shared.outbox.send(message).await.is_err() {
            return Err(LinkError::NotSent(self.shared.reason()));
        }
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(LinkError::Lost(self.shared.reason())),
        }
    }

    pub(crate) async fn notify(&self, message: Bytes) -> Result<(), LinkError> {
        let sent = self
            .shared
            .outbox
            .send(Outbound { id: None, message })
            .await;
        sent.map_err(|_| LinkError::NotSent(self.shared.reason()))
    }

    pub(crate) async fn closed(&self) -> String {
        self.until(Stage::Gone).await
    }

    pub(crate) async fn ended(&self) -> String {
        self.until(Stage::Ended).await
    }

    async fn until(&self, reached: Stage) -> String {
        let mut stage = self.shared.stage.clone();
        let _ = stage.wait_for(|stage| *stage >= reached).await;
        self.shared.reason()
    }

    /// Tells how many messages wait to be written; none once the channel has ended.
    pub(crate) fn queued(&self) -> impl Fn() -> usize + Send + Sync + 'static + use<> {
        // Not a sender: who only counts does not hold the channel open.
        let outbox = self.shared.outbox.downgrade();
        move || {
            let outbox = outbox.upgrade();
            outbox.map_or(0, |outbox| outbox.max_capacity() - outbox.capacity())
        }
    }

    /// Whether it ends or has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// Whether it ended before the server had read anything: so nothing that it was asked has to do
    /// with its end.
    pub(crate) fn was_never_read(&self) -> bool {
        self.shared.state.lock().never_read
    }

    /// From now on the server's own requests are answered: by a call, by the client that the
    /// session belongs to, or with a refusal.
    pub(crate) fn speak_legacy(&self, relay: Option<Arc<Relay>>) {
        let _ = self.shared.legacy.set(Legacy { relay });
    }

    /// Has the channel end when what is returned is dropped, unless that is disarmed.
    pub(crate) fn stop_guard(&self) -> DropGuard {
        self.shared.stop.clone().drop_guard()
    }

    pub(crate) async fn shut_down(&self) {
        self.shared.stop.cancel();
        self.closed().await;
    }
}

/// Takes a request off the books when nobody waits for it any more, and has the server told.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(pending) = state
            .pending
            .remove(&self.id)
            .filter(|pending| pending.sent)
        {
            if pending.watch.is_call() && state.given_up.len() < MAX_PENDING {
                state.given_up.insert(self.id, Instant::now());
            }
            state.cancels.push(self.id);
            drop(state);
            self.shared.cancelled.notify_one();
        }
    }
}

impl Shared {
    fn register(&self, id: u64, pending: Pending) -> Result<(), LinkError> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(LinkError::NotSent(reason.clone()));
        }
        if state.pending.len() >= MAX_PENDING {
            return Err(LinkError::Full);
        }
        state.pending.insert(id, pending);
        Ok(())
    }

    fn reason(&self) -> String {
        self.state
            .lock()
            .closed
            .clone()
            .unwrap_or_else(|| "the channel is closing".to_owned())
    }

    fn why_stopped(&self) -> String {
        let stopped_reading = self.state.lock().stopped_reading;
        if stopped_reading {
            "the server no longer reads"
        } else {
            "shut down"
        }
        .to_owned()
    }

    fn close(&self, reason: &str) {
        let pending = {
            let mut state = self.state.lock();
            state.closed = Some(reason.to_owned());
            state.cancels.clear();
            std::mem::take(&mut state.pending)
        };
        if let Some(relay) = self.legacy.get().and_then(|legacy| legacy.relay.as_ref()) {
            relay.end();
        }
        for pending in pending.into_values() {
            let error = if pending.sent {
                LinkError::Lost(reason.to_owned())
            } else {
                LinkError::NotSent(reason.to_owned())
            };
            let _ = pending.reply.send(Err(error));
        }
    }

    /// A request on a shared channel does not say for which call it is.
    fn attribute(&self, legacy: &Legacy, request: &Envelope) -> Asked {
        let mut state = self.state.lock();
        let given_up = state.remembers_given_up();
        let calls = state
            .pending
            .values_mut()
            .filter(|pending| pending.sent && pending.watch.is_call())
            .map(|pending| &mut pending.watch);
        attribute(calls, given_up, legacy.relay.as_ref(), request)
    }

    fn answer(&self, id: u64, answer: Result<Reply, LinkError>) {
        let mut state = self.state.lock();
        let pending = state.pending.remove(&id);
        let given_up = state.given_up.remove(&id).is_some();
        drop(state);
        match pending {
            Some(pending) => {
                let _ = pending.reply.send(answer);
            }
            // A late answer to a call that was given up is what the specification expects.
            None if given_up => {}
            None => self.inbox.ignored(IgnoredMessage::UnknownId),
        }
    }
}

impl State {
    /// Whether the server may still work on a call that was given up.
    fn remembers_given_up(&mut self) -> bool {
        self.given_up
            .retain(|_, since| since.elapsed() < GIVEN_UP_MEMORY);
        !self.given_up.is_empty()
    }
}

#[cfg(test)]
mod tests;
