//! What follows of a large response of which the beginning was read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::Body as _;
use tokio::sync::mpsc;

use std::future::poll_fn;

use switchboard_protocol::envelope::Response;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::Refusal;

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
    pub(crate) async fn whole(mut self) -> Result<Response, LinkError> {
        let mut read = BytesMut::from(&self.beginning[..]);
        self.beginning.clear();
        loop {
            let (chunk, is_last) = poll_fn(|context| self.rest.poll_chunk(context)).await?;
            let chunk = chunk.unwrap_or_default();
            if read.len() + chunk.len() > self.max_message {
                return Err(LinkError::TooLarge);
            }
            read.extend_from_slice(&chunk);
            if is_last {
                break;
            }
        }
        let response = Response::parse(read.freeze())
            .map_err(|error| LinkError::Invalid(error.to_string()))?;
        match response.id_number() == Some(self.id) {
            true => Ok(response),
            false => Err(Refusal::OtherId.into()),
        }
    }
}

/// The rest of a response.
pub(crate) enum Rest {
    /// That of a body.
    Body(ResponseBody),
    /// That of an event in a stream.
    Event(ResponseBody, Box<Tail>),
    /// That of a message on a channel which calls share, as its reader gives it.
    Message(mpsc::Receiver<Part>),
}

/// A part of a message, and whether it is the last.
pub(crate) type Part = (Bytes, bool);

/// The next chunk, if there is one, and whether it is the last.
pub(crate) type Chunk = (Option<Bytes>, bool);

impl Rest {
    pub(crate) fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Chunk, LinkError>> {
        Poll::Ready(match self {
            Self::Body(body) => match ready!(poll_data(body, context))? {
                Some(data) => Ok((Some(data), body.is_end_stream())),
                None => Ok((None, true)),
            },
            Self::Event(body, event) => match ready!(poll_data(body, context))? {
                Some(data) => {
                    let data = event.read(data);
                    Ok((Some(data), event.has_ended()))
                }
                None => Err(broke("the stream ended in the middle of the answer")),
            },
            Self::Message(parts) => match ready!(parts.poll_recv(context)) {
                Some((part, is_last)) => Ok((Some(part), is_last)),
                None => Err(broke("the channel ended in the middle of the answer")),
            },
        })
    }

    /// How many bytes are to come, if that is known, and nobody else uses the connection that they come
    /// on.
    pub(crate) fn length_on_own_connection(&self) -> Option<u64> {
        match self {
            Self::Body(body) if body.has_own_connection() => body.size_hint().exact(),
            _ => None,
        }
    }

    /// Whether nothing is there of it right now.
    pub(crate) fn is_waited_for(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self {
            Self::Body(body) | Self::Event(body, _) => {
                Pin::new(body).poll_frame(&mut context).is_pending()
            }
            Self::Message(parts) => parts.is_empty() && !parts.is_closed(),
        }
    }

    /// The stream that its event is in, if that has not ended: who reads on to its end lets its connection
    /// be used again.
    pub(crate) fn into_open_stream(self) -> Option<ResponseBody> {
        match self {
            Self::Event(body, _) if !body.is_end_stream() => Some(body),
            _ => None,
        }
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
