//! A call in a session that may be asked: it can outlive the request that made it.
//!
//! The call is a task of its own, its owner ([`own`]). What its client has of it at any time is a
//! [`Leg`]: a request that waits for the next thing to happen, the server's answer or its
//! questions. Between two legs the call is parked. What both need, and what the link tells of the
//! call, meets in [`ParkedCall`].

mod heard;
mod owner;
mod state;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use switchboard_protocol::call::Call;
use switchboard_protocol::capabilities::{ClientCapabilities, Question};
use switchboard_protocol::envelope::{Envelope, Response};
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason, code};
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Wait};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(crate) use self::owner::own;
use self::state::{Kept, Open, Round, State, WaitingLeg, size_of};
use super::parked::Lot;
use super::questions::{self, Key};
use super::relay::Relay;
use crate::exchange::{Exchanged, Ongoing};
use crate::link::watch::{Asked, Watch};
use crate::link::{LinkError, refuse_request};

/// What a server asks within this time of its first question is put to the client together.
const GATHER: Duration = Duration::from_millis(20);
/// How often the client of one call is asked.
const MAX_ROUNDS: usize = 16;
/// How many questions of one call are open at once.
const MAX_OPEN: usize = 16;
/// How many questions of one call are refused before the call is given up: a server that goes on
/// asking does nothing else.
const MAX_REFUSED: u32 = 100;
/// How many requests wait for the same thing to happen: a client that asks once more after it lost
/// a response needs two.
const MAX_LEGS: usize = 8;

/// Why a leg has no response.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    /// The server gave none.
    Link(LinkError),
    /// The gateway has another reason.
    Call(CallError),
}

/// What a call ends with that can be told again: the server's answer, or a response that asks for
/// input.
pub(crate) type Ended = Result<Response, Failed>;

/// What a call's owner, its legs and the link share.
pub(crate) struct ParkedCall {
    lot: Arc<Lot>,
    /// The legacy client that the session belongs to, if it belongs to one.
    relay: Option<Arc<Relay>>,
    backend: Arc<str>,
    principal: String,
    capabilities: ClientCapabilities,
    version: Version,
    number: u64,
    /// The id of the request at the server.
    id: u64,
    /// The span of the attempt.
    span: CallSpan,
    state: Mutex<State>,
    /// Tells the owner that something is other than before.
    changed: Notify,
    /// Tells the owner that there is something to tell the server.
    replied: Notify,
}

/// A client's request that waits for what comes next. Dropped before that, it cancels the call,
/// unless another leg waits.
pub(crate) struct Leg {
    call: Arc<ParkedCall>,
    number: u64,
    receiver: oneshot::Receiver<Result<Exchanged<Response>, Failed>>,
}

impl Leg {
    /// What came: of the first leg, perhaps a result that is still arriving.
    pub(crate) async fn ended(mut self) -> Result<Exchanged<Response>, Failed> {
        let ended = (&mut self.receiver).await;
        ended.unwrap_or_else(|_| Err(Failed::Link(LinkError::Lost("the call ended".to_owned()))))
    }

    /// As [`Leg::ended`], and waits for all of it.
    pub(crate) async fn whole(self) -> Ended {
        let ended = self.ended().await?;
        ended.whole().await.map_err(Failed::Link)
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.call.dropped(self.number);
    }
}

/// What a client that comes back finds.
pub(crate) enum Resumed {
    /// It waits for what comes next.
    Waiting(Leg),
    /// That has come already.
    Ended(Box<Ended>),
}

/// What its owner does next.
enum Next {
    /// Waits, at most until then.
    Wait(Option<Instant>),
    /// Gives the call up.
    GiveUp,
}

impl ParkedCall {
    /// A call that goes out with this id, in a session of this version, and its first leg.
    pub(crate) fn begin(
        lot: &Arc<Lot>,
        backend: &Arc<str>,
        call: &Call,
        id: u64,
        version: Version,
        relay: Option<Arc<Relay>>,
        span: CallSpan,
    ) -> (Arc<Self>, Leg) {
        let parked = Arc::new(Self {
            lot: Arc::clone(lot),
            relay,
            backend: Arc::clone(backend),
            principal: call.principal.id.clone(),
            capabilities: call.client_capabilities(),
            version,
            number: lot.number(),
            id,
            span,
            state: Mutex::default(),
            changed: Notify::new(),
            replied: Notify::new(),
        });
        let leg = parked.leg(&mut parked.state.lock(), call);
        (parked, leg)
    }

