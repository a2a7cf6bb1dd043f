//! What the sessions of one server share: its tools, its counters, and who listens for changes.

#![expect(deprecated, reason = "logging is deprecated, and still in use")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    JsonObject, LoggingLevel, RequestStateCodec, ResourceUpdatedNotificationParam, Tool,
};
use rmcp::service::SubscriptionSink;
use rmcp::{ErrorData, Peer, RoleServer};
use serde::Serialize;
use serde_json::json;

use super::fixtures::FIXTURES;
use crate::lock::lock;

/// The most tools a server may list; `add_tool` refuses beyond it.
const MAX_TOOLS: usize = 1_000;
/// The most sessions and subscriptions that may listen for changes.
const MAX_LISTENERS: usize = 1_000;
/// The most resources that one legacy session may subscribe to.
const MAX_SUBSCRIBED: usize = 1_000;
/// How long one listener may take to accept a notification before it is passed over.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// Seals `requestState`. A fixed key lets a retry reach a second server process.
const STATE_KEY: &[u8; 32] = b"conformance server, no secret  1";

/// A count of tool calls, the calls of the tool `counters` left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Begun since the server started.
    pub calls: u64,
    /// Ended by the client before there was an answer.
    pub cancelled: u64,
    /// Running now.
    pub in_flight: u64,
}

/// Shared by all sessions of one server.
pub(super) struct Shared {
    tools: Mutex<BTreeMap<String, Tool>>,
    listeners: Mutex<HashMap<u64, Listener>>,
    next_id: AtomicU64,
    calls: AtomicU64,
    cancelled: AtomicU64,
    in_flight: AtomicU64,
    /// Seals the `requestState` of questions.
    pub(super) codec: RequestStateCodec,
}

/// Someone to tell of changes.
#[derive(Clone)]
enum Listener {
    /// A `subscriptions/listen` stream; it applies its own filter.
    Modern(SubscriptionSink),
    /// An initialized session, and the resources that it subscribed to.
    Legacy {
        peer: Peer<RoleServer>,
        resources: BTreeSet<String>,
    },
}

/// Something that listeners may want to know.
pub(super) enum Change {
    /// The tool list is another one.
    Tools,
    /// The prompt list is another one.
    Prompts,
    /// The resource at this URI is another one.
    Resource(String),
}

impl Shared {
    /// A server's state before its first request.
    pub(super) fn new() -> Arc<Self> {
        let questions = FIXTURES.questions.iter().map(|(name, question)| {
            Tool::new(
                name.clone(),
                question.description.as_str(),
                question.input_schema.clone(),
            )
        });
        let tools = FIXTURES.tools.iter().cloned().chain(questions);
        Arc::new(Self {
            tools: Mutex::new(tools.map(|tool| (tool.name.to_string(), tool)).collect()),
            listeners: Mutex::default(),
            next_id: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            codec: RequestStateCodec::new_unchecked(STATE_KEY.as_slice()),
        })
    }

    /// All tools, by name.
    pub(super) fn tools(&self) -> Vec<Tool> {
        lock(&self.tools).values().cloned().collect()
    }

    /// One tool.
    pub(super) fn tool(&self, name: &str) -> Option<Tool> {
        lock(&self.tools).get(name).cloned()
    }

    /// Adds a tool that takes any arguments; a fixture that was removed comes back as it was.
    ///
    /// # Errors
    ///
    /// When there are [`MAX_TOOLS`] already.
    pub(super) fn add_tool(&self, name: &str) -> Result<(), ErrorData> {
        let fixture = FIXTURES.tools.iter().find(|tool| tool.name == name);
        let tool = fixture.cloned().unwrap_or_else(|| {
            Tool::new(
                name.to_owned(),
                "A tool that was added; it echoes its arguments.",
                empty_object_schema(),
            )
        });
        let mut tools = lock(&self.tools);
        if tools.len() >= MAX_TOOLS {
            return Err(ErrorData::internal_error("too many tools", None));
        }
        tools.insert(name.to_owned(), tool);
        Ok(())
    }

    /// Removes a tool; says whether there was one.
    pub(super) fn remove_tool(&self, name: &str) -> bool {
        lock(&self.tools).remove(name).is_some()
    }

    /// The counters now.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: self.calls.load(Ordering::SeqCst),
            cancelled: self.cancelled.load(Ordering::SeqCst),
            in_flight: self.in_flight.load(Ordering::SeqCst),
        }
    }

    /// Counts a call from here until the guard goes.
    pub(super) fn begin_call(self: &Arc<Self>) -> CallGuard {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        CallGuard {
            shared: Arc::clone(self),
            answered: false,
        }
    }

    /// Tells a modern subscription of changes until the guard goes.
    ///
    /// # Errors
    ///
    /// When there are [`MAX_LISTENERS`] already.
    pub(super) fn listen(
        self: &Arc<Self>,
        sink: SubscriptionSink,
    ) -> Result<ListenerGuard, ErrorData> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.insert_listener(id, Listener::Modern(sink))?;
        Ok(ListenerGuard {
            shared: Arc::clone(self),
            id,
        })
    }

    /// Tells everyone who listens for `change`, one after the other; returns when they were told.
    pub(super) async fn announce(&self, change: &Change) {
        let listeners: Vec<Listener> = lock(&self.listeners).values().cloned().collect();
        for listener in listeners {
            // A listener that does not read must not hold up the call that made the change.
            let _ = tokio::time::timeout(NOTIFY_TIMEOUT, listener.tell(change)).await;
        }
    }

    fn insert_listener(&self, id: u64, listener: Listener) -> Result<(), ErrorData> {
        let mut listeners = lock(&self.listeners);
        if listeners.len() >= MAX_LISTENERS {
            return Err(ErrorData::internal_error("too many listeners", None));
        }
        listeners.insert(id, listener);
        Ok(())
    }
}

