//! rmcp's own client through the gateway, in front of rmcp's own server in both eras and over both
//! transports.
//!
//! The client shares no code with the gateway and validates what it gets, so whatever the gateway
//! writes must be what the specification says.

#![expect(deprecated, reason = "logging is deprecated, and still in use")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
    ContentBlock, ElicitRequestParams, ElicitResult, ElicitationAction, ErrorCode,
    GetPromptRequestParams, Implementation, JsonObject, LoggingLevel,
    LoggingMessageNotificationParam, ProgressNotificationParam, ProtocolVersion,
    ReadResourceRequestParams, RequestMetaObject, ResourceContents,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient};
use serde_json::{Value, json};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake::{UNKNOWN_IN_CONTENT, UNKNOWN_IN_RESULT};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::waiting::until;
use switchboard_tests::{servers, tools};

/// The four backends: modern and legacy, over HTTP and over stdio. Their names are short, since
/// the longest name of a fixture together with one of these is as long as a name may be.
const BACKENDS: [&str; 4] = ["mh", "lh", "ms", "ls"];
/// Those that can ask their client for input here.
const MODERN_BACKENDS: [&str; 2] = ["mh", "ms"];

const ECHOING: [&str; 3] = ["echo", "test_simple_text", "test_error_handling"];

/// A client that answers every question, and writes down what it is told.
#[derive(Debug, Default)]
struct Person {
    /// Whether it declares that it can be asked nothing.
    silent: bool,
    progress: Mutex<Vec<(f64, Option<f64>)>>,
    logs: Mutex<Vec<Value>>,
    questions: Mutex<Vec<String>>,
}

type Client = RunningService<RoleClient, Person>;

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities = if self.silent {
            ClientCapabilities::default()
        } else {
            ClientCapabilities::builder().enable_elicitation().build()
        };
        ClientConfig::new(capabilities, Implementation::new("switchboard-tests", "1"))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { message, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        push(&self.questions, message);
        let content = json!({ "name": "Ada", "color": "red", "ok": true, "context": "tea" });
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content))
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        push(&self.progress, (params.progress, params.total));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        push(&self.logs, params.data);
    }
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(item);
}

fn taken<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut list.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The gateway in front of the four, and a client of it.
struct Team {
    front: Front,
    client: Client,
    _servers: [HttpServer; 2],
}

impl Team {
    async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let modern = HttpServer::bind(any, Era::Modern).await.expect("a port");
        let legacy = HttpServer::bind(any, Era::Legacy).await.expect("a port");
        let stdio = |era: &str| {
            let program = tools::program("conformance-server");
            json!({ "command": program, "args": ["--stdio", "--era", era] })
        };
        let front = Front::of(json!({
            "mh": remote(&modern.url()),
            "lh": remote(&legacy.url()),
            "ms": stdio("modern"),
            "ls": stdio("legacy"),
        }))
        .await;
        front.gateway.wait_for_backends().await;
        let client = connect(&front).await;
        Self {
            front,
            client,
            _servers: [modern, legacy],
        }
    }

    async fn call(&self, tool: &str, arguments: Value) -> Result<CallToolResult, ServiceError> {
        self.client.call_tool(params(tool, arguments)).await
    }

    async fn stop(self) {
        self.client.cancel().await.expect("the client ends");
        self.front.gateway.stop().await;
    }
}

async fn connect(front: &Front) -> Client {
    connect_as(front, Person::default()).await
}

async fn connect_as(front: &Front, person: Person) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(front.gateway.url());
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    person
        .serve_with_lifecycle(
            StreamableHttpClientTransport::from_config(config),
            lifecycle,
        )
        .await
        .expect("the client and the gateway agree")
}

fn params(tool: &str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.to_owned()).with_arguments(object(arguments))
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn text_of(result: &CallToolResult) -> &str {
    match result.content.first() {
        Some(ContentBlock::Text(text)) => &text.text,
        other => panic!("not a text: {other:?}"),
    }
}

/// The code of the JSON-RPC error that a call ended with.
fn code_of<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> ErrorCode {
    match result {
        Err(ServiceError::McpError(error)) => error.code,
        other => panic!("expected a JSON-RPC error, got {other:?}"),
    }
}

