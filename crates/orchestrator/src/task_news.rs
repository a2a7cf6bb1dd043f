//! News of tasks for one `subscriptions/listen` stream (SEP-2663, Task Status Notifications).
//!
//! Tasks are one principal's and few, so unlike the changes that the hub fans out, news of them
//! come by a stream of their own from each backend concerned: it is open for as long as the
//! client's is, and ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use switchboard_backends::redaction::in_steps;
use switchboard_protocol::call::{Call, Sink};
use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::delivery::Terms;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::extension;
use switchboard_protocol::json;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Admission, Ending};
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::{Splice, filter_object, for_each_item, member};
use tokio::time::timeout;

use crate::catalogue::Snapshot;
use crate::delivery::terms;
use crate::home::Home;
use crate::orchestrator::{Inner, Orchestrator};
use crate::results::asks_undeclared;
use crate::tasks::{self, MAX_LISTENED, Task};

/// The most bytes of news that wait for one stream. What does not fit is dropped: the client asks.
const MAX_WAITING: usize = 16 * 1024 * 1024;
/// How long a stream waits for the backends' word on what they tell.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(5);

/// What is told of tasks, for one client.
pub struct TaskNews {
    inner: Arc<Inner>,
    /// The request for the stream.
    call: Call,
    capabilities: ClientCapabilities,
    /// The client's own name of each task that is told of.
    names: BTreeMap<Task, String>,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
    waiting: Arc<Mutex<Waiting>>,
    /// What is told next, while secrets are taken out of it.
    next: Option<(Told, BoxFuture<'static, Bytes>)>,
}

/// A state of a task that is told to its client.
struct Told {
    task: Task,
    /// By which it was judged.
    snapshot: Arc<Snapshot>,
}

/// What the backends said and the client has not been told yet.
#[derive(Default)]
struct Waiting {
    /// The latest state of each task.
    latest: BTreeMap<Task, Envelope>,
    bytes: usize,
    /// The tasks that their servers agreed to tell of.
    agreed: BTreeSet<Task>,
    /// The backends that have said what they tell of, or will not.
    settled: BTreeSet<Home>,
    waker: Option<Waker>,
}

/// Where one backend's news go.
struct TaskSink {
    home: Home,
    /// The tasks that it was asked about, by the server's own names.
    asked: BTreeMap<String, Task>,
    waiting: Arc<Mutex<Waiting>>,
}

impl TaskSink {
    fn update(&self, change: impl FnOnce(&mut Waiting) -> bool) -> bool {
        let mut waiting = self.waiting.lock();
        let taken = change(&mut waiting);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
        taken
    }

    fn settled(&self) {
        self.update(|waiting| waiting.settled.insert(self.home.clone()));
    }

    fn acknowledged(&self, notification: &Envelope) -> bool {
        let filter = notification
            .params
            .notifications
            .map(|span| notification.slice(span));
        let ids = filter.and_then(|filter| member(filter, "taskIds"));
        let mut agreed = Vec::new();
        for_each_item(ids.unwrap_or(b"[]"), |item| {
            // A server may agree to more than it was asked, and as often as it likes.
            let id = ids.and_then(|ids| json::as_str(item.of(ids)));
            if let Some(task) = id.and_then(|id| self.asked.get(&*id)) {
                agreed.push(task.clone());
            }
        });
        self.update(|waiting| {
            waiting.agreed.extend(agreed);
            waiting.settled.insert(self.home.clone());
            true
        })
    }

