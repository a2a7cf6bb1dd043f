//! A large result, handed on while it arrives.

use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::error::{CallError, Fault};
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::{Edit, Parts, Passage, Refusal};
use switchboard_telemetry::ErrorType;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::answer::{self, Answer};
use crate::bulkhead::Permit;
use crate::endpoint::{InFlight, Inner};
use crate::exchange::{AttemptSpan, Claims, Ongoing};
use crate::link::LinkError;
use crate::link::rest::{Chunk, Large, Rest};
use crate::safety::Verdict;

/// As soon as this many bytes can be handed on, they are, without a look for more.
const ENOUGH: usize = 16 * 1024;

/// What a call is answered with.
pub enum Reply {
    /// The whole answer.
    Whole(Answer),
    /// A complete result of which the beginning is there.
    Arriving(Box<Arriving>),
}

/// A complete result of which the beginning is there. Dropping it cancels the call.
pub struct Arriving {
    large: Large,
    account: Account,
    limit: Limit,
}

/// How long a call may take in all.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) limit: Duration,
    /// Whether that is the client's wish.
    pub(crate) is_clients: bool,
}

impl Arriving {
    pub(crate) fn new(inner: Arc<Inner>, started: Instant, limit: Limit, ongoing: Ongoing) -> Self {
        let Ongoing {
            large,
            span,
            claims,
        } = ongoing;
        Self {
            account: Account {
                inner,
                method: large.method,
                started,
                span,
                ended: false,
                claims: Some(claims),
                in_flight: None,
                permit: None,
                room: None,
            },
            large,
            limit,
        }
    }

    /// Counts as an attempt of its endpoint to its last byte.
    pub(crate) fn holding(mut self, in_flight: InFlight) -> Self {
        self.account.in_flight = Some(in_flight);
        self
    }

    /// Keeps its place in the backend to its last byte.
    pub(crate) fn keep(&mut self, permit: Permit) {
        self.account.permit = Some(permit);
    }

    /// The result with these changes.
    #[must_use]
    pub fn edited(self, edit: impl Edit + Send + Unpin + 'static) -> Box<dyn ResultStream> {
        let Large {
            beginning,
            rest,
            id,
            method,
            max_message,
        } = self.large;
        let (account, limit) = (self.account, self.limit);
        let (tasks, stop) = (account.inner.tasks.clone(), account.inner.stop.clone());
        let deadline = account.started + limit.limit;
        let name = Arc::clone(&account.inner.name);
        let source = Arc::new(Source {
            flow: Mutex::new(Flow::Open(Box::new(Open {
                rest,
                account,
                reader: None,
            }))),
        });
        let closing = tasks.spawn(close_at(deadline, limit, stop, Arc::downgrade(&source)));
        Box::new(Edited {
            passage: Passage::new(id, method, edit),
            parts: Parts::default(),
            beginning: Some(beginning),
            name,
            source,
            closing: Some(AbortOnDropHandle::new(closing)),
            received: 0,
            max_message,
        })
    }
}

/// Where a result comes from. It is closed at its deadline, or with its endpoint, whether or not
/// anybody reads: a client that takes nothing would keep the server busy for as long as it likes.
struct Source {
    flow: Mutex<Flow>,
}

enum Flow {
    Open(Box<Open>),
    /// The response has ended, or broke off, and the reader knows.
    Ended,
    /// It was closed before its end, for this reason.
    Closed(Fault),
}

struct Open {
    rest: Rest,
    account: Account,
    /// Who waits for more.
    reader: Option<Waker>,
}

impl Open {
    /// Whether its reader waits for the server, and not the server for its reader.
    fn is_waited_for(&mut self) -> bool {
        self.reader.is_some() && self.rest.is_waited_for()
    }
}

/// Why a result breaks off.
enum Broken {
    /// Something is wrong with the response.
    Response(LinkError),
    /// It was closed, which was counted.
    Closed(Box<Fault>),
}

impl From<LinkError> for Broken {
    fn from(error: LinkError) -> Self {
        Self::Response(error)
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Response(refusal.into())
    }
}

