//! An attempt at a legacy server: in which session, and what its answer becomes.

use std::sync::Arc;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::CallError;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallEvent, CallSpan, Wait};

use super::call::{Ended, Failed, Leg, ParkedCall, Resumed, gone, own};
use super::exchange::{Answered, Exchange, give};
use super::parked::Ticket;
use super::pool::Lease;
use super::tasks::{self, Plan};
use super::urls::{self, Again};
use crate::answer::{self, Answer};
use crate::endpoint::Inner;
use crate::exchange::{AttemptSpan, Exchanged};
use crate::link::watch::Watch;
use crate::link::{LinkError, MayArrive, Outgoing};
use crate::message::{RequestState, Rewrite};

/// Sends the call and takes the answer; once more if the server had only forgotten the session.
pub(crate) async fn attempt(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
) -> Result<Exchanged, CallError> {
    if call.method.names_task() {
        let answer = tasks::answer(inner, call, rewrite).await;
        return answer.map(Exchanged::Whole);
    }
    let plan = tasks::plan(inner, call, rewrite);
    let mut again = None;
    if let RequestState::Restore(state) = rewrite.request_state {
        if let Some(ticket) = Ticket::parse(state) {
            let answer = resume(inner, call, ticket, parent).await;
            return answer.map(Exchanged::Whole);
        }
        let made_before = Again::parse(state).ok_or_else(gone)?;
        if let Some(response) = made_before.answered(&inner.shared.lot, call)? {
            let answer = answer::interpret(&inner.name, call, Version::LATEST_LEGACY, response);
            return answer.map(Exchanged::Whole);
        }
        again = Some(made_before);
    }
    let mut forgotten_before = false;
    loop {
        let lease = inner.pool.lease(inner, call);
        let lease = parent.around(Wait::Session, &inner.name, lease).await;
        let lease = lease.inspect_err(|error| inner.leave_unsent(call, rewrite, parent, error))?;
        let connection = Arc::clone(lease.connection());
        let ended = match &plan {
            Plan::AsTask(task) => tasks::create(inner, call, rewrite, parent, lease, task)
                .await
                .map(Answered::Whole),
            Plan::Plainly | Plan::ToItsEnd => {
                let to_end = plan == Plan::ToItsEnd;
                once(inner, call, rewrite, parent, lease, to_end).await
            }
        };
        let ended = match ended {
            // The server said so before it did anything.
            Err(Failed::Link(error)) if !forgotten_before && connection.wire.lost_by(&error) => {
                connection.session_lost.notify_one();
                // It may have forgotten the session for lists as well.
                inner.suspicion.notify_one();
                forgotten_before = true;
                continue;
            }
            Ok(Answered::Large(begun)) => return Ok(Exchanged::Large(begun)),
            Ok(Answered::Whole(response)) => Ok(response),
            Err(failed) => Err(failed),
        };
        let answer = interpret(inner, call, connection.wire.version, again, ended);
        return answer.map(Exchanged::Whole);
    }
}

/// Whether the call goes on where it waits, whatever becomes of the backend's own session.
pub(crate) fn is_parked(inner: &Inner, rewrite: &Rewrite<'_>) -> bool {
    match rewrite.request_state {
        RequestState::Restore(state) => {
            Ticket::parse(state).is_some_and(|ticket| inner.shared.lot.find(ticket).is_some())
        }
        _ => false,
    }
}

/// The client comes back to a call that waits for it.
async fn resume(
    inner: &Inner,
    call: &Call,
    ticket: Ticket,
    span: &CallSpan,
) -> Result<Answer, CallError> {
    let parked = inner.shared.lot.find(ticket);
    let parked = parked
        .filter(|parked| parked.belongs_to(&inner.name, &call.principal.id))
        .ok_or_else(gone)?;
    span.event(CallEvent::Resumed {
        backend: &inner.name,
    });
    if let Some(attempt) = parked.span().as_parent() {
        span.link(&attempt);
    }
    let ended = match parked.resume(ticket.round, call)? {
        Resumed::Waiting(leg) => leg.whole().await,
        Resumed::Ended(ended) => *ended,
    };
    interpret(inner, call, parked.version(), None, ended)
}