#[tokio::test]
async fn discover_and_the_lists_show_all_four() {
    let team = Team::start().await;
    let info = team.client.peer_info().expect("what discover said");
    let capabilities = json!(info.capabilities);
    for (capability, member) in [
        ("tools", "listChanged"),
        ("prompts", "listChanged"),
        ("resources", "listChanged"),
        ("resources", "subscribe"),
    ] {
        assert_eq!(capabilities[capability][member], true, "{capabilities}");
    }
    for capability in ["completions", "logging"] {
        assert!(capabilities[capability].is_object(), "{capabilities}");
    }

    let listed = team.client.list_all_tools().await.expect("the tools");
    let names: BTreeSet<&str> = listed.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names.len(), listed.len(), "a name is there twice");
    for backend in BACKENDS {
        for tool in ECHOING {
            let name = format!("{backend}__{tool}");
            assert!(names.contains(&*name), "{name} is not in {names:?}");
        }
        let longest = format!("{backend}__test_input_required_result_multiple_inputs");
        assert!(names.contains(&*longest), "{longest} is not in {names:?}");
    }
    // What a tool is, beside its name, stays as its server wrote it.
    let schema = |backend: &str| {
        let name = format!("{backend}__json_schema_2020_12_tool");
        let tool = listed.iter().find(|tool| tool.name == name);
        json!(tool.expect("the tool").input_schema)
    };
    for backend in BACKENDS {
        assert_eq!(schema(backend), schema("mh"));
        assert_eq!(schema(backend)["$defs"]["address"]["$anchor"], "addressDef");
    }

    let prompts = team.client.list_all_prompts().await.expect("the prompts");
    let resources = team
        .client
        .list_all_resources()
        .await
        .expect("the resources");
    let templates = team
        .client
        .list_all_resource_templates()
        .await
        .expect("the templates");
    for backend in BACKENDS {
        let name = format!("{backend}__test_prompt_with_arguments");
        assert!(prompts.iter().any(|prompt| prompt.name == name), "{name}");
        let uri = format!("switchboard://{backend}/test%3A%2F%2Fstatic-text");
        assert!(resources.iter().any(|found| found.uri == uri), "{uri}");
        let uri = format!("switchboard://{backend}/test://template/{{id}}/data");
        assert!(
            templates.iter().any(|found| found.uri_template == uri),
            "{uri} is not in {templates:?}"
        );
    }
    team.stop().await;
}

#[tokio::test]
async fn calls_reach_each_server_and_come_back_whole() {
    let team = Team::start().await;
    for backend in BACKENDS {
        let arguments =
            json!({ "text": "a\u{1f980}b", "deep": [{ "n": 1.5, "none": null }], "": true });
        let answer = team
            .call(&format!("{backend}__echo"), arguments.clone())
            .await
            .expect("an echo");
        assert_eq!(answer.structured_content, Some(arguments), "{backend}");
        assert_ne!(answer.is_error, Some(true), "{backend}");

        let answer = team
            .call(&format!("{backend}__test_simple_text"), json!({}))
            .await
            .expect("a text");
        assert_eq!(
            text_of(&answer),
            "This is a simple text response for testing."
        );

        let answer = team
            .call(&format!("{backend}__test_error_handling"), json!({}))
            .await
            .expect("a result that is an error");
        assert_eq!(answer.is_error, Some(true), "{backend}");

        let answer = team
            .call(
                &format!("{backend}__test_multiple_content_types"),
                json!({}),
            )
            .await
            .expect("three blocks");
        match &*answer.content {
            [
                ContentBlock::Text(_),
                ContentBlock::Image(image),
                ContentBlock::Resource(_),
            ] => assert_eq!(image.mime_type, "image/png"),
            other => panic!("{backend}: {other:?}"),
        }

        let unknown = team
            .call(&format!("{backend}__there_is_no_such_tool"), json!({}))
            .await;
        assert_eq!(code_of(unknown), ErrorCode::INVALID_PARAMS, "{backend}");
    }
    team.stop().await;
}

#[tokio::test]
async fn fields_that_no_specification_knows_disturb_nobody_and_arrive() {
    let front = Front::of(json!({ "m": faulty(&[]), "l": faulty(&["--era", "legacy"]) })).await;
    front.gateway.wait_for_backends().await;
    let client = connect(&front).await;
    for backend in ["m", "l"] {
        let name = format!("{backend}__echo");
        let arguments = json!({ "of": backend });
        let answer = client
            .call_tool(params(&name, arguments.clone()))
            .await
            .expect("an echo");
        let structured = answer.structured_content.expect("structured content");
        assert_eq!(structured["arguments"], arguments);
        let raw = front.client.call(&name, arguments).await.raw;
        for unknown in [UNKNOWN_IN_RESULT, UNKNOWN_IN_CONTENT] {
            assert!(raw.contains(unknown), "{unknown} is not in {raw}");
        }
    }
    client.cancel().await.expect("the client ends");
    front.gateway.stop().await;
}

