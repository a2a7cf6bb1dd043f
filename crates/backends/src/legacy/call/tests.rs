use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use switchboard_protocol::call::{ClientSession, Principal, Sink};
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::parked::Ticket;
use super::heard::{MAX_HEARD, MAX_LOGS};
use super::owner::Held;
use super::*;
use crate::config::parked::ParkedCallsConfig;
use crate::link::inbox::Inbox;
use crate::link::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};
use crate::link::{Outgoing, next_id};

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

    fn server_of(&self, relay: Option<Arc<Relay>>) -> Server {
        let (said, reader) = mpsc::channel(256);
        let (writer, heard) = mpsc::channel(256);
        let inbox = Inbox::new(self.metrics.backend("b"), self.tasks.clone());
        let mux = Mux::start(
            Reader(reader),
            Writer(writer),
            Arc::new(inbox),
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
        let out = Outgoing {
            id,
            method: "tools/call",
            name: None,
            param_headers: Vec::new(),
            on_behalf: None,
            trace: None,
            body: json!({"jsonrpc": "2.0", "id": id, "method": "tools/call"})
                .to_string()
                .into(),
        };
        let watch = Watch::of_parked(Arc::clone(&parked));
        let (mux, channel) = (server.mux.clone(), server.mux.clone());
        let exchange = async move || mux.request(out, watch).await;
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
    let result = result(leg.ended().await);
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

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_the_next_request() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks("r1").await;
    let (requests, state) = asked(leg).await;
    assert_eq!(
        requests["q1"],
        json!({"method": "elicitation/create", "params": {"message": "name?", "requestedSchema": {"type": "object"}}})
    );
    let leg = gateway.come_back(&state, &json!({"q1": accept("x"), "q9": 17}));
    assert_eq!(
        server.hears().await,
        json!({"jsonrpc": "2.0", "id": "r1", "result": accept("x")})
    );
    server.answers(&id).await;
    assert_eq!(result(leg.ended().await), json!({"content": []}));
    assert_eq!(server.session_is(), "answered");
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_at_about_the_same_time_is_asked_together() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    let began = Instant::now();
    server.asks(1).await;
    tokio::time::advance(Duration::from_millis(15)).await;
    server.asks(2).await;
    let (requests, state) = asked(leg).await;
    assert_eq!(began.elapsed(), GATHER);
    assert!(requests.keys().eq(["q1", "q2"]));
    server.asks(3).await;
    let leg = gateway.come_back(
        &state,
        &json!({"q1": accept("x"), "q2": accept("y"), "q3": accept("z")}),
    );
    assert_eq!(server.hears().await["id"], 1);
    assert_eq!(server.hears().await["id"], 2);
    // What nobody was asked yet nobody can have answered.
    let (requests, _) = asked(leg).await;
    assert!(requests.keys().eq(["q3"]));
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_answers_again_get_the_same_outcome_and_others_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, first) = asked(leg).await;
    let answers = json!({"q1": accept("x")});
    let leg = gateway.come_back(&first, &answers);
    // The response may be lost before it is there, or after.
    let joined = gateway.come_back(&first, &answers);
    assert_eq!(server.hears().await["id"], 1);
    server.asks(2).await;
    let (_, second) = asked(leg).await;
    assert_eq!(asked(joined).await.1, second);
    let Ok(Resumed::Ended(again)) = gateway.resume(&first, &answers) else {
        panic!("it is known what came of it");
    };
    assert_eq!(result(*again)["requestState"], *second);
    let leg = gateway.come_back(&second, &json!({"q2": accept("y")}));
    server.answers(&id).await;
    let outcome = result(leg.ended().await);
    tokio::time::advance(TIMEOUT - Duration::from_secs(1)).await;
    let Ok(Resumed::Ended(again)) = gateway.resume(
        &second,
        &json!({"q2": {"content": {"name": "y"}, "action": "accept"}}),
    ) else {
        panic!("it is known what came of it");
    };
    assert_eq!(result(*again), outcome);
    let message = error_of(gateway.resume(&second, &json!({"q2": accept("z")})));
    assert!(message.contains("other answers"), "{message}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let message = error_of(gateway.resume(&second, &json!({"q2": accept("y")})));
    assert!(message.contains("no longer waits"), "{message}");
    assert!(gateway.lot.is_empty());
    assert_eq!(server.hears().await["id"], 2);
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_form_takes_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    server.asks(2).await;
    let (_, state) = asked(leg).await;
    for wrong in [
        json!(17),
        json!({"action": "perhaps"}),
        json!({"action": "accept"}),
        json!(null),
    ] {
        let message = error_of(gateway.resume(&state, &json!({"q1": accept("x"), "q2": wrong})));
        assert!(
            message.starts_with("params.inputResponses.q2 is"),
            "{message}"
        );
    }
    let message = error_of(gateway.resume(&state, &json!([1])));
    assert_eq!(message, "params.inputResponses is an object");
    assert!(server.hears_nothing().await);
    let _leg = gateway.come_back(
        &state,
        &json!({"q1": accept("x"), "q2": {"action": "cancel"}}),
    );
    assert_eq!(server.hears().await["result"], accept("x"));
    assert_eq!(server.hears().await["result"], json!({"action": "cancel"}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_again() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    server.asks(2).await;
    let (_, first) = asked(leg).await;
    let (requests, second) = asked(gateway.come_back(&first, &json!({"q2": accept("x")}))).await;
    assert!(requests.keys().eq(["q1"]));
    assert_ne!(first, second);
    assert_eq!(server.hears().await["id"], 2);
    let (requests, _) = asked(gateway.come_back(&second, &json!({}))).await;
    assert!(requests.keys().eq(["q1"]));
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_with_an_error_is_passed_on() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let error = json!({"code": -1, "message": "no"});
    let _leg = gateway.come_back(&state, &json!({"q1": {"dev.switchboard/error": error}}));
    assert_eq!(
        server.hears().await,
        json!({"jsonrpc": "2.0", "id": 1, "error": error})
    );
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_for_the_client_whatever_it_answers() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    server.withdraws(1).await;
    server.answers(&id).await;
    while server.session_is().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.session_is(), "answered");
    let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": 17})) else {
        panic!("the server has answered");
    };
    assert_eq!(result(*ended), json!({"content": []}));
    assert!(server.hears_nothing().await);
    tokio::time::sleep(TIMEOUT).await;
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_withdrawn_question_is_dropped() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    // Before anybody was asked:
    server.asks("gone").await;
    server.withdraws("gone").await;
    server.asks(1).await;
    server.asks(2).await;
    let (requests, state) = asked(leg).await;
    assert!(requests.keys().eq(["q2", "q3"]));
    // While nobody is there:
    server.withdraws(2).await;
    server.withdraws("never asked").await;
    let leg = gateway.come_back(&state, &json!({"q2": accept("x"), "q3": accept("y")}));
    assert_eq!(server.hears().await["id"], 1);
    assert!(server.hears_nothing().await);
    server.answers(&id).await;
    assert_eq!(result(leg.ended().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_once() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let answers = json!({"q1": accept("x")});
    let leg = gateway.come_back(&state, &answers);
    let joined = gateway.come_back(&state, &answers);
    assert_eq!(server.hears().await["id"], 1);
    drop(leg);
    assert!(server.hears_nothing().await, "one still waits");
    drop(joined);
    let told = server.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    assert!(server.hears_nothing().await);
    assert_eq!(server.session_is(), "given up");
    let message = error_of(gateway.resume(&state, &answers));
    assert!(message.contains("no longer waits"), "{message}");
    // What comes too late is nobody's.
    server.asks(2).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    server.answers(&id).await;
    assert!(server.hears_nothing().await);
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_cancels_at_the_deadline() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let parked = Instant::now();
    let told = server.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    assert_eq!(parked.elapsed(), TIMEOUT);
    error_of(gateway.resume(&state, &json!({})));
    assert!(gateway.lot.is_empty());
    assert!(server.hears_nothing().await);
    gateway.ends().await;
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

#[tokio::test(start_paused = true)]
async fn what_is_heard_meanwhile_comes_on_the_next_leg_in_its_terms() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let notify = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params});
    for progress in [1, 2, 3] {
        server
            .say(notify(
                "progress",
                json!({"progressToken": id, "progress": progress}),
            ))
            .await;
    }
    server
        .say(notify(
            "progress",
            json!({"progressToken": 99_999, "progress": 4}),
        ))
        .await;
    for (level, data) in [("debug", "quiet"), ("error", "loud")] {
        server
            .say(notify("message", json!({"level": level, "data": data})))
            .await;
    }
    for _ in 0..MAX_LOGS {
        server
            .say(notify(
                "message",
                json!({"level": "error", "data": "x".repeat(10)}),
            ))
            .await;
    }
    server
        .say(notify(
            "message",
            json!({"level": "error", "data": "x".repeat(MAX_HEARD)}),
        ))
        .await;
    let heard = Arc::new(Recorder::default());
    let sink = Arc::clone(&heard) as Arc<dyn Sink>;
    let call = call_with(
        "alice",
        &json!({"inputResponses": {"q1": accept("x")}}),
        &json!({"progressToken": "mine"}),
        Some((sink, LogLevel::Warning)),
    );
    let Ok(Resumed::Waiting(_leg)) = gateway.resume_with(&state, &call) else {
        panic!("the server has not answered");
    };
    let notifications = heard.0.lock().clone();
    assert_eq!(
        notifications.len(),
        MAX_LOGS,
        "all that fit but the quiet one, and the progress"
    );
    assert_eq!(notifications[0]["params"]["data"], "loud");
    let last = notifications.last().expect("progress");
    assert_eq!(
        last["params"],
        json!({"progressToken": "mine", "progress": 3})
    );
    server
        .say(notify(
            "progress",
            json!({"progressToken": id, "progress": 5}),
        ))
        .await;
    assert_eq!(
        heard.0.lock().last().expect("progress")["params"]["progress"],
        5
    );
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_client_did_not_declare_is_refused_at_once() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    for (method, params) in [
        ("sampling/createMessage", json!({"messages": []})),
        ("roots/list", json!({})),
        (
            "elicitation/create",
            json!({"mode": "url", "url": "https://a/"}),
        ),
        ("tools/call", json!({})),
    ] {
        server
            .say(json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params}))
            .await;
        let refusal = server.hears().await;
        assert_eq!(refusal["id"], 5);
        assert_eq!(refusal["error"]["code"], code::METHOD_NOT_FOUND, "{method}");
    }
    server
        .say(json!({"jsonrpc": "2.0", "id": 6, "method": "ping"}))
        .await;
    assert_eq!(server.hears().await["result"], json!({}));
    server.answers(&id).await;
    assert_eq!(result(leg.ended().await), json!({"content": []}));
    // After its answer it can ask nobody.
    server.asks(7).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_forever_is_stopped() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (mut leg, id) = gateway.call(&mut server).await;
    for round in 1..=MAX_ROUNDS {
        server.asks(round).await;
        let (requests, state) = asked(leg).await;
        let key = format!("q{round}");
        assert!(requests.keys().eq([&key]));
        leg = gateway.come_back(&state, &json!({key: accept("x")}));
        assert_eq!(server.hears().await["id"], round);
    }
    server.asks("once more").await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    server.answers(&id).await;
    assert_eq!(result(leg.ended().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_on_asking_is_given_up() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks("kept").await;
    for _ in 0..MAX_REFUSED {
        // The same id again is refused at once.
        server.asks("kept").await;
    }
    let Err(Failed::Call(CallError::Fault(fault))) = leg.ended().await else {
        panic!("it goes on");
    };
    assert_eq!(fault.reason, Reason::TooManyRounds);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_asked_no_more() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (mut leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    for _ in 1..=MAX_ROUNDS {
        let (_, state) = asked(leg).await;
        leg = gateway.come_back(&state, &json!({}));
    }
    let refusal = server.hears().await;
    assert_eq!(refusal["id"], 1);
    assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
    server.answers(&id).await;
    assert_eq!(result(leg.ended().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn open_questions_are_bounded_and_have_distinct_ids() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    for question in 0..MAX_OPEN {
        server.asks(question).await;
    }
    server.asks("too many").await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    let (requests, _) = asked(leg).await;
    assert_eq!(requests.len(), MAX_OPEN);
    server.withdraws(0).await;
    server.asks(1).await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    // What it leaves open when it answers it is told not to wait for.
    server.answers(&id).await;
    for question in 1..MAX_OPEN {
        let refusal = server.hears().await;
        assert_eq!(refusal["id"], question);
        assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
    }
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_for_each_principal_and_for_all() {
    let gateway = Gateway::with(ParkedCallsConfig {
        timeout: TIMEOUT,
        max: 3,
        max_per_principal: 2,
    });
    let mut waiting = Vec::new();
    let mut parked = Vec::new();
    for (principal, is_refused) in [
        ("alice", false),
        ("alice", false),
        ("alice", true),
        ("bob", false),
        ("carol", true),
    ] {
        let mut server = gateway.server();
        let leg = gateway.begin(&server, &call(principal, &json!({})));
        let id = server.hears().await["id"].clone();
        server.asks(1).await;
        if is_refused {
            assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
            // The call goes on without.
            server.answers(&id).await;
            assert_eq!(result(leg.ended().await), json!({"content": []}));
        } else {
            let (_, state) = asked(leg).await;
            let ticket = Ticket::parse(&state).expect("a ticket");
            let found = gateway.lot.find(ticket).expect("found");
            assert!(found.belongs_to("b", principal));
            assert!(!found.belongs_to("b", "mallory") && !found.belongs_to("other", principal));
            parked.push((server, state));
        }
    }
    // One that goes on gives its place to the next.
    let (mut server, state) = parked.swap_remove(0);
    waiting.push(gateway.come_back(&state, &json!({"q1": accept("x")})));
    assert_eq!(server.hears().await["id"], 1);
    let mut next = gateway.server();
    let (leg, _) = gateway.call(&mut next).await;
    next.asks(1).await;
    asked(leg).await;
    server.asks(2).await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_kept_is_said_to_be_lost() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let others = ["one", "another"];
    let _taken = others.map(|other| gateway.lot.keep(other, 30 * 1024 * 1024).expect("room"));
    let text = "x".repeat(5 * 1024 * 1024);
    server
        .say(json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "text": text}}))
        .await;
    while server.session_is().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": accept("x")})) else {
            panic!("it is not known what came of it");
        };
        let Err(Failed::Call(CallError::Fault(fault))) = *ended else {
            panic!("it was kept");
        };
        assert_eq!(fault.reason, Reason::AnswerTooLarge);
    }
    // A question that does not fit is refused.
    let mut other = gateway.server();
    let (_leg, _) = gateway.call(&mut other).await;
    let params = json!({"message": "x".repeat(5 * 1024 * 1024)});
    other
        .say(json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": params}))
        .await;
    assert_eq!(other.hears().await["error"]["code"], code::INTERNAL_ERROR);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_an_outcome_as_well() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    drop(server.said);
    while server.end.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*server.end.lock(), "retired");
    let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": accept("x")})) else {
        panic!("it is not known what came of it");
    };
    assert!(matches!(*ended, Err(Failed::Link(LinkError::Lost(_)))));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_may_be_for_another_call_is_for_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (first, _) = gateway.call(&mut server).await;
    let (second, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    drop(first);
    assert_eq!(server.hears().await["method"], "notifications/cancelled");
    // The one that was given up may ask still.
    server.asks(2).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    server.answers(&id).await;
    assert_eq!(result(second.ended().await), json!({"content": []}));
    gateway.ends().await;
}

