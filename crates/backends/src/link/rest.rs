//! What follows of a large response of which the beginning was read.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use hyper::body::Body as _;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::Refusal;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::LinkError;
use super::pool::ResponseBody;
use super::sse::Tail;

/// A large response that can be handed on while it arrives.
pub(crate) struct Large {
    /// What was read of it.
    pub(crate) beginning: Bytes,
    /// What follows.
    pub(crate) rest: Rest,
    /// The id of the request that it has to answer.
    pub(crate) id: u64,
    /// The method of that.
    pub(crate) method: Method,
    /// The most bytes that it may have.
    pub(crate) max_message: usize,
}

impl Large {
    /// All of it, for where it cannot be handed on before.
    pub(crate) async fn whole(self) -> Result<Response, LinkError> {
        let Self {
            beginning,
            mut rest,
            id,
            max_message,
            ..
        } = self;
        let mut read = BytesMut::from(beginning);
        loop {
            let chunk = poll_fn(|context| rest.poll_chunk(context)).await?;
            if read.len() + chunk.data.len() > max_message {
                return Err(LinkError::TooLarge);
            }
            read.extend_from_slice(&chunk.data);
            if chunk.is_last {
                break;
            }
        }
        let response = Response::parse(read.freeze())
            .map_err(|error| LinkError::Invalid(error.to_string()))?;
        match response.id_number() == Some(id) {
            true => Ok(response),
            false => Err(Refusal::OtherId.into()),
        }
    }
}

/// A part of a response.
pub(crate) struct Chunk {
    /// Its bytes, perhaps none.
    pub(crate) data: Bytes,
    /// Whether nothing follows.
    pub(crate) is_last: bool,
}

/// The rest of a response.
pub(crate) struct Rest {
    source: Source,
    silence: Option<Silence>,
}

/// Where the rest of a response comes from.
enum Source {
    Body(ResponseBody),
    /// A stream, in the middle of this event.
    Event(ResponseBody, Box<Tail>),
    /// A message on a channel which calls share, as its reader gives it; and why the channel ends.
    Message(mpsc::Receiver<Chunk>, BoxFuture<'static, String>),
}

/// A bound on how long nothing comes while it is waited for.
struct Silence {
    bound: Duration,
    /// Until when it is waited, while it is.
    until: Option<Pin<Box<Sleep>>>,
}

impl Rest {
    /// That of a body; `silence` is how long nothing of it may come, if that is bounded.
    pub(crate) fn of_body(body: ResponseBody, silence: Option<Duration>) -> Self {
        Self::of(Source::Body(body), silence)
    }

    /// That of an event in a stream; `silence` as in [`Rest::of_body`].
    pub(crate) fn of_event(stream: ResponseBody, tail: Tail, silence: Option<Duration>) -> Self {
        Self::of(Source::Event(stream, Box::new(tail)), silence)
    }

    /// That of a message, as the reader of its channel gives it; `ended` says why that ends.
    pub(crate) fn of_message(
        parts: mpsc::Receiver<Chunk>,
        ended: BoxFuture<'static, String>,
    ) -> Self {
        Self::of(Source::Message(parts, ended), None)
    }

    fn of(source: Source, silence: Option<Duration>) -> Self {
        let silence = silence.map(|bound| Silence { bound, until: None });
        Self { source, silence }
    }

    /// What comes next.
    pub(crate) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Chunk, LinkError>> {
        let chunk = self.source.poll_chunk(context);
        let Some(silence) = &mut self.silence else {
            return chunk;
        };
        if chunk.is_ready() {
            silence.until = None;
            return chunk;
        }
        let bound = silence.bound;
        let until = silence.until.get_or_insert_with(|| Box::pin(sleep(bound)));
        until
            .as_mut()
            .poll(context)
            .map(|()| Err(LinkError::Silent))
    }

    /// How many bytes are to come, if that is known, and nobody else uses the connection that they come
    /// on.
    pub(crate) fn length_on_own_connection(&self) -> Option<u64> {
        match &self.source {
            Source::Body(body) if body.has_own_connection() => body.size_hint().exact(),
            _ => None,
        }
    }

    /// Whether nothing is there of it right now.
    pub(crate) fn is_waited_for(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match &mut self.source {
            Source::Body(body) | Source::Event(body, _) => {
                Pin::new(body).poll_frame(&mut context).is_pending()
            }
            Source::Message(parts, _) => parts.is_empty() && !parts.is_closed(),
        }
    }

    /// The stream that its event is in, if that has not ended: who reads on to its end lets its connection
    /// be used again.
    pub(crate) fn into_open_stream(self) -> Option<ResponseBody> {
        match self.source {
            Source::Event(stream, _) if !stream.is_end_stream() => Some(stream),
            _ => None,
        }
    }
}

impl Source {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Chunk, LinkError>> {
        Poll::Ready(match self {
            Self::Body(body) => {
                let data = ready!(poll_data(body, context))?;
                Ok(Chunk {
                    is_last: data.is_none() || body.is_end_stream(),
                    data: data.unwrap_or_default(),
                })
            }
            Self::Event(stream, event) => match ready!(poll_data(stream, context))? {
                Some(data) => Ok(Chunk {
                    data: event.read(data),
                    is_last: event.has_ended(),
                }),
                None => Err(broke("the stream ended in the middle of the answer")),
            },
            Self::Message(parts, ended) => match ready!(parts.poll_recv(context)) {
                Some(part) => Ok(part),
                None => Err(LinkError::Lost(ready!(ended.as_mut().poll(context)))),
            },
        })
    }
}

/// What comes next of a body: `None` at its end.
fn poll_data(
    body: &mut ResponseBody,
    context: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, LinkError>> {
    Poll::Ready(match ready!(Pin::new(body).poll_frame(context)) {
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(_)) => Err(broke("the connection broke in the middle of the answer")),
        None => Ok(None),
    })
}

fn broke(why: &str) -> LinkError {
    LinkError::Lost(why.to_owned())
}

/// Data in one piece, mostly without a copy.
#[derive(Default)]
pub(super) struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    pub(super) fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self.all.is_empty() {
            true => self.first,
            false => self.all.freeze(),
        }
    }
}
