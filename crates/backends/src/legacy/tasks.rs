//! Tasks of 2025-11-25 as tasks of the extension (2025-11-25: `basic/utilities/tasks`; SEP-2663).
//!
//! A legacy server's task belongs to the session that it was created in, ends with a request of its
//! own (`tasks/result`), and asks on that request's stream. So for every task that is created for a
//! client which knows tasks, one task of the gateway's, its [`driver`](drive), makes that request
//! at once, as a parked call that holds the session: what the server asks is what `tasks/get` shows
//! as `inputRequests`, what it answers is the task's result. A client that knows no tasks waits for
//! the result in the call itself ([`exchange_to_end`]).

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard_protocol::TASK_KEY;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason};
use switchboard_protocol::extension::{self, RELATED_TASK};
use switchboard_protocol::json;
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{filter_object, for_each_member, member};
use switchboard_telemetry::CallSpan;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::attempt::{exchange, interpret, park};
use super::call::{Ended, Failed, ParkedCall, Resumed};
use super::parked::{Charge, Ticket};
use super::pool::Lease;
use crate::answer::{self, Answer};
use crate::connect::Connection;
use crate::endpoint::Inner;
use crate::exchange::AttemptSpan;
use crate::link::watch::Watch;
use crate::link::{LinkError, Outgoing, next_id};
use crate::lists::TaskSupport;
use crate::message::{self, Rewrite};

/// The most tasks of one backend that are known at a time, of one principal and in all.
const MAX_OF_PRINCIPAL: usize = 100;
const MAX_IN_ALL: usize = 1_000;
/// How long a task is known whose server does not say how long it keeps it, and the longest.
const USUAL_LIFE: Duration = Duration::from_secs(60 * 60);
const MAX_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest of what a server says of a task that is kept, and the longest identifier, in bytes.
const MAX_SAID: usize = 4 * 1024;
/// How long a small request about a task may take.
const SMALL_REQUEST: Duration = Duration::from_secs(10);
/// How long an answer waits for what the server has announced: that it asks, or has ended.
const ANNOUNCED: Duration = Duration::from_secs(2);

/// How a call of a tool goes to a legacy server that has tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// As any other.
    Plainly,
    /// As a task that its client asks for, with these parameters of `task`.
    AsTask(Vec<u8>),
    /// As a task whose end the call waits for.
    ToItsEnd,
}

/// Decides how a call goes out: a tool that has to be a task is one; one that may be is one if its
/// client said so.
pub(super) fn plan(inner: &Inner, call: &Call, rewrite: &Rewrite<'_>) -> Plan {
    let lists = inner.lists.load();
    let Some(lists) = lists.as_ref().filter(|lists| lists.server.features.tasks) else {
        return Plan::Plainly;
    };
    let (Method::ToolsCall, Some(name)) = (call.method, rewrite.target) else {
        return Plan::Plainly;
    };
    let tool = lists.tools.iter().find(|tool| tool.key == name);
    let Some(support) = tool.and_then(|tool| tool.task_support) else {
        return Plan::Plainly;
    };
    let meta = call
        .request
        .params
        .meta
        .map(|span| call.request.slice(span));
    let wanted = meta.and_then(|meta| member(meta, TASK_KEY));
    match (support, call.declares(extension::TASKS), wanted) {
        (_, true, Some(wanted)) => Plan::AsTask(parameters(wanted)),
        (TaskSupport::Required, true, None) => Plan::AsTask(b"{}".to_vec()),
        (TaskSupport::Required, false, _) => Plan::ToItsEnd,
        (TaskSupport::Optional, _, _) => Plan::Plainly,
    }
}

/// `task` as it goes to the server: of what a client wrote only the time to live.
fn parameters(wanted: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    filter_object(wanted, b"", |key| key == "ttl", &mut out);
    out
}

/// The same request, as a task.
pub(super) fn as_task(out: Outgoing, parameters: &[u8]) -> Outgoing {
    const BEFORE: &[u8] = b"\"params\":{";
    // The message is the gateway's own: its head is short, and its parameters are never empty.
    let Some(at) = memchr::memmem::find(&out.body, BEFORE).map(|at| at + BEFORE.len()) else {
        return out;
    };
    let body = [
        &out.body[..at],
        b"\"task\":",
        parameters,
        b",",
        &out.body[at..],
    ]
    .concat();
    Outgoing {
        body: body.into(),
        ..out
    }
}