    fn state_changed(&self, notification: Envelope) -> bool {
        let Some(id) = notification.text(notification.params.task_id) else {
            return false;
        };
        let Some(task) = self.asked.get(&*id) else {
            return false;
        };
        self.update(|waiting| {
            // What nobody agreed on nobody asked for.
            if !waiting.agreed.contains(task) {
                return false;
            }
            let before = waiting.latest.get(task).map_or(0, |old| old.raw.len());
            let bytes = waiting.bytes - before + notification.raw.len();
            if bytes > MAX_WAITING {
                return false;
            }
            waiting.bytes = bytes;
            waiting.latest.insert(task.clone(), notification);
            true
        })
    }
}

impl Sink for TaskSink {
    fn offer(&self, notification: Bytes) -> bool {
        let Ok(notification) = Envelope::parse(notification) else {
            return false;
        };
        if notification.method() == "notifications/tasks" {
            self.state_changed(notification)
        } else {
            self.acknowledged(&notification)
        }
    }
}

impl Orchestrator {
    /// Has the backends tell how these tasks go on, as this client names them. Returns when they
    /// said of which they tell, or after 5 s; the others are as if they had not been named.
    ///
    /// # Errors
    /// −32021 if the client did not declare tasks, −32602 for more than 100.
    pub async fn listen_to_tasks(
        &self,
        call: &Call,
        names: &[String],
    ) -> Result<TaskNews, ProtocolError> {
        if !call.declares(extension::TASKS) {
            return Err(tasks::undeclared_extension());
        }
        if names.len() > MAX_LISTENED {
            return Err(ProtocolError::invalid_params(format!(
                "a subscription may name at most {MAX_LISTENED} tasks"
            )));
        }
        let inner = self.inner();
        let snapshot = inner.catalogue.load_full();
        let mut news = TaskNews {
            inner: Arc::clone(inner),
            // What becomes of its tasks later is told to nobody.
            call: Call {
                trail: None,
                method: Method::TasksGet,
                ..call.clone()
            },
            capabilities: call.client_capabilities(),
            names: names
                .iter()
                .filter_map(|name| {
                    let task = tasks::open(&inner.sealer, call, name)?;
                    // News of it come from its replica alone.
                    if task.home.is_elsewhere(inner.replica.as_ref()) {
                        return None;
                    }
                    task.is_shown_or_reported(&snapshot, call)
                        .then(|| (task, name.clone()))
                })
                .collect(),
            streams: FuturesUnordered::new(),
            waiting: Arc::default(),
            next: None,
        };
        let backends = news.open_streams();
        let _ = timeout(ACKNOWLEDGE_WAIT, news.settled(backends)).await;
        let agreed = news.waiting.lock().agreed.clone();
        news.names.retain(|task, _| agreed.contains(task));
        Ok(news)
    }
}

impl TaskNews {
    /// The client's names of the tasks that are told of.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    /// Starts a stream of each backend that has one of the tasks. Answers with how many there are.
    fn open_streams(&mut self) -> usize {
        let mut by_home: BTreeMap<Home, BTreeMap<String, Task>> = BTreeMap::new();
        for task in self.names.keys() {
            let asked = by_home.entry(task.home.clone()).or_default();
            asked.insert(task.id.clone(), task.clone());
        }
        for (home, asked) in by_home {
            let ids: Vec<String> = asked.keys().cloned().collect();
            let Some(backend) = self.inner.backends.get(&home.backend) else {
                continue;
            };
            let sink = Arc::new(TaskSink {
                home: home.clone(),
                asked,
                waiting: Arc::clone(&self.waiting),
            });
            self.streams.push(Box::pin(async move {
                let offered = Arc::clone(&sink);
                backend
                    .listen_to_tasks(home.endpoint(), &ids, offered)
                    .await;
                sink.settled();
            }));
        }
        self.streams.len()
    }

