//! One session of a legacy client (2025-11-25 `basic/lifecycle`).

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use switchboard_protocol::call::{ClientSession, Principal, Sink};
use switchboard_protocol::capabilities::Question as Kind;
use switchboard_protocol::credentials::SubjectToken;
use switchboard_protocol::delivery::Redactor;
use switchboard_protocol::error::{ProtocolError, code};
use switchboard_protocol::json::as_str;
use switchboard_protocol::method::LogLevel;
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::clients::Agreed;
use super::events::{CannotResume, EventLog, Form, Memory, Reader};
use super::questions::{Answer, Question};
use super::translate;
use super::watched::Watched;

#[cfg(test)]
mod tests;

/// The most calls of one session in flight, and the most streams with their answers.
pub(super) const MAX_CALLS: usize = 256;
/// The most streams that are kept though they were read to their end.
const MAX_READ: usize = 8;
/// The most questions of one session that wait for an answer.
const MAX_QUESTIONS: usize = 1_024;
/// How long a client may take for what it is asked outside of any call.
const OUTSIDE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long such a question waits for the client to open the stream that it travels on.
const STREAM_WAIT: Duration = Duration::from_secs(5);

/// The number of the stream of what is said outside of any call.
const OUTSIDE: u64 = 0;

/// How the client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Streamable HTTP.
    Streamable,
    /// HTTP+SSE of 2024-11-05: everything is said on one stream.
    HttpSse,
}

/// What a session is begun with.
pub(super) struct Beginning {
    /// What opens it: the session id that its client sends.
    pub(super) sealed_id: Arc<str>,
    /// Tells it from every other session of every process.
    pub(super) name: Box<str>,
    pub(super) principal: Arc<Principal>,
    /// The profile that it was begun at.
    pub(super) profile: Option<Arc<str>>,
    pub(super) transport: Transport,
    /// What was agreed on, if it was already.
    pub(super) agreed: Option<Arc<Agreed>>,
    /// When it ends in any case.
    pub(super) expires: Instant,
    /// What its streams keep is counted there.
    pub(super) memory: Memory,
    /// Finds what takes secrets out of what a backend has it asked outside of calls.
    pub(super) redactors: RedactorOf,
}

/// Gives the redactor of a backend, by the policy in force.
pub(super) type RedactorOf = Arc<dyn Fn(&str) -> Option<Arc<dyn Redactor>> + Send + Sync>;

/// A session of one client. There are many, and most of them idle, so what an idle one does not
/// need is made when it is needed, or takes no memory while it is empty.
pub(super) struct Session {
    sealed_id: Arc<str>,
    name: Box<str>,
    /// As its latest credential has it.
    principal: ArcSwap<Principal>,
    profile: Option<Arc<str>>,
    transport: Transport,
    agreed: OnceLock<Arc<Agreed>>,
    began: Instant,
    expires: Instant,
    is_ended: AtomicBool,
    ended: Notify,
    memory: Memory,
    redactors: RedactorOf,
    form: Form,
    /// What is said outside of any call: the GET stream, or the one stream of HTTP+SSE.
    outside: OnceLock<Arc<EventLog>>,
    this: Weak<Self>,
    state: Mutex<State>,
}

struct State {
    /// Whether anything came after the first request.
    is_used: bool,
    last_used: Instant,
    /// Requests, calls and open streams.
    in_use: usize,
    log_level: LogLevel,
    /// The next number of a stream or a question.
    next: u64,
    /// By the client's id, as written; at most [`MAX_CALLS`].
    calls: SmallVec<[(Bytes, CancellationToken); 1]>,
    /// Those of calls in flight, and those that were not read to their end; at most
    /// [`MAX_CALLS`].
    streams: SmallVec<[Arc<EventLog>; 2]>,
    /// Those that were read to their end, and until when they are kept.
    read: VecDeque<(Arc<EventLog>, Instant)>,
    questions: BTreeMap<u64, oneshot::Sender<Answer>>,
    watched: Watched,
    /// What its client proved itself with last, if some backend exchanges that.
    subject_token: Option<Arc<SubjectToken>>,
}

impl State {
    fn call(&self, id: &[u8]) -> Option<usize> {
        self.calls.iter().position(|(known, _)| known == id)
    }

    fn stream(&self, number: u64) -> Option<usize> {
        self.streams.iter().position(|log| log.number() == number)
    }

    fn take_stream(&mut self, number: u64) -> Option<Arc<EventLog>> {
        Some(self.streams.swap_remove(self.stream(number)?))
    }
}

/// Why a request of the session is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The client's fault.
    #[error("a request with this id is in flight already")]
    SameId,
    /// The cap of calls is reached.
    #[error("this session has too many requests in flight: at most {MAX_CALLS}")]
    TooMany,
    /// The cap of all sessions' calls is reached.
    #[error("too many requests are in flight; try again later")]
    TooManyInAll,
}