/// The tasks of one backend.
pub(crate) struct Tasks {
    /// What tells this process from every other: a number by chance.
    owner: u64,
    next: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    known: HashMap<u64, Arc<Task>>,
    /// How many calls of each principal may become tasks any moment.
    making: HashMap<String, usize>,
}

/// Room for a task that is being made, until this is dropped.
struct Room<'t> {
    tasks: &'t Tasks,
    principal: &'t str,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut books = self.tasks.books.lock();
        if let Some(making) = books.making.get_mut(self.principal) {
            *making -= 1;
            if *making == 0 {
                books.making.remove(self.principal);
            }
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            owner: fastrand::u64(..),
            next: AtomicU64::new(1),
            books: Mutex::default(),
        }
    }
}

/// A task of a legacy server.
struct Task {
    number: u64,
    principal: String,
    /// The server's identifier.
    id: String,
    connection: Arc<Connection>,
    /// What the server said of it last.
    said: Mutex<Said>,
    state: Mutex<State>,
    /// Counts the changes of `state`.
    changed: watch::Sender<u64>,
    expires: Instant,
    /// Cancelled when another one needs its room.
    forgotten: CancellationToken,
    /// Cancelled when the server is found to have forgotten the session, and the task with it.
    lost: CancellationToken,
}

/// The members of a task that are shown as the server wrote them.
#[derive(Clone, Debug, Default)]
struct Said {
    status: String,
    /// `"key":value`, comma-separated.
    members: Vec<u8>,
    /// The status's own message, as written.
    message: Option<Vec<u8>>,
}

enum State {
    /// The server works, as far as is known.
    Working,
    /// The server asked something.
    Asking(Asking),
    /// The server is done with it.
    Ended {
        ended: Box<Ended>,
        _charge: Option<Charge>,
    },
}

struct Asking {
    call: Arc<ParkedCall>,
    round: usize,
    /// `inputRequests`, as it is shown.
    requests: Bytes,
    /// Wakes the driver with what it waits for next.
    resumed: oneshot::Sender<Resumed>,
}

impl Tasks {
    /// What the orchestrator knows a task by.
    fn name(&self, number: u64) -> String {
        format!("{:x}.{number}", self.owner)
    }

    /// Whether it knows of none.
    pub(crate) fn is_empty(&self) -> bool {
        let books = self.books.lock();
        books.known.is_empty() && books.making.is_empty()
    }

    fn find(&self, name: &str, principal: &str) -> Option<Arc<Task>> {
        let (owner, number) = name.split_once('.')?;
        if u64::from_str_radix(owner, 16) != Ok(self.owner) {
            return None;
        }
        let task = self.find_number(number.parse().ok()?)?;
        (task.principal == principal).then_some(task)
    }

    fn find_number(&self, number: u64) -> Option<Arc<Task>> {
        self.books.lock().known.get(&number).cloned()
    }

    /// Room for one more task of this principal, if there is any, after the oldest that has ended
    /// was forgotten if need be.
    fn make_room<'t>(&'t self, principal: &'t str) -> Option<Room<'t>> {
        let mut books = self.books.lock();
        let Books { known, making } = &mut *books;
        let own = known.values().filter(|task| task.principal == principal);
        let own = own.count() + making.get(principal).copied().unwrap_or(0);
        let all = known.len() + making.values().sum::<usize>();
        if own >= MAX_OF_PRINCIPAL || all >= MAX_IN_ALL {
            let may_go = |task: &Task| {
                task.is_ended() && (own < MAX_OF_PRINCIPAL || task.principal == principal)
            };
            let oldest = known
                .values()
                .filter(|task| may_go(task))
                .map(|task| task.number)
                .min()?;
            // Its driver still holds it, and what it keeps.
            known.remove(&oldest)?.forgotten.cancel();
        }
        *making.entry(principal.to_owned()).or_default() += 1;
        Some(Room {
            tasks: self,
            principal,
        })
    }
}

