//! What is known of a call at any time.

use bytes::Bytes;
use std::collections::VecDeque;
use switchboard_protocol::call::Call;
use switchboard_protocol::capabilities::Question;
use switchboard_protocol::envelope::{Envelope, Response};
use switchboard_protocol::error::{Fault, ProtocolError, Reason, code};
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;
use switchboard_telemetry::CallSpan;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::heard::Heard;
use super::{Ended, Failed};
use crate::exchange::Exchanged;
use crate::legacy::parked::{Charge, Place};
use crate::legacy::questions::{self, Key};
use crate::link::LinkError;
use crate::link::watch::Watch;

#[derive(Default)]
pub(super) struct State {
    /// What the server waits for, in the order in which it asked.
    pub(super) open: Vec<Open>,
    /// How many questions there have been.
    pub(super) asked: u32,
    /// How many of its requests were refused.
    pub(super) refused: u32,
    pub(super) rounds: Vec<Round>,
    pub(super) legs: Vec<WaitingLeg>,
    pub(super) next_leg: u64,
    /// What the newest leg wants to hear.
    pub(super) watch: Watch,
    /// What was heard while there was no leg.
    pub(super) heard: Heard,
    /// When what is open is put to the client; only while there is a leg.
    pub(super) gather: Option<Instant>,
    /// When what nobody has come back for is given up.
    pub(super) expires: Option<Instant>,
    pub(super) replies: VecDeque<Bytes>,
    pub(super) place: Option<Place>,
    /// The span of the wait for its client, while there is no leg.
    pub(super) parked: Option<CallSpan>,
    /// The server is done with it.
    pub(super) closed: bool,
    /// Nobody waits any more, or nobody may.
    pub(super) over: bool,
}

/// A question that the server waits for.
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) question: Question,
    /// The request's id, as the server wrote it.
    pub(super) id: Bytes,
    /// The entry of `inputRequests`.
    pub(super) request: Bytes,
    /// The request itself, if it may be another call's, of the same client.
    pub(super) anothers: Option<Envelope>,
    /// The memory that it takes.
    pub(super) _charge: Charge,
}

/// One time that the client was asked.
pub(super) struct Round {
    pub(super) keys: Vec<Key>,
    /// Of the answers that it came back with.
    pub(super) answers: Option<[u8; 32]>,
    /// What came of it.
    pub(super) outcome: Kept,
}

pub(super) enum Kept {
    /// Nothing yet.
    Nothing,
    /// This.
    Here { ended: Box<Ended>, _charge: Charge },
    /// Something that there was no room for; `None` if there was not even room to remember that.
    TooLarge(Option<Charge>),
}

pub(super) struct WaitingLeg {
    pub(super) number: u64,
    pub(super) sender: oneshot::Sender<Result<Exchanged<Response>, Failed>>,
}

impl State {
    /// Has a new leg hear the call, from what came while there was none.
    pub(super) fn hear_for(&mut self, call: &Call, id: u64) {
        self.watch = Watch::of(call, id);
        let heard = std::mem::take(&mut self.heard);
        for notification in heard.notifications() {
            self.watch.deliver(notification);
        }
    }

    /// Takes the answers to those of these questions that are open; none, if one is of the wrong
    /// form.
    pub(super) fn take_answers(
        &mut self,
        keys: &[Key],
        responses: &[u8],
        version: Version,
    ) -> Result<(), ProtocolError> {
        let answer = |open: &Open| {
            let asked = keys.contains(&open.key).then(|| open.key.to_string());
            member(responses, &asked?)
        };
        for open in &self.open {
            if let Some(Err(expected)) = answer(open).map(|it| questions::check(open.question, it))
            {
                return Err(ProtocolError::invalid_params(format!(
                    "params.inputResponses.{} is {expected}",
                    open.key
                )));
            }
        }
        let replies = &mut self.replies;
        self.open.retain(|open| {
            let Some(answer) = answer(open) else {
                return true;
            };
            replies.push_back(questions::reply(version, &open.id, answer));
            false
        });
        Ok(())
    }

    pub(super) fn refuse_open(&mut self, why: &str) {
        let refusals = self
            .open
            .drain(..)
            .map(|open| questions::refusal(&open.id, code::INTERNAL_ERROR, why));
        self.replies.extend(refusals);
    }
}

impl Kept {
    pub(super) fn fetch(&self) -> Option<Ended> {
        match self {
            Self::Nothing => None,
            Self::Here { ended, .. } => Some(Ended::clone(ended)),
            Self::TooLarge(_) => Some(Err(Failed::Call(not_kept().into()))),
        }
    }
}

fn not_kept() -> Fault {
    Fault::unknown(
        Reason::AnswerTooLarge,
        "The server answered while the call waited for its client, and the gateway could not keep the answer. The call was executed: check before you make it again.",
    )
}

/// What keeping an outcome takes, in bytes.
pub(super) fn size_of(ended: &Ended) -> usize {
    match ended {
        Ok(response) => response.raw.len(),
        Err(Failed::Link(LinkError::Status {
            error: Some(response),
            ..
        })) => response.raw.len(),
        Err(_) => 0,
    }
}