/// Calls `slow` and checks that all that it reports arrives.
/// Makes a call of four steps and sees what is reported of each; of logs at least `certain_logs`.
async fn reports_of(team: &Team, backend: &str, certain_logs: usize) {
    let person = team.client.service();
    let arguments = json!({ "ms": 200, "steps": 4 });
    let mut request = params(&format!("{backend}__slow"), arguments.clone());
    let mut meta = RequestMetaObject::new();
    meta.set_log_level(LoggingLevel::Debug);
    request.meta = Some(meta);
    let answer = team.client.call_tool(request).await.expect("an answer");
    assert_eq!(answer.structured_content, Some(arguments));
    // The client hands notifications over in tasks of their own.
    let (mut progress, mut logs) = (Vec::new(), Vec::new());
    until(&format!("progress of {backend}"), async || {
        progress.extend(taken(&person.progress));
        (progress.len() >= 4).then_some(())
    })
    .await;
    progress.sort_by(|a, b| a.0.total_cmp(&b.0));
    let expected: Vec<_> = (1..=4).map(|step| (f64::from(step), Some(4.0))).collect();
    assert_eq!(progress, expected, "{backend}");
    until(&format!("logs of {backend}"), async || {
        logs.extend(taken(&person.logs));
        (logs.len() >= certain_logs).then_some(())
    })
    .await;
    let logs: BTreeSet<String> = logs.iter().map(Value::to_string).collect();
    let all: BTreeSet<String> = (1..=4)
        .map(|step| format!("\"step {step} of 4\""))
        .collect();
    assert!(logs.is_subset(&all), "{backend}: {logs:?}");
}

#[tokio::test]
async fn progress_and_logs_come_while_the_call_runs() {
    let team = Team::start().await;
    for backend in ["mh", "ms", "ls"] {
        reports_of(&team, backend, 4).await;
    }
    team.stop().await;
}

/// Such a server may log on the stream of its session, which names no call; one call alone in
/// flight can be the only one meant.
#[tokio::test]
async fn progress_and_logs_of_a_legacy_http_server_come_while_its_only_call_runs() {
    let team = Team::start().await;
    // The last ones may come behind the answer, on another connection, and are nobody's then.
    reports_of(&team, "lh", 1).await;
    team.stop().await;
}

#[tokio::test]
async fn a_call_that_is_given_up_is_cancelled_at_its_server() {
    let mut team = Team::start().await;
    // One that could be asked would get a process of a legacy server of its own for each call at
    // once, and each counts for itself.
    let silent = Person {
        silent: true,
        ..Person::default()
    };
    let asked = std::mem::replace(&mut team.client, connect_as(&team.front, silent).await);
    asked.cancel().await.expect("the client ends");
    for backend in BACKENDS {
        let counters = format!("{backend}__counters");
        let counts = async || {
            let answer = team.call(&counters, json!({})).await.expect("counters");
            answer.structured_content.expect("counters")
        };
        let slow = format!("{backend}__slow");
        let endless = team.call(&slow, json!({ "ms": 600_000, "steps": 6_000 }));
        tokio::select! {
            answer = endless => panic!("{backend}: an answer after all: {answer:?}"),
            () = until("the call runs", async || (counts().await["in_flight"] == 1).then_some(())) => {}
        }
        until("the server has cancelled it", async || {
            let counts = counts().await;
            (counts["cancelled"] == 1 && counts["in_flight"] == 0).then_some(())
        })
        .await;
        let others = json!({ "still": "here" });
        let answer = team.call(&format!("{backend}__echo"), others.clone()).await;
        assert_eq!(answer.expect("an echo").structured_content, Some(others));
    }
    team.stop().await;
}

