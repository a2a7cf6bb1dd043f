//! A legacy session: what its client declared, the questions that are open, the requests that run.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::questions::Question;
use super::talk::{Side, Talk};
use super::{OUTBOX, Outlet, Shared, lists, tools};
use crate::lock::lock;

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// What a legacy session is.
#[derive(Debug)]
pub(super) struct Session {
    /// Counted from 1 in each process.
    pub(super) number: u64,
    /// The stream that belongs to no call.
    pub(super) aside: Aside,
    shared: Arc<Shared>,
    declared: Mutex<Value>,
    open: Mutex<HashMap<u64, Asked>>,
    running: Mutex<HashMap<String, Running>>,
    next_question: AtomicU64,
    logs: AtomicBool,
}

#[derive(Debug)]
struct Asked {
    reply: oneshot::Sender<Value>,
    execution: String,
    mark: String,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    execution: String,
    mark: String,
}

impl Running {
    fn named(&self) -> Value {
        json!({ "execution": self.execution, "mark": self.mark })
    }
}

/// Where messages go that belong to no call.
#[derive(Debug)]
pub(super) enum Aside {
    /// The one channel that there is.
    Channel(Outlet),
    /// The GET stream, and what waits for it to be opened.
    Get(Mutex<Get>),
}

#[derive(Debug, Default)]
pub(super) struct Get {
    stream: Option<mpsc::Sender<String>>,
    waiting: VecDeque<String>,
}

impl Aside {
    /// Sends a message, on the GET stream as soon as that is open.
    pub(super) async fn send(&self, message: &Value) {
        match self {
            Self::Channel(outlet) => outlet.send(message).await,
            Self::Get(get) => {
                let mut get = lock(get);
                let text = message.to_string();
                let unsent = match &get.stream {
                    Some(stream) => match stream.try_send(text) {
                        Ok(()) => return,
                        Err(error) => error.into_inner(),
                    },
                    None => text,
                };
                if get.waiting.len() < OUTBOX {
                    get.waiting.push_back(unsent);
                }
            }
        }
    }

    /// Opens the GET stream instead of the one before.
    pub(super) fn open(&self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(2 * OUTBOX);
        if let Self::Get(get) = self {
            let mut get = lock(get);
            for text in std::mem::take(&mut get.waiting) {
                // There is room for all of them.
                let _ = sender.try_send(text);
            }
            get.stream = Some(sender);
        }
        receiver
    }

    /// Closes the GET stream.
    pub(super) fn close(&self) {
        if let Self::Get(get) = self {
            lock(get).stream = None;
        }
    }
}

impl Session {
    /// A session that is about to be initialized.
    pub(super) fn new(shared: &Arc<Shared>, aside: Aside) -> Arc<Self> {
        Arc::new(Self {
            number: shared.new_session(),
            aside,
            shared: Arc::clone(shared),
            declared: Mutex::default(),
            open: Mutex::default(),
            running: Mutex::default(),
            next_question: AtomicU64::new(0),
            logs: AtomicBool::new(false),
        })
    }

