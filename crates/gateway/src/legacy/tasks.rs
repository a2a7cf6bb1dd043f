//! Tasks of 2025-11-25, made of those of the extension that everything inside speaks (2025-11-25:
//! `basic/utilities/tasks`; SEP-2663).
//!
//! A client of that version asks for a task by `params.task` where a tool says that it can be one,
//! looks at it with `tasks/get`, and waits for its end with `tasks/result`, on whose stream it is
//! asked what there is to ask. Inside, waiting is looking again and again. A server that answers
//! with a task only is waited for in the call itself: to the client that is a call like any other.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use switchboard_orchestrator::catalogue::{Entry, Kind, Snapshot};
use switchboard_protocol::TASK_KEY;
use switchboard_protocol::call::{Completed, Outcome, Payload};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::{CallError, ProtocolError, code};
use switchboard_protocol::extension::{self, RELATED_TASK};
use switchboard_protocol::json;
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_protocol::splice::{filter_object, for_each_item, for_each_member, member};
use switchboard_protocol::token::digest;
use switchboard_protocol::version::Version;
use tokio::time::{sleep, timeout};
use tower::Service;

use super::call::{LegacyCall, Round, flat, too_many_rounds, unanswered};
use super::questions::Question;
use super::translate::{self, ClientIdentity};
use crate::shed::answer_memory::bytes_in_place_of;

/// How often a task is looked at whose server does not say, and the bounds of what servers say.
const USUAL_PAUSE: Duration = Duration::from_millis(500);
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The most questions of one task that one request asks.
const MAX_ASKED: usize = 1_024;
/// How long cancelling a task may take that nobody waits for any more.
const CANCELLING: Duration = Duration::from_secs(10);
/// The capability.
pub(super) const CAPABILITY: &[u8] = br#""tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}"#;

/// What a request has to do with tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// It calls a tool as a task.
    Create,
    /// `tasks/get`
    Get,
    /// `tasks/result`
    Result,
    /// `tasks/cancel`
    Cancel,
}

impl About {
    /// What a request of a client of this version has to do with tasks; `None`: nothing, or its
    /// version has none. `may_have_task`: as for [`translate::request`].
    pub(super) fn of(version: Version, request: &Envelope, may_have_task: bool) -> Option<Self> {
        if version != Version::V2025_11_25 {
            return None;
        }
        match &*request.method_name() {
            b"tools/call" => {
                let params = request.keys.params.filter(|_| may_have_task)?;
                member(request.slice(params), "task").map(|_| Self::Create)
            }
            b"tasks/get" => Some(Self::Get),
            b"tasks/result" => Some(Self::Result),
            b"tasks/cancel" => Some(Self::Cancel),
            _ => None,
        }
    }
}

/// The request in modern form, and the method whose result its own is like; `tool` finds one by the
/// client's name for it.
///
/// # Errors
/// −32602 for one that names no task, or whose parameters are not valid; −32601 for a tool that
/// cannot be called as a task.
pub(super) fn request<'s>(
    about: About,
    envelope: &Envelope,
    client: &ClientIdentity,
    log_level: Option<LogLevel>,
    tool: impl Fn(&str) -> Option<&'s Entry>,
) -> Result<(Method, Envelope), ProtocolError> {
    let method = match about {
        About::Create => {
            let wanted = envelope
                .keys
                .params
                .and_then(|params| member(envelope.slice(params), "task"))
                .filter(|task| task.first() == Some(&b'{'))
                .ok_or_else(|| ProtocolError::invalid_params("params.task is an object"))?;
            let (method, modern) = translate::request(envelope, client, log_level, true)?;
            let name = modern.text(modern.params.name).unwrap_or_default();
            let entry = tool(&name);
            if entry.is_some_and(|entry| entry.item.task_support.is_none()) {
                return Err(ProtocolError::new(
                    code::METHOD_NOT_FOUND,
                    "This tool cannot be called as a task: call it without params.task",
                ));
            }
            let wanted = [b",\"", TASK_KEY.as_bytes(), b"\":", wanted].concat();
            return Ok((method, declaring(&modern, &wanted)?));
        }
        About::Get => Method::TasksGet,
        // Of a tool's call: no other request can be a task.
        About::Result => Method::ToolsCall,
        About::Cancel => Method::TasksCancel,
    };
    let Some(id) = envelope
        .params
        .task_id
        .filter(|id| envelope.text(Some(*id)).is_some())
    else {
        return Err(ProtocolError::invalid_params(
            "params.taskId is missing or no string",
        ));
    };
    let meta = client.meta(log_level);
    let params = [
        b"{\"_meta\":{",
        &meta[..],
        b"},\"taskId\":",
        envelope.slice(id),
        b"}",
    ]
    .concat();
    let modern = message(Method::TasksGet.as_str(), &params)?;
    Ok((method, declaring(&modern, b"")?))
}