#[tokio::test]
async fn resources_prompts_and_completions() {
    let team = Team::start().await;
    for backend in BACKENDS {
        let read = async |uri: String| {
            let request = ReadResourceRequestParams::new(uri.clone());
            let result = team.client.read_resource(request).await;
            let contents = result
                .unwrap_or_else(|error| panic!("{uri}: {error}"))
                .contents;
            match contents.into_iter().next() {
                Some(ResourceContents::TextResourceContents { text, .. }) => text,
                other => panic!("{uri}: {other:?}"),
            }
        };
        let text = read(format!("switchboard://{backend}/test%3A%2F%2Fstatic-text")).await;
        assert_eq!(text, "This is the content of the static text resource.");
        let filled = format!("switchboard://{backend}/test://template/42/data");
        let text = read(filled).await;
        assert!(text.contains("Data for ID: 42"), "{backend}: {text}");

        // All four have it, so nobody can know which one is meant.
        let ambiguous = ReadResourceRequestParams::new("test://static-text");
        let error = match team.client.read_resource(ambiguous).await {
            Err(ServiceError::McpError(error)) => error,
            other => panic!("an ambiguous URI was read: {other:?}"),
        };
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
        let candidate = format!("switchboard://{backend}/test%3A%2F%2Fstatic-text");
        assert!(json!(error).to_string().contains(&candidate), "{error:?}");

        let request = GetPromptRequestParams::new(format!("{backend}__test_prompt_with_arguments"))
            .with_arguments(object(json!({ "arg1": "x", "arg2": "y" })));
        let prompt = team.client.get_prompt(request).await.expect("a prompt");
        let said = json!(prompt.messages).to_string();
        assert!(said.contains("arg1='x', arg2='y'"), "{backend}: {said}");

        let reference = format!("{backend}__test_prompt_with_arguments");
        let values = team
            .client
            .complete_prompt_simple(reference, "arg1", "par")
            .await
            .expect("values");
        assert_eq!(values, ["paris", "park", "party"], "{backend}");
        let reference = format!("switchboard://{backend}/test://template/{{id}}/data");
        let values = team
            .client
            .complete_resource_simple(reference, "id", "12")
            .await
            .expect("values");
        assert_eq!(values, ["123", "124"], "{backend}");
    }
    team.stop().await;
}

#[tokio::test]
async fn input_that_a_call_needs_is_asked_for_and_given() {
    let team = Team::start().await;
    let person = team.client.service();
    for backend in MODERN_BACKENDS {
        for (tool, questions, answer) in [
            ("elicitation", vec!["What is your name?"], "Hello, Ada!"),
            ("request_state", vec!["Please confirm"], "state-ok"),
            (
                "multi_round",
                vec![
                    "Step 1: What is your name?",
                    "Step 2: What is your favorite color?",
                ],
                "All steps done: red",
            ),
        ] {
            let tool = format!("{backend}__test_input_required_result_{tool}");
            let result = team.call(&tool, json!({})).await;
            let result = result.unwrap_or_else(|error| panic!("{tool}: {error}"));
            assert_eq!(text_of(&result), answer, "{tool}");
            assert_eq!(taken(&person.questions), questions, "{tool}");
        }
        let prompt = format!("{backend}__test_input_required_result_prompt");
        let request = GetPromptRequestParams::new(prompt);
        let result = team.client.get_prompt(request).await.expect("a prompt");
        let said = json!(result.messages).to_string();
        assert!(said.contains("Use this context: tea"), "{backend}: {said}");
        taken(&person.questions);
    }
    team.stop().await;
}

/// Asks a tool once and returns the state that came with its question.
async fn asked(client: &Client, tool: &str, arguments: &Value) -> String {
    let request = params(tool, arguments.clone());
    match client.call_tool_once(request).await {
        Ok(CallToolResponse::InputRequired(question)) => {
            question.request_state.expect("a state, always")
        }
        other => panic!("{tool}: expected a question, got {other:?}"),
    }
}

async fn retry(
    client: &Client,
    tool: &str,
    arguments: &Value,
    state: &str,
) -> Result<CallToolResponse, ServiceError> {
    let accepted = json!({ "action": "accept", "content": { "ok": true, "name": "Ada" } });
    let responses = ["confirm", "user_name"].map(|key| (key.to_owned(), accepted.clone()));
    let mut request =
        params(tool, arguments.clone()).with_input_responses(responses.into_iter().collect());
    request.request_state = Some(state.to_owned());
    client.call_tool_once(request).await
}

