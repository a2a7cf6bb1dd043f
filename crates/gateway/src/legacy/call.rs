//! One call of a legacy client, from its request to its answer: a task of its own, since losing the
//! connection does not end it (2025-11-25 `basic/transports`, Sending Messages to the Server).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use switchboard_protocol::call::{Call, HighestProgress, Outcome, Payload, Sink};
use switchboard_protocol::capabilities::Question as Kind;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason, code};
use switchboard_protocol::json;
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_protocol::splice::{for_each_member, member};
use switchboard_protocol::version::Version;
use tokio::time::{Instant, timeout};
use tower::Service;

use super::Inner;
use super::events::EventLog;
use super::places::Place;
use super::questions::{Answer, Question};
use super::session::{CallGuard, Session};
use super::tasks::{self, About, Running};
use super::translate;
use crate::edge::respond;
use crate::shed::answer_memory::in_place_of;

/// How often the servers may ask before a call fails.
const MAX_ROUNDS: usize = 16;
/// The most questions of one round.
const MAX_QUESTIONS: usize = 64;
/// How long a server has to end a call that its client took back instead of answering. Then the
/// call is cancelled.
const TAKE_BACK: Duration = Duration::from_secs(1);
/// What such a server is told in the place of each answer.
const TAKEN_BACK: &[u8] = br#"{"code":-32603,"message":"The client cancelled the call"}"#;

/// A call of a session.
pub(super) struct LegacyCall {
    pub(super) edge: Arc<Inner>,
    pub(super) session: Arc<Session>,
    pub(super) guard: CallGuard,
    /// One of the places that all sessions share.
    pub(super) _place: Place,
    /// Where it is answered.
    pub(super) log: Arc<EventLog>,
    pub(super) peer: Option<IpAddr>,
    /// The client's id for it, as written.
    pub(super) id: Bytes,
    pub(super) method: Method,
    /// In modern form.
    pub(super) request: Envelope,
    pub(super) log_level: LogLevel,
    /// What it has to do with tasks.
    pub(super) task: Option<About>,
}

/// What a server wants to know.
pub(super) struct Round {
    wanted: Vec<Wanted>,
    /// Comes back with the answers: a JSON string as written.
    state: Option<Bytes>,
}

/// One thing that a server wants to know, in modern form.
struct Wanted {
    /// The server's name for it.
    key: String,
    method: String,
    params: Bytes,
    /// What the client knows it by, if it is asked by URL.
    elicitation_id: Option<String>,
}

/// The stream of a call, as the servers see it.
struct CallSink {
    log: Arc<EventLog>,
    version: Version,
    highest: HighestProgress,
}

impl Sink for CallSink {
    fn rises(&self, progress: f64) -> bool {
        self.highest.rises(progress)
    }

    fn offer(&self, notification: Bytes) -> bool {
        match translate::notification(self.version, &notification) {
            Some(notification) => self.log.offer(notification),
            // Its version has no such notification.
            None => true,
        }
    }
}

impl LegacyCall {
    /// Makes the call, answers it on its stream, and looks after the stream until it was read.
    pub(super) async fn run(self: Box<Self>) {
        let grace = self.edge.sessions.config().resume_grace;
        let mut asked = None;
        let mut running = None;
        let outcome = tokio::select! {
            // The outcome first: where it is there, nothing else need be asked. A call that was taken
            // back before it began is not made, though.
            biased;
            outcome = self.outcome(&mut asked, &mut running), if !self.guard.is_cancelled() => {
                Some(outcome)
            }
            () = self.guard.cancelled() => None,
            () = self.log.abandoned(grace) => {
                // Nobody is to come back for the other answers either.
                self.session.forget_stream(&self.log);
                None
            }
        };
        let Some(outcome) = outcome else {
            self.log.withdraw();
            // Nobody is to come back for it, unless it has other answers too.
            if self.log.is_ended() {
                self.session.forget_stream(&self.log);
            }
            if let Some(round) = asked {
                self.take_back(&round).await;
            }
            if let Some(task) = running {
                self.cancel_running(&task).await;
            }
            return;
        };
        self.log.answer(self.answer(outcome));
        if let Some(round) = asked {
            self.take_back(&round).await;
        }
        let Self {
            session,
            log,
            guard,
            _place: place,
            ..
        } = *self;
        // The call is over; the stream is not, as long as the client may come back for it.
        drop((guard, place));
        linger(&session, &log, grace).await;
    }

    async fn outcome(&self, asked: &mut Option<Round>, running: &mut Running) -> Outcome {
        if let Some(about) = self.task {
            return self.of_task(about).await;
        }
        let outcome = self.rounds(asked).await;
        if self.method == Method::ToolsCall && tasks::needs_tasks(&outcome) {
            return Box::pin(self.as_task(running)).await;
        }
        outcome
    }

