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
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use switchboard_protocol::envelope::{Envelope, EnvelopeError, Message, Response};
use switchboard_protocol::json::JsonError;
use switchboard_telemetry::IgnoredMessage;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::inbox::Inbox;
use super::watch::{Asked, Hear, Watch, deliver_to_only};
use super::{LinkError, Outgoing, WRITE_DEADLINE, refuse_request};
use crate::legacy::{Relay, attribute};

/// How many messages wait to be written.
const OUTBOX: usize = 256;
/// How many requests wait for an answer.
const MAX_PENDING: usize = 4096;
/// How long a call that was given up counts as one that may still log.
pub(crate) const GIVEN_UP_MEMORY: Duration = Duration::from_secs(300);
/// How long telling a server what is not waited for any more may take at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a process that has closed its pipe, and was told to end, may take until calls in it are
/// told without its word.
const LATE_WORD: Duration = Duration::from_secs(1);
/// How long what an ended server wrote last is still read.
const DRAIN: Duration = Duration::from_secs(1);

/// Where messages are written.
pub(crate) trait MessageWriter: Send + 'static {
    /// Writes one message, whole.
    fn write(&mut self, message: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Whether the peer has read anything of what was written; `true` where there is no telling.
    fn is_read(&self) -> bool {
        true
    }
}

/// Why a message was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// This one was refused; the channel is as good as before.
    Refused(LinkError),
    /// The channel takes nothing any more.
    Broken,
}

/// Where messages are read.
pub(crate) trait MessageReader: Send + 'static {
    /// How long what the channel owns may take to end by itself once the peer has closed the
    /// channel: its word on why is worth more.
    const ENDS_WITHIN: Duration = Duration::ZERO;

    /// The next message; `None` when the peer closed the channel.
    fn read(&mut self) -> impl Future<Output = Result<Option<Incoming>, String>> + Send;
}

/// What a reader found.
pub(crate) enum Incoming {
    /// Something that is to be a message.
    Message(Bytes),
    /// A message larger than the limit, thrown away but for its ends, which may tell whose it was.
    Oversize {
        /// The first bytes.
        head: Bytes,
        /// The last bytes; `None` while the end has not come yet. The same message follows once
        /// more when it has.
        tail: Option<Bytes>,
    },
}