impl Task {
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.send_modify(|count| *count += 1);
    }

    fn is_ended(&self) -> bool {
        matches!(*self.state.lock(), State::Ended { .. })
    }

    fn is_settled(&self) -> bool {
        !matches!(*self.state.lock(), State::Working)
    }

    /// Waits until the server is known to ask, or to be done.
    async fn settled(&self, at_most: Duration) {
        let mut changed = self.changed.subscribe();
        let _ = timeout(at_most, changed.wait_for(|_| self.is_settled())).await;
    }
}

impl Said {
    /// Reads a task as a legacy server writes it.
    fn read(task: &[u8]) -> Self {
        let mut said = Self::default();
        let mut ttl = b"null".to_vec();
        let mut members = Vec::new();
        for_each_member(task, |key, raw, value| match key {
            _ if value.len() > MAX_SAID => {}
            "status" => said.status = json::as_str(value).unwrap_or_default().into_owned(),
            "statusMessage" => said.message = Some(value.to_vec()),
            "createdAt" | "lastUpdatedAt" => {
                members.push(b',');
                members.extend_from_slice(raw);
            }
            "ttl" => ttl = value.to_vec(),
            "pollInterval" => {
                members.extend_from_slice(b",\"pollIntervalMs\":");
                members.extend_from_slice(value);
            }
            _ => {}
        });
        said.members = [b"\"ttlMs\":", &ttl[..], &members].concat();
        said
    }

    /// The task as the extension has it, with `more` members.
    fn show(&self, result_type: &str, name: &str, status: &str, more: &[u8]) -> Option<Response> {
        let mut out = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{{\"resultType\":\"{result_type}\",\"taskId\":\"{name}\",\"status\":\"{status}\","
        )
        .into_bytes();
        out.extend_from_slice(&self.members);
        // What was said of another status is not said of this one.
        if let Some(message) = self.message.as_ref().filter(|_| self.status == status) {
            out.extend_from_slice(b",\"statusMessage\":");
            out.extend_from_slice(message);
        }
        out.extend_from_slice(more);
        out.extend_from_slice(b"}}");
        response(out)
    }
}

fn response(message: Vec<u8>) -> Option<Response> {
    Response::parse(message.into()).ok()
}

/// Makes a call that becomes a task, in a session of its client's.
pub(super) async fn create(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
    lease: Lease,
    parameters: &[u8],
) -> Ended {
    let Some(room) = inner.legacy_tasks.make_room(&call.principal.id) else {
        lease.answered();
        return Err(Failed::Call(overloaded(inner).into()));
    };
    let connection = Arc::clone(lease.connection());
    let (out, span) = inner.outgoing(call, rewrite, parent, &connection);
    let out = as_task(out, parameters);
    let (watch, elsewhere) = (Watch::of(call, out.id), Watch::logs_of(call, out.id));
    let made = exchange(&connection, call.log_level, out, span, watch, elsewhere).await;
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            if connection.wire.lost_by(&error) {
                lease.retire();
            }
            return Err(Failed::Link(error));
        }
    };
    let result = made.result.map(|span| made.slice(span)).unwrap_or_default();
    let Some((id, said)) = member(result, "task").and_then(|task| {
        let id = json::as_str(member(task, "taskId")?)?;
        (id.len() <= MAX_SAID).then(|| (id.into_owned(), Said::read(task)))
    }) else {
        lease.answered();
        return Ok(made);
    };
    let task = note(inner, call, &connection, id, said);
    drop(room);
    let shown = {
        let said = task.said.lock();
        let name = inner.legacy_tasks.name(task.number);
        said.show("task", &name, "working", b"")
    };
    inner
        .tasks
        .spawn(drive(Arc::clone(inner), call.clone(), lease, task));
    shown.ok_or_else(|| Failed::Link(LinkError::Invalid("its task is none".to_owned())))
}