    fn answer(&self, outcome: Outcome) -> Payload {
        let version = self.version();
        let (_, key, original) = respond::member(self.method, outcome);
        let value = &original;
        let value = match key {
            "result" if self.method == Method::ToolsList && version == Version::V2025_11_25 => {
                let list = translate::result(self.method, version, value);
                let profile = self.session.profile().map(|profile| &**profile);
                tasks::with_support(list, &self.edge.orchestrator.catalogue().load(), profile)
            }
            "result" => translate::result(self.method, version, value),
            _ => translate::error(version, self.method, &flat(value)).into(),
        };
        let value = in_place_of(original, value);
        respond::enveloped(Some(&self.id), key, &value)
    }

    pub(super) fn version(&self) -> Version {
        self.session.version()
    }

    /// Makes the call, as often as the server asks first. `asked` is what was asked last, if the
    /// server may still wait for the answer.
    async fn rounds(&self, asked: &mut Option<Round>) -> Outcome {
        let mut request = self.request.clone();
        let mut by_url: Vec<String> = Vec::new();
        for round_number in 0..=MAX_ROUNDS {
            let call = self.call(request);
            let Ok(outcome) = self.edge.calls.clone().call(call).await;
            // What happened behind the URL is over as soon as the server went on.
            for id in by_url.drain(..) {
                self.log.offer(elicitation_complete(&id));
            }
            let Outcome::InputRequired(result) = outcome else {
                // A call that failed may have been refused for what was answered.
                if !matches!(outcome, Outcome::Failed(_)) {
                    *asked = None;
                }
                return outcome;
            };
            let result = flat(&result);
            let questions = if round_number < MAX_ROUNDS {
                self.ask(&result)
            } else {
                Err(too_many_rounds())
            };
            let (round, questions) = match questions {
                Ok(asked) => asked,
                Err(error) => {
                    *asked = Some(Round::read(&result));
                    return Outcome::Failed(error);
                }
            };
            let round = asked.insert(round);
            let waiting = questions.into_iter().map(Question::answer);
            let Ok(answers) = timeout(self.edge.ask_timeout, join_all(waiting)).await else {
                return Outcome::Failed(unanswered());
            };
            by_url = round.accepted_by_url(&answers);
            request = match round.retry(&self.request, self.version(), answers) {
                Ok(request) => request,
                Err(error) => return Outcome::Failed(error.into()),
            };
        }
        Outcome::Failed(too_many_rounds())
    }

    pub(super) fn call(&self, request: Envelope) -> Box<Call> {
        Box::new(Call {
            profile: self.session.profile().cloned(),
            client: Some(Arc::clone(&self.session) as _),
            peer: self.peer,
            subject_token: self.session.subject_token(),
            log_level: Some(self.log_level),
            sink: Some(Arc::new(CallSink {
                log: Arc::clone(&self.log),
                version: self.version(),
                highest: HighestProgress::default(),
            })),
            ..Call::new(
                request,
                self.method,
                self.session.principal(),
                self.version(),
            )
        })
    }

    /// Puts the questions of an `input_required` result to the client, all at once.
    pub(super) fn ask(&self, result: &Bytes) -> Result<(Round, Vec<Question>), CallError> {
        let round = Round::read(result);
        if round.wanted.len() > MAX_QUESTIONS {
            return Err(too_many_questions());
        }
        let version = self.version();
        let mut questions = Vec::with_capacity(round.wanted.len());
        for wanted in &round.wanted {
            self.check(wanted)?;
            let id = wanted.elicitation_id.as_deref().unwrap_or_default();
            let params = translate::question(version, &wanted.method, &wanted.params, id)
                .ok_or_else(cannot_be_asked)?;
            let question = self
                .session
                .ask(&self.log, &wanted.method, Some(&params))
                .ok_or_else(too_many_questions)?;
            questions.push(question);
        }
        Ok((round, questions))
    }

    /// Whether the client may be asked this: what it did not declare it is never asked.
    fn check(&self, wanted: &Wanted) -> Result<(), CallError> {
        let kind = Kind::parse(&wanted.method, Some(&wanted.params));
        let declared = self.session.agreed().map(|agreed| agreed.declared);
        match kind {
            Some(kind) if declared.is_some_and(|declared| declared.allows(kind)) => Ok(()),
            Some(kind) => Err(kind.undeclared().into()),
            None => Err(cannot_be_asked()),
        }
    }