async fn close_at(deadline: Instant, limit: Limit, stop: CancellationToken, source: Weak<Source>) {
    let in_time = stop.run_until_cancelled(sleep_until(deadline)).await;
    let Some(source) = source.upgrade() else {
        return;
    };
    let mut is_backends = true;
    let closed = source.close_with(|open| {
        is_backends = in_time.is_some() && !limit.is_clients && open.is_waited_for();
        let name = &open.account.inner.name;
        match in_time {
            Some(()) => answer::timed_out(name, limit.limit),
            None => answer::fault(name, &LinkError::Lost("its endpoint ended".to_owned())),
        }
    });
    let Some((mut open, fault)) = closed else {
        return;
    };
    // The connection to the server goes first: that cancels the call.
    drop(open.rest);
    match is_backends {
        true => open.account.broke_off(fault.into()),
        false => open.account.given_up(fault.into()),
    };
    if let Some(reader) = open.reader.take() {
        reader.wake();
    }
}

impl Source {
    /// Ends it; what it was, if nobody has done so before.
    fn end(&self) -> Option<Box<Open>> {
        let mut flow = self.flow.lock();
        match mem::replace(&mut *flow, Flow::Ended) {
            Flow::Open(open) => Some(open),
            Flow::Ended | Flow::Closed(_) => None,
        }
    }

    /// Closes it before its end, and has its reader hear why; nothing if it has ended.
    fn close_with(&self, why: impl FnOnce(&mut Open) -> Fault) -> Option<(Box<Open>, Fault)> {
        let mut flow = self.flow.lock();
        let Flow::Open(open) = &mut *flow else {
            return None;
        };
        let fault = why(open);
        match mem::replace(&mut *flow, Flow::Closed(fault.clone())) {
            Flow::Open(open) => Some((open, fault)),
            Flow::Ended | Flow::Closed(_) => None,
        }
    }

    /// The next chunk of the response; at its end, an empty one that is the last.
    fn poll_chunk(&self, context: &mut Context<'_>) -> Poll<Result<Chunk, Broken>> {
        let mut flow = self.flow.lock();
        let open = match &mut *flow {
            Flow::Open(open) => open,
            Flow::Ended => {
                return Poll::Ready(Ok(Chunk {
                    data: Bytes::new(),
                    is_last: true,
                }));
            }
            Flow::Closed(why) => {
                return Poll::Ready(Err(Broken::Closed(Box::new(why.clone()))));
            }
        };
        let chunk = open.rest.poll_chunk(context);
        open.reader = chunk.is_pending().then(|| context.waker().clone());
        chunk.map_err(Broken::from)
    }
}

/// See [`Arriving::edited`].
struct Edited<E> {
    passage: Passage<E>,
    parts: Parts,
    /// What was read of the response before it was known that it is large.
    beginning: Option<Bytes>,
    /// The backend's.
    name: Arc<str>,
    source: Arc<Source>,
    /// Closes the source in time; none once the response has ended.
    closing: Option<AbortOnDropHandle<()>>,
    received: usize,
    max_message: usize,
}

impl<E: Edit + Send + Unpin> ResultStream for Edited<E> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
        let read = self.poll_parts(context);
        if let Poll::Ready(Err(broken)) = read {
            return Poll::Ready(Err(self.broke_off(broken)));
        }
        match self.parts.pop() {
            Some(bytes) => Poll::Ready(Ok(Piece::Bytes(bytes))),
            None if read.is_pending() => Poll::Pending,
            None => Poll::Ready(Ok(Piece::End {
                is_error: self.passage.is_error(),
            })),
        }
    }

    fn upper_bound(&self) -> Option<u64> {
        let flow = self.source.flow.lock();
        let Flow::Open(open) = &*flow else {
            return None;
        };
        let read = self.parts.len() + self.beginning.as_ref().map_or(0, Bytes::len);
        let to_come = open.rest.length_on_own_connection()?;
        Some(
            self.passage
                .upper_bound(to_come.saturating_add(read as u64)),
        )
    }

    fn keep(&mut self, room: Box<dyn Send>) {
        if let Flow::Open(open) = &mut *self.source.flow.lock() {
            open.account.room = Some(room);
        }
    }
}