fn note(
    inner: &Inner,
    call: &Call,
    connection: &Arc<Connection>,
    id: String,
    said: Said,
) -> Arc<Task> {
    let life = member(&[b"{", &said.members[..], b"}"].concat(), "ttlMs")
        .and_then(|ttl| serde_json::from_slice(ttl).ok())
        .map_or(USUAL_LIFE, Duration::from_millis);
    let task = Arc::new(Task {
        number: inner.legacy_tasks.next.fetch_add(1, Ordering::Relaxed),
        principal: call.principal.id.clone(),
        id,
        connection: Arc::clone(connection),
        said: Mutex::new(said),
        state: Mutex::new(State::Working),
        changed: watch::Sender::new(0),
        expires: Instant::now() + life.min(MAX_LIFE),
        forgotten: CancellationToken::new(),
        lost: CancellationToken::new(),
    });
    let mut books = inner.legacy_tasks.books.lock();
    books.known.insert(task.number, Arc::clone(&task));
    task
}

/// Sees to a task until it is forgotten.
async fn drive(inner: Arc<Inner>, call: Call, lease: Lease, task: Arc<Task>) {
    let running = async {
        let ended = tokio::select! {
            biased;
            () = task.lost.cancelled() => {
                Err(Failed::Link(LinkError::Lost("its session is lost".to_owned())))
            }
            ended = until_ended(&inner, call, lease, &task) => ended,
        };
        let charge = match &ended {
            Ok(response) => inner.shared.lot.keep(&task.principal, response.raw.len()),
            Err(_) => None,
        };
        let ended = match (&ended, &charge) {
            (Ok(_), None) => Err(Failed::Call(not_kept(&inner).into())),
            _ => ended,
        };
        task.set(State::Ended {
            ended: Box::new(ended),
            _charge: charge,
        });
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = inner.stop.cancelled() => {}
        () = sleep_until(task.expires) => {}
        () = task.forgotten.cancelled() => {}
        () = running => {}
    }
    inner.legacy_tasks.books.lock().known.remove(&task.number);
}

/// Waits for the task's result, and for its client whenever the server asks.
async fn until_ended(inner: &Arc<Inner>, mut call: Call, lease: Lease, task: &Task) -> Ended {
    let out = about("tasks/result", &task.id);
    // What belongs to the request that made the task ended with it.
    call.sink = None;
    call.log_level = None;
    let (parked, mut leg) = park(inner, &call, lease, out, AttemptSpan::none(), false);
    // The request may be large, and the task may live for a day.
    drop(call);
    loop {
        let response = leg.ended().await?;
        let Some((round, requests)) = asked(&response) else {
            return Ok(response);
        };
        let (resumed, resumes) = oneshot::channel();
        task.set(State::Asking(Asking {
            call: Arc::clone(&parked),
            round,
            requests,
            resumed,
        }));
        // As long as the call itself waits; then the server is told that nobody answers.
        let patience = inner.shared.lot.timeout();
        match timeout(patience, resumes).await {
            Ok(Ok(Resumed::Waiting(next))) => leg = next,
            Ok(Ok(Resumed::Ended(ended))) => return *ended,
            Ok(Err(_)) | Err(_) => return Err(Failed::Call(unanswered(inner).into())),
        }
    }
}

/// What a leg that ended with questions asks: the round, and `inputRequests`.
fn asked(response: &Response) -> Option<(usize, Bytes)> {
    let state = response.text(response.keys.request_state)?;
    if response.text(response.keys.result_type)? != "input_required" {
        return None;
    }
    let result = response.slice(response.result?);
    let requests = member(result, "inputRequests")?;
    Some((
        Ticket::parse(&state)?.round,
        Bytes::copy_from_slice(requests),
    ))
}

fn about(method: &'static str, task: &str) -> Outgoing {
    let id = String::from_utf8_lossy(&json::quoted(task)).into_owned();
    message::own(method, next_id(), "", &format!("\"taskId\":{id}"))
}

/// Answers a request of the tasks extension.
pub(super) async fn answer(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
) -> Result<Answer, CallError> {
    let task = rewrite
        .target
        .and_then(|name| inner.legacy_tasks.find(name, &call.principal.id))
        .ok_or_else(gone)?;
    let version = task.connection.wire.version;
    let shown = match call.method {
        Method::TasksUpdate => {
            update(&task, call)?;
            response(ACKNOWLEDGED.to_vec())
        }
        Method::TasksCancel => {
            cancel(inner, &task).await?;
            response(ACKNOWLEDGED.to_vec())
        }
        _ => get(inner, call, &task).await?,
    };
    let shown = shown.ok_or_else(|| {
        let error = LinkError::Invalid("its task is none".to_owned());
        answer::failure(&inner.name, call, version, error)
    })?;
    answer::interpret(&inner.name, call, version, shown)
}