    /// Ends a call at a server that waits for answers: it is told that there will be none, and if
    /// that does not end the call, dropping it does.
    async fn take_back(&self, round: &Round) {
        let errors = round
            .wanted
            .iter()
            .map(|_| Some(Err(Bytes::from_static(TAKEN_BACK))));
        if let Ok(request) = round.retry(&self.request, self.version(), errors.collect()) {
            let call = self.edge.calls.clone().call(self.call(request));
            let _ = timeout(TAKE_BACK, call).await;
        }
    }
}

/// Keeps an answered stream for a client that has not read it to its end, or not for sure.
async fn linger(session: &Session, log: &Arc<EventLog>, grace: Duration) {
    if log.is_json() {
        session.forget_stream(log);
        return;
    }
    if log.can_be_resumed() {
        tokio::select! {
            () = log.delivered() => {}
            () = log.abandoned(grace) => {}
            () = log.crowded_out() => {}
            () = session.ended() => {}
        }
    }
    if log.is_delivered() && log.can_be_resumed() {
        session.keep_read(log, Instant::now() + grace);
    } else {
        session.forget_stream(log);
    }
}

impl Round {
    fn read(result: &Bytes) -> Self {
        let mut wanted = Vec::new();
        if let Some(requests) = member(result, "inputRequests") {
            for_each_member(requests, |key, _, request| {
                let method = member(request, "method").and_then(json::as_str);
                let params = member(request, "params").unwrap_or(b"{}");
                let is_by_url = Kind::parse(method.as_deref().unwrap_or_default(), Some(params))
                    == Some(Kind::Url);
                wanted.push(Wanted {
                    key: key.to_owned(),
                    method: method.unwrap_or_default().into_owned(),
                    params: Bytes::copy_from_slice(params),
                    elicitation_id: is_by_url.then(|| format!("{:032x}", fastrand::u128(..))),
                });
            });
        }
        Self {
            wanted,
            state: member(result, "requestState").map(|state| result.slice_ref(state)),
        }
    }

    /// The elicitations by URL that the user agreed to.
    fn accepted_by_url(&self, answers: &[Option<Answer>]) -> Vec<String> {
        let accepted = |answer: &Option<Answer>| match answer {
            Some(Ok(result)) => member(result, "action") == Some(b"\"accept\""),
            _ => false,
        };
        let wanted = self.wanted.iter().zip(answers);
        wanted
            .filter(|(_, answer)| accepted(answer))
            .filter_map(|(wanted, _)| wanted.elicitation_id.clone())
            .collect()
    }

    /// The request again, with the answers as `inputResponses`. There an answer can only be a
    /// result: an error is written as the gateway's own, which the edge of legacy servers makes an
    /// error of again.
    pub(super) fn retry(
        &self,
        request: &Envelope,
        version: Version,
        answers: Vec<Option<Answer>>,
    ) -> Result<Envelope, ProtocolError> {
        let mut responses = vec![b'{'];
        for (wanted, answer) in self.wanted.iter().zip(answers) {
            let Some(answer) = answer else { continue };
            if responses.len() > 1 {
                responses.push(b',');
            }
            json::write_str(&mut responses, &wanted.key);
            responses.push(b':');
            match answer {
                Ok(result) => {
                    let Wanted { method, params, .. } = wanted;
                    let result = translate::answer(version, method, params, &result);
                    responses.extend_from_slice(&result);
                }
                Err(error) => responses.extend_from_slice(&translate::refusal(&error)),
            }
        }
        responses.push(b'}');
        translate::retry(request, &responses, self.state.as_deref())
    }
}

fn elicitation_complete(id: &str) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/elicitation/complete\",\"params\":{{\"elicitationId\":\"{id}\"}}}}"
    )
    .into()
}

fn cannot_be_asked() -> CallError {
    ProtocolError::new(
        code::MISSING_CLIENT_CAPABILITY,
        "The server needs input of a kind that this client cannot give",
    )
    .into()
}

pub(super) fn flat(payload: &Payload) -> Bytes {
    match payload.segments() {
        [only] => only.clone(),
        segments => {
            let together = in_place_of(payload.clone(), segments.concat().into());
            together.into_segments().next().unwrap_or_default()
        }
    }
}

pub(super) fn unanswered() -> CallError {
    Fault::unknown(Reason::Unanswered,
        "The server asked the user something, and no answer came in time. Whether it did anything is not known.",
    )
    .into()
}

pub(super) fn too_many_rounds() -> CallError {
    Fault::unknown(
        Reason::TooManyRounds,
        "The server asked the user something again and again, and was not answered any more.",
    )
    .into()
}

fn too_many_questions() -> CallError {
    Fault::unknown(
        Reason::Overloaded,
        "The server asked the user more than can be asked at once.",
    )
    .into()
}
