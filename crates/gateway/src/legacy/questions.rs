//! What a legacy client is asked: requests that travel to it on a stream, and whose answers it
//! posts.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::call::Sink;
use switchboard_protocol::json::write_str;
use tokio::sync::oneshot;

use super::events::EventLog;
use super::session::Session;

/// A whole result object, or a whole error object.
pub(super) type Answer = Result<Bytes, Bytes>;

/// A question that was put to the client. Dropped before it is answered, it is taken back.
pub(super) struct Question {
    id: u64,
    session: Arc<Session>,
    log: Arc<EventLog>,
    answer: Option<oneshot::Receiver<Answer>>,
}

impl Question {
    /// Writes the question; none if there is no room for it on the stream.
    pub(super) fn put(
        session: &Arc<Session>,
        log: &Arc<EventLog>,
        id: u64,
        method: &str,
        params: Option<&[u8]>,
        answer: oneshot::Receiver<Answer>,
    ) -> Option<Self> {
        let mut message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":").into_bytes();
        write_str(&mut message, method);
        if let Some(params) = params {
            message.extend_from_slice(b",\"params\":");
            message.extend_from_slice(params);
        }
        message.push(b'}');
        if !log.offer(message.into()) {
            session.forget_question(id);
            return None;
        }
        Some(Self {
            id,
            session: Arc::clone(session),
            log: Arc::clone(log),
            answer: Some(answer),
        })
    }

    /// The id of the request.
    #[cfg(test)]
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer; none if the session ends first.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        let answer = self.answer.as_mut()?.await;
        answer.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // One that was answered is forgotten already.
        if self.session.forget_question(self.id) {
            self.log.offer(format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{},\"reason\":\"the answer is no longer needed\"}}}}",
                self.id
            ).into());
        }
    }
}
