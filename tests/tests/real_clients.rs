//! Real clients and real servers, with one gateway between them.
//!
//! Behind the gateway stand five servers as they are published, of both eras, and the fixtures of
//! the testkit, which can do on demand what those cannot: modern over HTTP, legacy over stdio and
//! over HTTP. Every client runs the same plan and must see the same.
//!
//! The lists of a legacy server come from a session of their own. Over stdio that is a process of
//! its own, in which no call changes anything, so only the fixtures over HTTP change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_tests::clients::{Client, inspect};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::process::Server;
use switchboard_tests::{servers, tools};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// How long what a client did may take to show at a server.
const PATIENCE: Duration = Duration::from_secs(20);

const DOCUMENT: &str = "demo://resource/static/document/features.md";
const WATCHED: &str = "test://watched-resource";
// All fixtures list it, so each has an address of its own.
const WATCHED_MODERN: &str = "switchboard://modern/test%3A%2F%2Fwatched-resource";
const WATCHED_LEGACY: &str = "switchboard://legacy/test%3A%2F%2Fwatched-resource";
const WATCHED_CHANGING: &str = "switchboard://changing/test%3A%2F%2Fwatched-resource";

/// What the client saw, by the label of the step.
type Seen = BTreeMap<String, Value>;

/// A gateway with all the servers behind it.
struct Team {
    gateway: Gateway,
    fixtures: [Server; 2],
    folder: TempDir,
}

impl Team {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let repository = folder.path().join("repository");
        std::fs::create_dir(&repository).expect("the folder is ours");
        servers::make_repository(&repository);

        let program = tools::program("conformance-server");
        let remote = async |era: &str| {
            let mut command = Command::new(&program);
            command.args(["--http", "127.0.0.1:0", "--era", era]);
            Server::start(command).await
        };
        let fixtures = [remote("modern").await, remote("legacy").await];

        let gateway = Gateway::start(json!({
            "backends": {
                "everything": servers::everything(),
                "files": servers::filesystem(&repository),
                "memory": servers::memory(&folder.path().join("memory.jsonl")),
                "time": servers::time(),
                "git": servers::git(&repository),
                "modern": { "url": fixtures[0].url() },
                "legacy": { "command": program, "args": ["--stdio", "--era", "legacy"] },
                "changing": { "url": fixtures[1].url() },
            },
        }))
        .await;
        gateway.wait_for_backends().await;
        Self {
            gateway,
            fixtures,
            folder,
        }
    }

    /// The folder that is both the filesystem server's and the git server's.
    fn repository(&self) -> String {
        let path = self.folder.path().join("repository");
        path.to_str().expect("a folder named in UTF-8").to_owned()
    }

    /// Waits until a fixture has seen one call cancelled, and none goes on.
    async fn wait_for_cancellation(&self, backend: &str) {
        let deadline = Instant::now() + PATIENCE;
        let params = json!({ "name": format!("{backend}__counters"), "arguments": {} });
        loop {
            let answer = self.gateway.request("tools/call", params.clone()).await;
            let counts = &answer["result"]["structuredContent"];
            if counts["cancelled"] == 1 && counts["in_flight"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{backend} goes on: {answer}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) {
        self.gateway.stop().await;
        for fixture in self.fixtures {
            fixture.stop().await;
        }
    }
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "step": name, "do": "call", "name": name, "arguments": arguments })
}

fn with_logs(mut step: Value) -> Value {
    step["log_level"] = json!("debug");
    step
}

fn labelled(label: &str, mut step: Value) -> Value {
    step["step"] = json!(label);
    step
}

fn plan(repository: &str) -> Value {
    let steps = [
        lists("before"),
        plain_calls(repository),
        reads_prompts_completions(),
        progress_logs_cancellation(),
        changes(),
        lists("after"),
        failures(),
    ];
    Value::Array(steps.concat())
}

fn lists(when: &str) -> Vec<Value> {
    let list = |what| json!({ "step": format!("{what} {when}"), "do": "list", "what": what });
    let mut steps = vec![json!({ "step": format!("discover {when}"), "do": "discover" })];
    steps.extend(["tools", "resources", "templates", "prompts"].map(list));
    steps
}

