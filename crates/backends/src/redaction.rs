//! Secrets of what is large are taken out step by step.

use bytes::Bytes;
use switchboard_protocol::delivery::StepwiseRedaction;
use tokio::task::yield_now;

/// The text without secrets. Others on the thread have their turn between the steps, whatever they wait for.
pub async fn in_steps(mut redaction: Box<dyn StepwiseRedaction>) -> Bytes {
    loop {
        if let Some(text) = redaction.step() {
            return text;
        }
        // Waking the task itself would have the runtime go round for many steps before it looks at a socket.
        yield_now().await;
    }
}
