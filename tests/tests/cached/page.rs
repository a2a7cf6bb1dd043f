//! The examples of docs/cache.md, as the page has them.

use std::collections::BTreeSet;

use super::*;
use switchboard_tests::example::Example;
use switchboard_tests::manual;
use switchboard_tests::scripted::{Scripted, Step, pieces};
use tokio::sync::watch;

/// A server that says of `lookup` that it only reads.
async fn server() -> Scripted {
    let tool = |name: &str, annotations: Value| json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": annotations });
    let server = Scripted::start(answered).await;
    server.with_tools(json!([
        tool("lookup", json!({ "readOnlyHint": true })),
        tool("search", json!({})),
        tool("other", json!({})),
    ]))
}

fn answered(id: &str) -> Vec<Step> {
    let result =
        json!({ "resultType": "complete", "content": [{ "type": "text", "text": "found" }] });
    pieces(
        &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        100,
    )
}

/// The part of the page with the examples.
fn section(page: &str) -> &str {
    let sections = manual::sections(page);
    let example = sections.iter().find(|(title, _)| *title == "Example");
    example.expect("a section with the examples").1
}

/// What the page shows of a result with this state.
fn shown(page: &str, state: &str) -> Value {
    let blocks = manual::blocks(section(page), "json").into_iter();
    let mut blocks = blocks.map(|block| serde_json::from_str::<Value>(block).expect("JSON"));
    let shown = blocks.find(|block| block["_meta"][CACHE]["state"] == state);
    shown.unwrap_or_else(|| panic!("{state} is not shown"))
}

fn assert_shown(page: &str, name: &str, answer: &Answer) {
    let [expected, said] =
        [&shown(page, name), answer.result()].map(|it| it["_meta"][CACHE].clone());
    let keys = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(&said), keys(&expected), "{}", answer.raw);
    assert_eq!(said["state"], expected["state"]);
    assert_eq!(answer.result()["content"][0]["text"], "found");
}

#[tokio::test]
async fn the_first_example_does_what_the_page_says() {
    let page = manual::page("cache.md");
    let example = manual::blocks(section(&page), "yaml")[0];
    let server = server().await;
    let near = json!({ "url": server.url() });
    let gateway = Example::start(example, json!({ "backends": { "near": near } }), &[]).await;
    let client = &gateway.client;
    gateway.wait_for(client, &["near__search"]).await;
    let mut states = BTreeSet::new();
    for (name, is_cached) in [("lookup", true), ("search", true), ("other", false)] {
        let name = format!("near__{name}");
        let first = client.call(&name, json!({ "a": 1 })).await;
        assert_eq!(state(&first), Value::Null, "{}", first.raw);
        let second = client.call(&name, json!({ "a": 1 })).await;
        if is_cached {
            assert_shown(&page, "hit", &second);
            states.insert("hit");
        } else {
            assert_eq!(state(&second), Value::Null, "{}", second.raw);
        }
    }

    // Equal ones at once, while the server thinks.
    let (go, waits) = watch::channel(false);
    server.wait_for(waits);
    let calls = join_all((0..5).map(|_| client.call("near__search", json!({ "a": 2 }))));
    let going = async {
        until("all of them are under way", async || {
            let metrics = gateway.metrics("switchboard_calls_in_flight").await;
            (metrics.get("switchboard_calls_in_flight") == Some(&5.0)).then_some(())
        })
        .await;
        go.send_replace(true);
    };
    let (answers, ()) = tokio::join!(calls, going);
    let own = answers.iter().filter(|answer| state(answer).is_null());
    assert_eq!(own.count(), 1);
    let coalesced = answers.iter().filter(|answer| state(answer) == "coalesced");
    assert_eq!(coalesced.count(), 4);
    states.insert("coalesced");
    gateway.server.stop().await;

    // The page's ten minutes are too long to wait for.
    let near = json!({ "url": server.url(), "cache": { "ttl": "50ms" } });
    let gateway = Example::start(example, json!({ "backends": { "near": near } }), &[]).await;
    let client = &gateway.client;
    gateway.wait_for(client, &["near__search"]).await;
    client.call("near__search", json!({})).await;
    server.answer_with(|_| vec![Step::Break]);
    let answer = until("the result is a stale one", async || {
        let answer = client.call("near__search", json!({})).await;
        (state(&answer) != "hit").then_some(answer)
    })
    .await;
    assert_shown(&page, "stale", &answer);
    states.insert("stale");
    // No other: whoever asks for what was never answered is told.
    let failed = client.call("near__search", json!({ "a": 3 })).await;
    assert_eq!(failed.result()["isError"], true, "{}", failed.raw);
    gateway.server.stop().await;

    let rows = section(&page)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| !row.starts_with("state`"));
    let listed: BTreeSet<_> = rows
        .filter_map(|row| Some(row.split_once('`')?.0))
        .collect();
    assert_eq!(listed, states, "the states of the page");
}

#[tokio::test]
async fn the_second_example_is_one_store_for_all_replicas_and_principals() {
    let page = manual::page("cache.md");
    let example = manual::blocks(section(&page), "yaml")[1];
    let (server, redis) = (server().await, RedisServer::start().await);
    let key = |name: &str| entry_of(name, &format!("{name}s-key"));
    let over = json!({
        "auth": { "api_keys": [key("anna"), key("ben")] },
        "store": { "redis": redis.url() },
        "backends": { "near": { "url": server.url() } },
    });
    let sealing = [("SWITCHBOARD_SEALING_KEY", SEALING_KEY)];
    let mut gateways = Vec::new();
    for name in ["anna", "ben"] {
        let gateway = Example::start(example, over.clone(), &sealing).await;
        let client = Client::new(gateway.server.url()).with_key(&format!("{name}s-key"));
        gateway.wait_for(&client, &["near__search"]).await;
        gateways.push((gateway, client));
    }
    let [(_, anna), (_, ben)] = &gateways[..] else {
        unreachable!("two of them");
    };
    let made = anna.call("near__search", json!({ "a": 1 })).await;
    assert_eq!(state(&made), Value::Null, "{}", made.raw);
    let hit = ben.call("near__search", json!({ "a": 1 })).await;
    assert_shown(&page, "hit", &hit);
    // For as long as the page says.
    let script = "return redis.call('PTTL', redis.call('KEYS', '*result:*')[1])";
    let left = redis.command(&["EVAL", script, "0"]).await;
    let left: u64 = left.trim_start_matches(':').parse().expect("a number");
    assert!((60_000..=300_000).contains(&left), "{left}");

    // One that is larger than the page's bound is nobody's but the caller's.
    let large = json!({ "resultType": "complete", "content": [{ "type": "text", "text": "x".repeat(1 << 20) }] });
    server.answer_with(move |id| {
        pieces(
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{large}}}"#),
            100_000,
        )
    });
    for client in [anna, ben] {
        let answer = client.call("near__search", json!({ "a": 2 })).await;
        assert_eq!(state(&answer), Value::Null);
    }
    for (gateway, _) in gateways {
        gateway.server.stop().await;
    }
}
