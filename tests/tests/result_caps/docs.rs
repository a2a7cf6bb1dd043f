//! The example of docs/results.md.

use super::*;
use std::process::Stdio;
use switchboard_testkit::client::Client;
use switchboard_tests::process::Server;
use switchboard_tests::waiting::until;
use switchboard_tests::{manual, tools};
use tokio::process::Command;

#[tokio::test]
async fn the_example_does_what_the_page_says() {
    let page = manual::page("results.md");
    let server = serving(text_of(400 * KIB)).await;
    let backend = json!({ "url": server.url() });
    let more = json!({ "logs": backend, "others": backend });
    // JSON is YAML.
    let config = format!(
        "{}\nbackends: {more}\nserver: {}\n",
        manual::blocks(&page, "yaml")[0],
        json!({ "listen": "127.0.0.1:0", "ops_listen": "off", "watch_config": false }),
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.yaml");
    std::fs::write(&file, config).expect("the folder is ours");
    let mut command = Command::new(tools::program("switchboard"));
    command
        .arg("serve")
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null());
    let gateway = Server::start(command).await;
    let client = Client::new(gateway.url());
    until("both servers are there", async || {
        let listed = client.request("tools/list", json!({})).await;
        (listed.result()["tools"].as_array()?.len() == 2).then_some(())
    })
    .await;

    let logs = client.call("logs__t", json!({})).await;
    assert_cut(&logs, 16 * KIB);
    let shown: Value = serde_json::from_str(manual::blocks(&page, "json")[0]).expect("JSON");
    assert_eq!(texts(&logs).pop(), shown["content"][1]["text"].as_str());
    let shown = &shown["_meta"]["dev.switchboard/truncated"];
    let keys = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(told(&logs)), keys(shown));
    assert_eq!(told(&logs)["maxBytes"], shown["maxBytes"]);

    let others = client.call("others__t", json!({})).await;
    assert!(assert_cut(&others, 64 * KIB) > 60 * KIB);
    let small = Client::new(&format!("{}/small", gateway.url()));
    let small = small.call("logs__t", json!({})).await;
    assert_cut(&small, 8 * KIB);
    assert_eq!(told(&small)["maxTokens"], 1000);
    gateway.stop().await;
}
