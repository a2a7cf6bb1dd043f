//! The example of docs/results.md, as the page has it.

use super::*;
use switchboard_testkit::client::Client;
use switchboard_tests::example::Example;
use switchboard_tests::manual;

/// The gateway of the page, with these servers behind its addresses: this one as `logs` and `wiki`, and one
/// whose tool is a dump as `db`.
async fn started(page: &str, server: &Scripted, dumps: &Scripted) -> Example {
    let [server, dumps] = [server, dumps].map(|it| json!({ "url": it.url() }));
    let over = json!({ "backends": { "logs": server, "wiki": server, "db": dumps } });
    let gateway = Example::start(manual::blocks(page, "yaml")[0], over, &[]).await;
    let tools = ["logs__t", "wiki__t", "db__dump"];
    gateway.wait_for(&gateway.client, &tools).await;
    gateway
}

fn small(gateway: &Example) -> Client {
    Client::new(&format!("{}/small", gateway.server.url()))
}

/// What the page shows, block by block.
fn shown<const N: usize>(page: &str) -> [Value; N] {
    let blocks = manual::blocks(page, "json").into_iter();
    let values = blocks.map(|block| serde_json::from_str(block).expect("JSON"));
    let values: Vec<Value> = values.collect();
    values.try_into().expect("as many blocks")
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[tokio::test]
async fn what_is_larger_than_its_cap_is_cut_as_the_page_shows() {
    let page = manual::page("results.md");
    let server = serving(text_of(400 * KIB)).await;
    let dumps = serving(text_of(0)).await.with_tool("dump");
    let gateway = started(&page, &server, &dumps).await;
    let [cut, _, _] = shown(&page);
    let logs = gateway.client.call("logs__t", json!({})).await;
    assert_cut(&logs, 16 * KIB);
    assert_eq!(keys(logs.result()), keys(&cut));
    assert_eq!(texts(&logs).pop(), cut["content"][1]["text"].as_str());
    let cut = &cut["_meta"]["dev.switchboard/truncated"];
    assert_eq!(keys(told(&logs)), keys(cut));
    for key in ["totalBytes", "leftOut", "maxBytes", "maxTokens"] {
        assert_eq!(told(&logs)[key], cut[key], "{key}");
    }

    let wiki = gateway.client.call("wiki__t", json!({})).await;
    assert!(assert_cut(&wiki, 64 * KIB) > 60 * KIB);
    let small = small(&gateway).call("logs__t", json!({})).await;
    assert_cut(&small, 8 * KIB);
    assert_eq!(told(&small)["maxTokens"], 1000);
    gateway.server.stop().await;
}

#[tokio::test]
async fn a_dump_is_whole_or_refused_as_the_page_shows() {
    let page = manual::page("results.md");
    let dumps = serving(text_of(200 * KIB)).await.with_tool("dump");
    let other = serving(text_of(0)).await;
    let gateway = started(&page, &other, &dumps).await;
    let whole = gateway.client.call("db__dump", json!({})).await;
    assert!(*whole.result() == text_of(200 * KIB));

    let large = text_of(300 * KIB).to_string();
    dumps.answer_with(move |id| pieces(&response(id, &large), 30_000));
    let [_, refused, _] = shown(&page);
    // For all profiles, since the rule stands first.
    for client in [&gateway.client, &small(&gateway)] {
        let answer = client.call("db__dump", json!({})).await;
        assert_eq!(*answer.result(), refused);
    }
    gateway.server.stop().await;
}

#[tokio::test]
async fn what_a_profile_drops_is_told_of_as_the_page_shows() {
    let page = manual::page("results.md");
    let block = |kind: &str, bytes: usize| json!({ "type": kind, "data": "AAAA".repeat(bytes / 3), "mimeType": format!("{kind}/x") });
    let content = json!([
        { "type": "image", "data": "AAAA".repeat(1000), "mimeType": "image/png" },
        block("audio", 300),
        { "type": "resource", "resource": { "uri": "a:b", "blob": "AAAA", "mimeType": "x/y" } },
        // More than the profile lets through of text, and than is held of it.
        block("image", 300 * KIB),
        { "type": "text", "text": "the end" },
    ]);
    let server = serving(json!({ "resultType": "complete", "content": content })).await;
    let dumps = serving(text_of(0)).await.with_tool("dump");
    let gateway = started(&page, &server, &dumps).await;
    let answer = small(&gateway).call("wiki__t", json!({})).await;
    let [_, _, dropped] = shown(&page);
    let blocks = answer.result()["content"].as_array().expect("blocks");
    assert_eq!(blocks[0], dropped);
    let texts = texts(&answer);
    for (at, what) in [
        "image, image/png, 3000 bytes.",
        "audio, audio/x, 300 bytes.",
        "blob, x/y, 3 bytes.",
        "image, image/x. ",
    ]
    .iter()
    .enumerate()
    {
        assert!(texts[at].contains(what), "{what}: {}", texts[at]);
    }
    assert_eq!(texts[4..], ["the end"]);
    gateway.server.stop().await;
}
