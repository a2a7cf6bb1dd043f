//! Both servers, driven by rmcp's client over a pipe in memory.

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientRequest, ErrorCode, GetPromptRequestParams,
    ProgressNotificationParam, ProtocolVersion, Request, ResourceContents,
    ResourceUpdatedNotificationParam, ServerNotification, SubscriptionFilter,
};
use rmcp::service::{
    ClientLifecycleMode, NotificationContext, PeerRequestOptions, RunningService, ServiceError,
};
use rmcp::{ClientHandler, ClientServiceExt, RoleClient};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

/// A client that writes down what it is told.
struct Listener(mpsc::Sender<String>);

impl Listener {
    async fn note(&self, event: String) {
        self.0.send(event).await.expect("the test still listens");
    }
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let message = progress.message.unwrap_or_default();
        self.note(format!("progress {}: {message}", progress.progress))
            .await;
    }

    async fn on_resource_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.note("list changed".to_owned()).await;
    }

    async fn on_resource_updated(
        &self,
        update: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.note(format!("updated {}", update.uri)).await;
    }
}

struct Fixture {
    client: RunningService<RoleClient, Listener>,
    events: mpsc::Receiver<String>,
    served: JoinHandle<Result<(), ExampleError>>,
}

impl Fixture {
    async fn new<S: ServerHandler>(
        server: impl FnOnce(CancellationToken) -> S,
        lifecycle: ClientLifecycleMode,
    ) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let closing = CancellationToken::new();
        let served = tokio::spawn(serve(
            server(closing.clone()),
            tokio::io::split(far),
            closing,
        ));
        let (sender, events) = mpsc::channel(64);
        let client = Listener(sender)
            .serve_with_lifecycle(near, lifecycle)
            .await
            .expect("the server opens the connection");
        Self {
            client,
            events,
            served,
        }
    }

    async fn call(
        &self,
        name: &'static str,
        arguments: Value,
    ) -> Result<CallToolResult, ServiceError> {
        self.client.call_tool(params(name, arguments)).await
    }

    /// The structured content of a call that works.
    async fn value(&self, name: &'static str, arguments: Value) -> Value {
        let result = self.call(name, arguments).await.expect("an answer");
        assert_eq!(result.is_error, Some(false), "{result:?}");
        result.structured_content.expect("structured content")
    }

    async fn event(&mut self) -> String {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event in time").expect("the client runs")
    }

    /// Closes the connection; the server ends with it, whatever is still open.
    async fn close(self) {
        self.client.cancel().await.expect("the client ends");
        let served = timeout(PATIENCE, self.served).await;
        let result = served.expect("the server ends in time");
        result
            .expect("the server does not panic")
            .expect("the server ends well");
    }
}

fn params(name: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object");
    };
    CallToolRequestParams::new(name).with_arguments(arguments)
}

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

fn code(result: Result<impl std::fmt::Debug, ServiceError>) -> ErrorCode {
    match result {
        Err(ServiceError::McpError(error)) => error.code,
        other => panic!("no error but {other:?}"),
    }
}

