//! What a server says outside of any call: changes, kept as facts until its keeper looks.
//!
//! A queue would have to drop something when it is full, and a lost list change is a stale
//! catalogue. Facts coalesce.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use switchboard_protocol::envelope::Envelope;
use switchboard_telemetry::{BackendMetrics, IgnoredMessage};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::status::ChangedLists;

/// How many resource updates wait; beyond it they are dropped and counted.
const MAX_URIS: usize = 10_000;

/// What has changed since the keeper last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// These lists changed.
    pub(crate) lists: ChangedLists,
    /// The subscription that the server acknowledged last.
    pub(crate) acknowledged: Option<u64>,
    /// These resources changed; URIs as the server wrote them.
    pub(crate) resources: BTreeSet<String>,
    /// A session that lists do not come from said that its own changed.
    pub(crate) hint: bool,
}

/// Where links put what belongs to no call.
pub(crate) struct Inbox {
    news: Mutex<News>,
    arrived: Notify,
    metrics: BackendMetrics,
    /// The tasks of all links of the backend.
    pub(crate) tasks: TaskTracker,
    /// That of the session which lists come from, if this is not it.
    lists: Option<Arc<Inbox>>,
}

impl Inbox {
    pub(crate) fn new(metrics: BackendMetrics, tasks: TaskTracker) -> Self {
        Self {
            news: Mutex::default(),
            arrived: Notify::new(),
            metrics,
            tasks,
            lists: None,
        }
    }

    /// Where sessions put theirs that lists do not come from. What they say of lists and resources
    /// holds for themselves: it is no more than a hint that the lists may have changed.
    pub(crate) fn beside(lists: &Arc<Self>) -> Self {
        let mut inbox = Self::new(lists.metrics.clone(), lists.tasks.clone());
        inbox.lists = Some(Arc::clone(lists));
        inbox
    }

    /// Takes a notification that belongs to no call.
    pub(crate) fn put(&self, notification: &Envelope) {
        if let Some(lists) = &self.lists {
            if notification.method().ends_with("/list_changed") {
                lists.news.lock().hint = true;
                lists.arrived.notify_one();
            }
            return;
        }
        match &*notification.method() {
            "notifications/tools/list_changed" => self.news.lock().lists.tools = true,
            "notifications/prompts/list_changed" => self.news.lock().lists.prompts = true,
            "notifications/resources/list_changed" => self.news.lock().lists.resources = true,
            "notifications/subscriptions/acknowledged" => {
                self.news.lock().acknowledged =
                    notification.number(notification.meta.subscription_id);
            }
            "notifications/resources/updated" => {
                let Some(uri) = notification.text(notification.params.uri) else {
                    return self.ignored(IgnoredMessage::DroppedNotification);
                };
                let mut news = self.news.lock();
                if news.resources.len() >= MAX_URIS {
                    drop(news);
                    return self.ignored(IgnoredMessage::DroppedNotification);
                }
                news.resources.insert(uri.into_owned());
            }
            // Late cancellations and extensions' notifications ask nothing of us.
            _ => return,
        }
        self.arrived.notify_one();
    }

    /// Counts a message that was of no use.
    pub(crate) fn ignored(&self, kind: IgnoredMessage) {
        self.metrics.ignored(kind);
    }

    /// Waits until there is news and takes it.
    pub(crate) async fn news(&self) -> News {
        loop {
            let arrived = self.arrived.notified();
            let news = std::mem::take(&mut *self.news.lock());
            if news != News::default() {
                return news;
            }
            arrived.await;
        }
    }
}
