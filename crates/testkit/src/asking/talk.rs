//! One execution of a request, and how it speaks with its client: the same for both eras.
//!
//! A legacy execution waits for its answers. A modern one ends with `input_required`, and the
//! retry begins again from the start with the answers so far.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::questions::Question;
use super::session::Session;
use super::{Outlet, Shared};
use crate::fake::Era;

/// Why there is no result to send.
pub(super) enum Stop {
    /// The request failed.
    Error(i64, &'static str, Option<Value>),
    /// The client has to answer first; this is the result that says so.
    Input(Value),
    /// All was said, or never will be.
    Silent,
}

/// One execution of a request.
pub(super) struct Talk {
    pub(super) shared: Arc<Shared>,
    /// Tells it from all others; a modern retry is the same execution.
    pub(super) execution: String,
    /// The tool, the prompt or the resource.
    pub(super) name: String,
    pub(super) mark: String,
    pub(super) arguments: Value,
    /// The id of the request.
    pub(super) id: Value,
    pub(super) token: Option<Value>,
    pub(super) out: Outlet,
    pub(super) side: Side,
    answered: bool,
}

/// What the era of the client adds.
pub(super) enum Side {
    /// The session.
    Legacy(Arc<Session>),
    /// What the retry brought.
    Modern(Replay),
}

/// The answers of a modern call so far, and what else its request says.
#[derive(Default)]
pub(super) struct Replay {
    rounds: Vec<Vec<Value>>,
    given: Option<Map<String, Value>>,
    at: usize,
    /// How many rounds were over when the request came.
    known: usize,
    pub(super) wants_logs: bool,
    pub(super) meta: Value,
}

/// A question that was sent, until its answer came or it is dropped.
pub(super) struct Open {
    pub(super) id: u64,
    session: Arc<Session>,
    reply: oneshot::Receiver<Value>,
}

impl Open {
    /// Waits for the answer: an object with `result` or `error`. Never resolves if none comes.
    pub(super) async fn reply(&mut self) -> Value {
        match (&mut self.reply).await {
            Ok(reply) => reply,
            // The session drops a sender only to send.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.session.forget(self.id);
    }
}

impl Replay {
    /// What a modern request brings. The execution is named if it is a retry; `None` if its state
    /// is not this server's.
    pub(super) fn of(params: &Value) -> Option<(Option<String>, Self)> {
        let meta = params["_meta"].clone();
        let mut replay = Self {
            wants_logs: meta["io.modelcontextprotocol/logLevel"].is_string(),
            meta,
            ..Self::default()
        };
        let Some(state) = params["requestState"].as_str() else {
            return Some((None, replay));
        };
        let state = STANDARD.decode(state).ok()?;
        let state: Value = serde_json::from_slice(&state).ok()?;
        let execution = state["execution"].as_str()?.to_owned();
        replay.rounds = serde_json::from_value(state["rounds"].clone()).ok()?;
        replay.given = params["inputResponses"].as_object().cloned();
        replay.known = replay.rounds.len() + usize::from(replay.given.is_some());
        Some((Some(execution), replay))
    }

