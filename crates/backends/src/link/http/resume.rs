//! Taking up a legacy server's event stream again that ended before its time
//! (2025-11-25: `basic/transports`, Resumability and Redelivery).

use std::time::Duration;

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderValue, Method};
use bytes::Bytes;
use switchboard_protocol::header::LAST_EVENT_ID;

use super::{EVENT_STREAM, EVENT_STREAM_TYPE, HttpLink, has_media_type};
use crate::link::Wire;
use crate::link::pool::ResponseBody;
use crate::link::sse::Decoder;

/// How long to wait where the server does not say how long.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest and the longest wait, whatever the server says.
const MIN_RETRY: Duration = Duration::from_millis(10);
const MAX_RETRY: Duration = Duration::from_secs(5 * 60);
/// How often in a row a stream is taken up again without a new event.
const MAX_IN_VAIN: u32 = 5;

/// What is remembered of one stream from connection to connection.
#[derive(Default)]
pub(super) struct Resumption {
    in_vain: u32,
    /// The event after which the stream was taken up last.
    after: Option<Bytes>,
}

/// Whether a stream can be taken up again, should it break now.
///
/// A modern server's never can: closing it cancels (2026-07-28
/// `basic/transports/streamable-http`).
pub(super) fn may_resume(wire: &Wire, events: &Decoder) -> bool {
    !wire.version.is_modern() && events.last_id().is_some()
}

impl Resumption {
    /// Waits as long as the server wants, then asks for what comes after the last event. None where
    /// that cannot be, the server refuses, or nothing came of it too often.
    pub(super) async fn resume(
        &mut self,
        link: &HttpLink,
        wire: &Wire,
        events: &mut Decoder,
    ) -> Option<ResponseBody> {
        if !may_resume(wire, events) {
            return None;
        }
        loop {
            let last = events.last_id()?;
            if self.after.as_ref() == Some(last) {
                self.in_vain += 1;
            } else {
                self.in_vain = 0;
                self.after = Some(last.clone());
            }
            if self.in_vain >= MAX_IN_VAIN {
                return None;
            }
            let last = HeaderValue::from_bytes(last).ok()?;
            events.reconnect();
            tokio::time::sleep(events.retry().unwrap_or(RETRY).clamp(MIN_RETRY, MAX_RETRY)).await;
            let mut request = link.request_of(Method::GET, wire, Bytes::new());
            let headers = request.headers_mut();
            headers.remove(CONTENT_TYPE);
            headers.insert(ACCEPT, EVENT_STREAM);
            headers.insert(LAST_EVENT_ID, last);
            let Ok(answer) = link.send(request).await else {
                continue;
            };
            let resumed =
                answer.status().is_success() && has_media_type(&answer, EVENT_STREAM_TYPE);
            return resumed.then(|| answer.into_body());
        }
    }
}

#[cfg(test)]
mod tests;
