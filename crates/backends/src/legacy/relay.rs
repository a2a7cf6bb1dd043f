//! What a server asks or says outside of any call. It reaches a client only where the session
//! belongs to one, a legacy one.

use bytes::Bytes;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;
use switchboard_protocol::call::ClientSession;
use switchboard_protocol::capabilities::Question;
use switchboard_protocol::delivery::{STEP, StepwiseRedaction};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::code;
use switchboard_telemetry::IgnoredMessage;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::questions;
use crate::link::inbox::Inbox;
use crate::link::watch::without_own_meta;
use crate::link::{LinkError, refuse_request};
use crate::redaction::in_steps;

/// How many questions of one session are open at once.
const MAX_OPEN: usize = 16;
/// How long a client may take to answer one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The way to the client that a session belongs to.
pub(crate) struct Relay {
    /// Not kept alive: the client's end is not the session's to delay.
    client: Weak<dyn ClientSession>,
    /// The backend whose session it is.
    backend: Arc<str>,
    /// Has the tasks of the backend, and counts what does not reach the client.
    inbox: Arc<Inbox>,
    /// For questions that are open.
    room: Arc<Semaphore>,
    /// For the one large notification of which secrets are taken out.
    large: Arc<Semaphore>,
    /// Cancelled when the session is gone.
    gone: CancellationToken,
}

impl Relay {
    pub(crate) fn new(
        client: Weak<dyn ClientSession>,
        backend: &Arc<str>,
        inbox: &Arc<Inbox>,
    ) -> Self {
        Self {
            client,
            backend: Arc::clone(backend),
            inbox: Arc::clone(inbox),
            room: Arc::new(Semaphore::new(MAX_OPEN)),
            large: Arc::new(Semaphore::new(1)),
            gone: CancellationToken::new(),
        }
    }

    /// The session is gone: nobody waits for an answer any more.
    pub(crate) fn end(&self) {
        self.gone.cancel();
    }

    /// Asks the client, by a task of its own, which lets `tell` say to the server what it answered.
    /// Whether the client declared that it can be asked this, its session knows.
    ///
    /// # Errors
    /// The refusal that the server is to get at once.
    pub(crate) fn ask<T>(
        &self,
        request: &Envelope,
        tell: impl FnOnce(Bytes) -> T + Send + 'static,
    ) -> Result<(), Bytes>
    where
        T: Future<Output = Result<(), LinkError>> + Send,
    {
        let id = request.id_bytes();
        let params = request.keys.params.map(|span| request.bytes(span));
        let Some(question) = Question::parse(&request.method(), params.as_deref()) else {
            return Err(refuse_request(&id, &request.method()));
        };
        let refused = |why| Err(questions::refusal(&id, code::INTERNAL_ERROR, why));
        let Some(client) = self.client.upgrade() else {
            return refused("the client is gone");
        };
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return refused("too many questions are open");
        };
        let redactor = client.redactor(&self.backend);
        let asking = async move {
            let params = match (redactor, params) {
                (Some(redactor), Some(params)) => {
                    Some(in_steps(redactor.begin_whole(params)).await)
                }
                (_, params) => params,
            };
            let asking = client.request(question.method(), params);
            drop(client);
            asking.await
        };
        let gone = self.gone.clone();
        self.inbox.tasks.spawn(async move {
            let answer = tokio::select! {
                biased;
                () = gone.cancelled() => return,
                answer = tokio::time::timeout(ANSWER_DEADLINE, asking) => answer,
            };
            let answer = match answer {
                Ok(Ok(result)) => questions::response(&id, "result", &result),
                Ok(Err(error)) => questions::response(&id, "error", &error),
                Err(_) => {
                    questions::refusal(&id, code::INTERNAL_ERROR, "the client did not answer")
                }
            };
            if let Err(error) = tell(answer).await {
                tracing::debug!("an answer of a client did not reach its server: {error}");
            }
            drop(permit);
        });
        Ok(())
    }

    /// Passes a notification to the client. One that it has no room for is dropped and counted, and so is one of
    /// more than a [`STEP`] while secrets are taken out of another.
    pub(crate) fn tell(&self, notification: &Envelope) {
        let notification = without_own_meta(notification);
        let client = self.client.upgrade();
        let redactor = client.and_then(|client| client.redactor(&self.backend));
        let notification = match redactor {
            Some(redactor) if notification.len() > STEP => {
                return self.tell_in_steps(redactor.begin_whole(notification));
            }
            Some(redactor) => redactor.redact(notification),
            None => notification,
        };
        pass(&self.client, &self.inbox, notification);
    }

    /// By a task of its own, as whoever reads the server is not to be held up. What comes behind it is told
    /// meanwhile: each tells of another question.
    fn tell_in_steps(&self, redaction: Box<dyn StepwiseRedaction>) {
        let Ok(permit) = Arc::clone(&self.large).try_acquire_owned() else {
            return self.inbox.ignored(IgnoredMessage::DroppedNotification);
        };
        let (client, inbox) = (Weak::clone(&self.client), Arc::clone(&self.inbox));
        let gone = self.gone.clone();
        self.inbox.tasks.spawn(async move {
            if let Some(notification) = gone.run_until_cancelled(in_steps(redaction)).await {
                pass(&client, &inbox, notification);
            }
            drop(permit);
        });
    }
}

