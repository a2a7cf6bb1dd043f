//! What is heard of a call while nobody is there to hear it.

use switchboard_protocol::envelope::Envelope;

/// How many logs wait for the next leg, and how many bytes of them and of the latest progress.
pub(super) const MAX_LOGS: usize = 100;
pub(super) const MAX_HEARD: usize = 64 * 1024;

/// Notifications that wait for a leg.
#[derive(Default)]
pub(super) struct Heard {
    progress: Option<Envelope>,
    logs: Vec<Envelope>,
    bytes: usize,
}

impl Heard {
    /// What was heard, in order: the logs, then the latest progress.
    pub(super) fn notifications(&self) -> impl Iterator<Item = &Envelope> {
        self.logs.iter().chain(&self.progress)
    }

    /// Keeps a notification of the call that has this id at the server. `false` if it is none that
    /// waits, or there is no room.
    pub(super) fn put(&mut self, notification: &Envelope, id: u64) -> bool {
        let size = notification.raw.len();
        match &*notification.method() {
            "notifications/progress" => {
                let before = self.progress.as_ref().map_or(0, |old| old.raw.len());
                if notification.number(notification.params.progress_token) != Some(id)
                    || self.bytes - before + size > MAX_HEARD
                {
                    return false;
                }
                self.bytes = self.bytes - before + size;
                self.progress = Some(notification.clone());
            }
            "notifications/message" => {
                if self.logs.len() >= MAX_LOGS || self.bytes + size > MAX_HEARD {
                    return false;
                }
                self.bytes += size;
                self.logs.push(notification.clone());
            }
            _ => return false,
        }
        true
    }
}