#[tokio::test]
async fn notes_of_a_modern_client() {
    let fixture = Fixture::new(NotesServer::new, modern()).await;
    let client = &fixture.client;
    assert_eq!(client.list_all_tools().await.expect("tools").len(), 4);
    assert_eq!(client.list_all_resources().await.expect("notes").len(), 3);
    assert_eq!(
        client
            .list_all_resource_templates()
            .await
            .expect("templates")
            .len(),
        1
    );

    let filter = SubscriptionFilter::builder()
        .resources_list_changed()
        .resource_subscription("note:///4")
        .resource_subscription("file:///4")
        .build();
    let mut subscription = client.listen(filter).await.expect("a subscription");
    let accepted = subscription.acknowledged().resource_subscriptions.clone();
    assert_eq!(accepted, Some(vec!["note:///4".to_owned()]));

    let saved = fixture
        .call(
            "add_note",
            json!({ "title": "Lunch", "text": "Soup is on Monday." }),
        )
        .await
        .expect("an answer");
    let note = &saved
        .structured_content
        .as_ref()
        .expect("structured content")["note"];
    assert_eq!(
        *note,
        json!({ "id": 4, "uri": "note:///4", "title": "Lunch", "bytes": 18 })
    );
    let linked = saved
        .content
        .iter()
        .any(|block| serde_json::to_value(block).is_ok_and(|block| block["uri"] == "note:///4"));
    assert!(linked, "{saved:?}");
    fixture
        .value("add_note", json!({ "append_to": 4, "text": "And pie." }))
        .await;

    let mut told = Vec::new();
    while told.len() < 3 {
        let next = timeout(PATIENCE, subscription.next())
            .await
            .expect("a notification in time");
        told.push(match next.expect("the subscription is open") {
            Some(ServerNotification::ResourceListChangedNotification(_)) => "list",
            Some(ServerNotification::ResourceUpdatedNotification(_)) => "note",
            other => panic!("unexpected {other:?}"),
        });
    }
    assert_eq!(told, ["list", "note", "note"]);

    let read = rmcp::model::ReadResourceRequestParams::new("note:///4");
    let read = client.read_resource(read).await.expect("the note");
    let [ResourceContents::TextResourceContents { text, .. }] = read.contents.as_slice() else {
        panic!("unexpected {read:?}");
    };
    assert_eq!(text, "# Lunch\n\nSoup is on Monday.\n\nAnd pie.\n");

    let found = fixture
        .value("search_notes", json!({ "query": "PIE monday" }))
        .await;
    assert_eq!(found["notes"][0]["excerpt"], "Soup is on Monday.");
    let ids = client
        .complete_resource_simple("note:///{id}", "id", "")
        .await;
    assert_eq!(ids.expect("ids"), ["4", "3", "2", "1"]);
    let topics = client
        .complete_prompt_simple("summarize_notes", "topic", "mond")
        .await;
    assert_eq!(topics.expect("topics"), ["monday"]);

    let Value::Object(topic) = json!({ "topic": "soup" }) else {
        unreachable!()
    };
    let prompt = GetPromptRequestParams::new("summarize_notes").with_arguments(topic);
    let prompt = client.get_prompt(prompt).await.expect("the prompt");
    assert_eq!(prompt.messages.len(), 2);

    // The subscription is left open: the server must not wait for it.
    fixture.close().await;
}

#[tokio::test]
#[expect(
    deprecated,
    reason = "subscribing this way is what makes the client legacy"
)]
async fn notes_of_a_legacy_client() {
    let mut fixture = Fixture::new(NotesServer::new, ClientLifecycleMode::Initialize).await;
    let subscribe = rmcp::model::SubscribeRequestParams::new("note:///1");
    fixture
        .client
        .subscribe(subscribe)
        .await
        .expect("a subscription");

    fixture.value("add_note", json!({ "text": "one" })).await;
    assert_eq!(fixture.event().await, "list changed");
    fixture
        .value(
            "add_note",
            json!({ "append_to": 2, "text": "nobody subscribed" }),
        )
        .await;
    fixture
        .value("add_note", json!({ "append_to": 1, "text": "more" }))
        .await;
    assert_eq!(fixture.event().await, "updated note:///1");
    let deleted = fixture.value("delete_note", json!({ "id": 1 })).await;
    assert_eq!(deleted, json!({ "deleted": true, "remaining": 3 }));
    let told = [fixture.event().await, fixture.event().await];
    assert!(told.contains(&"updated note:///1".to_owned()), "{told:?}");
    assert!(told.contains(&"list changed".to_owned()), "{told:?}");

    let gone = rmcp::model::ReadResourceRequestParams::new("note:///1");
    let gone = fixture.client.read_resource(gone).await;
    assert_eq!(code(gone), ErrorCode::RESOURCE_NOT_FOUND);
    let listed = fixture
        .value("list_notes", json!({ "limit": 1, "offset": 1 }))
        .await;
    assert_eq!(
        (&listed["total"], &listed["notes"][0]["id"]),
        (&json!(3), &json!(3))
    );
    fixture.close().await;
}

