//! What clients ask of a task: `tasks/get`, `tasks/update` and `tasks/cancel`.

use std::sync::Arc;
use std::time::Duration;

use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::{CallError, ProtocolError};
use switchboard_protocol::method::Method;
use tokio::time::timeout;

use super::books::{State, Task};
use super::said::Said;
use super::{SMALL_REQUEST, about, response, without_relation};
use crate::answer::{self, Answer};
use crate::endpoint::Inner;
use crate::legacy::attempt::interpret;
use crate::legacy::call::Ended;
use crate::link::LinkError;
use crate::link::watch::Watch;
use crate::message::Rewrite;

/// How long an answer waits for what the server has announced: that it asks, or has ended.
const ANNOUNCED: Duration = Duration::from_secs(2);

/// Answers a request of the tasks extension.
pub(in crate::legacy) async fn answer(
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

/// What a task is answered with that is not known here any more.
fn gone() -> ProtocolError {
    ProtocolError::invalid_params(
        "Task not found: it never was, has expired, or ended with the session that it belonged to",
    )
}