impl Listener {
    /// Sends the notification for `change`. One that this listener did not ask for, or that its
    /// connection no longer takes, is dropped: it is nobody's answer.
    async fn tell(&self, change: &Change) {
        match self {
            Self::Modern(sink) => {
                let _ = match change {
                    Change::Tools => sink.notify_tool_list_changed().await,
                    Change::Prompts => sink.notify_prompt_list_changed().await,
                    Change::Resource(uri) => sink.notify_resource_updated(uri).await,
                };
            }
            Self::Legacy { peer, resources } => {
                let _ = match change {
                    Change::Tools => peer.notify_tool_list_changed().await,
                    Change::Prompts => peer.notify_prompt_list_changed().await,
                    Change::Resource(uri) if resources.contains(uri) => {
                        let update = ResourceUpdatedNotificationParam::new(uri);
                        peer.notify_resource_updated(update).await
                    }
                    Change::Resource(_) => Ok(()),
                };
            }
        }
    }
}

/// One session: a legacy session, a stdio connection, or a single modern request.
pub(super) struct Session {
    id: u64,
    /// What all sessions share.
    pub(super) shared: Arc<Shared>,
    log_level: Mutex<Option<LoggingLevel>>,
}

impl Session {
    /// A session with no log level, of which nobody listens yet.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            shared,
            log_level: Mutex::default(),
        }
    }

    /// The level of `logging/setLevel`, if it was called.
    pub(super) fn log_level(&self) -> Option<LoggingLevel> {
        *lock(&self.log_level)
    }

    /// Obeys `logging/setLevel`.
    pub(super) fn set_log_level(&self, level: LoggingLevel) {
        *lock(&self.log_level) = Some(level);
    }

    /// Tells this legacy session of changes to lists, until it ends.
    ///
    /// # Errors
    ///
    /// When there are [`MAX_LISTENERS`] already.
    pub(super) fn listen(&self, peer: Peer<RoleServer>) -> Result<(), ErrorData> {
        if lock(&self.shared.listeners).contains_key(&self.id) {
            return Ok(());
        }
        let resources = BTreeSet::new();
        self.shared
            .insert_listener(self.id, Listener::Legacy { peer, resources })
    }

    /// Tells this legacy session of changes to `uri`, until it unsubscribes or ends.
    ///
    /// # Errors
    ///
    /// When the session has [`MAX_SUBSCRIBED`] subscriptions, or there are [`MAX_LISTENERS`].
    pub(super) fn subscribe(&self, peer: Peer<RoleServer>, uri: String) -> Result<(), ErrorData> {
        self.listen(peer)?;
        match lock(&self.shared.listeners).get_mut(&self.id) {
            Some(Listener::Legacy { resources, .. }) if resources.len() < MAX_SUBSCRIBED => {
                resources.insert(uri);
                Ok(())
            }
            _ => Err(ErrorData::internal_error("too many subscriptions", None)),
        }
    }

    /// Ends what [`Self::subscribe`] began; unknown URIs are no error.
    pub(super) fn unsubscribe(&self, uri: &str) {
        if let Some(Listener::Legacy { resources, .. }) =
            lock(&self.shared.listeners).get_mut(&self.id)
        {
            resources.remove(uri);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        lock(&self.shared.listeners).remove(&self.id);
    }
}

/// Removes a modern subscription when dropped.
pub(super) struct ListenerGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for ListenerGuard {
    fn drop(&mut self) {
        lock(&self.shared.listeners).remove(&self.id);
    }
}

/// A call in flight; dropped without [`CallGuard::answered`], it counts as cancelled.
pub(super) struct CallGuard {
    shared: Arc<Shared>,
    answered: bool,
}

impl CallGuard {
    /// The call has an answer.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

fn empty_object_schema() -> JsonObject {
    JsonObject::from_iter([("type".to_owned(), json!("object"))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_while_it_runs_and_as_cancelled_unless_answered() {
        let shared = Shared::new();
        let (first, second) = (shared.begin_call(), shared.begin_call());
        assert_eq!(shared.counts().in_flight, 2);
        first.answered();
        drop(second);
        let expected = Counts {
            calls: 2,
            cancelled: 1,
            in_flight: 0,
        };
        assert_eq!(shared.counts(), expected);
    }

    #[test]
    fn a_removed_fixture_comes_back_whole() {
        let shared = Shared::new();
        let before = shared.tool("test_custom_header");
        assert!(shared.remove_tool("test_custom_header"));
        assert!(!shared.remove_tool("test_custom_header"));
        shared.add_tool("test_custom_header").unwrap();
        assert_eq!(shared.tool("test_custom_header"), before);
    }

    #[test]
    fn tools_are_bounded() {
        let shared = Shared::new();
        for index in shared.tools().len()..MAX_TOOLS {
            shared.add_tool(&format!("added_{index}")).unwrap();
        }
        assert!(shared.add_tool("one_too_many").is_err());
    }
}