impl Session {
    pub(super) fn new(beginning: Beginning) -> Arc<Self> {
        let Beginning {
            sealed_id,
            name,
            principal,
            profile,
            transport,
            agreed,
            expires,
            memory,
            redactors,
        } = beginning;
        let form = match transport {
            Transport::Streamable => Form {
                primes: agreed
                    .as_ref()
                    .is_some_and(|agreed| agreed.version() >= Version::V2025_11_25),
                resumes: true,
                named: false,
            },
            Transport::HttpSse => Form {
                primes: false,
                resumes: false,
                named: true,
            },
        };
        let now = Instant::now();
        Arc::new_cyclic(|this| Self {
            sealed_id,
            name,
            principal: ArcSwap::from(principal),
            profile,
            transport,
            agreed: agreed.map_or_else(OnceLock::new, OnceLock::from),
            began: now,
            expires,
            is_ended: AtomicBool::new(false),
            ended: Notify::new(),
            outside: OnceLock::new(),
            memory,
            redactors,
            form,
            this: Weak::clone(this),
            state: Mutex::new(State {
                is_used: false,
                last_used: now,
                in_use: 0,
                log_level: LogLevel::Info,
                next: 1,
                calls: SmallVec::new(),
                streams: SmallVec::new(),
                read: VecDeque::new(),
                questions: BTreeMap::new(),
                watched: Watched::default(),
                subject_token: None,
            }),
        })
    }

    /// What opens it: the session id that its client sends.
    pub(super) fn sealed_id(&self) -> &str {
        &self.sealed_id
    }

    /// On whose behalf its calls are made, as the latest credential that was used in it says.
    pub(super) fn principal(&self) -> Arc<Principal> {
        self.principal.load_full()
    }

    /// Takes note of a newer credential of the same principal's: what it may do can have changed.
    pub(super) fn renew(&self, principal: &Arc<Principal>) {
        if !Arc::ptr_eq(&self.principal.load(), principal) {
            self.principal.store(Arc::clone(principal));
        }
    }

    /// The profile that it was begun at; `None`: the endpoint without one.
    pub(super) fn profile(&self) -> Option<&Arc<str>> {
        self.profile.as_ref()
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Tells it from every other session of every process; opens nothing.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn expires(&self) -> Instant {
        self.expires
    }

    /// What was agreed on; none before `initialize`, which only a session of HTTP+SSE is.
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.agreed.get().map(|agreed| &**agreed)
    }

    /// The version that was agreed on, or the newest of its era before that.
    pub(super) fn version(&self) -> Version {
        self.agreed()
            .map_or(Version::LATEST_LEGACY, Agreed::version)
    }

    /// Notes what was agreed on; `false` if something was already.
    pub(super) fn agree(&self, agreed: Arc<Agreed>) -> bool {
        self.agreed.set(agreed).is_ok()
    }

    /// What is said outside of any call.
    pub(super) fn outside(&self) -> &Arc<EventLog> {
        self.outside
            .get_or_init(|| EventLog::open_ended(OUTSIDE, self.form, self.memory.clone()))
    }

    /// Whether it has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    /// Resolves when the session ends.
    pub(super) async fn ended(&self) {
        // Begins before the look, so that no end between look and wait is missed.
        let ended = self.ended.notified();
        if !self.is_ended() {
            ended.await;
        }
    }

    /// Ends what the session has going: its calls, its streams, what it was asked.
    pub(super) fn end(&self) {
        // Before the calls are looked at: one that begins later is cancelled as it begins.
        self.is_ended.store(true, Ordering::Release);
        let (calls, questions, watched, streams, read) = {
            let mut state = self.state.lock();
            (
                state.calls.clone(),
                std::mem::take(&mut state.questions),
                std::mem::take(&mut state.watched),
                std::mem::take(&mut state.streams),
                std::mem::take(&mut state.read),
            )
        };
        // Cancelling and dropping these runs foreign code, so nothing is locked.
        self.ended.notify_waiters();
        for (_, call) in &calls {
            call.cancel();
        }
        drop((questions, watched, read));
        for stream in &streams {
            stream.end();
        }
        self.outside().end();
    }

    /// Whether nothing followed the first request for so long.
    pub(super) fn is_unused(&self, now: Instant, limit: Duration) -> bool {
        let state = self.state.lock();
        !state.is_used && state.in_use == 0 && now >= self.began + limit
    }