    /// Its number in the lot.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The version that its session speaks.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The span of the attempt.
    pub(crate) fn span(&self) -> &CallSpan {
        &self.span
    }

    /// Whether the call is one of this principal at this backend.
    pub(crate) fn belongs_to(&self, backend: &str, principal: &str) -> bool {
        &*self.backend == backend && self.principal == principal
    }

    fn leg(self: &Arc<Self>, state: &mut State, call: &Call) -> Leg {
        let (sender, receiver) = oneshot::channel();
        let number = state.next_leg;
        state.next_leg += 1;
        state.legs.push(WaitingLeg { number, sender });
        state.hear_for(call, self.id);
        state.expires = None;
        state.parked = None;
        Leg {
            call: Arc::clone(self),
            number,
            receiver,
        }
    }

    fn dropped(&self, number: u64) {
        let mut state = self.state.lock();
        let before = state.legs.len();
        state.legs.retain(|leg| leg.number != number);
        // One that had its outcome is not waiting any more.
        if state.legs.len() < before && state.legs.is_empty() {
            state.over = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Takes a question of the server's, or refuses it at once.
    pub(crate) fn asked(self: &Arc<Self>, request: &Envelope) -> Asked {
        self.take(request, false)
    }

    /// The same of a question that may be another call's, of the same client. If this call ends
    /// first, the client is asked all the same.
    pub(crate) fn asked_perhaps(self: &Arc<Self>, request: &Envelope) -> Asked {
        self.take(request, true)
    }

    fn take(self: &Arc<Self>, request: &Envelope, may_be_anothers: bool) -> Asked {
        let id = request.id_bytes();
        let method = request.method();
        let params = request.keys.params.map(|span| request.slice(span));
        let Some(question) =
            Question::parse(&method, params).filter(|question| self.capabilities.allows(*question))
        else {
            self.refused();
            return Asked::Refused(refuse_request(&id, &method));
        };
        match self.note(question, id.clone(), request, may_be_anothers) {
            Ok(()) => {
                self.changed.notify_one();
                Asked::Taken
            }
            Err(why) => {
                self.refused();
                Asked::Refused(questions::refusal(&id, code::INTERNAL_ERROR, why))
            }
        }
    }

    /// Counts a question that was refused; with too many the call is over.
    fn refused(&self) {
        let mut state = self.state.lock();
        state.refused += 1;
        if state.refused < MAX_REFUSED || state.over || state.closed {
            return;
        }
        let fault = Fault::unknown(
            Reason::TooManyRounds,
            "The server asked again and again what it could not be told, and was cancelled.",
        );
        let ended = Err(Failed::Call(fault.of(&self.backend).into()));
        self.end_legs(&mut state, &ended);
        state.over = true;
        drop(state);
        self.changed.notify_one();
    }

    fn note(
        self: &Arc<Self>,
        question: Question,
        id: Bytes,
        asked: &Envelope,
        may_be_anothers: bool,
    ) -> Result<(), &'static str> {
        let request = questions::input_request(question, asked);
        // What is asked stands deeper in a result than it does in a request.
        let probe = [(Key(0), &request[..])].into_iter();
        if questions::input_required(probe, "").is_none() {
            return Err("the question cannot be passed on");
        }
        let mut state = self.state.lock();
        if state.over || state.closed {
            return Err("the call is over");
        }
        if state.open.len() >= MAX_OPEN {
            return Err("too many questions of this call are open");
        }
        if state.rounds.len() >= MAX_ROUNDS {
            return Err("the client of this call was asked too often");
        }
        if state.open.iter().any(|open| open.id == id) {
            return Err("a question with this id is open");
        }
        let again = if may_be_anothers { asked.raw.len() } else { 0 };
        let size = id.len() + request.len() + again;
        let charge = self.lot.keep(&self.principal, size);
        let charge = charge.ok_or("the gateway holds too many questions")?;
        if state.place.is_none() {
            let place = self.lot.place(&self.principal);
            state.place = Some(place.ok_or("too many calls wait for their clients")?);
            self.lot.enter(self);
        }
        state.asked += 1;
        let key = Key(state.asked);
        state.open.push(Open {
            key,
            question,
            id,
            request,
            anothers: may_be_anothers.then(|| asked.clone()),
            _charge: charge,
        });
        if !state.legs.is_empty() && state.gather.is_none() {
            state.gather = Some(Instant::now() + GATHER);
        }
        Ok(())
    }

    /// Takes back a question that the server no longer waits for (2025-11-25:
    /// `basic/utilities/cancellation`). `false` if there is no such question.
    pub(crate) fn withdrawn(&self, notification: &Envelope) -> bool {
        let Some(id) = notification.params.request_id else {
            return false;
        };
        let id = notification.slice(id);
        let mut state = self.state.lock();
        let before = state.open.len();
        state.open.retain(|open| open.id != id);
        if state.open.is_empty() {
            state.gather = None;
            if !state.legs.is_empty() {
                state.place = None;
            }
        }
        state.open.len() < before
    }

    /// Passes a notification on that is for the client itself.
    pub(crate) fn aside(&self, notification: &Envelope) {
        if let Some(relay) = &self.relay {
            relay.tell(notification);
        }
    }

    /// Passes a notification of this call on, or keeps it for the next leg.
    pub(crate) fn hear(&self, notification: &Envelope) -> bool {
        let mut state = self.state.lock();
        if state.over {
            false
        } else if state.legs.is_empty() {
            state.heard.put(notification, self.id)
        } else {
            state.watch.deliver(notification)
        }
    }

    /// Lets the client come back with what it was asked in a round.
    ///
    /// # Errors
    /// −32602 if it cannot: the call is over, an answer is of the wrong form (then none is taken),
    /// or the round was answered otherwise before.
    pub(crate) fn resume(
        self: &Arc<Self>,
        round: usize,
        call: &Call,
    ) -> Result<Resumed, CallError> {
        let responses = call.request.params.input_responses;
        let responses = responses.map_or(&b"{}"[..], |span| call.request.slice(span));
        if !questions::is_object(responses) {
            return Err(ProtocolError::invalid_params("params.inputResponses is an object").into());
        }
        let mut state = self.state.lock();
        let last = state.rounds.len();
        let asked = round.checked_sub(1).and_then(|at| state.rounds.get(at));
        let asked = asked.filter(|_| !state.over).ok_or_else(gone)?;
        let answers = questions::digest_of(&asked.keys, responses);
        match asked.answers {
            Some(before) if before != answers => {
                return Err(ProtocolError::invalid_params(
                    "requestState was used before, with other answers; each question is answered once",
                )
                .into());
            }
            Some(_) => return self.once_more(&mut state, round, call),
            None => {}
        }
        if round != last {
            return Err(gone().into());
        }
        let outcome = asked.outcome.fetch();
        if outcome.is_none() {
            let keys = asked.keys.clone();
            state.take_answers(&keys, responses, self.version)?;
        }
        state.rounds[last - 1].answers = Some(answers);
        if let Some(outcome) = outcome {
            // The server is done, so nothing more is asked or heard.
            state.hear_for(call, self.id);
            state.parked = None;
            if !matches!(state.rounds[last - 1].outcome, Kept::TooLarge(None)) {
                state.place = None;
            }
            return Ok(Resumed::Ended(Box::new(outcome)));
        }
        if state.open.is_empty() {
            state.place = None;
        } else {
            state.gather = Some(Instant::now() + GATHER);
        }
        let leg = self.leg(&mut state, call);
        drop(state);
        self.replied.notify_one();
        self.changed.notify_one();
        Ok(Resumed::Waiting(leg))
    }

    /// The same answers again: a response was lost, or is still awaited.
    fn once_more(
        self: &Arc<Self>,
        state: &mut State,
        round: usize,
        call: &Call,
    ) -> Result<Resumed, CallError> {
        if let Some(outcome) = state.rounds[round - 1].outcome.fetch() {
            return Ok(Resumed::Ended(Box::new(outcome)));
        }
        if state.legs.is_empty() {
            return Err(gone().into());
        }
        if state.legs.len() >= MAX_LEGS {
            return Err(ProtocolError::invalid_params(
                "too many requests with this requestState wait already",
            )
            .into());
        }
        Ok(Resumed::Waiting(self.leg(state, call)))
    }

    /// What the owner does next; puts what was asked to the client when it is time.
    fn next(&self) -> Next {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.gather.is_some_and(|at| at <= now) {
            self.ask(&mut state);
        }
        if state.expires.is_some_and(|at| at <= now) {
            state.over = true;
        }
        if state.over {
            return Next::GiveUp;
        }
        Next::Wait(state.gather.or(state.expires))
    }

    /// Ends the leg with what is open.
    fn ask(&self, state: &mut State) {
        state.gather = None;
        let ticket = self.lot.ticket(self.number, state.rounds.len() + 1);
        let entries = state.open.iter().map(|open| (open.key, &open.request[..]));
        let response = questions::input_required(entries, &ticket.to_string());
        let response = response.filter(|_| state.rounds.len() < MAX_ROUNDS);
        let Some(response) = response else {
            state.refuse_open("the client cannot be asked any more");
            state.place = None;
            self.replied.notify_one();
            return;
        };
        let keys = state.open.iter().map(|open| open.key).collect();
        self.end_legs(state, &Ok(response));
        state.parked = Some(self.span.wait(Wait::Client, &self.backend));
        state.rounds.push(Round {
            keys,
            answers: None,
            outcome: Kept::Nothing,
        });
    }

    /// Gives an outcome to every leg, and keeps it for those that may come back.
    fn end_legs(&self, state: &mut State, ended: &Ended) {
        if let Some(round) = state.rounds.last_mut() {
            round.outcome = match self.lot.keep(&self.principal, size_of(ended)) {
                Some(charge) => Kept::Here {
                    ended: Box::new(ended.clone()),
                    _charge: charge,
                },
                None => Kept::TooLarge(self.lot.keep(&self.principal, 0)),
            };
        }
        for leg in state.legs.drain(..) {
            let _ = leg.sender.send(ended.clone().map(Exchanged::Whole));
        }
        state.watch = Watch::deaf();
        state.expires = Some(Instant::now() + self.lot.timeout());
    }

    /// The call is over, so nothing more is asked. Gives the questions that the server still waits
    /// for.
    fn close(&self) -> Vec<Open> {
        let mut state = self.state.lock();
        state.closed = true;
        state.gather = None;
        // In a client's own session an answer may be for another of its calls.
        if self.relay.is_none() {
            state.replies.clear();
        }
        self.replied.notify_one();
        std::mem::take(&mut state.open)
    }

    /// Whether what is left to tell the server is worth waiting for.
    fn may_owe_others(&self) -> bool {
        self.relay.is_some()
    }

    /// Sees to a question that is open when the call is over. Gives the refusal if there is nobody
    /// to ask.
    fn leave_open<F>(
        &self,
        open: &Open,
        tell: impl FnOnce(Bytes) -> F + Send + 'static,
    ) -> Result<(), Bytes>
    where
        F: Future<Output = Result<(), LinkError>> + Send,
    {
        match self.relay.as_ref().zip(open.anothers.as_ref()) {
            Some((relay, request)) => relay.ask(request, tell),
            None => Err(questions::refusal(
                &open.id,
                code::INTERNAL_ERROR,
                "the call is over",
            )),
        }
    }

    /// Ends the call with this. Gives until when that may be asked for.
    fn finish(&self, ended: &Ended) -> Option<Instant> {
        self.close();
        let mut state = self.state.lock();
        if !state.legs.is_empty() {
            state.place = None;
            self.end_legs(&mut state, ended);
        } else if !state.over {
            // Until its client comes back it keeps its place and its time.
            let expires = state.expires;
            self.end_legs(&mut state, ended);
            state.expires = expires;
        }
        // What has neither a place nor room that is accounted for is forgotten.
        let last = state.rounds.last().map(|round| &round.outcome);
        let is_held = !matches!(last, None | Some(Kept::Nothing | Kept::TooLarge(None)));
        let remembered = !state.over && (is_held || state.place.is_some());
        state.expires.filter(|_| remembered)
    }

    /// Whether a result may be given while it arrives: to the only request that waits, if there was
    /// none before it that could ask for it again.
    pub(crate) fn may_hand_over(&self) -> bool {
        let state = self.state.lock();
        state.rounds.is_empty() && state.legs.len() == 1
    }

    /// Ends the call with a result that is still arriving. Dropped, which cancels it, if nobody waits
    /// any more.
    fn hand_over(&self, ongoing: Box<Ongoing>) {
        let leg = {
            let mut state = self.state.lock();
            state.over = true;
            state.place = None;
            state.watch = Watch::deaf();
            state.legs.pop()
        };
        if let Some(leg) = leg {
            let _ = leg.sender.send(Ok(Exchanged::Large(ongoing)));
        }
    }

    /// The next thing to tell the server; `None` when the call is over and all is told.
    async fn reply(&self) -> Option<Bytes> {
        loop {
            let replied = self.replied.notified();
            {
                let mut state = self.state.lock();
                let reply = state.replies.pop_front();
                if reply.is_some() || state.closed {
                    return reply;
                }
            }
            replied.await;
        }
    }
}

/// What a client is told that comes back to a call which is not there any more.
pub(crate) fn gone() -> ProtocolError {
    ProtocolError::invalid_params(
        "the call that requestState belongs to no longer waits: it ended, nobody came back in time, or the gateway was started anew. It may or may not have been executed: check before you make it again, without requestState",
    )
}
