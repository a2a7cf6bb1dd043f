//! Secrets of what is large are taken out step by step. It is here since this is the lowest crate that has both
//! the redaction's trait and a runtime.

use bytes::Bytes;
use switchboard_protocol::delivery::StepwiseRedaction;
use tokio::task::yield_now;

/// The text without secrets. Others on the thread have their turn between the steps, whatever they wait for.
pub async fn in_steps(mut redaction: Box<dyn StepwiseRedaction>) -> Bytes {
    loop {
        if let Some(text) = redaction.step() {
            return text;
        }
        // A task that wakes itself is polled again before sockets are; one that yields is not.
        yield_now().await;
    }
}