#[tokio::test]
async fn a_request_state_is_sealed_and_good_for_its_call_alone() {
    let team = Team::start().await;
    let none = json!({});
    for backend in MODERN_BACKENDS {
        // The one server sends a state of its own, the other none: the client cannot tell.
        for tool in ["request_state", "elicitation"] {
            let tool = format!("{backend}__test_input_required_result_{tool}");
            let state = asked(&team.client, &tool, &none).await;
            let again = asked(&team.client, &tool, &none).await;
            assert_ne!(state, again, "{tool}: two seals are alike");

            let middle = state.len() / 2;
            let flipped = if state.as_bytes()[middle] == b'A' {
                "B"
            } else {
                "A"
            };
            let mut tampered = state.clone();
            tampered.replace_range(middle..=middle, flipped);
            for wrong in [&tampered, &state[..middle], "", "not a state"] {
                let refused = retry(&team.client, &tool, &none, wrong).await;
                assert_eq!(
                    code_of(refused),
                    ErrorCode::INVALID_PARAMS,
                    "{tool}: {wrong}"
                );
            }
            let other_arguments = json!({ "another": "call" });
            let refused = retry(&team.client, &tool, &other_arguments, &state).await;
            assert_eq!(code_of(refused), ErrorCode::INVALID_PARAMS, "{tool}");
            let other_tool = format!("{backend}__test_input_required_result_tampered_state");
            let refused = retry(&team.client, &other_tool, &none, &state).await;
            assert_eq!(code_of(refused), ErrorCode::INVALID_PARAMS, "{tool}");

            let done = retry(&team.client, &tool, &none, &state).await;
            assert!(
                matches!(done, Ok(CallToolResponse::Complete(_))),
                "{tool}: {done:?}"
            );
        }
    }
    // The same tool of another server is another call.
    let [one, other] = MODERN_BACKENDS
        .map(|backend| format!("{backend}__test_input_required_result_request_state"));
    let state = asked(&team.client, &one, &none).await;
    let refused = retry(&team.client, &other, &none, &state).await;
    assert_eq!(code_of(refused), ErrorCode::INVALID_PARAMS);
    team.stop().await;
}

#[tokio::test]
async fn arguments_that_a_tool_mirrors_reach_its_server_as_headers() {
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let front = Front::of(json!({ "f": remote(fake.url()) })).await;
    front.gateway.wait_for_backends().await;
    let client = connect(&front).await;
    // The client learns from the list which arguments to mirror.
    client.list_all_tools().await.expect("the tools");
    for (region, header) in [("eu-west", "eu-west"), ("two words", "two words")] {
        fake.forget_requests();
        let arguments = json!({ "region": region, "other": 1 });
        let request = params("f__locate", arguments.clone());
        let answer = client.call_tool(request).await.expect("an answer");
        let structured = answer.structured_content.expect("structured content");
        assert_eq!(structured["arguments"], arguments);
        let requests = fake.requests_of("tools/call");
        let [request] = &*requests else {
            panic!("not one request but {}", requests.len());
        };
        assert_eq!(request.headers["mcp-param-region"], header);
        assert_eq!(request.headers["mcp-name"], "locate");
        assert_eq!(request.headers["mcp-method"], "tools/call");
    }
    fake.forget_requests();
    let answer = client.call_tool(params("f__locate", json!({}))).await;
    answer.expect("an answer without the argument");
    let requests = fake.requests_of("tools/call");
    assert!(!requests[0].headers.contains_key("mcp-param-region"));
    client.cancel().await.expect("the client ends");
    front.gateway.stop().await;
}

/// The five published servers at once, two of them legacy processes of Node.js.
#[tokio::test]
async fn it_uses_five_published_servers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).expect("the folder is ours");
    servers::make_repository(&repository);
    let front = Front::of(json!({
        "everything": servers::everything(),
        "files": servers::filesystem(&repository),
        "memory": servers::memory(&folder.path().join("memory.jsonl")),
        "time": servers::time(),
        "git": servers::git(&repository),
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let client = connect(&front).await;

    let tools = client.list_all_tools().await.expect("the tools");
    let names: BTreeSet<&str> = tools.iter().map(|tool| &*tool.name).collect();
    for (tool, arguments) in [
        ("everything__echo", json!({ "message": "hello" })),
        ("files__list_directory", json!({ "path": repository })),
        ("memory__read_graph", json!({})),
        ("time__get_current_time", json!({ "timezone": "UTC" })),
        ("git__git_status", json!({ "repo_path": repository })),
    ] {
        assert!(names.contains(tool), "{tool}: {names:?}");
        let result = client.call_tool(params(tool, arguments)).await;
        let result = result.unwrap_or_else(|error| panic!("{tool}: {error}"));
        assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
        assert!(!result.content.is_empty(), "{tool}");
    }

    let uri = "demo://resource/static/document/features.md";
    let resource = client
        .read_resource(ReadResourceRequestParams::new(uri))
        .await;
    assert!(!resource.expect("a document").contents.is_empty());
    let request = GetPromptRequestParams::new("everything__args-prompt")
        .with_arguments(object(json!({ "city": "Oslo" })));
    let prompt = client.get_prompt(request).await.expect("a prompt");
    assert!(json!(prompt.messages).to_string().contains("Oslo"));
    let reference = "everything__completable-prompt";
    let values = client
        .complete_prompt_simple(reference, "department", "E")
        .await;
    assert!(
        values
            .expect("completions")
            .contains(&"Engineering".to_owned())
    );

    client.cancel().await.expect("the client ends");
    front.gateway.stop().await;
}
