use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchboard_protocol::call::{ClientSession, Principal, Sink};
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::parked::Ticket;
use super::owner::Held;
use super::*;
use crate::config::parked::ParkedCallsConfig;
use crate::link::inbox::Inbox;
use crate::link::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};
use crate::link::{Outgoing, next_id};

mod answers;
mod attribution;
mod bounds;
mod endings;
mod hearing;

const TIMEOUT: Duration = Duration::from_secs(600);

struct Reader(mpsc::Receiver<Bytes>);

impl MessageReader for Reader {
    async fn read(&mut self) -> Result<Option<Incoming>, String> {
        Ok(self.0.recv().await.map(Incoming::Message))
    }
}

struct Writer(mpsc::Sender<Bytes>);

impl MessageWriter for Writer {
    async fn write(&mut self, message: Bytes) -> Result<(), WriteError> {
        self.0.send(message).await.map_err(|_| WriteError::Broken)
    }
}

/// What became of a session.
type End = Arc<Mutex<&'static str>>;

struct Lease(End);

impl Held for Lease {
    fn answered(self) {
        *self.0.lock() = "answered";
    }

    fn retire(self) {
        *self.0.lock() = "retired";
    }

    fn stay_with(self, _: &mut Ongoing) {
        self.answered();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut end = self.0.lock();
        if end.is_empty() {
            *end = "given up";
        }
    }
}

/// A legacy server in memory, and a session with it.
struct Server {
    mux: Mux,
    heard: mpsc::Receiver<Bytes>,
    said: mpsc::Sender<Bytes>,
    end: End,
    relay: Option<Arc<Relay>>,
}

impl Server {
    async fn say(&self, message: Value) {
        let message = Bytes::from(message.to_string());
        self.said.send(message).await.expect("a reader");
        // The reader is another task.
        tokio::task::yield_now().await;
    }

    async fn hears(&mut self) -> Value {
        let message = self.heard.recv().await.expect("another message");
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Whether nothing was said to it that it did not hear.
    async fn hears_nothing(&mut self) -> bool {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.heard.is_empty()
    }

    async fn asks(&self, id: impl Into<Value>) {
        let params = json!({"message": "name?", "requestedSchema": {"type": "object"}});
        self.say(json!({"jsonrpc": "2.0", "id": id.into(), "method": "elicitation/create", "params": params}))
            .await;
    }

    async fn withdraws(&self, id: impl Into<Value>) {
        let params = json!({"requestId": id.into()});
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))
            .await;
    }

    async fn answers(&self, id: &Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}))
            .await;
    }

    fn session_is(&self) -> &'static str {
        *self.end.lock()
    }
}

/// The gateway's side.
struct Gateway {
    lot: Arc<Lot>,
    tasks: TaskTracker,
    stop: CancellationToken,
    metrics: Metrics,
}

impl Gateway {
    fn new() -> Self {
        Self::with(ParkedCallsConfig::default())
    }

