//! What a server says outside of any call: changes, kept as facts until its keeper looks.
//!
//! A queue would have to drop something when it is full, and a lost list change is a stale
//! catalogue. Facts coalesce.

use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
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

/// What a server told on two streams of which one takes the place of the other, so that what it told on both
/// is news once: of each fact as often as the stream told it that told it more often.
#[derive(Debug)]
struct Overlap {
    /// The subscription of the stream that is given up.
    previous: u64,
    told: HashMap<Fact, Told>,
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Fact {
    Tools,
    Prompts,
    Resources,
    Updated(String),
}

/// How often something was told on each stream.
#[derive(Debug, Default)]
struct Told {
    on_previous: u32,
    on_other: u32,
}

impl Overlap {
    /// Whether this is news, told by the stream of this subscription.
    fn is_news(&mut self, fact: &Fact, subscription: Option<u64>) -> bool {
        let told = self.told.entry(fact.clone()).or_default();
        if subscription == Some(self.previous) {
            told.on_previous += 1;
            told.on_previous > told.on_other
        } else {
            told.on_other += 1;
            told.on_other > told.on_previous
        }
    }
}

#[derive(Debug, Default)]
struct State {
    news: News,
    overlap: Option<Overlap>,
}

/// Where links put what belongs to no call.
pub(crate) struct Inbox {
    state: Mutex<State>,
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
            state: Mutex::default(),
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
                lists.state.lock().news.hint = true;
                lists.arrived.notify_one();
            }
            return;
        }
        let fact = match &*notification.method() {
            "notifications/tools/list_changed" => Fact::Tools,
            "notifications/prompts/list_changed" => Fact::Prompts,
            "notifications/resources/list_changed" => Fact::Resources,
            "notifications/resources/updated" => match notification.text(notification.params.uri) {
                Some(uri) => Fact::Updated(uri.into_owned()),
                None => return self.ignored(IgnoredMessage::DroppedNotification),
            },
            "notifications/subscriptions/acknowledged" => {
                let subscription = notification.number(notification.meta.subscription_id);
                self.state.lock().news.acknowledged = subscription;
                return self.arrived.notify_one();
            }
            // Late cancellations and extensions' notifications ask nothing of us.
            _ => return,
        };
        let subscription = notification.number(notification.meta.subscription_id);
        let mut state = self.state.lock();
        let State { news, overlap } = &mut *state;
        if news.resources.len() >= MAX_URIS && matches!(fact, Fact::Updated(_)) {
            drop(state);
            return self.ignored(IgnoredMessage::DroppedNotification);
        }
        if let Some(overlap) = overlap
            && overlap.told.len() < MAX_URIS
            && !overlap.is_news(&fact, subscription)
        {
            return;
        }
        match fact {
            Fact::Tools => news.lists.tools = true,
            Fact::Prompts => news.lists.prompts = true,
            Fact::Resources => news.lists.resources = true,
            Fact::Updated(uri) => drop(news.resources.insert(uri)),
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// From now on another stream tells the same as that of this subscription, until it is given up.
    pub(crate) fn begin_overlap(&self, previous: u64) {
        self.state.lock().overlap = Some(Overlap {
            previous,
            told: HashMap::new(),
        });
    }

    /// One stream tells again.
    pub(crate) fn end_overlap(&self) {
        self.state.lock().overlap = None;
    }

    /// Counts a message that was of no use.
    pub(crate) fn ignored(&self, kind: IgnoredMessage) {
        self.metrics.ignored(kind);
    }

    /// Waits until there is news and takes it.
    pub(crate) async fn news(&self) -> News {
        loop {
            let arrived = self.arrived.notified();
            let news = std::mem::take(&mut self.state.lock().news);
            if news != News::default() {
                return news;
            }
            arrived.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use switchboard_telemetry::Metrics;

    use super::*;

    const OLD: u64 = 1;
    const NEW: u64 = 2;

    /// What is news of these facts, told by these streams.
    fn news(told: &[(u64, &str)]) -> Vec<String> {
        let metrics = Metrics::new().expect("metrics");
        let inbox = Inbox::new(metrics.backend("b"), TaskTracker::new());
        inbox.begin_overlap(OLD);
        let mut heard = Vec::new();
        for (subscription, uri) in told {
            let notification = json!({
                "jsonrpc": "2.0",
                "method": "notifications/resources/updated",
                "params": {
                    "uri": uri,
                    "_meta": { "io.modelcontextprotocol/subscriptionId": subscription },
                },
            });
            let notification = Bytes::from(notification.to_string());
            inbox.put(&Envelope::parse(notification).expect("a notification"));
            heard.extend(std::mem::take(&mut inbox.state.lock().news.resources));
        }
        heard
    }

    #[test]
    fn what_two_streams_tell_is_news_once_and_what_one_tells_too() {
        assert_eq!(news(&[(OLD, "a"), (NEW, "a")]), ["a"]);
        assert_eq!(news(&[(NEW, "a"), (OLD, "a"), (OLD, "b")]), ["a", "b"]);
        assert_eq!(
            news(&[(OLD, "a"), (OLD, "a"), (NEW, "a"), (NEW, "a")]),
            ["a", "a"]
        );
        // The first was told before the new one was there.
        assert_eq!(news(&[(OLD, "a"), (NEW, "a"), (OLD, "a")]), ["a", "a"]);
        assert_eq!(
            news(&[(NEW, "a"), (NEW, "a"), (OLD, "a"), (NEW, "a")]),
            ["a", "a", "a"]
        );
    }
}
