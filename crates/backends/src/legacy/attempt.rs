//! An attempt at a legacy server: in which session, and what its answer becomes.

use std::ops::ControlFlow;
use std::sync::Arc;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::CallError;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallEvent, CallSpan, Wait};

use super::call::{Ended, Failed, Leg, ParkedCall, Resumed, gone, own};
use super::exchange::Exchange;
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

/// How the end of a call is waited for.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// For its answer; a large one may be given while it arrives, if that says so.
    Answered(Option<MayArrive>),
    /// For the end of the task that it has to be.
    TaskEnded,
}

/// Sends the call, unless it goes on with something, and takes the answer.
pub(crate) async fn attempt(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
) -> Result<Exchanged, CallError> {
    match without_sending(inner, call, rewrite, parent).await? {
        ControlFlow::Break(answer) => Ok(Exchanged::Whole(answer)),
        ControlFlow::Continue(again) => send(inner, call, rewrite, parent, again).await,
    }
}

/// The answer to a call that is about a task, or goes on with what it waits for; else the state with
/// which it is made anew, if it came with one.
async fn without_sending(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
) -> Result<ControlFlow<Answer, Option<Again>>, CallError> {
    if call.method.names_task() {
        let answer = tasks::answer(inner, call, rewrite).await;
        return answer.map(ControlFlow::Break);
    }
    let RequestState::Restore(state) = rewrite.request_state else {
        return Ok(ControlFlow::Continue(None));
    };
    if let Some(ticket) = Ticket::parse(state) {
        let answer = resume(inner, call, ticket, parent).await;
        return answer.map(ControlFlow::Break);
    }
    let again = Again::parse(state).ok_or_else(gone)?;
    match again.answered(&inner.shared.lot, call)? {
        Some(response) => answer::interpret(&inner.name, call, Version::LATEST_LEGACY, response)
            .map(ControlFlow::Break),
        None => Ok(ControlFlow::Continue(Some(again))),
    }
}

/// Sends the call and takes the answer; once more if the server had only forgotten the session.
/// `again` is the state that it came with, if it is made anew.
async fn send(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
    again: Option<Again>,
) -> Result<Exchanged, CallError> {
    let plan = tasks::plan(inner, call, rewrite);
    let mut forgotten_before = false;
    loop {
        let lease = inner.pool.lease(inner, call);
        let lease = parent.around(Wait::Session, &inner.name, lease).await;
        let lease = lease.inspect_err(|error| inner.leave_unsent(call, rewrite, parent, error))?;
        let connection = Arc::clone(lease.connection());
        let ended = match &plan {
            Plan::AsTask(task) => tasks::create(inner, call, rewrite, parent, lease, task)
                .await
                .map(Exchanged::Whole),
            Plan::Plainly => {
                let until = Until::Answered(rewrite.may_arrive(call.method));
                once(inner, call, rewrite, parent, lease, until).await
            }
            Plan::ToItsEnd => once(inner, call, rewrite, parent, lease, Until::TaskEnded).await,
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
            Ok(Exchanged::Large(ongoing)) => return Ok(Exchanged::Large(ongoing)),
            Ok(Exchanged::Whole(response)) => Ok(response),
            Err(failed) => Err(failed),
        };
        return interpret(inner, call, connection.wire.version, again, ended).map(Exchanged::Whole);
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

/// Sends the call in this session and takes the answer.
async fn once(
    inner: &Arc<Inner>,
    call: &Call,
    rewrite: &Rewrite<'_>,
    parent: &CallSpan,
    lease: Lease,
    until: Until,
) -> Result<Exchanged<Response>, Failed> {
    let connection = Arc::clone(lease.connection());
    let (mut out, span) = inner.outgoing(call, rewrite, parent, &connection);
    if let Until::TaskEnded = until {
        out = tasks::as_task(out, b"{}");
    }
    if lease.may_be_asked() && call.method.may_require_input() {
        let (_, leg) = park(inner, call, lease, out, span, until);
        return leg.ended().await;
    }
    let id = out.id;
    let elsewhere = Watch::logs_of(call, id);
    let exchange = Exchange::new(call, out, span, Watch::of(call, id), elsewhere);
    // Made in each branch: the future is large, and would be moved from one place to the next.
    let mut result = match until {
        Until::Answered(arriving) => exchange.run(&connection, arriving).await,
        Until::TaskEnded => {
            let (inner, again) = (Arc::clone(inner), Watch::of(call, id));
            let first = exchange.run_to_end(&connection);
            let whole = tasks::exchange_to_end(first, inner, Arc::clone(&connection), again);
            Box::pin(whole).await.map(Exchanged::Whole)
        }
    };
    match &mut result {
        Ok(Exchanged::Large(ongoing)) => lease.stay_with(ongoing),
        Ok(Exchanged::Whole(_)) => lease.answered(),
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
    until: Until,
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
    let watch = || Watch::of_parked(Arc::clone(&parked));
    let (exchange, again) = (Exchange::new(call, out, span, watch(), watch()), watch());
    let exchange = {
        let (inner, call) = (Arc::clone(inner), Arc::clone(&parked));
        let connection = Arc::clone(&connection);
        async move || match until {
            Until::Answered(arriving) => match exchange.run(&connection, arriving).await? {
                large @ Exchanged::Large(_) if !call.may_hand_over() => {
                    large.whole().await.map(Exchanged::Whole)
                }
                exchanged => Ok(exchanged),
            },
            Until::TaskEnded => {
                let first = exchange.run_to_end(&connection);
                let connection = Arc::clone(&connection);
                let ended = tasks::exchange_to_end(first, inner, connection, again).await;
                ended.map(Exchanged::Whole)
            }
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