fn message(method: &str, params: &[u8]) -> Result<Envelope, ProtocolError> {
    let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"{method}\",\"params\":");
    let message = [head.as_bytes(), params, b"}"].concat();
    Envelope::parse(message.into())
        .map_err(|error| ProtocolError::invalid_params(error.to_string()))
}

/// The request as one of a client that knows tasks; `more` are further members of its `_meta`, with
/// a comma before them.
fn declaring(request: &Envelope, more: &[u8]) -> Result<Envelope, ProtocolError> {
    const KEY: &str = "io.modelcontextprotocol/clientCapabilities";
    let meta = request
        .params
        .meta
        .map_or(&b"{}"[..], |span| request.slice(span));
    let declared = request
        .meta
        .client_capabilities
        .map_or(&b"{}"[..], |span| request.slice(span));
    let mut extensions = b"\"extensions\":".to_vec();
    let tasks = format!("\"{}\":{{}}", extension::TASKS);
    filter_object(
        member(declared, "extensions").unwrap_or(b"{}"),
        tasks.as_bytes(),
        |name| name != extension::TASKS,
        &mut extensions,
    );
    let mut front = format!("\"{KEY}\":").into_bytes();
    filter_object(declared, &extensions, |key| key != "extensions", &mut front);
    front.extend_from_slice(more);
    let mut edited = b"\"_meta\":".to_vec();
    filter_object(meta, &front, |key| key != KEY, &mut edited);
    let params = request
        .keys
        .params
        .map_or(&b"{}"[..], |span| request.slice(span));
    let mut out = Vec::with_capacity(params.len() + tasks.len() + more.len());
    filter_object(params, &edited, |key| key != "_meta", &mut out);
    message(&request.method(), &out)
}

/// A task that a call waits for, to be cancelled if nobody waits for the call any more.
pub(super) type Running = Option<Envelope>;