fn plain_calls(repository: &str) -> Vec<Value> {
    let notes = format!("{repository}/notes.txt");
    let entity = json!({ "name": "Ada", "entityType": "person", "observations": ["counts"] });
    vec![
        call("everything__echo", &json!({ "message": "hello" })),
        call("files__read_text_file", &json!({ "path": notes })),
        call("memory__create_entities", &json!({ "entities": [entity] })),
        call("memory__read_graph", &json!({})),
        call(
            "time__convert_time",
            &json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" }),
        ),
        call("git__git_log", &json!({ "repo_path": repository })),
        call("git__git_status", &json!({ "repo_path": repository })),
        call("modern__echo", &echoed()),
        call("legacy__echo", &echoed()),
        call(
            "modern__test_custom_header",
            &json!({ "value": "Grüße, Welt" }),
        ),
    ]
}

/// Arguments that must come back as they are.
fn echoed() -> Value {
    json!({ "text": "a\u{1f980}b", "deep": [{ "n": 1.5, "none": null }], "": true })
}

fn reads_prompts_completions() -> Vec<Value> {
    let read = |uri: &str| json!({ "step": uri, "do": "read", "uri": uri });
    let prompt = |name: &str, arguments: Value| json!({ "step": name, "do": "prompt", "name": name, "arguments": arguments });
    let complete = |label: &str, reference: Value, argument: Value| json!({ "step": label, "do": "complete", "ref": reference, "argument": argument });
    let mut person = complete(
        "complete with context",
        json!({ "type": "ref/prompt", "name": "everything__completable-prompt" }),
        json!({ "name": "name", "value": "A" }),
    );
    person["context"] = json!({ "arguments": { "department": "Engineering" } });
    vec![
        read(DOCUMENT),
        read("demo://resource/dynamic/text/7"),
        read("demo://resource/dynamic/blob/7"),
        read(WATCHED_MODERN),
        read(WATCHED_LEGACY),
        prompt("everything__args-prompt", json!({ "city": "Oslo" })),
        prompt(
            "modern__test_prompt_with_arguments",
            json!({ "arg1": "x", "arg2": "y" }),
        ),
        person,
        complete(
            "complete template",
            json!({ "type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}" }),
            json!({ "name": "resourceId", "value": "42" }),
        ),
        complete(
            "complete modern",
            json!({ "type": "ref/prompt", "name": "modern__test_prompt_with_arguments" }),
            json!({ "name": "arg1", "value": "par" }),
        ),
    ]
}

fn progress_logs_cancellation() -> Vec<Value> {
    let short = json!({ "ms": 300, "steps": 3 });
    let endless = json!({ "ms": 600_000, "steps": 6_000 });
    let cancel = |name: &str| json!({ "step": format!("cancel {name}"), "do": "cancel", "name": name, "arguments": endless });
    let toggle = call("everything__toggle-simulated-logging", &json!({}));
    vec![
        call(
            "everything__trigger-long-running-operation",
            &json!({ "duration": 0.3, "steps": 3 }),
        ),
        with_logs(call("modern__slow", &short)),
        with_logs(call("legacy__slow", &short)),
        labelled("modern, no logs wanted", call("modern__slow", &short)),
        labelled("legacy, no logs wanted", call("legacy__slow", &short)),
        with_logs(toggle.clone()),
        labelled("logging off", toggle),
        cancel("modern__slow"),
        cancel("legacy__slow"),
    ]
}

fn changes() -> Vec<Value> {
    let updated = |uri: &str| json!({ "change": "resources/updated", "uri": uri });
    vec![
        json!({
            "step": "modern changes", "do": "listen",
            "filter": { "toolsListChanged": true, "resourceSubscriptions": [WATCHED_MODERN] },
            "steps": [
                call("modern__add_tool", &json!({ "name": "extra" })),
                call("modern__touch_resource", &json!({ "uri": WATCHED })),
            ],
            "until": [{ "change": "tools/list_changed" }, updated(WATCHED_MODERN)],
        }),
        json!({
            "step": "legacy changes", "do": "listen",
            "filter": { "toolsListChanged": true, "resourceSubscriptions": [WATCHED_CHANGING] },
            "steps": [
                call("changing__add_tool", &json!({ "name": "extra" })),
                call("changing__touch_resource", &json!({ "uri": WATCHED })),
            ],
            "until": [{ "change": "tools/list_changed" }, updated(WATCHED_CHANGING)],
        }),
    ]
}