const ACKNOWLEDGED: &[u8] = br#"{"jsonrpc":"2.0","id":0,"result":{"resultType":"complete"}}"#;

/// `tasks/get`.
async fn get(inner: &Inner, call: &Call, task: &Task) -> Result<Option<Response>, CallError> {
    if !task.is_ended() {
        look(inner, task).await;
        let announced = task.said.lock().status != "working";
        if announced || task.lost.is_cancelled() {
            task.settled(ANNOUNCED).await;
        }
    }
    let name = inner.legacy_tasks.name(task.number);
    let said = task.said.lock().clone();
    let show = |status: &str, more: &[u8]| said.show("complete", &name, status, more);
    let ended = match &*task.state.lock() {
        State::Asking(asking) => {
            let requests = [b",\"inputRequests\":", &asking.requests[..]].concat();
            return Ok(show("input_required", &requests));
        }
        State::Working if said.status == "cancelled" => return Ok(show("cancelled", b"")),
        // What is announced comes with the next look.
        State::Working => return Ok(show("working", b"")),
        State::Ended { ended, .. } => Ended::clone(ended),
    };
    if said.status == "cancelled" {
        return Ok(show("cancelled", b""));
    }
    let version = task.connection.wire.version;
    let error = match interpret(inner, call, version, None, ended) {
        Ok(answer) => {
            let result = without_relation(answer.result.of(&answer.response.raw));
            return Ok(show("completed", &[b",\"result\":", &result[..]].concat()));
        }
        Err(CallError::Backend { error, .. }) => error.to_vec(),
        Err(CallError::Protocol(error)) => error.to_json(),
        Err(CallError::Fault(fault)) => {
            ProtocolError::new(i64::from(fault.code), fault.message).to_json()
        }
    };
    Ok(show("failed", &[b",\"error\":", &error[..]].concat()))
}

/// Asks the server how the task is.
async fn look(inner: &Inner, task: &Task) {
    let connection = &task.connection;
    let out = about("tasks/get", &task.id);
    let answer = connection
        .link
        .request(&connection.wire, out, Watch::deaf());
    let result = match timeout(SMALL_REQUEST, answer).await {
        Ok(Ok(response)) => response,
        // Of a lost channel the driver learns by itself.
        Ok(Err(error)) => {
            tracing::debug!(backend = %inner.name, "a task cannot be looked at: {error}");
            if connection.wire.lost_by(&error) {
                connection.session_lost.notify_one();
                task.lost.cancel();
            }
            return;
        }
        Err(_) => return,
    };
    if let Some(span) = result.result {
        let said = Said::read(result.slice(span));
        *task.said.lock() = said;
    }
}

/// A result without what names the server's own task.
fn without_relation(result: &[u8]) -> Vec<u8> {
    let Some(meta) = member(result, "_meta").filter(|meta| member(meta, RELATED_TASK).is_some())
    else {
        return result.to_vec();
    };
    let mut kept = b"\"_meta\":".to_vec();
    filter_object(meta, b"", |key| key != RELATED_TASK, &mut kept);
    let kept = if kept.ends_with(b":{}") {
        Vec::new()
    } else {
        kept
    };
    let mut out = Vec::with_capacity(result.len());
    filter_object(result, &kept, |key| key != "_meta", &mut out);
    out
}

/// `tasks/update`: answers to what is not asked any more are no fault.
fn update(task: &Task, call: &Call) -> Result<(), CallError> {
    if call.request.params.input_responses.is_none() {
        return Err(ProtocolError::invalid_params("params.inputResponses is an object").into());
    }
    let mut state = task.state.lock();
    let asking = match std::mem::replace(&mut *state, State::Working) {
        State::Asking(asking) => asking,
        other => {
            *state = other;
            return Ok(());
        }
    };
    match asking.call.resume(asking.round, call) {
        Ok(resumed) => {
            drop(state);
            task.changed.send_modify(|count| *count += 1);
            // Without a driver the task is forgotten, and so is what was said of it.
            let _ = asking.resumed.send(resumed);
            Ok(())
        }
        Err(error) => {
            *state = State::Asking(asking);
            Err(error)
        }
    }
}