    /// Whether nobody has used it for so long.
    pub(super) fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        let state = self.state.lock();
        state.in_use == 0 && now >= state.last_used + limit
    }

    /// Notes that the client came back after its first request.
    pub(super) fn used(&self) {
        self.state.lock().is_used = true;
    }

    /// Notes what its client proved itself with now.
    pub(super) fn shows(&self, subject_token: Option<Arc<SubjectToken>>) {
        if subject_token.is_some() {
            self.state.lock().subject_token = subject_token;
        }
    }

    /// What its client proved itself with last, if some backend exchanges that.
    pub(super) fn subject_token(&self) -> Option<Arc<SubjectToken>> {
        self.state.lock().subject_token.clone()
    }

    /// Keeps the session from being idle for as long as it is held.
    pub(super) fn in_use(self: &Arc<Self>) -> InUse {
        self.state.lock().in_use += 1;
        InUse(Arc::clone(self))
    }

    pub(super) fn log_level(&self) -> LogLevel {
        self.state.lock().log_level
    }

    pub(super) fn set_log_level(&self, level: LogLevel) {
        self.state.lock().log_level = level;
    }

    /// What it wants to hear of.
    pub(super) fn with_watched<T>(&self, see: impl FnOnce(&mut Watched) -> T) -> T {
        see(&mut self.state.lock().watched)
    }

    /// A stream for the answers to this many requests.
    pub(super) fn stream(&self, answers: usize) -> Arc<EventLog> {
        if self.transport == Transport::HttpSse {
            return Arc::clone(self.outside());
        }
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        EventLog::for_answers(number, self.form, self.memory.clone(), answers)
    }

    /// Lets go of a stream: from now on it cannot be resumed.
    pub(super) fn forget_stream(&self, stream: &EventLog) {
        let gone = self.state.lock().take_stream(stream.number());
        drop(gone);
    }

    /// Keeps a stream for a while that was read to its end: what was written to a connection that
    /// breaks may not have arrived. Of such streams only the last few are kept.
    pub(super) fn keep_read(&self, stream: &Arc<EventLog>, until: Instant) {
        let mut state = self.state.lock();
        let known = state.take_stream(stream.number());
        let mut gone = None;
        if known.is_some() {
            if state.read.len() >= MAX_READ {
                gone = state.read.pop_front();
            }
            state.read.push_back((Arc::clone(stream), until));
        }
        drop(state);
        drop((known, gone));
    }

    /// Lets go of streams that were kept long enough.
    pub(super) fn tidy(&self, now: Instant) {
        let mut state = self.state.lock();
        while state.read.front().is_some_and(|(_, until)| now >= *until) {
            state.read.pop_front();
        }
    }

    /// Reads the stream on behind this event, or says why not.
    pub(super) fn resume(&self, last_event_id: &str) -> Result<Reader, CannotResume> {
        let (stream, event) = last_event_id.split_once('-').ok_or(CannotResume::Never)?;
        let parse = |digits: &str| {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let stream = parse(stream).ok_or(CannotResume::Never)?;
        let event = parse(event).ok_or(CannotResume::Never)?;
        let log = {
            let state = self.state.lock();
            let read = state.read.iter().map(|(log, _)| log);
            let mut read = read.filter(|log| log.number() == stream);
            let mut kept = state.streams.iter().filter(|log| log.number() == stream);
            match kept.next().or_else(|| read.next()) {
                Some(log) => Arc::clone(log),
                None if stream == OUTSIDE => Arc::clone(self.outside()),
                None if stream < state.next => return Err(CannotResume::TooFarBack),
                None => return Err(CannotResume::Never),
            }
        };
        log.resume(event)
    }

    /// Begins a call under the client's id for it, and keeps the stream that it is answered on.
    pub(super) fn begin_call(
        self: &Arc<Self>,
        id: Bytes,
        log: &Arc<EventLog>,
    ) -> Result<CallGuard, Refused> {
        let mut state = self.state.lock();
        if state.call(&id).is_some() {
            return Err(Refused::SameId);
        }
        let is_new = log.number() != OUTSIDE && state.stream(log.number()).is_none();
        if state.calls.len() >= MAX_CALLS || (is_new && state.streams.len() >= MAX_CALLS) {
            return Err(Refused::TooMany);
        }
        if is_new {
            state.streams.push(Arc::clone(log));
        }
        let cancel = CancellationToken::new();
        if self.is_ended() {
            cancel.cancel();
        }
        state.calls.push((id.clone(), cancel.clone()));
        drop(state);
        Ok(CallGuard {
            session: Arc::clone(self),
            id,
            cancel,
            _in_use: self.in_use(),
        })
    }

    /// Cancels a call of this client, if it is in flight (2025-11-25
    /// `basic/utilities/cancellation`).
    pub(super) fn cancel_call(&self, id: &[u8]) {
        let cancel = {
            let state = self.state.lock();
            state.call(id).map(|at| state.calls[at].1.clone())
        };
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
    }

    /// Whether no call is in flight.
    pub(super) fn is_quiet(&self) -> bool {
        self.state.lock().calls.is_empty()
    }

    /// Asks the client on this stream; none if too many questions are open, or there is no room for
    /// this one. `params` is a JSON object.
    pub(super) fn ask(
        self: &Arc<Self>,
        log: &Arc<EventLog>,
        method: &str,
        params: Option<&[u8]>,
    ) -> Option<Question> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            if state.questions.len() >= MAX_QUESTIONS || self.is_ended() {
                return None;
            }
            let id = state.next;
            state.next += 1;
            state.questions.insert(id, sender);
            id
        };
        Question::put(self, log, id, method, params, receiver)
    }

    /// Takes the answer to a question of this session; `false` if it was never asked, or was
    /// answered or taken back before.
    pub(super) fn answered(&self, id: u64, answer: Answer) -> bool {
        let waiting = self.state.lock().questions.remove(&id);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Takes back a question.
    pub(super) fn forget_question(&self, id: u64) -> bool {
        let waiting = self.state.lock().questions.remove(&id);
        waiting.is_some()
    }
}