    fn ask(&mut self, execution: &str, questions: &[Question]) -> Result<Vec<Value>, Stop> {
        let round = self.at;
        if let Some(replies) = self.rounds.get(round) {
            self.at += 1;
            return Ok(replies.clone());
        }
        let key = |at: usize| format!("ask-{round}-{at}");
        if let Some(given) = self.given.take() {
            let reply = |at: usize| {
                given
                    .get(&key(at))
                    .map(|result| json!({ "result": result }))
            };
            let replies: Option<Vec<Value>> = (0..questions.len()).map(reply).collect();
            if let Some(replies) = replies {
                self.rounds.push(replies.clone());
                self.at += 1;
                return Ok(replies);
            }
        }
        let asked: Map<String, Value> = questions
            .iter()
            .enumerate()
            .map(|(at, question)| (key(at), question.to_input_request()))
            .collect();
        let state = json!({ "execution": execution, "rounds": self.rounds });
        Err(Stop::Input(json!({
            "resultType": "input_required",
            "inputRequests": asked,
            "requestState": STANDARD.encode(state.to_string()),
        })))
    }
}

impl Talk {
    /// The execution of a request, in the session or with what the retry brought.
    pub(super) fn new(
        shared: Arc<Shared>,
        execution: String,
        request: &Value,
        out: Outlet,
        side: Side,
    ) -> Self {
        let params = &request["params"];
        let name = if params["name"].is_string() {
            &params["name"]
        } else {
            &params["uri"]
        };
        let token = &params["_meta"]["progressToken"];
        Self {
            shared,
            execution,
            name: name.as_str().unwrap_or_default().to_owned(),
            mark: params["arguments"]["mark"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            arguments: params["arguments"].clone(),
            id: request["id"].clone(),
            token: (!token.is_null()).then(|| token.clone()),
            out,
            side,
            answered: false,
        }
    }

    /// The number of the session; 0 where there is none.
    pub(super) fn session_number(&self) -> u64 {
        match &self.side {
            Side::Legacy(session) => session.number,
            Side::Modern(_) => 0,
        }
    }

    /// Whether the client knows the member `mode` of a form.
    pub(super) fn knows_modes(&self) -> bool {
        match &self.side {
            Side::Legacy(session) => session.version().as_str() >= "2025-11-25",
            Side::Modern(_) => true,
        }
    }

    /// The session, for what legacy servers alone can do.
    pub(super) fn legacy(&self) -> Result<Arc<Session>, Stop> {
        match &self.side {
            Side::Legacy(session) => Ok(Arc::clone(session)),
            Side::Modern(_) => Err(Stop::Error(-32602, "A modern server cannot do that", None)),
        }
    }

    /// The text of a question.
    pub(super) fn text(&self, round: u64) -> String {
        format!("{} {} {round} of {}", self.name, self.mark, self.execution)
    }

    /// Notes something about this execution.
    pub(super) fn note(&self, event: &str, mut fields: Value) {
        fields["execution"] = json!(self.execution);
        fields["mark"] = json!(self.mark);
        self.shared
            .journal
            .record(event, self.session_number(), fields);
    }

    /// Asks all of these at once and waits for all the answers.
    pub(super) async fn ask(&mut self, questions: Vec<Question>) -> Result<Vec<Value>, Stop> {
        if let Side::Modern(replay) = &mut self.side {
            return replay.ask(&self.execution, &questions);
        }
        let mut open = Vec::new();
        for question in &questions {
            open.push(self.open(question).await?);
        }
        let mut replies = Vec::new();
        for open in &mut open {
            replies.push(open.reply().await);
        }
        Ok(replies)
    }

    /// Asks on the stream that the options say and does not wait.
    pub(super) async fn open(&self, question: &Question) -> Result<Open, Stop> {
        let session = self.legacy()?;
        let outside = self.shared.options.questions_on == super::QuestionsOn::Get;
        Ok(self.open_on(&session, question, outside).await)
    }

    /// Asks on the stream of the call, or outside of it.
    pub(super) async fn open_on(
        &self,
        session: &Arc<Session>,
        question: &Question,
        outside: bool,
    ) -> Open {
        let (id, reply) = session.new_question(&self.execution, &self.mark);
        self.note(
            "asked",
            json!({ "question": id, "method": question.method }),
        );
        let open = Open {
            id,
            session: Arc::clone(session),
            reply,
        };
        self.say(session, &question.to_request(id), outside).await;
        open
    }

    /// Withdraws a question.
    pub(super) async fn withdraw(&self, open: Open) -> Result<(), Stop> {
        let session = self.legacy()?;
        let outside = self.shared.options.questions_on == super::QuestionsOn::Get;
        let params = json!({ "requestId": open.id, "reason": "not needed any more" });
        let message =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        self.say(&session, &message, outside).await;
        Ok(())
    }

    async fn say(&self, session: &Session, message: &Value, outside: bool) {
        if outside {
            session.aside.send(message).await;
        } else {
            self.out.send(message).await;
        }
    }

    /// Reports progress, if it was asked for and is not about what an earlier leg reported.
    pub(super) async fn progress(&self, progress: u64) {
        let Some(token) = self.token.as_ref().filter(|_| !self.is_replaying()) else {
            return;
        };
        let said = format!("{} of {}", self.mark, self.execution);
        let params = json!({ "progressToken": token, "progress": progress, "message": said });
        let message =
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
        self.out.send(&message).await;
    }

    /// Logs, if that was asked for and is not about what an earlier leg logged.
    pub(super) async fn log(&self, step: &str) {
        let wanted = match &self.side {
            Side::Legacy(session) => session.wants_logs(),
            Side::Modern(replay) => replay.wants_logs,
        };
        if !wanted || self.is_replaying() {
            return;
        }
        let data = json!({ "mark": self.mark, "step": step, "execution": self.execution });
        let params = json!({ "level": "warning", "logger": "asking", "data": data });
        let message =
            json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params });
        self.out.send(&message).await;
    }

    fn is_replaying(&self) -> bool {
        match &self.side {
            Side::Legacy(_) => false,
            Side::Modern(replay) => replay.at < replay.known,
        }
    }

    /// Answers the request, unless that was done.
    pub(super) async fn answer(&mut self, end: Result<Value, Stop>) {
        if self.answered {
            return;
        }
        let mut message = json!({ "jsonrpc": "2.0", "id": self.id });
        let is_over = !matches!(end, Err(Stop::Input(_)));
        match end {
            Ok(mut result) => {
                if self.shared.options.era == Era::Modern {
                    result["resultType"] = json!("complete");
                }
                message["result"] = result;
            }
            Err(Stop::Input(result)) => message["result"] = result,
            Err(Stop::Error(code, text, data)) => {
                message["error"] = json!({ "code": code, "message": text });
                if let Some(data) = data {
                    message["error"]["data"] = data;
                }
            }
            Err(Stop::Silent) => return,
        }
        self.answered = true;
        if is_over {
            if let Side::Legacy(session) = &self.side {
                session.done(&self.id);
            }
            self.note("end", json!({}));
        }
        self.out.send(&message).await;
    }
}