fn pass(client: &Weak<dyn ClientSession>, inbox: &Inbox, notification: Bytes) {
    let client = client.upgrade();
    if !client.is_some_and(|client| client.notify(notification)) {
        inbox.ignored(IgnoredMessage::DroppedNotification);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use std::borrow::Cow;
    use std::pin::Pin;
    use switchboard_protocol::delivery::{Redaction, Redactor};
    use switchboard_telemetry::Metrics;
    use tokio::sync::{mpsc, oneshot};
    use tokio_util::task::TaskTracker;

    type Asked = (String, oneshot::Sender<Result<Bytes, Bytes>>);

    struct Client {
        asked: mpsc::Sender<Asked>,
        /// With parameters of what it was asked.
        told: Arc<Mutex<Vec<Bytes>>>,
        is_redacted: bool,
    }

    /// Takes the ones out, and each step is one.
    #[derive(Debug)]
    struct NoOnes;

    struct Steps(Bytes, usize);

    impl StepwiseRedaction for Steps {
        fn step(&mut self) -> Option<Bytes> {
            self.1 += STEP;
            (self.1 >= self.0.len()).then(|| NoOnes.redact(self.0.clone()))
        }
    }

    impl Redactor for NoOnes {
        fn rules(&self) -> &[u8; 32] {
            &[0; 32]
        }

        fn redact(&self, text: Bytes) -> Bytes {
            let text = text
                .iter()
                .map(|byte| if *byte == b'1' { b'0' } else { *byte });
            text.collect()
        }

        fn begin_whole(&self, text: Bytes) -> Box<dyn StepwiseRedaction> {
            Box::new(Steps(text, 0))
        }

        fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
            text.replace('1', "0").into()
        }

        fn begin(&self) -> Box<dyn Redaction> {
            unreachable!("a question does not come in pieces")
        }
    }

    impl ClientSession for Client {
        fn id(&self) -> &str {
            "c"
        }

        fn request(
            &self,
            method: &str,
            params: Option<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
            let (sender, answer) = oneshot::channel();
            let _ = self.asked.try_send((method.to_owned(), sender));
            self.told.lock().extend(params);
            Box::pin(async move { answer.await.unwrap_or_else(|_| Err("{}".into())) })
        }

        fn notify(&self, notification: Bytes) -> bool {
            self.told.lock().push(notification);
            true
        }

        fn redactor(&self, backend: &str) -> Option<Arc<dyn Redactor>> {
            (self.is_redacted && backend == "b").then(|| Arc::new(NoOnes) as _)
        }
    }

    fn request(method: &str) -> Envelope {
        let text = json!({"jsonrpc": "2.0", "id": "r", "method": method}).to_string();
        Envelope::parse(text.into()).expect("a request")
    }

    struct Case {
        client: Arc<dyn ClientSession>,
        heard: Arc<Mutex<Vec<Bytes>>>,
        relay: Relay,
        asked: mpsc::Receiver<Asked>,
        told: mpsc::Receiver<Value>,
        tell: mpsc::Sender<Value>,
        tasks: TaskTracker,
        metrics: Metrics,
    }

    impl Case {
        fn new() -> Self {
            Self::with(true)
        }

        fn with(is_redacted: bool) -> Self {
            let (sender, asked) = mpsc::channel(64);
            let (tell, told) = mpsc::channel(64);
            let heard: Arc<Mutex<_>> = Arc::default();
            let client: Arc<dyn ClientSession> = Arc::new(Client {
                asked: sender,
                told: Arc::clone(&heard),
                is_redacted,
            });
            let (tasks, metrics) = (TaskTracker::new(), Metrics::new().expect("metrics"));
            let inbox = Arc::new(Inbox::new(metrics.backend("b"), tasks.clone()));
            Self {
                relay: Relay::new(Arc::downgrade(&client), &Arc::from("b"), &inbox),
                client,
                heard,
                asked,
                told,
                tell,
                tasks,
                metrics,
            }
        }

        fn ask(&self, method: &str) -> Option<Value> {
            let tell = self.tell.clone();
            let refusal = self.relay.ask(&request(method), |answer| async move {
                let answer = serde_json::from_slice(&answer).expect("JSON");
                let _ = tell.send(answer).await;
                Ok(())
            });
            let refusal = refusal.err()?;
            Some(serde_json::from_slice(&refusal).expect("JSON"))
        }

        /// Has the client told that the question of this id is done with.
        fn tell(&self, id: &str) {
            let text = json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": id}});
            let notification = Envelope::parse(text.to_string().into()).expect("a notification");
            self.relay.tell(&notification);
        }

        /// What the client heard, once nothing is on its way to it any more.
        async fn heard(&self) -> Vec<String> {
            self.tasks.close();
            self.tasks.wait().await;
            let heard = self.heard.lock();
            heard
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect()
        }

        fn dropped(&self) -> bool {
            let metrics = self.metrics.render();
            metrics.contains("kind=\"dropped_notification\"} 1")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clients_answer_goes_back_under_the_servers_id() {
        let mut case = Case::new();
        for (answer, key) in [
            (Ok("{\"roots\":[]}"), "result"),
            (Err("{\"code\":-1}"), "error"),
        ] {
            assert_eq!(case.ask("roots/list"), None);
            let (method, sender) = case.asked.recv().await.expect("asked");
            assert_eq!(method, "roots/list");
            let _ = sender.send(answer.map(Bytes::from).map_err(Bytes::from));
            let told = case.told.recv().await.expect("told");
            assert_eq!(told["id"], "r");
            assert!(told[key].is_object(), "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_is_asked_outside_of_calls_has_no_secrets() {
        let mut case = Case::new();
        let filler = "2".repeat(3 * STEP);
        let text = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {
            "message": format!("{filler}1"), "requestedSchema": {"type": "object", "properties": {}},
        }});
        let request = Envelope::parse(text.to_string().into()).expect("a request");
        let asked = case.relay.ask(&request, |_| async { Ok(()) });
        assert!(asked.is_ok());
        let (_, answer) = case.asked.recv().await.expect("asked");
        drop(answer);
        let heard = case.heard().await;
        assert_eq!(heard.len(), 1);
        let end = &heard[0][3 * STEP..];
        assert!(heard[0].contains(&format!("{filler}0")), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_client_is_told_outside_of_calls_has_no_secrets_however_large() {
        let case = Case::new();
        let large = "1".repeat(3 * STEP);
        case.tell(&large);
        // While that is looked through another large one is not, and a small one is told.
        case.tell(&large);
        case.tell("e-1");
        assert!(case.dropped());
        let heard = case.heard().await;
        assert_eq!(heard.len(), 2);
        assert!(heard[0].contains("\"e-0\""), "{}", heard[0]);
        let end = &heard[1][3 * STEP..];
        assert!(heard[1].contains(&"0".repeat(3 * STEP)), "{end}");
        case.tell(&large);
        assert_eq!(case.heard().await.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_notification_is_passed_on_where_no_secrets_are_looked_for() {
        let case = Case::with(false);
        let large = "1".repeat(3 * STEP);
        case.tell(&large);
        case.tell(&large);
        // Nothing was left for a task to do.
        let heard = case.heard.lock().len();
        assert_eq!((heard, case.dropped()), (2, false));
        assert!(case.heard().await[1].contains(&large));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_asked_is_refused_at_once() {
        let case = Case::new();
        let refusal = case.ask("tools/call").expect("a refusal");
        assert_eq!(refusal["error"]["code"], code::METHOD_NOT_FOUND);
        for _ in 0..MAX_OPEN {
            assert_eq!(case.ask("roots/list"), None);
        }
        let refusal = case.ask("roots/list").expect("a refusal");
        assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_a_session_that_ends() {
        let mut case = Case::new();
        assert_eq!(case.ask("roots/list"), None);
        let _asked = case.asked.recv().await.expect("asked");
        let Case {
            relay,
            tasks,
            mut told,
            client,
            ..
        } = case;
        drop(relay);
        tasks.close();
        tasks.wait().await;
        assert!(told.try_recv().is_err());
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_is_not_waited_for() {
        let mut case = Case::new();
        case.client = Arc::new(Client {
            asked: mpsc::channel(1).0,
            told: Arc::default(),
            is_redacted: false,
        });
        let refusal = case.ask("roots/list").expect("a refusal");
        assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
        case.tell("e");
        assert!(case.dropped());
    }
}
