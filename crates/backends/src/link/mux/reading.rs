//! The task that reads: which request a message of the server belongs to, and what becomes of the others.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::envelope::{Envelope, EnvelopeError, Message};
use switchboard_protocol::json::JsonError;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::may_pass_by_id;
use switchboard_telemetry::IgnoredMessage;
use tokio::sync::mpsc;

use super::ends::{Incoming, MessageReader};
use super::{End, Mux, Outbound, Shared};
use crate::link::rest::{Chunk, Large, Rest};
use crate::link::watch::{Asked, Hear, deliver_to_only};
use crate::link::{LinkError, Reply, refuse_request};

/// How many parts of a message wait for who takes them.
const PARTS: usize = 4;
const CLOSED: &str = "the server closed its output";

/// Reads until the channel ends, and says whose doing that is.
pub(super) async fn read_all<R: MessageReader>(shared: &Arc<Shared>, mut reader: R) -> End {
    // Of an oversize message whose head was seen already: whether it was answered.
    let mut oversize_was_answered: Option<bool> = None;
    loop {
        match reader.read().await {
            Ok(Some(Incoming::Message(raw))) => shared.receive(raw),
            Ok(Some(Incoming::Beginning { text, limit })) => match shared.begin(text, limit) {
                Ok(parts) => {
                    if let Err(end) = hand_on(&mut reader, parts).await {
                        return end;
                    }
                }
                Err(text) => reader.take_back(text),
            },
            Ok(Some(Incoming::Oversize { head, tail: None })) => {
                shared.inbox.ignored(IgnoredMessage::Oversize);
                oversize_was_answered = Some(shared.oversize(&head, b""));
            }
            Ok(Some(Incoming::Oversize {
                head,
                tail: Some(tail),
            })) => {
                let was_answered = oversize_was_answered.take();
                if was_answered.is_none() {
                    shared.inbox.ignored(IgnoredMessage::Oversize);
                }
                if was_answered != Some(true) {
                    shared.oversize(&head, &tail);
                }
            }
            Ok(None) => return End::Seen(CLOSED),
            Err(reason) => return End::Made(reason),
        }
    }
}

/// Hands the rest of a message on, to its end. While it is taken nothing else is read of the channel; as
/// soon as nobody takes it any more, what is left of it is dropped.
async fn hand_on<R: MessageReader>(reader: &mut R, parts: mpsc::Sender<Chunk>) -> Result<(), End> {
    loop {
        let part = reader.read_part().await.map_err(End::Made)?;
        let part = part.ok_or(End::Seen(CLOSED))?;
        let is_last = part.is_last;
        let _ = parts.send(part).await;
        if is_last {
            return Ok(());
        }
    }
}

impl Shared {
    /// Gives the beginning of a message to the request that it answers, if that takes a result which is
    /// still arriving; then the rest goes where is said, else the beginning comes back.
    ///
    /// A message that does not begin with its id may be the late answer to a call that was given up, so it
    /// is not judged before its end.
    fn begin(
        self: &Arc<Self>,
        beginning: Bytes,
        limit: usize,
    ) -> Result<mpsc::Sender<Chunk>, Bytes> {
        let Some((id, method)) = self.taker_of(&beginning) else {
            return Err(beginning);
        };
        let Some(pending) = self.state.lock().pending.remove(&id) else {
            return Err(beginning);
        };
        let (parts, rest) = mpsc::channel(PARTS);
        let mux = Mux {
            shared: Arc::clone(self),
        };
        let ended = Box::pin(async move { mux.ended().await });
        let large = Large {
            beginning,
            rest: Rest::of_message(rest, ended),
            id,
            method,
            max_message: limit,
        };
        let _ = pending.reply.send(Ok(Reply::Large(large)));
        Ok(parts)
    }

    /// Which request takes the message that begins so while it arrives, and its method.
    fn taker_of(&self, beginning: &Bytes) -> Option<(u64, Method)> {
        // A guess, which the passage confirms.
        let id = owner_of(before_result(beginning), b"")?;
        let method = self.state.lock().pending.get(&id)?.arriving?;
        may_pass_by_id(beginning, id, method).then_some((id, method))
    }

    fn receive(self: &Arc<Self>, raw: Bytes) {
        match Message::parse(raw) {
            Ok(Message::Response(response)) => match response.id_number() {
                Some(id) => self.answer(id, Ok(Reply::Whole(response))),
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
                    match relay.ask(request, tell) {
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
                if let Some(relay) = self.legacy.get().and_then(|legacy| legacy.relay.as_ref()) {
                    relay.tell(notification);
                }
                true
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