fn failures() -> Vec<Value> {
    vec![
        call("everything__no-such-tool", &json!({})),
        call("nobody__echo", &json!({})),
        call("modern__test_error_handling", &json!({})),
        json!({ "step": "no such resource", "do": "read", "uri": "nothing://here" }),
    ]
}

/// One field of every item of a list.
fn field<'a>(seen: &'a Seen, step: &str, key: &str) -> BTreeSet<&'a str> {
    let items = seen[step]["items"].as_array();
    let items = items.unwrap_or_else(|| panic!("{}", seen[step]));
    let name = |item: &'a Value| item[key].as_str().expect("each item has it");
    items.iter().map(name).collect()
}

/// The text of the first content block of a tool's result.
fn text<'a>(seen: &'a Seen, step: &str) -> &'a str {
    let text = seen[step]["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{}", seen[step]))
}

fn assert_has(names: &BTreeSet<&str>, expected: &[&str]) {
    for name in expected {
        assert!(names.contains(name), "no {name} in {names:?}");
    }
}

fn assert_lists(seen: &Seen) {
    let capabilities = &seen["discover before"]["result"]["capabilities"];
    for (part, detail) in [
        ("tools", "listChanged"),
        ("prompts", "listChanged"),
        ("resources", "listChanged"),
        ("resources", "subscribe"),
    ] {
        assert_eq!(capabilities[part][detail], true, "{capabilities}");
    }
    for part in ["completions", "logging"] {
        assert!(capabilities[part].is_object(), "{capabilities}");
    }

    assert_has(
        &field(seen, "tools before", "name"),
        &[
            "everything__echo",
            "everything__trigger-long-running-operation",
            "files__read_text_file",
            "git__git_log",
            "legacy__slow",
            "memory__read_graph",
            "modern__slow",
            "time__get_current_time",
        ],
    );
    assert_has(
        &field(seen, "resources before", "uri"),
        &[DOCUMENT, WATCHED_MODERN, WATCHED_LEGACY],
    );
    assert_has(
        &field(seen, "templates before", "uriTemplate"),
        &["demo://resource/dynamic/text/{resourceId}"],
    );
    assert_has(
        &field(seen, "prompts before", "name"),
        &[
            "everything__args-prompt",
            "legacy__test_simple_prompt",
            "modern__test_simple_prompt",
        ],
    );
}

fn assert_calls(seen: &Seen) {
    assert!(text(seen, "everything__echo").contains("hello"));
    assert_eq!(text(seen, "files__read_text_file"), "first\nsecond\n");
    assert!(text(seen, "memory__read_graph").contains("counts"));
    assert!(text(seen, "time__convert_time").contains("+9"));
    assert!(text(seen, "git__git_log").contains("The first note"));
    assert!(text(seen, "git__git_status").contains("notes.txt"));
    for step in ["modern__echo", "legacy__echo"] {
        assert_eq!(seen[step]["result"]["structuredContent"], echoed());
    }
    assert!(text(seen, "modern__test_custom_header").contains("Grüße, Welt"));
}

fn assert_reads_prompts_completions(seen: &Seen) {
    let contents = |uri: &str| &seen[uri]["result"]["contents"][0];
    assert_eq!(contents(DOCUMENT)["uri"], DOCUMENT);
    assert!(contents(DOCUMENT)["text"].is_string());
    assert!(contents("demo://resource/dynamic/text/7")["text"].is_string());
    assert!(contents("demo://resource/dynamic/blob/7")["blob"].is_string());
    for uri in [WATCHED_MODERN, WATCHED_LEGACY] {
        let text = "This is the content of the watched resource.";
        assert_eq!(contents(uri)["text"], text, "{}", seen[uri]);
    }

    let message = |name: &str| &seen[name]["result"]["messages"][0]["content"]["text"];
    assert_eq!(
        message("everything__args-prompt"),
        "What's weather in Oslo?"
    );
    assert_eq!(
        message("modern__test_prompt_with_arguments"),
        "Prompt with arguments: arg1='x', arg2='y'"
    );

    let values = |label: &str| &seen[label]["result"]["completion"]["values"];
    assert_eq!(values("complete with context"), &json!(["Alice"]));
    assert_eq!(values("complete template"), &json!(["42"]));
    assert_eq!(
        values("complete modern"),
        &json!(["paris", "park", "party"])
    );
}

