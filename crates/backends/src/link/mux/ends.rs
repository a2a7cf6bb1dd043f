//! What a channel is made of: where it writes, where it reads, and what it owns.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::link::LinkError;
use crate::link::rest::Chunk;

/// Where messages are written.
pub(crate) trait MessageWriter: Send + 'static {
    /// Writes one message, whole.
    fn write(&mut self, message: Bytes) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Whether the peer has read anything of what was written; `true` where there is no telling.
    fn is_read(&self) -> bool {
        true
    }
}

/// Why a message was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// This one was refused; the channel is as good as before.
    Refused(LinkError),
    /// The channel takes nothing any more.
    Broken,
}

/// Where messages are read.
pub(crate) trait MessageReader: Send + 'static {
    /// How long what the channel owns may take to end by itself once the peer has closed the
    /// channel: its word on why is worth more.
    const ENDS_WITHIN: Duration = Duration::ZERO;

    /// The next message; `None` when the peer closed the channel.
    fn read(&mut self) -> impl Future<Output = Result<Option<Incoming>, String>> + Send;

    /// What follows the [beginning](Incoming::Beginning) of a message; `None` when the peer closed the
    /// channel.
    fn read_part(&mut self) -> impl Future<Output = Result<Option<Chunk>, String>> + Send {
        async { Ok(None) }
    }

    /// Takes back the beginning of a message, so that [`read`](Self::read) gives it whole.
    fn take_back(&mut self, _text: Bytes) {}
}

/// What a reader found.
pub(crate) enum Incoming {
    /// Something that is to be a message.
    Message(Bytes),
    /// The beginning of a long one. It goes on with [`MessageReader::read_part`], unless it is
    /// [taken back](MessageReader::take_back).
    Beginning {
        /// What was read of it.
        text: Bytes,
        /// The most bytes that it may have.
        limit: usize,
    },
    /// A message larger than the limit, thrown away but for its ends, which may tell whose it was.
    Oversize {
        /// The first bytes.
        head: Bytes,
        /// The last bytes; `None` while the end has not come yet. The same message follows once
        /// more when it has.
        tail: Option<Bytes>,
    },
}

/// What there is to say at the end of what a channel owns.
pub(crate) struct LastWord {
    /// Why it ended, if that is known.
    pub(crate) reason: Option<String>,
    /// What is not over yet and that no call waits for.
    pub(crate) rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl From<Option<String>> for LastWord {
    fn from(reason: Option<String>) -> Self {
        Self { reason, rest: None }
    }
}