    /// The revision that was agreed to.
    pub(super) fn version(&self) -> String {
        let declared = lock(&self.declared);
        declared["protocolVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// What `initialize` said: `protocolVersion` (the one agreed to), `capabilities`, `clientInfo`.
    pub(super) fn declared(&self) -> Value {
        lock(&self.declared).clone()
    }

    /// Whether the client has set a level for logs.
    pub(super) fn wants_logs(&self) -> bool {
        self.logs.load(Ordering::Relaxed)
    }

    /// Takes an id for a question, and the way its answer will come.
    pub(super) fn new_question(
        &self,
        execution: &str,
        mark: &str,
    ) -> (u64, oneshot::Receiver<Value>) {
        let id = self.next_question.fetch_add(1, Ordering::Relaxed);
        let (reply, receiver) = oneshot::channel();
        let asked = Asked {
            reply,
            execution: execution.to_owned(),
            mark: mark.to_owned(),
        };
        lock(&self.open).insert(id, asked);
        (id, receiver)
    }

    /// From now on an answer to this question is a stray one.
    pub(super) fn forget(&self, question: u64) {
        lock(&self.open).remove(&question);
    }

    /// A request was answered: it cannot be cancelled any more.
    pub(super) fn done(&self, request: &Value) {
        lock(&self.running).remove(&request.to_string());
    }

    /// Ends the session, and with it what runs.
    pub(super) fn close(&self) {
        self.note("closed", json!({}));
        let running = std::mem::take(&mut *lock(&self.running));
        for running in running.into_values() {
            self.note("cut", running.named());
            running.stop.cancel();
        }
        self.aside.close();
    }

    /// Takes one message of the client. Answers to a request go to `out`, which is held until the
    /// request is done.
    pub(super) async fn receive(self: &Arc<Self>, message: Value, out: Outlet) {
        let method = message["method"].as_str().map(str::to_owned);
        match (method.as_deref(), message.get("id").cloned()) {
            (None, Some(id)) => self.answered(&id, message),
            (None, None) => {}
            (Some("notifications/cancelled"), None) => {
                let id = &message["params"]["requestId"];
                let running = lock(&self.running).remove(&id.to_string());
                match running {
                    Some(running) => {
                        self.note("cancelled", running.named());
                        running.stop.cancel();
                    }
                    None => self.note("cancelled_nothing", json!({ "id": id })),
                }
            }
            (Some("notifications/initialized"), None) => {
                if self.shared.options.asks_at_once {
                    self.ask_at_once().await;
                }
            }
            (Some(method), None) => self.note("notified", json!({ "method": method })),
            (Some(method @ ("tools/call" | "prompts/get" | "resources/read")), Some(id)) => {
                self.start(method.to_owned(), &id, &message, out);
            }
            (Some(method), Some(id)) => {
                let mut response = json!({ "jsonrpc": "2.0", "id": id });
                match self.result(method, &message["params"]) {
                    Some(result) => response["result"] = result,
                    None => {
                        response["error"] =
                            json!({ "code": -32601, "message": "Method not found" });
                    }
                }
                out.send(&response).await;
            }
        }
    }

    fn result(&self, method: &str, params: &Value) -> Option<Value> {
        match method {
            "initialize" => Some(self.initialize(params)),
            "ping" => Some(json!({})),
            "logging/setLevel" => {
                self.logs.store(true, Ordering::Relaxed);
                Some(json!({}))
            }
            _ => {
                let by_capability = self.shared.options.tools_by_capability;
                let declared = lock(&self.declared)["capabilities"].clone();
                lists::list(method, by_capability.then_some(&declared))
            }
        }
    }

    fn initialize(&self, params: &Value) -> Value {
        let newest = self.shared.options.newest.as_str();
        let wanted = params["protocolVersion"].as_str().unwrap_or_default();
        let agreed = if REVISIONS.contains(&wanted) && wanted <= newest {
            wanted
        } else {
            newest
        };
        let mut declared = params.clone();
        declared["protocolVersion"] = json!(agreed);
        self.note(
            "opened",
            json!({
                "version": agreed,
                "capabilities": params["capabilities"],
                "client": params["clientInfo"],
            }),
        );
        *lock(&self.declared) = declared;
        json!({
            "protocolVersion": agreed,
            "capabilities": lists::capabilities(),
            "serverInfo": lists::info(),
        })
    }

    fn answered(&self, id: &Value, message: Value) {
        let Value::Object(mut reply) = message else {
            return;
        };
        reply.retain(|key, _| key == "result" || key == "error");
        let reply = Value::Object(reply);
        let asked = id.as_u64().and_then(|id| lock(&self.open).remove(&id));
        match asked {
            Some(asked) => {
                self.note(
                    "answered",
                    json!({
                        "question": id,
                        "execution": asked.execution,
                        "mark": asked.mark,
                        "reply": reply,
                    }),
                );
                // Whoever asked may have given up this very moment.
                let _ = asked.reply.send(reply);
            }
            None => self.note("stray", json!({ "question": id, "reply": reply })),
        }
    }

    fn start(self: &Arc<Self>, method: String, id: &Value, request: &Value, out: Outlet) {
        let execution = self.shared.new_execution();
        let side = Side::Legacy(Arc::clone(self));
        let mut talk = Talk::new(Arc::clone(&self.shared), execution, request, out, side);
        talk.note("begin", json!({ "id": id, "name": talk.name }));
        let stop = CancellationToken::new();
        let running = Running {
            stop: stop.clone(),
            execution: talk.execution.clone(),
            mark: talk.mark.clone(),
        };
        lock(&self.running).insert(id.to_string(), running);
        tokio::spawn(async move {
            let running = async {
                let end = tools::run(&mut talk, &method).await;
                talk.answer(end).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = running => {}
            }
        });
    }

    async fn ask_at_once(self: &Arc<Self>) {
        let (id, _unanswered) = self.new_question("none", "at once");
        let fields = json!({ "question": id, "mark": "at once", "method": "elicitation/create" });
        self.note("asked", fields);
        let question = Question::form("at once", &Value::Null, true);
        self.aside.send(&question.to_request(id)).await;
    }

    fn note(&self, event: &str, fields: Value) {
        self.shared.journal.record(event, self.number, fields);
    }
}