/// `tasks/cancel`: the server decides what becomes of it, so one that is done already is no fault.
async fn cancel(inner: &Inner, task: &Task) -> Result<(), CallError> {
    if task.is_ended() {
        return Ok(());
    }
    let connection = &task.connection;
    let out = about("tasks/cancel", &task.id);
    let answer = connection
        .link
        .request(&connection.wire, out, Watch::deaf());
    match timeout(SMALL_REQUEST, answer).await {
        Ok(Ok(response)) => {
            if let Some(span) = response.result {
                let said = Said::read(response.slice(span));
                if !said.status.is_empty() {
                    *task.said.lock() = said;
                }
            }
            Ok(())
        }
        Ok(Err(error)) => {
            tracing::debug!(backend = %inner.name, "a task cannot be cancelled: {error}");
            Ok(())
        }
        Err(_) => Err(answer::timed_out(&inner.name, SMALL_REQUEST).into()),
    }
}

/// Makes a call that has to be a task, and waits for its end. Dropped before that, it cancels the
/// task. `again` hears the second request.
pub(super) async fn exchange_to_end(
    first: impl Future<Output = Result<Response, LinkError>>,
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    again: Watch,
) -> Result<Response, LinkError> {
    let made = first.await?;
    let result = made.result.map(|span| made.slice(span)).unwrap_or_default();
    let id = member(result, "task")
        .and_then(|task| member(task, "taskId"))
        .and_then(json::as_str);
    let Some(id) = id else {
        return Ok(made);
    };
    let cancel = CancelTask {
        told: Some((inner, Arc::clone(&connection), id.clone().into_owned())),
    };
    let out = about("tasks/result", &id);
    let ended = connection.link.request(&connection.wire, out, again).await;
    if ended.is_ok() {
        cancel.disarm();
    }
    let ended = ended?;
    let Some(result) = ended.result else {
        return Ok(ended);
    };
    let plain = [
        b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":",
        &without_relation(ended.slice(result))[..],
        b"}",
    ]
    .concat();
    Ok(response(plain).unwrap_or(ended))
}

/// Cancels a task that nobody waits for any more.
struct CancelTask {
    told: Option<(Arc<Inner>, Arc<Connection>, String)>,
}

impl CancelTask {
    fn disarm(mut self) {
        self.told = None;
    }
}

impl Drop for CancelTask {
    fn drop(&mut self) {
        let Some((inner, connection, id)) = self.told.take() else {
            return;
        };
        let tasks = inner.tasks.clone();
        tasks.spawn(async move {
            let out = about("tasks/cancel", &id);
            let told = connection
                .link
                .request(&connection.wire, out, Watch::deaf());
            let _ = timeout(SMALL_REQUEST, told).await;
        });
    }
}

/// What a task is answered with that is not known here any more.
fn gone() -> ProtocolError {
    ProtocolError::invalid_params(
        "Task not found: it never was, has expired, or ended with the session that it belonged to",
    )
}

fn unanswered(inner: &Inner) -> Fault {
    fault(
        inner,
        Reason::Unanswered,
        "asked something about this task, and nobody answered in time. It may or may not have done the work: check before you call again.",
    )
}

fn not_kept(inner: &Inner) -> Fault {
    fault(
        inner,
        Reason::AnswerTooLarge,
        "has ended this task, and the gateway could not keep the result. The work was done: check before you call again.",
    )
}

fn overloaded(inner: &Inner) -> Fault {
    let message = format!(
        "The server \"{}\" has too many tasks at work. Nothing was executed: try again in a moment.",
        inner.name
    );
    Fault::not_sent(Reason::Overloaded, message).of(&inner.name)
}

fn fault(inner: &Inner, reason: Reason, what: &str) -> Fault {
    let message = format!("The server \"{}\" {what}", inner.name);
    Fault::unknown(reason, message).of(&inner.name)
}

#[cfg(test)]
mod tests;