impl<E: Edit> Edited<E> {
    /// Reads on until there is enough to hand on, or to the end of the response.
    fn poll_parts(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.closing.is_some() && self.parts.len() < ENOUGH {
            let Chunk { data, is_last } = match self.beginning.take() {
                Some(data) => Chunk {
                    data,
                    is_last: false,
                },
                None => ready!(self.source.poll_chunk(context))?,
            };
            self.received += data.len();
            if self.received > self.max_message {
                return Poll::Ready(Err(LinkError::TooLarge.into()));
            }
            self.passage.push(&data, &mut self.parts)?;
            if is_last {
                self.passage.finish()?;
                self.arrived();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The server has said all: what the client takes its time for from now on is not the server's.
    fn arrived(&mut self) {
        self.closing = None;
        if let Some(mut open) = self.source.end() {
            open.account.arrived(self.passage.is_error());
            if let Some(stream) = open.rest.into_open_stream() {
                open.account.inner.tasks.spawn(stream.reach_end());
            }
        }
    }

    fn broke_off(&mut self, broken: Broken) -> CallError {
        let fault = match (broken, self.source.end()) {
            (Broken::Response(error), Some(mut open)) => {
                let fault = answer::fault(&open.account.inner.name, &error);
                return open.account.broke_off(fault.into());
            }
            (Broken::Response(error), None) => answer::fault(&self.name, &error),
            (Broken::Closed(why), _) => *why,
        };
        fault.into()
    }
}

/// Counts the call that a result answers, when that has arrived, broke off or is given up.
struct Account {
    inner: Arc<Inner>,
    method: Method,
    started: Instant,
    span: AttemptSpan,
    ended: bool,
    claims: Option<Claims>,
    in_flight: Option<InFlight>,
    permit: Option<Permit>,
    /// What the call took of the gateway's own room.
    room: Option<Box<dyn Send>>,
}

impl Account {
    fn end(&mut self) {
        self.ended = true;
        self.claims = None;
        self.in_flight = None;
        self.permit = None;
        self.room = None;
    }

    fn arrived(&mut self, is_error: bool) {
        if let Some(claims) = self.claims.take() {
            claims.answered();
        }
        self.end();
        self.judge(Verdict::Answered);
        let error = is_error.then_some(ErrorType::ToolError);
        self.span.record_arrived(error.map(ErrorType::as_str));
        self.inner.count(self.method, self.started.elapsed(), error);
    }

    /// The server did not say all.
    fn broke_off(&mut self, error: CallError) -> CallError {
        self.judge(Verdict::of(&error));
        self.given_up(error)
    }

    /// Tells the breaker how it ended. It probes nothing, since it is older than whatever opened that.
    fn judge(&self, verdict: Verdict) {
        if let Some(admission) = self.inner.breaker.admit_if_closed() {
            self.inner.judge(admission, verdict, Instant::now());
        }
    }

    /// It ended before the server had said all. The client cannot be told why, so the log is.
    fn given_up(&mut self, mut error: CallError) -> CallError {
        self.end();
        let code = match &error {
            CallError::Fault(fault) => i64::from(fault.code),
            CallError::Backend { code, .. } => *code,
            CallError::Protocol(error) => error.code,
        };
        self.span
            .record_arrived(Some(ErrorType::from_code(code).as_str()));
        self.inner
            .count_failed(self.method, self.started.elapsed(), &mut error);
        if let CallError::Fault(fault) = &error {
            tracing::warn!(
                backend = %self.inner.name,
                reason = fault.reason.as_str(),
                detail = fault.detail.as_deref().unwrap_or_default(),
                "a large result broke off on its way to the client"
            );
        }
        error
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.ended {
            let cancelled = Some(ErrorType::Cancelled);
            self.inner
                .count(self.method, self.started.elapsed(), cancelled);
        }
    }
}
