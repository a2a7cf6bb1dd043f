//! What a server asks or says outside of any call. It reaches a client only where the session
//! belongs to one, a legacy one.

use bytes::Bytes;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;
use switchboard_protocol::call::ClientSession;
use switchboard_protocol::capabilities::Question;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::code;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::questions;
use crate::link::watch::without_own_meta;
use crate::link::{LinkError, refuse_request};

/// How many questions of one session are open at once.
const MAX_OPEN: usize = 16;
/// How long a client may take to answer one.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The way to the client that a session belongs to.
pub(crate) struct Relay {
    /// Not kept alive: the client's end is not the session's to delay.
    client: Weak<dyn ClientSession>,
    room: Arc<Semaphore>,
    /// Cancelled when the session is gone.
    gone: CancellationToken,
}

impl Relay {
    pub(crate) fn new(client: Weak<dyn ClientSession>) -> Self {
        Self {
            client,
            room: Arc::new(Semaphore::new(MAX_OPEN)),
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
        tasks: &TaskTracker,
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
        let asking = client.request(question.method(), params);
        let gone = self.gone.clone();
        tasks.spawn(async move {
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

    /// Passes a notification to the client. One that it has no room for is dropped.
    pub(crate) fn tell(&self, notification: &Envelope) -> bool {
        let client = self.client.upgrade();
        client.is_some_and(|client| client.notify(without_own_meta(notification)))
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
    use std::pin::Pin;
    use tokio::sync::{mpsc, oneshot};

    type Asked = (String, oneshot::Sender<Result<Bytes, Bytes>>);

    struct Client {
        asked: mpsc::Sender<Asked>,
        told: Mutex<Vec<Bytes>>,
    }

    impl ClientSession for Client {
        fn id(&self) -> &str {
            "c"
        }

        fn request(
            &self,
            method: &str,
            _params: Option<Bytes>,
        ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
            let (sender, answer) = oneshot::channel();
            let _ = self.asked.try_send((method.to_owned(), sender));
            Box::pin(async move { answer.await.unwrap_or_else(|_| Err("{}".into())) })
        }

        fn notify(&self, notification: Bytes) -> bool {
            self.told.lock().push(notification);
            true
        }
    }

    fn request(method: &str) -> Envelope {
        let text = json!({"jsonrpc": "2.0", "id": "r", "method": method}).to_string();
        Envelope::parse(text.into()).expect("a request")
    }

    struct Case {
        client: Arc<dyn ClientSession>,
        relay: Relay,
        asked: mpsc::Receiver<Asked>,
        told: mpsc::Receiver<Value>,
        tell: mpsc::Sender<Value>,
        tasks: TaskTracker,
    }

    impl Case {
        fn new() -> Self {
            let (sender, asked) = mpsc::channel(64);
            let (tell, told) = mpsc::channel(64);
            let client: Arc<dyn ClientSession> = Arc::new(Client {
                asked: sender,
                told: Mutex::default(),
            });
            Self {
                relay: Relay::new(Arc::downgrade(&client)),
                client,
                asked,
                told,
                tell,
                tasks: TaskTracker::new(),
            }
        }

        fn ask(&self, method: &str) -> Option<Value> {
            let tell = self.tell.clone();
            let refusal = self
                .relay
                .ask(&request(method), &self.tasks, |answer| async move {
                    let answer = serde_json::from_slice(&answer).expect("JSON");
                    let _ = tell.send(answer).await;
                    Ok(())
                });
            let refusal = refusal.err()?;
            Some(serde_json::from_slice(&refusal).expect("JSON"))
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
            told: Mutex::default(),
        });
        let refusal = case.ask("roots/list").expect("a refusal");
        assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
        assert!(
            !case
                .relay
                .tell(&request("notifications/elicitation/complete"))
        );
    }
}