#[tokio::test]
async fn tools_of_the_toolbox_answer_and_explain() {
    let fixture = Fixture::new(ToolboxServer::new, modern()).await;
    let tools = fixture.client.list_all_tools().await.expect("tools");
    for tool in &tools {
        let hints = tool.annotations.as_ref().expect("annotations");
        assert_eq!(hints.read_only_hint, Some(true), "{}", tool.name);
        let output = tool.output_schema.as_ref().expect("an output schema");
        assert_eq!(
            (&tool.input_schema["type"], &output["type"]),
            (&json!("object"), &json!("object"))
        );
    }
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(
        names,
        [
            "calculate",
            "convert_units",
            "date_math",
            "text_stats",
            "countdown"
        ]
    );

    let sum = fixture
        .value("calculate", json!({ "expression": "2 * (3 + 4)" }))
        .await;
    assert_eq!(sum, json!({ "result": 14 }));
    let metres = fixture
        .value(
            "convert_units",
            json!({ "value": 2, "from": "km", "to": "m" }),
        )
        .await;
    assert_eq!(
        metres,
        json!({ "value": 2000, "unit": "m", "quantity": "length" })
    );
    let date = fixture
        .value("date_math", json!({ "date": "2026-07-28", "weeks": 1 }))
        .await;
    assert_eq!(date["weekday"], "Tuesday");

    for (name, arguments, text) in [
        (
            "calculate",
            json!({ "expression": "1 / 0" }),
            "Division by zero, at position 4.",
        ),
        (
            "calculate",
            json!({}),
            "The arguments do not fit: missing field `expression`.",
        ),
        (
            "countdown",
            json!({ "seconds": 61 }),
            "61 seconds are too many; 60 at most.",
        ),
    ] {
        let result = fixture.call(name, arguments).await.expect("an answer");
        assert_eq!(result.is_error, Some(true));
        assert_eq!(
            result.content[0].as_text().map(|block| block.text.as_str()),
            Some(text)
        );
    }
    let unknown = fixture.call("sing", json!({})).await;
    assert_eq!(code(unknown), ErrorCode::INVALID_PARAMS);
    fixture.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_countdown_reports_progress_and_can_be_cancelled() {
    let mut fixture = Fixture::new(ToolboxServer::new, ClientLifecycleMode::Initialize).await;
    let peer = fixture.client.peer().clone();
    let start = |seconds: u32| {
        let call = Request::new(params("countdown", json!({ "seconds": seconds })));
        peer.send_cancellable_request(
            ClientRequest::CallToolRequest(call),
            PeerRequestOptions::no_options(),
        )
    };
    let short = start(2).await.expect("a request");
    let long = start(60).await.expect("a request");
    short
        .await_response()
        .await
        .expect("an answer after two seconds");
    let mut told = [fixture.event().await, fixture.event().await];
    told.sort();
    assert_eq!(told, ["progress 1: 1 s left", "progress 1: 59 s left"]);

    long.cancel(None).await.expect("the cancellation is sent");
    // An answer sent after the cancellation shows that the connection goes on.
    let counted = fixture.value("countdown", json!({ "seconds": 1 })).await;
    assert_eq!(counted, json!({ "seconds": 1 }));
    let _left_open = start(60).await.expect("a request");
    fixture.close().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_no_error() {
    let (near, far) = tokio::io::duplex(64);
    drop(near);
    let closing = CancellationToken::new();
    let server = ToolboxServer::new(closing.clone());
    assert!(serve(server, tokio::io::split(far), closing).await.is_ok());
    let unknown = run("sing").await.map_err(|error| error.to_string());
    let expected = "there is no example server `sing`; there are: notes, toolbox";
    assert_eq!(unknown, Err(expected.to_owned()));
}