    fn with(config: ParkedCallsConfig) -> Self {
        Self {
            lot: Arc::new(Lot::new(config)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics: Metrics::new().expect("metrics"),
        }
    }

    fn server(&self) -> Server {
        self.server_of(None)
    }

    fn inbox(&self) -> Arc<Inbox> {
        Arc::new(Inbox::new(self.metrics.backend("b"), self.tasks.clone()))
    }

    fn relay(&self, client: &Arc<dyn ClientSession>) -> Arc<Relay> {
        let client = Arc::downgrade(client);
        Arc::new(Relay::new(client, &Arc::from("b"), &self.inbox()))
    }

    fn server_of(&self, relay: Option<Arc<Relay>>) -> Server {
        let (said, reader) = mpsc::channel(256);
        let (writer, heard) = mpsc::channel(256);
        let mux = Mux::start(
            Reader(reader),
            Writer(writer),
            self.inbox(),
            |stop| async move {
                stop.cancelled().await;
                None
            },
        );
        mux.speak_legacy(relay.clone());
        Server {
            mux,
            heard,
            said,
            end: End::default(),
            relay,
        }
    }

    fn begin(&self, server: &Server, call: &Call) -> Leg {
        let id = next_id();
        let version = Version::V2025_11_25;
        let (parked, leg) = ParkedCall::begin(
            &self.lot,
            &"b".into(),
            call,
            id,
            version,
            server.relay.clone(),
            CallSpan::none(),
        );
        let out = Outgoing::for_test(id);
        let watch = Watch::of_parked(Arc::clone(&parked));
        let (mux, channel) = (server.mux.clone(), server.mux.clone());
        let exchange = async move || mux.request(out, watch).await.map(Exchanged::Whole);
        let tell = move |message| {
            let mux = channel.clone();
            async move { mux.notify(message).await }
        };
        let lease = Lease(Arc::clone(&server.end));
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        self.tasks
            .spawn(own(parked, lease, exchange, tell, stop, tasks));
        leg
    }

    /// Begins a call and waits until the server has it; gives its id there as well.
    async fn call(&self, server: &mut Server) -> (Leg, Value) {
        let leg = self.begin(server, &call("alice", &json!({})));
        let id = server.hears().await["id"].clone();
        (leg, id)
    }

    fn resume(&self, state: &str, answers: &Value) -> Result<Resumed, CallError> {
        self.resume_with(state, &call("alice", &json!({"inputResponses": answers})))
    }

    fn resume_with(&self, state: &str, call: &Call) -> Result<Resumed, CallError> {
        let ticket = Ticket::parse(state).expect("a ticket");
        let parked = self.lot.find(ticket).ok_or_else(gone)?;
        parked.resume(ticket.round, call)
    }

    fn come_back(&self, state: &str, answers: &Value) -> Leg {
        match self.resume(state, answers) {
            Ok(Resumed::Waiting(leg)) => leg,
            Ok(Resumed::Ended(ended)) => panic!("ended already: {ended:?}"),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn ends(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
    }
}

fn call(principal: &str, params: &Value) -> Call {
    call_with(principal, params, &json!({}), None)
}

fn call_with(
    principal: &str,
    params: &Value,
    meta: &Value,
    sink: Option<(Arc<dyn Sink>, LogLevel)>,
) -> Call {
    let mut params = params.clone();
    params["name"] = "tool".into();
    params["_meta"] = meta.clone();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    Call {
        log_level: sink.as_ref().map(|(_, level)| *level),
        sink: sink.map(|(sink, _)| sink),
        ..Call::new(
            Envelope::parse(request.into()).expect("a request"),
            Method::ToolsCall,
            Arc::new(Principal::new(principal)),
            Version::LATEST,
        )
    }
}

fn accept(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

fn result(ended: Ended) -> Value {
    let response = ended.expect("a response");
    let span = response.result.expect("a result");
    serde_json::from_slice(response.slice(span)).expect("JSON")
}

/// What was asked, and the state to come back with.
async fn asked(leg: Leg) -> (BTreeMap<String, Value>, String) {
    let result = result(leg.whole().await);
    assert_eq!(result["resultType"], "input_required", "{result}");
    let requests = result["inputRequests"].as_object().expect("requests");
    (
        requests.clone().into_iter().collect(),
        result["requestState"].as_str().expect("a state").to_owned(),
    )
}

fn error_of(resumed: Result<Resumed, CallError>) -> String {
    match resumed {
        Err(CallError::Protocol(error)) => {
            assert_eq!(error.code, code::INVALID_PARAMS);
            error.message.into_owned()
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Value>>);

impl Sink for Recorder {
    fn offer(&self, notification: Bytes) -> bool {
        let notification = serde_json::from_slice(&notification).expect("JSON");
        self.0.lock().push(notification);
        true
    }
}
