//! How long a list keeps, what it says while a server is missing, and its order.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_testkit::client::LISTS;
use switchboard_testkit::fake_http::RefusedPort;
use switchboard_tests::front::{Front, faulty, remote};

use crate::shelf::{Content, Shelf};
use crate::{MISSING, assert_unknown, called, front, tools};

#[tokio::test]
async fn while_a_server_is_missing_every_list_says_so_and_nobody_keeps_it() {
    let shelf = Shelf::start(Content::of_tools(&["search"])).await;
    let nobody = RefusedPort::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hangs = folder.path().join("hangs");
    std::fs::write(&hangs, "").expect("the folder is ours");
    let hangs = hangs.to_str().expect("a path in UTF-8");
    let mut slow = faulty(&["--never-answers", "--while-exists", hangs]);
    slow["timeout"] = json!("300ms");
    let front = Front::of(json!({
        "gone": remote(nobody.url()),
        "s": shelf.backend(),
        "slow": slow,
    }))
    .await;
    front.wait_until("s", true).await;
    for (method, list, _) in LISTS {
        let answer = front.client.request(method, json!({})).await;
        let result = answer.result();
        assert!(result[list].is_array(), "{}", answer.raw);
        assert_eq!(result["ttlMs"], 0, "{}", answer.raw);
        let missing = result["_meta"][MISSING]
            .as_array()
            .expect("what is missing");
        let names: Vec<&Value> = missing.iter().map(|entry| &entry["name"]).collect();
        assert_eq!(names, ["gone", "slow"], "{}", answer.raw);
        for entry in missing {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            assert!(
                ["starting", "unavailable"].contains(&text("state")),
                "{entry}"
            );
            assert!(!text("reason").is_empty(), "{entry}");
            assert!(!text("action").is_empty(), "{entry}");
            // Such as 2026-07-28T12:00:00Z.
            assert!(
                text("since").len() == 20 && text("since").ends_with('Z'),
                "{entry}"
            );
        }
        assert_eq!(missing[0]["state"], "unavailable", "{}", answer.raw);
    }
    assert_eq!(tools(&front).await, ["s__search"]);
    assert_eq!(called(&front, "s__search").await, "search");

    // What they may have is unavailable, not unknown; what they cannot have is unknown.
    for (tool, backend) in [("gone__search", "gone"), ("slow__echo", "slow")] {
        let answer = front.client.call(tool, json!({})).await;
        assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
        let fault = answer.fault();
        assert_eq!(fault["code"], 503, "{fault}");
        assert_eq!(fault["backend"], backend, "{fault}");
        assert_eq!(fault["outcome"], "not_sent", "{fault}");
        assert_eq!(fault["retryable"], true, "{fault}");
    }
    assert_unknown(&front, "s__echo").await;
    assert_unknown(&front, "nobody__echo").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn when_all_are_there_a_list_keeps_as_long_as_the_shortest_of_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("fails");
    std::fs::write(&file, "").expect("the folder is ours");
    let shelf = Shelf::start(Content::of_tools(&["search"])).await;
    let flags = [
        "--exit-at-start",
        "--while-exists",
        file.to_str().expect("UTF-8"),
    ];
    let front = Front::of(json!({ "late": faulty(&flags), "s": shelf.backend() })).await;
    front.wait_until("s", true).await;
    front.wait_until("late", false).await;
    std::fs::remove_file(&file).expect("the folder is ours");
    front.wait_until("late", true).await;
    let answer = front.client.request("tools/list", json!({})).await;
    assert_eq!(answer.result()["ttlMs"], 60_000, "{}", answer.raw);
    assert!(
        answer.result()["_meta"][MISSING].is_null(),
        "{}",
        answer.raw
    );
    // By backend, whoever came first.
    let names = tools(&front).await;
    assert_eq!(names.first().map(String::as_str), Some("late__echo"));
    assert_eq!(names.last().map(String::as_str), Some("s__search"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_list_is_read_again_when_its_time_is_over() {
    let content = |names: &[&str]| Content {
        ttl_ms: 100,
        ..Content::of_tools(names)
    };
    let shelf = Shelf::start(content(&["before"])).await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;
    let mut listener = front
        .client
        .listen(json!({ "toolsListChanged": true }))
        .await;
    listener.next().await.expect("an acknowledgement");
    assert_eq!(tools(&front).await, ["s__before"]);
    shelf.put(content(&["after", "before"]));
    let told = listener.next().await.expect("a notification");
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(tools(&front).await, ["s__after", "s__before"]);
    assert_eq!(called(&front, "s__after").await, "after");
    front.gateway.stop().await;
}

#[tokio::test]
async fn lists_are_the_same_bytes_in_the_same_order() {
    let names: Vec<String> = (0..50).rev().map(|index| format!("t{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shelf = Shelf::start(Content::of_tools(&names)).await;
    // Whoever answers first is not always the same.
    let config = json!({ "backends": {
        "d": faulty(&["--shuffle", "1"]),
        "b": faulty(&["--shuffle", "2"]),
        "c": shelf.backend(),
        "a": faulty(&["--shuffle", "3", "--era", "legacy"]),
    } });
    let mut all: BTreeSet<Vec<String>> = BTreeSet::new();
    for _ in 0..3 {
        let front = front(config.clone()).await;
        let mut lists = Vec::new();
        for (method, _, _) in LISTS {
            let first = front.client.request(method, json!({})).await;
            let second = front.client.request(method, json!({})).await;
            assert_eq!(first.raw, second.raw, "{method}");
            lists.push(first.raw);
        }
        let order = tools(&front).await;
        let backends: Vec<&str> = order.iter().map(|name| &name[..1]).collect();
        assert!(backends.is_sorted(), "{order:?}");
        let own: Vec<&str> = order
            .iter()
            .filter_map(|name| name.strip_prefix("c__"))
            .collect();
        assert_eq!(own, names, "a server's own order");
        all.insert(lists);
        front.gateway.stop().await;
    }
    assert_eq!(all.len(), 1, "{all:#?}");
}