/// What there is to say at the end of what a channel owns.
pub(crate) struct LastWord {
    /// Why it ended, if that is known.
    pub(crate) reason: Option<String>,
    /// What is not over yet and that no call waits for.
    pub(crate) rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl From<Option<String>> for LastWord {
    fn from(reason: Option<String>) -> Self {
        Self { reason, rest: None }
    }
}

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
    reply: oneshot::Sender<Result<Response, LinkError>>,
    watch: Watch,
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
                    let _ = tokio::time::timeout(DRAIN, reading).await;
                    End::Seen("the server ended")
                }
            };
            stop.cancel();
            let _ = writing.await;
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
        let (reply, answer) = oneshot::channel();
        self.shared.register(
            out.id,
            Pending {
                reply,
                watch,
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

    fn answer(&self, id: u64, answer: Result<Response, LinkError>) {
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

    fn receive(self: &Arc<Self>, raw: Bytes) {
        match Message::parse(raw) {
            Ok(Message::Response(response)) => match response.id_number() {
                Some(id) => self.answer(id, Ok(response)),
                None => self.inbox.ignored(IgnoredMessage::UnknownId),
            },
            Ok(Message::Request(request)) if request.is_request() => self.asked(&request),
            Ok(Message::Request(notification)) => self.notified(&notification),
            Err(EnvelopeError::Json(JsonError::Utf8(_))) => {
                self.inbox.ignored(IgnoredMessage::InvalidUtf8)
            }
            Err(_) => self.inbox.ignored(IgnoredMessage::Banner),
        }
    }

    fn asked(self: &Arc<Self>, request: &Envelope) {
        let method = request.method();
        let refused = match self.legacy.get() {
            Some(_) if method == "ping" => Some(refuse_request(&request.id_bytes(), &method)),
            Some(legacy) => match self.attribute(legacy, request) {
                Asked::Taken => return,
                Asked::Refused(refusal) => Some(refusal),
                Asked::Relay(relay) => {
                    let mux = Mux {
                        shared: Arc::clone(self),
                    };
                    let tell = |answer| async move { mux.notify(answer).await };
                    match relay.ask(request, &self.inbox.tasks, tell) {
                        Ok(()) => return,
                        Err(refusal) => Some(refusal),
                    }
                }
            },
            None => None,
        };
        if method != "ping" {
            self.inbox.ignored(IgnoredMessage::UnexpectedRequest);
        }
        if let Some(message) = refused {
            // A server that asks faster than it reads gets no answer rather than a queue.
            let _ = self.outbox.try_send(Outbound { id: None, message });
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

    fn notified(&self, notification: &Envelope) {
        let delivered = match &*notification.method() {
            "notifications/progress" => {
                let token = notification.number(notification.params.progress_token);
                let mut state = self.state.lock();
                let pending = token.and_then(|token| state.pending.get_mut(&token));
                pending.is_some_and(|pending| pending.watch.deliver(notification))
            }
            "notifications/message" => {
                let mut state = self.state.lock();
                if state.remembers_given_up() {
                    drop(state);
                    return self.inbox.ignored(IgnoredMessage::UnattributedLog);
                }
                let calls = state
                    .pending
                    .values_mut()
                    .filter(|pending| pending.sent && pending.watch.is_call());
                match deliver_to_only(calls.map(|pending| &mut pending.watch), notification) {
                    Some(delivered) => delivered,
                    None => {
                        drop(state);
                        return self.inbox.ignored(IgnoredMessage::UnattributedLog);
                    }
                }
            }
            "notifications/tasks" | "notifications/subscriptions/acknowledged" => {
                let id = notification.number(notification.meta.subscription_id);
                let mut state = self.state.lock();
                let pending = id.and_then(|id| state.pending.get_mut(&id));
                let heard = pending.is_some_and(|pending| pending.watch.deliver(notification));
                drop(state);
                self.inbox.put(notification);
                heard || notification.method() != "notifications/tasks"
            }
            "notifications/cancelled" => {
                let mut state = self.state.lock();
                let mut pending = state.pending.values_mut();
                // One that comes late withdraws nothing any more.
                let _ = pending.any(|pending| pending.watch.withdrawn(notification));
                true
            }
            "notifications/elicitation/complete" => {
                let relay = self.legacy.get().and_then(|legacy| legacy.relay.as_ref());
                relay.is_none_or(|relay| relay.tell(notification))
            }
            _ => {
                self.inbox.put(notification);
                true
            }
        };
        if !delivered {
            self.inbox.ignored(IgnoredMessage::DroppedNotification);
        }
    }

    /// Answers the request that an oversize message belongs to; `false` if none could be told.
    fn oversize(&self, head: &[u8], tail: &[u8]) -> bool {
        // Noise is nobody's answer, even if only one waits for one.
        if head.trim_ascii_start().first() != Some(&b'{') {
            return false;
        }
        let before_result = before_result(head);
        // A request or a notification answers nobody.
        if memchr::memmem::find(before_result, b"\"method\"").is_some() {
            return false;
        }
        let owner = owner_of(before_result, tail).or_else(|| {
            let state = self.state.lock();
            let mut sent = state
                .pending
                .iter()
                .filter(|(_, pending)| pending.sent && !pending.watch.is_subscription());
            match (sent.next(), sent.next()) {
                (Some((id, _)), None) => Some(*id),
                _ => None,
            }
        });
        if let Some(id) = owner {
            self.answer(id, Err(LinkError::TooLarge));
        }
        owner.is_some()
    }
}

/// The part of an oversize message's head in which only the message's own keys can stand.
fn before_result(head: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(head, b"\"result\"").unwrap_or(head.len().min(256));
    &head[..end]
}

/// The id of an oversize answer, if its head or its tail shows one: servers write it either before
/// or behind the result.
fn owner_of(before_result: &[u8], tail: &[u8]) -> Option<u64> {
    let key = b"\"id\"";
    let in_head = memchr::memmem::find(before_result, key).map(|at| (before_result, at));
    let in_tail = memchr::memmem::rfind(tail, key).map(|at| (tail, at));
    let (text, at) = in_head.or(in_tail)?;
    let rest = &text[at + key.len()..];
    let start = rest.iter().position(|byte| !matches!(byte, b' ' | b':'))?;
    let length = rest[start..]
        .iter()
        .position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[start..start + length])
        .ok()?
        .parse()
        .ok()
}

impl State {
    /// Whether the server may still work on a call that was given up.
    fn remembers_given_up(&mut self) -> bool {
        self.given_up
            .retain(|_, since| since.elapsed() < GIVEN_UP_MEMORY);
        !self.given_up.is_empty()
    }
}

async fn read_all<R: MessageReader>(shared: &Arc<Shared>, mut reader: R) -> End {
    // Of an oversize message whose head was seen already: whether it was answered.
    let mut begun: Option<bool> = None;
    loop {
        match reader.read().await {
            Ok(Some(Incoming::Message(raw))) => shared.receive(raw),
            Ok(Some(Incoming::Oversize { head, tail: None })) => {
                shared.inbox.ignored(IgnoredMessage::Oversize);
                begun = Some(shared.oversize(&head, b""));
            }
            Ok(Some(Incoming::Oversize {
                head,
                tail: Some(tail),
            })) => {
                let begun = begun.take();
                if begun.is_none() {
                    shared.inbox.ignored(IgnoredMessage::Oversize);
                }
                if begun != Some(true) {
                    shared.oversize(&head, &tail);
                }
            }
            Ok(None) => return End::Seen("the server closed its output"),
            Err(reason) => return End::Made(reason),
        }
    }
}

async fn write_all<W: MessageWriter>(
    shared: Arc<Shared>,
    mut writer: W,
    queue: mpsc::Receiver<Outbound>,
) {
    write_until_stopped(&shared, &mut writer, queue).await;
    shared.state.lock().never_read = !writer.is_read();
}

async fn write_until_stopped<W: MessageWriter>(
    shared: &Shared,
    writer: &mut W,
    mut queue: mpsc::Receiver<Outbound>,
) {
    loop {
        let messages = tokio::select! {
            biased;
            () = shared.stop.cancelled() => {
                // A server that is told what is not waited for any more can end at once when its
                // input closes.
                let last = shared.write_each(writer, shared.cancellations());
                let _ = tokio::time::timeout(LAST_WORDS, last).await;
                return;
            }
            () = shared.cancelled.notified() => shared.cancellations(),
            message = queue.recv() => match message {
                Some(message) if shared.still_wanted(&message) => vec![message],
                Some(_) => continue,
                None => return,
            },
        };
        let writing = shared.write_each(writer, messages);
        // A server that does not read would hold up the end as well; one that does is told all.
        let held_up = async {
            shared.stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(WRITE_DEADLINE, writing) => written,
            () = held_up => return,
        };
        if written == Ok(false) {
            // Whoever has closed its input is most often about to end, and then says why.
            let _ = tokio::time::timeout(LAST_WORDS, shared.stop.cancelled()).await;
        }
        if written != Ok(true) {
            shared.state.lock().stopped_reading = true;
            shared.stop.cancel();
            return;
        }
    }
}

impl Shared {
    /// The notifications for what nobody waits for any more, each once.
    fn cancellations(&self) -> Vec<Outbound> {
        let cancels = std::mem::take(&mut self.state.lock().cancels);
        let message = |id| Outbound {
            id: None,
            message: cancellation(id),
        };
        cancels.into_iter().map(message).collect()
    }

    /// Writes messages in turn; `false` if the channel takes nothing any more.
    async fn write_each<W: MessageWriter>(&self, writer: &mut W, messages: Vec<Outbound>) -> bool {
        for Outbound { id, message } in messages {
            match (writer.write(message).await, id) {
                (Ok(()), _) | (Err(WriteError::Refused(_)), None) => {}
                (Err(WriteError::Refused(error)), Some(id)) => self.answer(id, Err(error)),
                (Err(WriteError::Broken), _) => return false,
            }
        }
        true
    }

    /// Marks a request as sent, unless nobody waits for it any more: then it was never sent at all.
    fn still_wanted(&self, message: &Outbound) -> bool {
        let Some(id) = message.id else { return true };
        self.state
            .lock()
            .pending
            .get_mut(&id)
            .is_some_and(|pending| {
                pending.sent = true;
                true
            })
    }
}

/// The notification that cancels a request on a shared channel (specification:
/// `basic/patterns/cancellation`).
pub(crate) fn cancellation(id: u64) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":\"the caller no longer waits\"}}}}"
    )
    .into()
}

#[cfg(test)]
mod tests;