fn assert_progress_and_logs(seen: &Seen) {
    for step in [
        "everything__trigger-long-running-operation",
        "modern__slow",
        "legacy__slow",
    ] {
        let updates = seen[step]["progress"].as_array().expect("a list");
        let done: Vec<f64> = updates
            .iter()
            .filter_map(|u| u["progress"].as_f64())
            .collect();
        assert_eq!(done, [1.0, 2.0, 3.0], "{}", seen[step]);
    }
    for step in [
        "modern__slow",
        "legacy__slow",
        "everything__toggle-simulated-logging",
    ] {
        let logs = seen[step]["logs"].as_array().expect("a list");
        assert!(!logs.is_empty(), "{}", seen[step]);
    }
    for step in ["modern, no logs wanted", "legacy, no logs wanted"] {
        assert_eq!(seen[step]["logs"], json!([]));
    }
    for step in ["cancel modern__slow", "cancel legacy__slow"] {
        assert_eq!(seen[step]["cancelled"], true, "{}", seen[step]);
    }
}

fn assert_changes(seen: &Seen) {
    // That a change arrived is what the steps wait for; they report an error if it did not.
    for step in ["modern changes", "legacy changes"] {
        assert!(seen[step]["error"].is_null(), "{}", seen[step]);
        assert!(seen[step]["acknowledged"].is_object(), "{}", seen[step]);
    }
    // Whoever is told of a change finds it in the list.
    assert_has(
        &field(seen, "tools after", "name"),
        &["modern__extra", "changing__extra"],
    );
    assert_eq!(
        seen["discover before"]["result"]["capabilities"],
        seen["discover after"]["result"]["capabilities"]
    );
}

fn assert_failures(seen: &Seen) {
    for step in [
        "everything__no-such-tool",
        "nobody__echo",
        "no such resource",
    ] {
        assert_eq!(seen[step]["error"]["code"], -32602, "{}", seen[step]);
    }
    assert_eq!(
        seen["modern__test_error_handling"]["result"]["isError"],
        true
    );
}

async fn sees_everything(client: Client) {
    let team = Team::start().await;
    let seen = client
        .run(team.gateway.url(), &plan(&team.repository()))
        .await;
    assert_lists(&seen);
    assert_calls(&seen);
    assert_reads_prompts_completions(&seen);
    assert_progress_and_logs(&seen);
    assert_changes(&seen);
    assert_failures(&seen);
    team.wait_for_cancellation("modern").await;
    team.wait_for_cancellation("legacy").await;
    team.stop().await;
}

#[tokio::test]
async fn the_typescript_client_sees_everything() {
    sees_everything(Client::TypeScript).await;
}

#[tokio::test]
async fn the_python_client_sees_everything() {
    sees_everything(Client::Python).await;
}

#[tokio::test]
async fn the_inspector_sees_lists_calls_reads_and_prompts() {
    let team = Team::start().await;
    let url = team.gateway.url();

    let tools = inspect(url, &["--method", "tools/list"]).await;
    let tools: BTreeMap<_, _> =
        BTreeMap::from([("tools".to_owned(), json!({ "items": tools["tools"] }))]);
    assert_has(
        &field(&tools, "tools", "name"),
        &[
            "everything__echo",
            "files__write_file",
            "time__convert_time",
        ],
    );

    let path = Path::new(&team.repository()).join("notes.txt");
    let arguments = json!({ "path": path }).to_string();
    let called = inspect(
        url,
        &[
            "--method",
            "tools/call",
            "--tool-name",
            "files__read_text_file",
            "--tool-args-json",
            &arguments,
        ],
    )
    .await;
    assert_eq!(called["content"][0]["text"], "first\nsecond\n");

    let read = inspect(url, &["--method", "resources/read", "--uri", DOCUMENT]).await;
    assert_eq!(read["contents"][0]["uri"], DOCUMENT);

    let prompt = inspect(
        url,
        &[
            "--method",
            "prompts/get",
            "--prompt-name",
            "everything__args-prompt",
            "--prompt-args",
            "city=Oslo",
        ],
    )
    .await;
    let message = &prompt["messages"][0]["content"]["text"];
    assert_eq!(message, "What's weather in Oslo?");

    team.stop().await;
}