    /// Waits until this many backends have said what they tell.
    async fn settled(&mut self, backends: usize) {
        std::future::poll_fn(|context| {
            while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(context) {}
            let mut waiting = self.waiting.lock();
            if waiting.settled.len() >= backends {
                return Poll::Ready(());
            }
            waiting.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The next state of a task, under the client's own name: the members of a notification's
    /// `params` (`"key":value`, comma-separated) without `_meta`. Never ends by itself.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Vec<u8>> {
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(context) {}
        loop {
            if let Some((_, redacting)) = &mut self.next {
                let state = ready!(redacting.as_mut().poll(context));
                if let Some((told, _)) = self.next.take() {
                    return Poll::Ready(self.members(&told, state));
                }
            }
            let (task, state) = {
                let mut waiting = self.waiting.lock();
                let Some((task, state)) = waiting.latest.pop_first() else {
                    waiting.waker = Some(context.waker().clone());
                    return Poll::Pending;
                };
                waiting.bytes -= state.raw.len();
                (task, state)
            };
            let told = Told {
                task,
                snapshot: self.inner.catalogue.load_full(),
            };
            let Some(state) = self.edited(&told, &state) else {
                continue;
            };
            let policy = told.snapshot.policy();
            match policy.redactor(&told.task.home.backend) {
                None => return Poll::Ready(self.members(&told, state)),
                Some(redactor) => {
                    let redacting = in_steps(redactor.begin_whole(state)).boxed();
                    self.next = Some((told, redacting));
                }
            }
        }
    }

    /// The state as the client is told it, but for the secrets in it; `None`: it is not.
    fn edited(&self, told: &Told, state: &Envelope) -> Option<Bytes> {
        let Told { task, snapshot } = told;
        // Who may not know of its tool any longer is told nothing more.
        if !task.is_shown(snapshot, &self.call) {
            return None;
        }
        let token = self.names.get(task)?;
        let name = json::quoted(token);
        let params = state.keys.params?;
        // What the client did not declare it is not asked, in this way either.
        if asks_undeclared(self.capabilities, state.slice(params)).is_some() {
            return None;
        }
        let mut splice = Splice::new();
        let raw = &state.raw;
        tasks::edit(
            snapshot,
            &task.home.backend,
            raw,
            params,
            &name,
            &mut splice,
        );
        let mut edited = Vec::with_capacity(raw.len());
        splice.apply(raw, params, &mut edited);
        let mut out = Vec::with_capacity(edited.len());
        filter_object(&edited, b"", |key| key != "_meta", &mut out);
        Some(out.into())
    }

    /// The members of a state without secrets, and without a result that is for requests alone. One that
    /// is told is charged.
    fn members(&self, told: &Told, mut state: Bytes) -> Vec<u8> {
        let Told { task, snapshot } = told;
        if let Some(result) = member(&state, "result") {
            let terms = terms(snapshot, &self.call, &task.target(snapshot));
            if terms.is_none_or(|terms| is_passed_on(&terms, result)) {
                let token = self.names.get(task).map_or("", String::as_str);
                let ending = self.inner.first_delivery(token, state.len());
                self.charge(snapshot, task, ending);
            } else {
                // Whoever asks for the task gets it, and is charged for it then.
                state = without_result(&state).into();
            }
        }
        let end = state.len().saturating_sub(1);
        state.get(1..end).unwrap_or_default().to_vec()
    }

    /// Charges what was told. A store that has to be asked is asked beside the stream.
    fn charge(&self, snapshot: &Snapshot, task: &Task, ending: Ending) {
        if ending.bytes == 0 {
            return;
        }
        let target = task.target(snapshot);
        match snapshot.policy().admit(&self.call, &target, true) {
            Admission::Decided(Ok(permit)) => permit.settle(ending),
            Admission::Decided(Err(_)) => {}
            Admission::Pending(verdict) => {
                self.inner.tasks.spawn(async move {
                    if let Ok(permit) = verdict.await {
                        permit.settle(ending);
                    }
                });
            }
        }
    }
}

/// Whether the result of a task is passed on as it is under these terms: nothing of it would be converted,
/// kept or cut, which is for requests alone.
fn is_passed_on(terms: &Terms, result: &[u8]) -> bool {
    let is_within = terms.cap.is_none_or(|cap| {
        result.len() as u64 <= cap.always_within() || Size::of_result(result).is_within(cap.most())
    });
    terms.conversions.is_none() && is_within
}

/// The state of a task without what its call would have been answered with.
fn without_result(state: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    filter_object(state, b"", |key| key != "result", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use switchboard_protocol::delivery::{Cap, Conversion, Conversions, Over};

    use super::*;

    #[test]
    fn a_result_that_would_be_cut_or_converted_is_not_passed_on() {
        let cap = |bytes| Terms {
            cap: Some(Cap {
                bytes: Some(bytes),
                tokens: None,
                over: Over::Truncate,
            }),
            ..Terms::default()
        };
        let state = br#"{"taskId":"a","result":{"content":[]},"status":"completed"}"#;
        let result = member(state, "result").expect("a result");
        let length = result.len() as u64;
        assert!(is_passed_on(&Terms::default(), result));
        assert!(is_passed_on(&cap(length), result));
        assert!(!is_passed_on(&cap(length - 1), result));
        let converted = Terms {
            conversions: Conversions {
                image: Conversion::Drop,
                ..Conversions::default()
            },
            ..Terms::default()
        };
        assert!(!is_passed_on(&converted, result));
        assert_eq!(
            without_result(state),
            br#"{"taskId":"a","status":"completed"}"#
        );
    }
}
