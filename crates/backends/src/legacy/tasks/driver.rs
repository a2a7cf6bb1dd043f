//! Makes a task, and sees to it until it is forgotten.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::json;
use switchboard_protocol::splice::member;
use switchboard_telemetry::CallSpan;
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use super::books::{Asking, State, Task};
use super::plan::as_task;
use super::said::Said;
use super::{MAX_SAID, about};
use crate::endpoint::Inner;
use crate::exchange::AttemptSpan;
use crate::legacy::attempt::{Until, park};
use crate::legacy::call::{Ended, Failed, Resumed};
use crate::legacy::exchange::Exchange;
use crate::legacy::parked::Ticket;
use crate::legacy::pool::Lease;
use crate::link::LinkError;
use crate::link::watch::Watch;
use crate::message::Rewrite;

/// Makes a call that becomes a task, in a session of its client's.
pub(in crate::legacy) async fn create(
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
    let exchange = Exchange::new(call, out, span, watch, elsewhere);
    let made = match exchange.run_to_end(&connection).await {
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
    let task = inner.legacy_tasks.note(call, &connection, id, said);
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
    inner.legacy_tasks.forget(&task);
}

/// Waits for the task's result, and for its client whenever the server asks.
async fn until_ended(inner: &Arc<Inner>, mut call: Call, lease: Lease, task: &Task) -> Ended {
    let out = about("tasks/result", &task.id);
    // What belongs to the request that made the task ended with it.
    call.sink = None;
    call.log_level = None;
    let span = AttemptSpan::none();
    let (parked, mut leg) = park(inner, &call, lease, out, span, Until::Answered(None));
    // The request may be large, and the task may live for a day.
    drop(call);
    loop {
        let response = leg.whole().await?;
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
