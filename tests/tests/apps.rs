//! MCP Apps: tools with a user interface, of servers and for clients of every era.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::message;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{FakeTasks, UI, UI_URI};
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup};
use switchboard_tests::front::{Front, remote};

fn capabilities() -> Value {
    json!({ "extensions": {
        UI: { "mimeTypes": ["text/html;profile=mcp-app"] },
        "dev.example/unknown": {},
    } })
}

/// A client of either era.
enum Host {
    Modern(Box<Front>),
    Legacy(LegacyClient),
}

impl Host {
    async fn result(&self, method: &str, mut params: Value) -> Value {
        match self {
            Self::Modern(front) => {
                params["_meta"] =
                    json!({ "io.modelcontextprotocol/clientCapabilities": capabilities() });
                let answer = front.client.ask(&message(method, params)).await;
                assert!(answer.result().is_object(), "{}", answer.raw);
                answer.result().clone()
            }
            Self::Legacy(client) => {
                let answer = client.request(method, params).await;
                assert!(answer.result().is_object(), "{answer:?}");
                answer.result().clone()
            }
        }
    }

    /// Reads the user interface of a tool, before the tool is called and after, and checks that
    /// both are of its own server.
    async fn shows(&self, backend: &str) {
        let list = self.result("tools/list", json!({})).await;
        let name = format!("{backend}__shows");
        let tools = list["tools"].as_array().expect("a list");
        let tool = tools.iter().find(|tool| tool["name"] == name);
        let listed = &tool.expect("the tool")["_meta"]["ui"]["resourceUri"];
        let called = self
            .result("tools/call", json!({ "name": name, "arguments": {} }))
            .await;
        let linked = &called["content"][1]["uri"];
        for uri in [listed, &called["_meta"]["ui"]["resourceUri"], linked] {
            let read = self.result("resources/read", json!({ "uri": uri })).await;
            let shown = &read["contents"][0];
            assert_eq!(shown["text"], format!("<p>{backend}</p>"), "{read}");
            assert_eq!(shown["mimeType"], "text/html;profile=mcp-app", "{read}");
            assert_eq!(shown["_meta"]["ui"]["prefersBorder"], true, "{read}");
        }
    }
}

async fn legacy(front: &Front) -> LegacyClient {
    let setup = Setup {
        capabilities: capabilities(),
        replies: Arc::new(Reply::accept),
        ..Setup::default()
    };
    LegacyClient::connect(front.gateway.url(), setup).await
}

/// Two servers, of all pairs of eras, whose user interfaces have the same URI.
#[tokio::test(flavor = "multi_thread")]
async fn every_host_gets_the_interface_of_the_tools_own_server() {
    for eras in [
        [Era::Modern, Era::Modern],
        [Era::Legacy, Era::Legacy],
        [Era::Modern, Era::Legacy],
    ] {
        let one = FakeTasks::start(eras[0], "one").await;
        let two = FakeTasks::start(eras[1], "two").await;
        let backends = json!({ "one": remote(one.url()), "two": remote(two.url()) });
        let front = Front::of(backends).await;
        front.gateway.wait_for_backends().await;
        let client = legacy(&front).await;
        for host in [Host::Legacy(client), Host::Modern(Box::new(front))] {
            host.shows("one").await;
            host.shows("two").await;
        }
    }
}

/// The only server with this interface keeps its URI as it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_the_only_one_keeps_its_address() {
    let one = FakeTasks::start(Era::Legacy, "one").await;
    let front = Front::of(json!({ "one": remote(one.url()) })).await;
    front.gateway.wait_for_backends().await;
    let client = legacy(&front).await;
    let read = client
        .request("resources/read", json!({ "uri": UI_URI }))
        .await;
    assert_eq!(read.result()["contents"][0]["uri"], UI_URI, "{read:?}");
}

/// Both sides hear of the extension, and of none that would not work.
#[tokio::test(flavor = "multi_thread")]
async fn the_extension_is_announced_both_ways() {
    let (modern, old) = (
        FakeTasks::start(Era::Modern, "modern").await,
        FakeTasks::start(Era::Legacy, "old").await,
    );
    let front =
        Front::of(json!({ "modern": remote(modern.url()), "old": remote(old.url()) })).await;
    front.gateway.wait_for_backends().await;
    let setup = Setup {
        capabilities: capabilities(),
        ..Setup::default()
    };
    let legacy = LegacyClient::new(front.gateway.url(), setup);
    let agreed = legacy.initialize().await;
    let discovered = front.client.request("server/discover", json!({})).await;
    for extensions in [
        &agreed.result()["capabilities"]["extensions"],
        &discovered.result()["capabilities"]["extensions"],
    ] {
        let settings = &extensions[UI]["mimeTypes"];
        assert_eq!(*settings, json!(["text/html;profile=mcp-app"]));
        assert!(extensions.get("dev.example/unknown").is_none());
    }
    let only_ui = |declared: &Value| {
        let declared = declared["extensions"].as_object().expect("extensions");
        assert_eq!(declared.keys().collect::<Vec<_>>(), [UI], "{declared:?}");
    };
    for name in ["modern__quick", "old__quick"] {
        let called = legacy.call(name, json!({})).await;
        assert!(called.result().is_object(), "{called:?}");
    }
    let calls = modern.requests_of("tools/call");
    let meta = &calls.last().expect("a call")["params"]["_meta"];
    only_ui(&meta["io.modelcontextprotocol/clientCapabilities"]);
    let sessions = old.requests_of("initialize");
    let session = &sessions.last().expect("a session")["params"];
    only_ui(&session["capabilities"]);
}

/// Without an interface anywhere nobody hears of the extension.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_server_has_is_not_announced() {
    let front = Front::of(json!({ "plain": switchboard_tests::front::faulty(&[]) })).await;
    front.gateway.wait_for_backends().await;
    let discovered = front.client.request("server/discover", json!({})).await;
    let capabilities = &discovered.result()["capabilities"];
    assert!(capabilities.get("extensions").is_none(), "{capabilities}");
}