impl ClientSession for Session {
    fn id(&self) -> &str {
        &self.name
    }

    fn request(
        &self,
        method: &str,
        params: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
        let this = self.this.upgrade();
        let method = method.to_owned();
        Box::pin(async move {
            match this {
                Some(session) => session.ask_outside(&method, params).await,
                None => Err(gone()),
            }
        })
    }

    fn notify(&self, notification: Bytes) -> bool {
        match translate::notification(self.version(), &notification) {
            Some(notification) => self.outside().offer(notification),
            // Its version has no such notification.
            None => true,
        }
    }

    fn redactor(&self, backend: &str) -> Option<Arc<dyn Redactor>> {
        (self.redactors)(backend)
    }
}

impl Session {
    /// Asks outside of any call: on the GET stream, or the one stream of HTTP+SSE.
    async fn ask_outside(
        self: Arc<Self>,
        method: &str,
        params: Option<Bytes>,
    ) -> Result<Bytes, Bytes> {
        let params = params.unwrap_or_else(|| Bytes::from_static(b"{}"));
        let version = self.version();
        let translated = self
            .question(version, method, &params)
            .ok_or_else(undeclared)?;
        let question = self.ask(self.outside(), method, Some(&translated));
        let question = question.ok_or_else(gone)?;
        let answer = tokio::select! {
            answer = question.answer() => answer.unwrap_or_else(|| Err(gone())),
            () = self.outside().abandoned(STREAM_WAIT) => Err(gone()),
            () = sleep(OUTSIDE_TIMEOUT) => Err(unanswered()),
        };
        answer.map(|result| {
            let result = translate::answer(version, method, &params, &result);
            Bytes::copy_from_slice(&result)
        })
    }

    /// The parameters of what the client is asked, as its version has them; none if it has no such
    /// question, or the client did not declare that it can be asked this.
    fn question<'p>(
        &self,
        version: Version,
        method: &str,
        params: &'p [u8],
    ) -> Option<Cow<'p, [u8]>> {
        if method == "ping" {
            return Some(Cow::Borrowed(params));
        }
        let kind = Kind::parse(method, Some(params))?;
        if !self.agreed()?.declared.allows(kind) {
            return None;
        }
        // The server that asks tells by its own id when it is done.
        let id = member(params, "elicitationId").and_then(as_str);
        translate::question(version, method, params, &id.unwrap_or_default())
    }
}

fn undeclared() -> Bytes {
    error(
        code::METHOD_NOT_FOUND,
        "the client did not declare that it can be asked this",
    )
}

fn unanswered() -> Bytes {
    error(code::INTERNAL_ERROR, "the client did not answer in time")
}

fn gone() -> Bytes {
    error(code::INTERNAL_ERROR, "the client cannot be reached")
}

fn error(code: i64, message: &'static str) -> Bytes {
    ProtocolError::new(code, message).to_json().into()
}

/// Keeps a session from being idle.
pub(super) struct InUse(Arc<Session>);

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.in_use -= 1;
        state.last_used = Instant::now();
    }
}

/// A call in flight, under the client's id.
pub(super) struct CallGuard {
    session: Arc<Session>,
    id: Bytes,
    cancel: CancellationToken,
    _in_use: InUse,
}

impl CallGuard {
    /// Whether the client took the call back, or its session ended.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the client takes the call back, or its session ends.
    pub(super) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.session.state.lock();
            state.call(&self.id).map(|at| state.calls.swap_remove(at))
        };
        drop(gone);
        // The one stream of HTTP+SSE ends with the last call, if the gateway is about to end.
        if let Some(outside) = self.session.outside.get() {
            outside.wake();
        }
    }
}
