//! Who gets which session of a legacy server over HTTP, and what becomes of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use switchboard_backends::config::BackendConfig;
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::lists::Found;
use switchboard_backends::status::{ChangedLists, Observer, State};
use switchboard_backends::{
    Backend, BackendContext, KnownLists, RequestState, Rewrite, Shared, Supervisor, Take,
};
use switchboard_protocol::call::{Call, ClientSession, Principal};
use switchboard_protocol::delivery::Redactor;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};
use switchboard_testkit::asking::{AskingHttp, Options};
use switchboard_testkit::fake_http::{FakeHttp, Transport};

const SOON: Duration = Duration::from_secs(10);
const NOTHING: &str = "{}";
const ELICITATION: &str = r#"{"elicitation":{}}"#;
const ROOTS: &str = r#"{"roots":{"listChanged":true}}"#;

struct Quiet;

impl Observer for Quiet {
    fn changed(&self, _: &str) {}
    fn lists_changed(&self, _: &str, _: ChangedLists) {}
    fn resource_updated(&self, _: &str, _: &str) {}
}

/// A legacy client that answers nothing.
struct Client(&'static str);

impl ClientSession for Client {
    fn id(&self) -> &str {
        self.0
    }

    fn request(
        &self,
        _: &str,
        _: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>> {
        Box::pin(std::future::pending())
    }

    fn notify(&self, _: Bytes) -> bool {
        false
    }

    fn redactor(&self, _: &str) -> Option<Arc<dyn Redactor>> {
        None
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let late = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < late, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A backend that is ready.
async fn backend(mut config: Value, url: &str) -> Backend {
    config["url"] = url.into();
    let config: BackendConfig = serde_json::from_value(config).expect("a configuration");
    let metrics = Metrics::new().expect("metrics");
    let context = BackendContext {
        metrics: metrics.backend("b"),
        observer: Arc::new(Quiet),
        shared: Shared::new(ParkedCallsConfig::default()),
        runtime: None,
        supervisor: Supervisor::this_program(),
        known_lists: KnownLists::none(),
    };
    let backend = Backend::start("b".into(), config, context, &[]);
    until("ready", || backend.status().state == State::Ready).await;
    backend
}

fn call(principal: &str, capabilities: &str, tool: &str) -> Call {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"mark":"m"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"c","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{capabilities}}}}}}}"#
    );
    Call::new(
        Envelope::parse(text.into()).expect("valid"),
        Method::ToolsCall,
        Arc::new(Principal::new(principal)),
        Version::LATEST,
    )
}

async fn result(backend: &Backend, call: &Call) -> Result<Value, CallError> {
    let rewrite = Rewrite {
        target: None,
        request_state: RequestState::Keep,
        param_headers: Vec::new(),
        endpoint: None,
        take: Take::Whole,
    };
    let answer = backend.call(call, &rewrite, &CallSpan::none()).await?;
    let result = answer.response.slice(answer.result);
    Ok(serde_json::from_slice(result).expect("JSON"))
}

/// What the server knows of the session that a call came in.
async fn who(backend: &Backend, call: &Call) -> Value {
    let mut result = result(backend, call).await.expect("an answer");
    let mut who = result["structuredContent"].take();
    // That alone no two calls have in common.
    who["execution"].take();
    who
}

#[tokio::test]
async fn lists_have_a_session_that_declares_everything_and_calls_have_others() {
    let server = AskingHttp::start(Options {
        tools_by_capability: true,
        asks_at_once: true,
        ..Options::default()
    })
    .await;
    let backend = backend(json!({}), &server.url()).await;
    let lists = backend.lists().expect("learned");
    assert_eq!(lists.server.found, Found::Status(400));
    assert!(lists.tools.iter().any(|tool| tool.key == "ask_url"));
    assert_eq!(server.sessions(), 1);

    let common = who(&backend, &call("ann", NOTHING, "who_am_i")).await;
    assert_eq!(common["capabilities"], json!({}), "{common}");
    assert_eq!(
        who(&backend, &call("bob", NOTHING, "who_am_i")).await,
        common
    );
    assert_eq!(server.sessions(), 2);

    let ann = who(&backend, &call("ann", ELICITATION, "who_am_i")).await;
    assert_eq!(
        ann["capabilities"],
        json!({ "elicitation": { "form": {} } })
    );
    assert_eq!(
        who(&backend, &call("ann", ELICITATION, "who_am_i")).await,
        ann
    );
    let bob = who(&backend, &call("bob", ELICITATION, "who_am_i")).await;
    assert_ne!(bob, ann, "a session of his own");
    assert_eq!(server.sessions(), 4);

    backend.shut_down().await;
    assert_eq!(server.sessions(), 0, "all are given back");
}

#[tokio::test]
async fn each_client_keeps_a_session_until_it_is_gone() {
    let server = AskingHttp::start(Options::default()).await;
    let backend = backend(json!({ "sessions": "per_client" }), &server.url()).await;
    let of = |client: &'static str| Call {
        client: Some(Arc::new(Client(client))),
        version: Version::V2025_06_18,
        ..call("ann", NOTHING, "who_am_i")
    };
    let one = who(&backend, &of("one")).await;
    assert_eq!(one["protocolVersion"], "2025-06-18", "{one}");
    assert_eq!(who(&backend, &of("one")).await, one);
    assert_ne!(who(&backend, &of("two")).await, one);
    assert_ne!(who(&backend, &call("ann", NOTHING, "who_am_i")).await, one);
    assert_eq!(server.sessions(), 4);
    backend.client_gone("one");
    until("closed", || server.sessions() == 3).await;
    assert_ne!(who(&backend, &of("one")).await, one);
    backend.shut_down().await;
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_replaced() {
    let server = FakeHttp::start(Transport::Legacy, "fake").await;
    let backend = backend(json!({}), server.url()).await;
    for capabilities in [NOTHING, ELICITATION] {
        let echo = call("ann", capabilities, "echo");
        result(&backend, &echo).await.expect("an answer");
        server.forget_requests();
        server.expire_sessions();
        result(&backend, &echo)
            .await
            .expect("an answer all the same");
        assert_eq!(server.requests_of("tools/call").len(), 2);
    }
    until("lists are read anew", || {
        backend.status().state == State::Ready && server.sessions() == 2
    })
    .await;
    // One that is only just being opened could not be given back.
    backend.refresh().await;
    backend.shut_down().await;
    assert_eq!(server.sessions(), 0);
}

#[tokio::test]
async fn changed_roots_are_told_where_they_were_declared() {
    let server = AskingHttp::start(Options::default()).await;
    let backend = backend(json!({}), &server.url()).await;
    for principal in ["ann", "bob"] {
        for capabilities in [ROOTS, ELICITATION, NOTHING] {
            who(&backend, &call(principal, capabilities, "who_am_i")).await;
        }
    }
    backend.roots_changed("ann", None).await;
    let told = || {
        let events = server.events();
        let told = events
            .iter()
            .filter(|event| event.to_string().contains("roots/list_changed"));
        told.count()
    };
    assert_eq!(told(), 1, "{:?}", server.events());
    backend.shut_down().await;
}

#[tokio::test]
async fn an_abandoned_call_takes_its_session_along_if_it_may_be_asked() {
    let server = AskingHttp::start(Options::default()).await;
    let backend = backend(json!({}), &server.url()).await;
    for (capabilities, left) in [(NOTHING, 2), (ELICITATION, 2)] {
        let hang = call("ann", capabilities, "hang");
        let abandoned = result(&backend, &hang);
        let given_up = tokio::time::timeout(Duration::from_millis(300), abandoned).await;
        assert!(given_up.is_err());
        until("closed", || server.sessions() == left).await;
    }
    backend.shut_down().await;
}