/// `to_end`: the call has to be a task, and its end is waited for.
async fn once(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
    lease: Lease,
    to_end: bool,
) -> Result<Answered, Failed> {
    let connection = Arc::clone(lease.connection());
    let (mut out, span) = inner.outgoing(call, rewrite, parent, &connection);
    if to_end {
        out = tasks::as_task(out, b"{}");
    }
    let arriving = rewrite.may_arrive(call.method).filter(|_| !to_end);
    if lease.may_be_asked() && call.method.may_require_input() {
        let (_, leg) = park(inner, call, lease, out, span, to_end, arriving);
        return leg.ended().await;
    }
    let id = out.id;
    let elsewhere = Watch::logs_of(call, id);
    let watch = Watch::of(call, id);
    let exchange = Exchange {
        log_level: call.log_level,
        out,
        span,
        watch,
        elsewhere,
        arriving,
    };
    // Made in each branch: the future is large, and would be moved from one place to the next.
    let mut result = if to_end {
        let (inner, again) = (Arc::clone(inner), Watch::of(call, id));
        let first = exchange.run_to_end(&connection);
        let whole = tasks::exchange_to_end(first, inner, Arc::clone(&connection), again);
        Box::pin(whole).await.map(Answered::Whole)
    } else {
        exchange.run(&connection).await
    };
    match &mut result {
        Ok(Answered::Large(begun)) => give(lease, begun),
        Ok(Answered::Whole(_)) => lease.answered(),
        Err(error) if connection.wire.lost_by(error) => lease.retire(),
        Err(LinkError::Status { .. }) => lease.answered(),
        Err(_) => {}
    }
    result.map_err(Failed::Link)
}

/// Makes a call whose client can be asked: it gets a task of its own. Answers with the call and its
/// first leg.
pub(super) fn park(
    inner: &Arc<Inner>,
    call: &Call,
    lease: Lease,
    out: Outgoing,
    span: AttemptSpan,
    to_end: bool,
    arriving: Option<MayArrive>,
) -> (Arc<ParkedCall>, Leg) {
    let connection = Arc::clone(lease.connection());
    let relay = connection.legacy.as_ref().and_then(super::Session::relay);
    let (parked, leg) = ParkedCall::begin(
        &inner.shared.lot,
        &inner.name,
        call,
        out.id,
        connection.wire.version,
        relay.cloned(),
        span.span().clone(),
    );
    let exchange = Exchange {
        log_level: call.log_level,
        out,
        span,
        watch: Watch::of_parked(Arc::clone(&parked)),
        elsewhere: Watch::of_parked(Arc::clone(&parked)),
        arriving,
    };
    let again = Watch::of_parked(Arc::clone(&parked));
    let (at, of, asked) = (
        Arc::clone(&connection),
        Arc::clone(inner),
        Arc::clone(&parked),
    );
    let exchange = async move || {
        if to_end {
            let first = exchange.run_to_end(&at);
            let ended = tasks::exchange_to_end(first, of, Arc::clone(&at), again).await;
            return ended.map(Answered::Whole);
        }
        match exchange.run(&at).await? {
            large @ Answered::Large(_) if !asked.may_hand_over() => {
                large.whole().await.map(Answered::Whole)
            }
            answered => Ok(answered),
        }
    };
    let tell = move |message| {
        let connection = Arc::clone(&connection);
        async move {
            match connection.link.notify(&connection.wire, message).await {
                Err(error) if connection.wire.lost_by(&error) => {
                    Err(LinkError::NotSent("the session is lost".to_owned()))
                }
                told => told,
            }
        }
    };
    let (stop, tasks) = (inner.stop.clone(), inner.tasks.clone());
    let owner = own(Arc::clone(&parked), lease, exchange, tell, stop, tasks);
    inner.tasks.spawn(owner);
    (parked, leg)
}

/// What a call's client is told of how it ended at a server of this version. `again` is the state
/// that the call came with, if it was made anew.
pub(super) fn interpret(
    inner: &Inner,
    call: &Call,
    version: Version,
    again: Option<Again>,
    ended: Ended,
) -> Result<Answer, CallError> {
    let response = match ended {
        Ok(response) => response,
        Err(Failed::Call(error)) => return Err(error),
        Err(Failed::Link(error)) => {
            if error.is_suspicious() {
                inner.suspicion.notify_one();
            }
            match error {
                LinkError::Status {
                    error: Some(response),
                    ..
                } if response.error.is_some() => *response,
                error => return Err(answer::failure(&inner.name, call, version, error)),
            }
        }
    };
    let response = urls::translate(&inner.shared.lot, call, again, response)?;
    answer::interpret(&inner.name, call, version, response)
}
