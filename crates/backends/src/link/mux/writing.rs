//! The task that writes: messages in turn, and what is not waited for any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::ends::{MessageWriter, WriteError};
use super::{Outbound, Shared};
use crate::link::WRITE_DEADLINE;

/// How long telling a server what is not waited for any more may take at the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Writes until the channel ends.
pub(super) async fn write_all<W: MessageWriter>(
    shared: Arc<Shared>,
    mut writer: W,
    queue: mpsc::Receiver<Outbound>,
) {
    write_until_stopped(&shared, &mut writer, queue).await;
    shared.state.lock().never_read = !writer.is_read();
}

async fn write_until_stopped<W: MessageWriter>(
    shared: &Shared,
    writer: &mut W,
    mut queue: mpsc::Receiver<Outbound>,
) {
    loop {
        let messages = tokio::select! {
            biased;
            () = shared.stop.cancelled() => {
                // A server that is told what is not waited for any more can end at once when its
                // input closes.
                let last = shared.write_each(writer, shared.cancellations());
                let _ = tokio::time::timeout(LAST_WORDS, last).await;
                return;
            }
            () = shared.cancelled.notified() => shared.cancellations(),
            message = queue.recv() => match message {
                Some(message) if shared.still_wanted(&message) => vec![message],
                Some(_) => continue,
                None => return,
            },
        };
        let writing = shared.write_each(writer, messages);
        // A server that does not read would hold up the end as well; one that does is told all.
        let held_up = async {
            shared.stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(WRITE_DEADLINE, writing) => written,
            () = held_up => return,
        };
        if written == Ok(false) {
            // Whoever has closed its input is most often about to end, and then says why.
            let _ = tokio::time::timeout(LAST_WORDS, shared.stop.cancelled()).await;
        }
        if written != Ok(true) {
            shared.state.lock().stopped_reading = true;
            shared.stop.cancel();
            return;
        }
    }
}

impl Shared {
    /// The notifications for what nobody waits for any more, each once.
    fn cancellations(&self) -> Vec<Outbound> {
        let cancels = std::mem::take(&mut self.state.lock().cancels);
        let message = |id| Outbound {
            id: None,
            message: cancellation(id),
        };
        cancels.into_iter().map(message).collect()
    }

    /// Writes messages in turn; `false` if the channel takes nothing any more.
    async fn write_each<W: MessageWriter>(&self, writer: &mut W, messages: Vec<Outbound>) -> bool {
        for Outbound { id, message } in messages {
            match (writer.write(message).await, id) {
                (Ok(()), _) | (Err(WriteError::Refused(_)), None) => {}
                (Err(WriteError::Refused(error)), Some(id)) => self.answer(id, Err(error)),
                (Err(WriteError::Broken), _) => return false,
            }
        }
        true
    }

    /// Marks a request as sent, unless nobody waits for it any more: then it was never sent at all.
    fn still_wanted(&self, message: &Outbound) -> bool {
        let Some(id) = message.id else { return true };
        self.state
            .lock()
            .pending
            .get_mut(&id)
            .is_some_and(|pending| {
                pending.sent = true;
                true
            })
    }
}

/// The notification that cancels a request on a shared channel (specification:
/// `basic/patterns/cancellation`).
pub(crate) fn cancellation(id: u64) -> Bytes {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":\"the caller no longer waits\"}}}}"
    )
    .into()
}