impl LegacyCall {
    /// A request that has to do with tasks.
    pub(super) async fn of_task(&self, about: About) -> Outcome {
        let result = match about {
            About::Create => {
                return match self.made(self.request.clone(), Method::ToolsCall).await {
                    Outcome::Complete(made) => created(&flat(&made.result)),
                    other => other,
                };
            }
            About::Get => self.look(&self.request).await.map(|task| shown(&task)),
            About::Result => self.until_ended(&self.request).await,
            About::Cancel => self.cancel().await,
        };
        match result {
            Ok(result) => complete(result),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// A call that failed because its server answers with a task only: made once more, and waited
    /// for.
    pub(super) async fn as_task(&self, running: &mut Running) -> Outcome {
        let made = match declaring(&self.request, b"") {
            Ok(request) => self.made(request, Method::ToolsCall).await,
            Err(error) => return Outcome::Failed(error.into()),
        };
        let Outcome::Complete(made) = made else {
            return made;
        };
        let result = flat(&made.result);
        let Some(id) = task_of(&result) else {
            return Outcome::Complete(made);
        };
        let params = self.request.params.meta.map(|meta| {
            let meta = self.request.slice(meta);
            [b"{\"_meta\":", meta, b",\"taskId\":", id, b"}"].concat()
        });
        let look = message(Method::TasksGet.as_str(), &params.unwrap_or_default())
            .and_then(|look| declaring(&look, b""));
        let look = match look {
            Ok(look) => running.insert(look).clone(),
            Err(error) => return Outcome::Failed(error.into()),
        };
        match self.until_ended(&look).await {
            Ok(result) => {
                *running = None;
                let unrelated = without_relation(&result);
                complete(bytes_in_place_of(result, unrelated))
            }
            Err(error) => {
                // Nobody will ask for it any more; that it is over already is no fault.
                self.cancel_running(&look).await;
                *running = None;
                Outcome::Failed(error)
            }
        }
    }

    /// Cancels what a call waited for that nobody waits for any more.
    pub(super) async fn cancel_running(&self, running: &Envelope) {
        if let Ok(request) = renamed(running, Method::TasksCancel) {
            let _ = timeout(CANCELLING, self.made(request, Method::TasksCancel)).await;
        }
    }

    async fn made(&self, request: Envelope, method: Method) -> Outcome {
        let mut call = self.call(request);
        call.method = method;
        let Ok(outcome) = self.edge.calls.clone().call(call).await;
        outcome
    }

    /// The task as it is, in modern form.
    async fn look(&self, request: &Envelope) -> Result<Bytes, CallError> {
        match self.made(request.clone(), Method::TasksGet).await {
            Outcome::Complete(task) => Ok(flat(&task.result)),
            Outcome::InputRequired(_) | Outcome::Arriving(_) => Err(unanswered()),
            Outcome::Failed(error) => Err(error),
        }
    }

    /// Waits for the end of a task, and asks meanwhile what there is to ask. Answers with what the
    /// call itself would have been answered with.
    async fn until_ended(&self, request: &Envelope) -> Result<Bytes, CallError> {
        let mut asked = HashSet::new();
        loop {
            let task = self.look(request).await?;
            match status(&task).as_deref() {
                Some("completed") => {
                    let result = related(&task);
                    return Ok(bytes_in_place_of(task, result));
                }
                Some("failed") => return Err(failed(&task)),
                Some("cancelled") => return Err(cancelled().into()),
                Some("input_required") => {
                    if let Some(asking) = unasked(&task, &mut asked) {
                        if asked.len() > MAX_ASKED {
                            return Err(too_many_rounds());
                        }
                        self.ask_and_update(request, &asking).await?;
                        continue;
                    }
                }
                _ => {}
            }
            sleep(pause(&task)).await;
        }
    }

    /// Puts what a task asks to the client, and its answers to the task.
    async fn ask_and_update(&self, request: &Envelope, asking: &Bytes) -> Result<(), CallError> {
        let (round, questions) = self.ask(asking)?;
        let waiting = questions.into_iter().map(Question::answer);
        let Ok(answers) = timeout(self.edge.ask_timeout, join_all(waiting)).await else {
            return Err(unanswered());
        };
        let update = renamed(request, Method::TasksUpdate)?;
        let update = Round::retry(&round, &update, self.version(), answers)?;
        match self.made(update, Method::TasksUpdate).await {
            Outcome::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn cancel(&self) -> Result<Bytes, CallError> {
        let look = renamed(&self.request, Method::TasksGet)?;
        let before = self.look(&look).await?;
        if let Some(status @ ("completed" | "failed" | "cancelled")) = status(&before).as_deref() {
            return Err(ProtocolError::invalid_params(format!(
                "Cannot cancel task: already in terminal status '{status}'"
            ))
            .into());
        }
        let cancel = renamed(&self.request, Method::TasksCancel)?;
        if let Outcome::Failed(error) = self.made(cancel, Method::TasksCancel).await {
            return Err(error);
        }
        Ok(shown(&self.look(&look).await?))
    }
}

/// The same parameters for another method.
fn renamed(request: &Envelope, method: Method) -> Result<Envelope, ProtocolError> {
    let params = request
        .keys
        .params
        .map_or(&b"{}"[..], |span| request.slice(span));
    message(method.as_str(), params)
}

/// Whether a call failed because its client knows no tasks: nothing was done (SEP-2663, Capability
/// Negotiation).
pub(super) fn needs_tasks(outcome: &Outcome) -> bool {
    let Outcome::Failed(CallError::Backend {
        code: code::MISSING_CLIENT_CAPABILITY,
        error,
        ..
    }) = outcome
    else {
        return false;
    };
    member(error, "data")
        .and_then(|data| member(data, "requiredCapabilities"))
        .is_some_and(|required| extension::is_declared(required, extension::TASKS))
}

fn complete(result: Bytes) -> Outcome {
    Outcome::Complete(Completed {
        is_error: member(&result, "isError") == Some(b"true"),
        result: result.into(),
    })
}

/// The identifier of the task that a call was answered with, as written.
fn task_of(result: &[u8]) -> Option<&[u8]> {
    let kind = member(result, "resultType").and_then(json::as_str)?;
    member(result, "taskId").filter(|_| kind == "task")
}

fn created(result: &Bytes) -> Outcome {
    if task_of(result).is_none() {
        return complete(result.clone());
    }
    complete([b"{\"task\":", &shown(result)[..], b"}"].concat().into())
}

fn status(task: &[u8]) -> Option<Cow<'_, str>> {
    member(task, "status").and_then(json::as_str)
}

fn pause(task: &[u8]) -> Duration {
    let wanted = member(task, "pollIntervalMs").and_then(|ms| serde_json::from_slice(ms).ok());
    let pause = wanted.map_or(USUAL_PAUSE, Duration::from_millis);
    pause.clamp(MIN_PAUSE, MAX_PAUSE)
}

/// A task as 2025-11-25 writes it. There a tool's error is the task's too.
fn shown(task: &[u8]) -> Bytes {
    let result = member(task, "result").unwrap_or_default();
    let tool_failed = member(result, "isError") == Some(b"true");
    let mut out = vec![b'{'];
    for_each_member(task, |key, _, value| {
        let (key, value) = match key {
            "taskId" | "statusMessage" | "createdAt" | "lastUpdatedAt" => (key, value),
            "status" if tool_failed => (key, &b"\"failed\""[..]),
            "status" => (key, value),
            "ttlMs" => ("ttl", value),
            "pollIntervalMs" => ("pollInterval", value),
            _ => return,
        };
        if out.len() > 1 {
            out.push(b',');
        }
        json::write_str(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value);
    });
    out.push(b'}');
    out.into()
}

/// The result of a task that is completed, with the task's name in it (2025-11-25:
/// `basic/utilities/tasks`, Related Task Metadata).
fn related(task: &[u8]) -> Bytes {
    let result = member(task, "result").unwrap_or(b"{}");
    let relation = relation(task);
    let mut meta = b"\"_meta\":".to_vec();
    let own = member(result, "_meta").unwrap_or(b"{}");
    filter_object(own, &relation, |key| key != RELATED_TASK, &mut meta);
    let mut out = Vec::with_capacity(result.len() + meta.len());
    filter_object(result, &meta, |key| key != "_meta", &mut out);
    out.into()
}

fn relation(task: &[u8]) -> Vec<u8> {
    let id = member(task, "taskId").unwrap_or(b"\"\"");
    [b"\"", RELATED_TASK.as_bytes(), b"\":{\"taskId\":", id, b"}"].concat()
}

fn without_relation(result: &[u8]) -> Bytes {
    let mut meta = b"\"_meta\":".to_vec();
    let own = member(result, "_meta").unwrap_or(b"{}");
    filter_object(own, b"", |key| key != RELATED_TASK, &mut meta);
    let mut out = Vec::with_capacity(result.len());
    filter_object(result, &meta, |key| key != "_meta", &mut out);
    out.into()
}

fn failed(task: &[u8]) -> CallError {
    let error = member(task, "error").unwrap_or(br#"{"code":-32603,"message":"The task failed"}"#);
    let number = member(error, "code").and_then(|code| serde_json::from_slice(code).ok());
    CallError::Backend {
        code: number.unwrap_or(code::INTERNAL_ERROR),
        error: Bytes::copy_from_slice(error),
        is_failure: false,
    }
}

fn cancelled() -> ProtocolError {
    ProtocolError::new(code::INTERNAL_ERROR, "The task was cancelled")
}

/// What a task asks that its client was not asked yet, in the form of a result that requires input;
/// every question names the task. `asked` has the digests of their keys, which are as long as the
/// server likes.
fn unasked(task: &[u8], asked: &mut HashSet<[u8; 32]>) -> Option<Bytes> {
    let relation = relation(task);
    let mut requests = vec![b'{'];
    for_each_member(member(task, "inputRequests")?, |key, _, request| {
        if !asked.insert(digest(&[key.as_bytes()])) {
            return;
        }
        if requests.len() > 1 {
            requests.push(b',');
        }
        json::write_str(&mut requests, key);
        requests.push(b':');
        let params = member(request, "params").unwrap_or(b"{}");
        let mut meta = b"\"_meta\":".to_vec();
        let own = member(params, "_meta").unwrap_or(b"{}");
        filter_object(own, &relation, |key| key != RELATED_TASK, &mut meta);
        let mut related = b"\"params\":".to_vec();
        filter_object(params, &meta, |key| key != "_meta", &mut related);
        filter_object(request, &related, |key| key != "params", &mut requests);
    });
    if requests.len() == 1 {
        return None;
    }
    Some(
        [b"{\"inputRequests\":", &requests[..], b"}}"]
            .concat()
            .into(),
    )
}

/// A list of tools of a profile that says which can be called as tasks.
pub(super) fn with_support(list: Payload, snapshot: &Snapshot, profile: Option<&str>) -> Payload {
    let tools = snapshot.entries(Kind::Tool).iter();
    if tools
        .map(|tool| tool.item.task_support)
        .all(|support| support.is_none())
    {
        return list;
    }
    let raw = flat(&list);
    let Some(tools) = member(&raw, "tools") else {
        return raw.into();
    };
    let mut edited = b"\"tools\":[".to_vec();
    for_each_item(tools, |item| {
        if !edited.ends_with(b"[") {
            edited.push(b',');
        }
        let tool = item.of(tools);
        let name = member(tool, "name").and_then(json::as_str);
        let support = name
            .and_then(|name| snapshot.tool_in(profile, &name))
            .and_then(|entry| entry.item.task_support);
        match support {
            Some(support) => {
                let support = support.as_str();
                let execution = format!("\"execution\":{{\"taskSupport\":\"{support}\"}}");
                filter_object(tool, execution.as_bytes(), |_| true, &mut edited);
            }
            None => edited.extend_from_slice(tool),
        }
    });
    edited.push(b']');
    let mut out = Vec::with_capacity(raw.len() + edited.len());
    filter_object(&raw, &edited, |key| key != "tools", &mut out);
    out.into()
}

#[cfg(test)]
mod tests;
