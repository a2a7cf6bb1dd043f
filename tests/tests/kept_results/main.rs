//! Results that are too large to send are kept, and read on by their callers: as resources, with the
//! gateway's own tool, by clients of both eras, through profiles; and by nobody else.
//!
//! The examples of `docs/kept-results.md` are run in `page`.

mod page;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::scripted::{Scripted, pieces};
use switchboard_tests::waiting::until;
use tempfile::TempDir;

const READER: &str = "switchboard__read_result";
const SCHEME: &str = "switchboard-result://";

fn long_text() -> String {
    let row = |at: usize| format!("row {at}: Zürich 世界 😀 \"quoted\"\n");
    (0..10_000).map(row).collect()
}

/// A server whose tool answers with this text.
async fn server(text: &str) -> Scripted {
    let text = text.to_owned();
    Scripted::start(move |id| {
        let result = json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": text }],
        });
        // Cut within characters and escapes.
        pieces(&response(id, &result), 10_007)
    })
    .await
}

fn response(id: &str, result: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn config(server: &Scripted, folder: &TempDir) -> Value {
    json!({
        "backends": { "s": remote(server.url()) },
        "profiles": { "p": { "tools": ["s__*"] }, "q": { "tools": ["s__*"] } },
        "kept_results": { "ttl": "10m", "in_memory": "64KiB", "dir": folder.path() },
    })
}

/// The same, where results of more than 8 KiB are kept.
fn with_caps(server: &Scripted, folder: &TempDir) -> Value {
    let mut config = config(server, folder);
    config["result_caps"] = json!([{ "max_bytes": "8KiB", "over": "handle" }]);
    config
}

async fn front(config: Value) -> Front {
    let front = Front::start(config).await;
    front.wait_until("s", true).await;
    front
}

fn names(list: &Value, of: &str, key: &str) -> Vec<String> {
    let items = list[of].as_array().expect("a list").iter();
    let names = items.map(|item| item[key].as_str().expect("a name").to_owned());
    names.collect()
}

fn unknown(uri: &str) -> Value {
    json!({ "code": -32602, "message": "Resource not found", "data": { "uri": uri } })
}

fn entries(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("a folder").count()
}

/// The link that a result of a call has in the place of what is missing.
fn link(result: &Value) -> String {
    let blocks = result["content"].as_array().expect("blocks");
    let link = blocks.iter().find(|block| block["type"] == "resource_link");
    let uri = link.unwrap_or_else(|| panic!("no link in {result}"))["uri"].as_str();
    uri.expect("a URI").to_owned()
}

#[tokio::test]
async fn clients_of_both_eras_are_told_of_the_tool_and_the_template() {
    let (server, folder) = (
        server("short").await,
        tempfile::tempdir().expect("a folder"),
    );
    let front = front(config(&server, &folder)).await;
    let of_profile = Client::new(&format!("{}/p", front.gateway.url()));
    for client in [&front.client, &of_profile] {
        let tools = client.request("tools/list", json!({})).await;
        assert_eq!(names(tools.result(), "tools", "name"), ["s__t", READER]);
        let templates = client.request("resources/templates/list", json!({})).await;
        let uris = names(templates.result(), "resourceTemplates", "uriTemplate");
        assert!(uris[0].starts_with(&format!("{SCHEME}{{id}}")), "{uris:?}");
        // What was never kept.
        let uri = format!("{SCHEME}AAAAAAAAAAAAAAAAAAAAAA");
        let read = client
            .request("resources/read", json!({ "uri": uri }))
            .await;
        assert_eq!(read.response["error"], unknown(&uri));
        let called = client.call(READER, json!({ "uri": uri })).await;
        assert_eq!(called.response["error"], unknown(&uri));
        let wrong = client.call(READER, json!({ "page": 1 })).await;
        assert_eq!(wrong.result()["isError"], true, "{}", wrong.raw);
    }
    let legacy = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
    let tools = legacy.request("tools/list", json!({})).await;
    assert_eq!(names(tools.result(), "tools", "name"), ["s__t", READER]);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_adds_the_tool_and_takes_it_away() {
    let (server, folder) = (
        server("short").await,
        tempfile::tempdir().expect("a folder"),
    );
    let with = config(&server, &folder);
    let mut without = with.clone();
    without
        .as_object_mut()
        .expect("an object")
        .remove("kept_results");
    let front = front(without.clone()).await;
    let until_tools = async |expected: &[&str]| {
        until(&format!("the tools are {expected:?}"), async || {
            let tools = front.client.request("tools/list", json!({})).await;
            (names(tools.result(), "tools", "name") == expected).then_some(())
        })
        .await;
    };
    until_tools(&["s__t"]).await;
    for (config, tools) in [(with, &["s__t", READER][..]), (without, &["s__t"])] {
        front.gateway.rewrite(config);
        front.gateway.hang_up();
        until_tools(tools).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_large_result_is_read_to_its_end_by_whoever_called() {
    let text = long_text();
    let (server, folder) = (server(&text).await, tempfile::tempdir().expect("a folder"));
    let front = front(with_caps(&server, &folder)).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert!(answer.raw.len() <= 10 * 1024, "{}", answer.raw.len());
    let uri = link(answer.result());
    assert_eq!(entries(&folder), 0, "a file has no name");
    let (mut whole, mut offset) = (String::new(), 0u64);
    loop {
        let page = format!("{uri}?offset={offset}&length=1000000");
        let page = front
            .client
            .request("resources/read", json!({ "uri": page }))
            .await;
        assert!(
            page.raw.len() <= 9 * 1024,
            "a page is no larger than the cap"
        );
        whole.push_str(
            page.result()["contents"][0]["text"]
                .as_str()
                .expect("a text"),
        );
        match page.result()["_meta"]["dev.switchboard/result"]["nextOffset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert!(whole == text);
    let found = front
        .client
        .call(READER, json!({ "uri": uri, "search": "ROW 9876:" }))
        .await;
    let said = found.result()["content"][0]["text"]
        .as_str()
        .expect("a text");
    assert!(said.starts_with("line 9877, byte "), "{said}");
    let legacy = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
    let result = legacy.call("s__t", json!({})).await;
    let own = link(result.result());
    let page = legacy
        .call(READER, json!({ "uri": own, "length": 6 }))
        .await;
    assert_eq!(page.result()["content"][0]["text"], "row 0:");
    let page = legacy
        .request("resources/read", json!({ "uri": own }))
        .await;
    assert!(
        page.result()["contents"][0]["text"].is_string(),
        "{}",
        page.response
    );
    front.gateway.stop().await;
    assert_eq!(entries(&folder), 0);
}

#[tokio::test]
async fn hits_of_the_cache_share_one_handle() {
    let (server, folder) = (
        server(&long_text()).await,
        tempfile::tempdir().expect("a folder"),
    );
    let mut config = with_caps(&server, &folder);
    config["backends"]["s"]["cache"] = json!({ "tools": ["t"] });
    let front = front(config).await;
    let mut links = Vec::new();
    for _ in 0..4 {
        let answer = front.client.call("s__t", json!({})).await;
        links.push(link(answer.result()));
    }
    // The first arrived piece by piece.
    assert_ne!(links[0], links[1]);
    assert!(links[1] == links[2] && links[2] == links[3], "{links:?}");
    for uri in [&links[0], &links[1]] {
        let page = front
            .client
            .request("resources/read", json!({ "uri": uri }))
            .await;
        let text = page.result()["contents"][0]["text"].as_str();
        assert!(text.is_some_and(|text| text.starts_with("row 0: Zürich")));
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_result_is_that_of_its_profile_and_of_what_is_still_allowed() {
    let (server, folder) = (
        server(&long_text()).await,
        tempfile::tempdir().expect("a folder"),
    );
    let config = with_caps(&server, &folder);
    let front = front(config.clone()).await;
    let [p, q] = ["p", "q"].map(|name| Client::new(&format!("{}/{name}", front.gateway.url())));
    let answer = p.call("s__t", json!({})).await;
    let uri = link(answer.result());
    let read = json!({ "uri": uri });
    let page = p.request("resources/read", read.clone()).await;
    assert!(
        page.result()["contents"][0]["text"].is_string(),
        "{}",
        page.raw
    );
    for other in [&q, &front.client] {
        let refused = other.request("resources/read", read.clone()).await;
        assert_eq!(refused.response["error"], unknown(&uri));
    }
    // A reload that keeps the result, and one that withdraws its tool.
    let mut changed = config.clone();
    changed["kept_results"]["ttl"] = json!("20m");
    let mut withdrawn = changed.clone();
    withdrawn["profiles"]["p"]["exclude"] = json!(["s__t"]);
    front.gateway.rewrite(changed);
    front.gateway.hang_up();
    until("the reload is done", async || {
        let said = "configuration read again: in force";
        front.gateway.server().output().contains(said).then_some(())
    })
    .await;
    let page = p.request("resources/read", read.clone()).await;
    assert!(
        page.result()["contents"][0]["text"].is_string(),
        "{}",
        page.raw
    );
    front.gateway.rewrite(withdrawn);
    front.gateway.hang_up();
    until("the tool is withdrawn", async || {
        let answer = p.request("resources/read", read.clone()).await;
        (answer.response["error"] == unknown(&uri)).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_nothing_and_its_successor_knows_nothing() {
    let (server, folder) = (
        server(&long_text()).await,
        tempfile::tempdir().expect("a folder"),
    );
    let config = with_caps(&server, &folder);
    let first = front(config.clone()).await;
    let uri = link(first.client.call("s__t", json!({})).await.result());
    let id = first
        .gateway
        .server()
        .id()
        .and_then(|id| i32::try_from(id).ok());
    kill_process(id.and_then(Pid::from_raw).expect("a process"), Signal::KILL).expect("killed");
    let second = front(config).await;
    assert_eq!(entries(&folder), 0);
    let refused = second
        .client
        .request("resources/read", json!({ "uri": uri }))
        .await;
    assert_eq!(refused.response["error"], unknown(&uri));
    second.gateway.stop().await;
}

#[tokio::test]
async fn what_has_no_room_is_cut_and_what_has_expired_is_gone() {
    let (server, folder) = (
        server(&long_text()).await,
        tempfile::tempdir().expect("a folder"),
    );
    let mut config = with_caps(&server, &folder);
    config["kept_results"]["ttl"] = json!("3s");
    config["kept_results"]["per_principal"] = json!({ "results": 1 });
    let front = front(config).await;
    let uri = link(front.client.call("s__t", json!({})).await.result());
    let cut = front.client.call("s__t", json!({})).await;
    let blocks = cut.result()["content"].as_array().expect("blocks");
    assert!(
        blocks.iter().all(|block| block["type"] != "resource_link"),
        "{}",
        cut.raw
    );
    until("it has expired", async || {
        let answer = front
            .client
            .request("resources/read", json!({ "uri": uri }))
            .await;
        (answer.response["error"] == unknown(&uri)).then_some(())
    })
    .await;
    // And there is room again.
    link(front.client.call("s__t", json!({})).await.result());
    front.gateway.stop().await;
}
