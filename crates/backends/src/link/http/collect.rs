//! Collecting the body of an answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::time::timeout;

use crate::link::LinkError;
use crate::link::pool::ResponseBody;

/// The whole body, at most `limit` bytes; in the common case of one frame without a copy.
pub(super) async fn collect(mut body: ResponseBody, limit: Limit) -> Result<Bytes, LinkError> {
    let mut read = Collected::default();
    read.fill(&mut body, usize::MAX, limit).await?;
    Ok(read.into_bytes())
}

/// What a body may have.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    /// The most bytes.
    pub(super) bytes: usize,
    /// How long nothing of it may come, if that is bounded.
    pub(super) silence: Option<Duration>,
}

async fn next_frame(
    body: &mut ResponseBody,
    silence: Option<Duration>,
) -> Result<Option<Result<Frame<Bytes>, hyper::Error>>, LinkError> {
    match silence {
        None => Ok(body.frame().await),
        // Boxed, since it is rare and lies in the future of every call.
        Some(silence) => Box::pin(timeout(silence, body.frame()))
            .await
            .map_err(|_| LinkError::Silent),
    }
}

/// What was read of a body.
#[derive(Default)]
pub(super) struct Collected {
    /// The only frame so far.
    first: Bytes,
    /// All frames, if there are more.
    all: BytesMut,
}

impl From<Bytes> for Collected {
    fn from(first: Bytes) -> Self {
        Self {
            first,
            all: BytesMut::new(),
        }
    }
}

impl Collected {
    /// Reads on until there are `enough` bytes, or to the end: then it answers `true`. More than
    /// `limit` bytes are too many.
    pub(super) async fn fill(
        &mut self,
        body: &mut ResponseBody,
        enough: usize,
        limit: Limit,
    ) -> Result<bool, LinkError> {
        if self.len() as u64 + body.size_hint().lower() > limit.bytes as u64 {
            return Err(LinkError::TooLarge);
        }
        // A body that says how long it is also says when it has ended.
        while !body.is_end_stream() {
            if self.len() >= enough {
                return Ok(false);
            }
            let Some(frame) = next_frame(body, limit.silence).await? else {
                break;
            };
            let frame = frame.map_err(|_| {
                LinkError::Lost("the connection broke in the middle of the answer".to_owned())
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if self.len() + data.len() > limit.bytes {
                return Err(LinkError::TooLarge);
            }
            let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
            self.push(data, announced.min(enough));
        }
        Ok(true)
    }

    /// Adds a frame that is followed by at least `expected` bytes.
    fn push(&mut self, data: Bytes, expected: usize) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(self.first.len() + data.len() + expected);
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        }
    }
}
