//! The task that a call is.

use bytes::Bytes;
use std::future::{Future, pending};
use std::sync::Arc;
use switchboard_protocol::envelope::Response;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Failed, Next, Open, ParkedCall};
use crate::exchange::{Exchanged, Ongoing};
use crate::legacy::pool::Lease;
use crate::link::LinkError;

/// What a call holds of the pool while the server works. Dropped, it says that the call was given
/// up.
pub(crate) trait Held: Send + 'static {
    /// The server has answered: the session is as good as before.
    fn answered(self);
    /// The session is of no more use.
    fn retire(self);
    /// A result is still arriving, and holds it from now on.
    fn stay_with(self, ongoing: &mut Ongoing);
}

impl Held for Lease {
    fn answered(self) {
        Self::answered(self);
    }

    fn retire(self) {
        Self::retire(self);
    }

    fn stay_with(self, ongoing: &mut Ongoing) {
        Self::stay_with(self, ongoing);
    }
}

/// The task of a call: sees to it until the server is done with it, or until nobody waits for it
/// any more. Then dropping `exchange` tells the server so, once. `tell` sends the server a message.
pub(crate) async fn own<L, E, T, F>(
    call: Arc<ParkedCall>,
    lease: L,
    exchange: impl FnOnce() -> E,
    tell: T,
    stop: CancellationToken,
    tasks: TaskTracker,
) where
    L: Held,
    E: Future<Output = Result<Exchanged<Response>, LinkError>>,
    T: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), LinkError>> + Send,
{
    let tell = Arc::new(tell);
    let found = Found(call);
    let call = &found.0;
    // Boxed, so that it can be dropped before its session is given back.
    let mut exchange = Box::pin(exchange());
    let mut telling = Box::pin(tell_replies(call, &*tell));
    let end = loop {
        let until = match call.next() {
            Next::Wait(until) => until,
            Next::GiveUp => break End::GivenUp,
        };
        tokio::select! {
            biased;
            exchanged = &mut exchange => break End::of(exchanged),
            () = stop.cancelled() => break End::Lost(LinkError::Lost("the gateway ends".to_owned())),
            // Only the answer to its question was not sent: the call itself was.
            Err(error) = &mut telling => break End::Lost(LinkError::Lost(error.to_string())),
            () = call.changed.notified() => {}
            () = at(until) => {}
        }
    };
    drop(exchange);
    let owes_others = call.may_owe_others() && !matches!(end, End::Lost(_));
    let remembered = match end {
        End::Answered(answer) => answered(call, lease, *answer, &tell).await,
        End::Arriving(ongoing) => {
            hand_over(call, lease, ongoing, &tell).await;
            None
        }
        End::Lost(error) => {
            lease.retire();
            call.finish(&Err(Failed::Link(error)))
        }
        End::GivenUp => {
            // A client's own session goes on, and the question may be another call's.
            let anothers = |open: &Open| open.anothers.is_some();
            leave(call, call.close().into_iter().filter(anothers), &tell).await;
            drop(lease);
            None
        }
    };
    if owes_others {
        let _ = telling.await;
    } else {
        drop(telling);
    }
    // What is left to do needs none of what the call did.
    if let Some(expires) = remembered {
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(expires) => {}
            }
            drop(found);
        });
    }
}

enum End {
    Answered(Box<Result<Response, LinkError>>),
    Arriving(Box<Ongoing>),
    Lost(LinkError),
    GivenUp,
}

impl End {
    fn of(exchanged: Result<Exchanged<Response>, LinkError>) -> Self {
        match exchanged {
            Ok(Exchanged::Large(ongoing)) => Self::Arriving(ongoing),
            Ok(Exchanged::Whole(response)) => Self::Answered(Box::new(Ok(response))),
            Err(error) => Self::Answered(Box::new(Err(error))),
        }
    }
}

/// Gives the answer to whoever waits, and the session back. Gives until when the answer may be
/// asked for.
async fn answered<L, T, F>(
    call: &ParkedCall,
    lease: L,
    answer: Result<Response, LinkError>,
    tell: &Arc<T>,
) -> Option<Instant>
where
    L: Held,
    T: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), LinkError>> + Send,
{
    let is_over = match &answer {
        Ok(_) => true,
        // 404 says that the session is not known any more.
        Err(LinkError::Status { status, .. }) => *status != 404,
        Err(_) => false,
    };
    let open = call.close();
    let ended = answer.map_err(Failed::Link);
    if !is_over {
        lease.retire();
        return call.finish(&ended);
    }
    if open.is_empty() {
        // First, so that the client's next call finds it.
        lease.answered();
        return call.finish(&ended);
    }
    let remembered = call.finish(&ended);
    leave(call, open.into_iter(), tell).await;
    lease.answered();
    remembered
}

/// Gives a result that is still arriving to whoever waits, and the session with it.
async fn hand_over<L, T, F>(call: &ParkedCall, lease: L, mut ongoing: Box<Ongoing>, tell: &Arc<T>)
where
    L: Held,
    T: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), LinkError>> + Send,
{
    let open = call.close();
    lease.stay_with(&mut ongoing);
    call.hand_over(ongoing);
    leave(call, open.into_iter(), tell).await;
}

/// Tells the server what its questions are answered, until the call is over.
async fn tell_replies<T, F>(call: &ParkedCall, tell: &T) -> Result<(), LinkError>
where
    T: Fn(Bytes) -> F,
    F: Future<Output = Result<(), LinkError>>,
{
    while let Some(reply) = call.reply().await {
        if let Err(error @ (LinkError::NotSent(_) | LinkError::Unreachable(_))) = tell(reply).await
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Sees to the questions that are open when the call is over.
async fn leave<T, F>(call: &ParkedCall, open: impl Iterator<Item = Open>, tell: &Arc<T>)
where
    T: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), LinkError>> + Send,
{
    for open in open {
        let later = Arc::clone(tell);
        let left = call.leave_open(&open, move |answer| later(answer));
        if let Err(refusal) = left {
            let _ = tell(refusal).await;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// A call that is found in the lot, until this is dropped.
struct Found(Arc<ParkedCall>);

impl Drop for Found {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.over = true;
        // These would wait in vain.
        state.legs.clear();
        state.place = None;
        state.parked = None;
        drop(state);
        self.0.lot.leave(self.0.number);
    }
}