/// A client that answers every question with an empty list of roots.
#[derive(Default)]
struct Client(Recorder);

impl ClientSession for Client {
    fn id(&self) -> &str {
        "client"
    }

    fn request(
        &self,
        _method: &str,
        _params: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
        Box::pin(std::future::ready(Ok("{\"roots\":[]}".into())))
    }

    fn notify(&self, notification: Bytes) -> bool {
        self.0.offer(notification)
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_of_one_client_asks_a_call_of_its_or_the_client() {
    let gateway = Gateway::new();
    let client = Arc::new(Client::default());
    let session = Arc::clone(&client) as Arc<dyn ClientSession>;
    let relay = Arc::new(Relay::new(Arc::downgrade(&session), &Arc::from("b")));
    let mut server = gateway.server_of(Some(relay));
    server.asks("outside").await;
    let answer = server.hears().await;
    assert_eq!(answer["result"], json!({"roots": []}));
    let (first, _) = gateway.call(&mut server).await;
    let (second, _) = gateway.call(&mut server).await;
    server.asks("inside").await;
    let result = tokio::select! {
        ended = first.ended() => result(ended),
        ended = second.ended() => result(ended),
    };
    assert!(result["inputRequests"]["q1"].is_object(), "{result}");
    server
        .say(json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete", "params": {"elicitationId": "e", "_meta": {"dev.switchboard/x": 1}}}))
        .await;
    let told = client.0.0.lock().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["params"],
        json!({"elicitationId": "e", "_meta": {}})
    );
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_outlives_the_call_that_it_may_not_be_of() {
    let gateway = Gateway::new();
    let client: Arc<dyn ClientSession> = Arc::new(Client::default());
    let relay = Arc::new(Relay::new(Arc::downgrade(&client), &Arc::from("b")));
    let mut server = gateway.server_of(Some(relay));
    let calls = [
        gateway.call(&mut server).await,
        gateway.call(&mut server).await,
    ];
    server.asks("of either").await;
    for (leg, id) in calls {
        server.answers(&id).await;
        assert_eq!(result(leg.ended().await), json!({"content": []}));
    }
    let answer = server.hears().await;
    assert_eq!(answer["id"], "of either");
    assert_eq!(answer["result"], json!({"roots": []}));

    let calls = [
        gateway.call(&mut server).await,
        gateway.call(&mut server).await,
    ];
    server.asks("of one given up").await;
    drop(calls);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(server.hears().await);
    }
    let answer = told.iter().find(|message| message["id"].is_string());
    assert_eq!(answer.expect("an answer")["result"], json!({"roots": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_abandoned_calls_leave_nothing() {
    const CALLS: usize = 10_000;
    let gateway = Gateway::with(ParkedCallsConfig {
        timeout: TIMEOUT,
        max: CALLS,
        max_per_principal: CALLS / 50,
    });
    let mut servers = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        let mut server = gateway.server();
        let principal = format!("p{}", number % 50);
        let leg = gateway.begin(&server, &call(&principal, &json!({})));
        server.hears().await;
        server.asks(number).await;
        asked(leg).await;
        servers.push(server);
    }
    assert_eq!(gateway.lot.len(), CALLS);
    tokio::time::sleep(TIMEOUT).await;
    for server in &mut servers {
        assert_eq!(server.hears().await["method"], "notifications/cancelled");
        assert_eq!(server.session_is(), "given up");
    }
    assert!(gateway.lot.is_empty());
    for server in &mut servers {
        server.mux.shut_down().await;
        assert!(server.heard.try_recv().is_err(), "told once");
    }
    gateway.tasks.close();
    gateway.tasks.wait().await;
}
