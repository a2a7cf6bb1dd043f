//! The cache of results end to end: what is answered without its server, and what never is.

mod bounds;
mod page;

use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Transport};
use switchboard_testkit::fault::FaultServer;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::scripted::{Scripted, Step, pieces};
use switchboard_tests::waiting::{soon, until};

const CALL: &str = "tools/call";
const CACHE: &str = "dev.switchboard/cache";
const SEALING_KEY: &str = "a sealing key of the tests, 0f8e1c7b2d9a";

async fn fake(label: &str) -> FakeHttp {
    FakeHttp::start(Transport::Modern, label).await
}

/// A backend whose `echo` and `delay` only read, as the operator says.
fn cached(server: &FakeHttp, more: &Value) -> Value {
    let mut backend = remote(server.url());
    backend["cache"] = json!({ "tools": ["echo", "delay"] });
    for (key, value) in more.as_object().expect("an object") {
        backend["cache"][key] = value.clone();
    }
    backend
}

/// What a result says of how it was answered.
fn state(answer: &Answer) -> Value {
    answer.result()["_meta"][CACHE]["state"].clone()
}

fn calls(server: &FakeHttp) -> usize {
    server.requests_of(CALL).len()
}

/// Checks that all of these are results of the server `near`.
fn assert_of_near(answers: &[Answer]) {
    for answer in answers {
        let label = &answer.result()["structuredContent"]["server"]["label"];
        assert_eq!(label, "near");
    }
}

#[tokio::test]
async fn an_equal_call_is_answered_without_its_server_and_says_so() {
    for transport in [Transport::Modern, Transport::Legacy] {
        let near = FakeHttp::start(transport, "near").await;
        let config = json!({ "backends": { "near": cached(&near, &json!({})) } });
        let front = Front::started(config).await;
        let first = front
            .client
            .call("near__echo", json!({ "a": 1, "b": [2] }))
            .await;
        assert_eq!(state(&first), Value::Null, "{}", first.raw);
        // Another spelling of the same arguments.
        let second = front
            .client
            .call("near__echo", json!({ "b": [2], "a": 1 }))
            .await;
        assert_eq!(state(&second), "hit", "{}", second.raw);
        let mut result = second.result().clone();
        assert!(result["_meta"][CACHE]["ageMs"].is_u64(), "{}", second.raw);
        result["_meta"] = first.result()["_meta"].clone();
        if first.result().get("_meta").is_none() {
            result.as_object_mut().expect("an object").remove("_meta");
        }
        assert_eq!(&result, first.result());
        assert_eq!(calls(&near), 1);
        let other = front.client.call("near__echo", json!({ "a": 2 })).await;
        assert_eq!(state(&other), Value::Null);
        assert_eq!(calls(&near), 2);
        // Nobody said that this one only reads.
        for _ in 0..2 {
            let answer = front.client.call("near__report", json!({ "n": 0 })).await;
            assert_eq!(state(&answer), Value::Null, "{}", answer.raw);
        }
        assert_eq!(calls(&near), 4);
        let metrics = front.metrics("switchboard_cache").await;
        let of = |outcome: &str| {
            let series =
                format!("switchboard_cache_total{{backend=\"near\",outcome=\"{outcome}\"}}");
            metrics.get(&series).copied()
        };
        assert_eq!(of("hit"), Some(1.0), "{metrics:?}");
        assert_eq!(of("miss"), Some(2.0), "{metrics:?}");
        assert_eq!(of("bypassed"), Some(2.0), "{metrics:?}");
        assert_eq!(metrics.get("switchboard_cache_entries"), Some(&2.0));
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn fifty_equal_calls_at_once_are_one_at_the_server() {
    let near = fake("near").await;
    let config = json!({ "backends": { "near": cached(&near, &json!({})) } });
    let front = Front::started(config).await;
    let calling = (0..50).map(|_| front.client.call("near__delay", json!({ "ms": 300 })));
    let answers = join_all(calling).await;
    assert_eq!(calls(&near), 1);
    let made = answers.iter().filter(|answer| state(answer).is_null());
    assert_eq!(made.count(), 1);
    assert_of_near(&answers);
    front.gateway.stop().await;
}

#[tokio::test]
async fn others_go_on_when_the_first_gives_up() {
    let near = fake("near").await;
    let config = json!({ "backends": { "near": cached(&near, &json!({})) } });
    let front = Front::started(config).await;
    let url = front.gateway.url().to_owned();
    let first = tokio::spawn(async move {
        let client = Client::new(&url);
        client.call("near__delay", json!({ "ms": 1500 })).await
    });
    soon("the first is at the server", || calls(&near) == 1).await;
    let others = join_all((0..5).map(|_| front.client.call("near__delay", json!({ "ms": 1500 }))));
    let giving_up = async {
        until("all of them are under way", async || {
            let metrics = front.metrics("switchboard_calls_in_flight").await;
            (metrics.get("switchboard_calls_in_flight") == Some(&6.0)).then_some(())
        })
        .await;
        first.abort();
    };
    let (answers, ()) = tokio::join!(others, giving_up);
    assert_eq!(calls(&near), 2);
    assert_of_near(&answers);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_result_answers_no_longer_than_it_may_and_stale_ones_only_where_wanted() {
    let near = fake("near").await;
    let far = fake("far").await;
    let config = json!({ "backends": {
        "near": cached(&near, &json!({ "ttl": "50ms", "stale_if_error": "1h" })),
        "far": cached(&far, &json!({ "ttl": "50ms" })),
    }});
    let front = Front::started(config).await;
    for name in ["near", "far"] {
        front.client.call(&format!("{name}__echo"), json!({})).await;
    }
    until("it answers no longer", async || {
        let again = front.client.call("near__echo", json!({})).await;
        state(&again).is_null().then_some(())
    })
    .await;
    assert_eq!(calls(&near), 2);
    for server in [&near, &far] {
        server.behave(Behaviour {
            fault: Some(Fault::Status(500)),
            ..Behaviour::default()
        });
    }
    let stale = until("a stale one answers", async || {
        let answer = front.client.call("near__echo", json!({})).await;
        assert!(!state(&answer).is_null(), "{}", answer.raw);
        (state(&answer) == "stale").then_some(answer)
    })
    .await;
    let age = stale.result()["_meta"][CACHE]["ageMs"].as_u64();
    assert!(age.is_some_and(|age| age >= 50), "{}", stale.raw);
    // Also behind the breaker, which these failures open.
    until("the breaker is open", async || {
        let answer = front.client.call("near__echo", json!({})).await;
        assert_eq!(state(&answer), "stale", "{}", answer.raw);
        let other = front.client.call("near__echo", json!({ "other": 1 })).await;
        other.raw.contains("breaker_open").then_some(())
    })
    .await;
    let behind = front.client.call("near__echo", json!({})).await;
    assert_eq!(state(&behind), "stale", "{}", behind.raw);
    until("no stale one answers", async || {
        let answer = front.client.call("far__echo", json!({})).await;
        assert_ne!(state(&answer), "stale", "{}", answer.raw);
        (answer.result()["isError"] == true).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_stale_result_answers_where_one_breaks_off_that_was_held() {
    let whole = |id: &str| {
        let text = "all of it ".repeat(30_000);
        let result =
            json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] });
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
    };
    for is_legacy in [false, true] {
        let server = Scripted::start(move |id| pieces(&whole(id), 30_000)).await;
        let server = if is_legacy {
            server.speaking_legacy()
        } else {
            server
        };
        let cache = json!({ "tools": ["t"], "ttl": "50ms", "stale_if_error": "1h" });
        let config = json!({
            "backends": { "s": { "url": server.url(), "cache": cache } },
            "result_caps": [{ "max_bytes": "8MiB" }],
        });
        let front = Front::started(config).await;
        front.client.call("s__t", json!({})).await;
        server.answer_with(move |id| {
            let mut steps = pieces(&whole(id)[..200_000], 30_000);
            steps.push(Step::Break);
            steps
        });
        let stale = until("a stale one answers", async || {
            let answer = front.client.call("s__t", json!({})).await;
            assert!(!state(&answer).is_null(), "{}", answer.raw);
            (state(&answer) == "stale").then_some(answer)
        })
        .await;
        assert!(stale.raw.len() > 300_000);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn principals_share_nothing_unless_the_operator_says_so() {
    let near = fake("near").await;
    let far = fake("far").await;
    let key = |name: &str| entry_of(name, &format!("{name}s-key"));
    let config = json!({
        "auth": { "api_keys": [key("anna"), key("ben")] },
        "backends": {
            "near": cached(&near, &json!({})),
            "far": cached(&far, &json!({ "shared": true })),
        },
    });
    let front = Front::start(config).await;
    let url = front.gateway.url();
    let anna = Client::new(url).with_key("annas-key");
    let ben = Client::new(url).with_key("bens-key");
    until("both are there", async || {
        let answer = anna.request("tools/list", json!({})).await;
        let tools = answer.result()["tools"].as_array()?.len();
        (tools >= 12).then_some(())
    })
    .await;
    for (client, expected) in [(&anna, 1), (&ben, 2), (&anna, 2), (&ben, 2)] {
        client.call("near__echo", json!({})).await;
        assert_eq!(calls(&near), expected);
    }
    for client in [&anna, &ben] {
        client.call("far__echo", json!({})).await;
        assert_eq!(calls(&far), 1);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn two_gateways_share_a_redis_and_go_on_without_it() {
    let near = fake("near").await;
    let mut redis = RedisServer::start().await;
    let config = json!({
        "server": { "sealing_keys": [SEALING_KEY] },
        "store": { "redis": redis.url(), "timeout": "1s" },
        "cache": { "store": "redis" },
        "backends": { "near": cached(&near, &json!({})) },
    });
    let fronts = [
        Front::started(config.clone()).await,
        Front::started(config).await,
    ];
    let secret = json!({ "secret": "a word that nobody else may read" });
    let made = fronts[0].client.call("near__echo", secret.clone()).await;
    assert_eq!(state(&made), Value::Null);
    for front in &fronts {
        let hit = front.client.call("near__echo", secret.clone()).await;
        assert_eq!(state(&hit), "hit", "{}", hit.raw);
    }
    assert_eq!(calls(&near), 1);
    redis.kill().await;
    // Nothing is found, and nothing fails.
    for front in &fronts {
        let answer = front.client.call("near__echo", secret.clone()).await;
        assert_eq!(
            answer.result()["structuredContent"]["server"]["label"],
            "near"
        );
        assert_eq!(state(&answer), Value::Null);
    }
    for front in fronts {
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_hit_costs_nothing_of_a_budget() {
    let near = fake("near").await;
    let config = json!({
        "backends": { "near": cached(&near, &json!({})) },
        "budgets": [{ "name": "few", "calls": 2, "window": "1d" }],
    });
    let front = Front::started(config).await;
    for _ in 0..10 {
        let answer = front.client.call("near__echo", json!({})).await;
        assert_eq!(
            answer.result()["structuredContent"]["server"]["label"],
            "near"
        );
    }
    front.client.call("near__echo", json!({ "b": 2 })).await;
    let refused = front.client.call("near__echo", json!({ "b": 3 })).await;
    assert_eq!(refused.fault()["reason"], "over_budget");
    // What is kept costs nothing, but a call has to be let in to be looked up.
    let refused = front.client.call("near__echo", json!({})).await;
    assert_eq!(refused.fault()["reason"], "over_budget");
    assert_eq!(calls(&near), 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_that_changes_a_backend_forgets_its_results() {
    let near = fake("near").await;
    let config = |timeout: &str| {
        let mut backend = cached(&near, &json!({}));
        backend["timeout"] = json!(timeout);
        json!({ "backends": { "near": backend } })
    };
    let front = Front::started(config("20s")).await;
    for expected in [Value::Null, json!("hit")] {
        let answer = front.client.call("near__echo", json!({})).await;
        assert_eq!(state(&answer), expected);
    }
    front.gateway.rewrite(config("21s"));
    front.gateway.hang_up();
    until("the reload", async || {
        let output = front.gateway.server().output();
        output.contains("in force").then_some(())
    })
    .await;
    let answer = front.client.call("near__echo", json!({})).await;
    assert_eq!(state(&answer), Value::Null);
    assert_eq!(calls(&near), 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn clients_of_both_eras_get_each_others_results() {
    let near = fake("near").await;
    let config = json!({ "backends": { "near": cached(&near, &json!({})) } });
    let front = Front::started(config).await;
    let legacy = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
    let made = legacy.call("near__echo", json!({ "a": 1 })).await;
    assert_eq!(
        made.result()["structuredContent"]["server"]["label"],
        "near"
    );
    let hit = legacy.call("near__echo", json!({ "a": 1 })).await;
    let said = &hit.result()["_meta"][CACHE];
    assert_eq!(said["state"], "hit", "{hit:?}");
    assert_eq!(calls(&near), 1);
    // What a client can do may decide what a server answers, so equal clients share alone.
    let modern = front.client.call("near__echo", json!({ "a": 1 })).await;
    assert_eq!(
        modern.result()["structuredContent"]["server"]["label"],
        "near"
    );
    let hit = front.client.call("near__echo", json!({ "a": 1 })).await;
    assert_eq!(state(&hit), "hit");
    assert!(calls(&near) <= 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_a_profile_fixes_is_part_of_the_question() {
    let near = fake("near").await;
    let fixed = |org: &str| json!({ "arguments": { "near__echo": { "fixed": { "org": org } } } });
    let config = json!({
        "backends": { "near": cached(&near, &json!({})) },
        "profiles": { "one": fixed("one"), "two": fixed("two") },
    });
    let front = Front::started(config).await;
    let client = |profile: &str| Client::new(&format!("{}/{profile}", front.gateway.url()));
    for (profile, expected) in [("one", 1), ("two", 2), ("one", 2), ("two", 2)] {
        let answer = client(profile).call("near__echo", json!({ "a": 1 })).await;
        let got = &answer.result()["structuredContent"]["arguments"];
        assert_eq!(got["org"], *profile, "{}", answer.raw);
        assert_eq!(calls(&near), expected);
    }
    // The same arguments are the same question, wherever they come from.
    let plain = json!({ "org": "one", "a": 1 });
    let answer = front.client.call("near__echo", plain).await;
    assert_eq!(state(&answer), "hit", "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_substitute_is_looked_up_under_its_own_name() {
    let (near, far) = (fake("near").await, fake("far").await);
    let mut first = cached(&near, &json!({}));
    // Only what may be made again goes on to another after a failure.
    first["safe_tools"] = json!(["echo"]);
    first["retry"] = json!({ "max_attempts": 1 });
    let config = json!({
        "backends": {
            "near": first,
            "far": cached(&far, &json!({})),
        },
        "fallbacks": [{ "tool": "near__echo", "try": ["far__echo"] }],
    });
    let front = Front::started(config).await;
    near.behave(Behaviour {
        fault: Some(Fault::Status(500)),
        ..Behaviour::default()
    });
    for expected in [Value::Null, json!("hit")] {
        let answer = front.client.call("near__echo", json!({})).await;
        let meta = &answer.result()["_meta"];
        assert_eq!(
            meta["dev.switchboard/served_by"]["backend"], "far",
            "{}",
            answer.raw
        );
        assert_eq!(state(&answer), expected, "{}", answer.raw);
    }
    assert_eq!(calls(&far), 1);
    // Nobody takes the substitute's result for that of the tool that it stood in for.
    near.behave(Behaviour::default());
    let answer = until("near is well again", async || {
        let answer = front.client.call("near__echo", json!({})).await;
        let by = &answer.result()["structuredContent"]["server"]["label"];
        (by == "near").then_some(answer)
    })
    .await;
    assert_eq!(state(&answer), Value::Null, "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_redis_that_stands_still_makes_nobody_wait_for_long() {
    let near = fake("near").await;
    let redis = RedisServer::start().await;
    let front = Front::started(json!({
        "server": { "sealing_keys": [SEALING_KEY] },
        "store": { "redis": redis.url(), "timeout": "50ms" },
        "cache": { "store": "redis" },
        "backends": { "near": cached(&near, &json!({})) },
    }))
    .await;
    front.client.call("near__echo", json!({})).await;
    redis.pause();
    for _ in 0..20 {
        let answer = front.client.call("near__echo", json!({})).await;
        assert_eq!(
            answer.result()["structuredContent"]["server"]["label"],
            "near"
        );
    }
    redis.resume();
    until("it is found again", async || {
        let answer = front.client.call("near__echo", json!({})).await;
        (state(&answer) == "hit").then_some(())
    })
    .await;
    front.gateway.stop().await;
}

/// Results of more than 64 KiB pass while they arrive.
#[tokio::test]
async fn a_result_that_arrives_is_kept_up_to_a_bound() {
    let near = fake("near").await;
    let front = Front::started(json!({
        "cache": { "max_entry": "300KiB" },
        "backends": { "near": cached(&near, &json!({})) },
    }))
    .await;
    for (length, expected) in [(200_000, json!("hit")), (400_000, Value::Null)] {
        let arguments = json!({ "text": "x".repeat(length) });
        let first = front.client.call("near__echo", arguments.clone()).await;
        assert_eq!(state(&first), Value::Null);
        let second = front.client.call("near__echo", arguments.clone()).await;
        assert_eq!(state(&second), expected, "{length}");
        for answer in [&first, &second] {
            let content = &answer.result()["structuredContent"];
            assert_eq!(content["arguments"], arguments);
        }
    }
    assert_eq!(calls(&near), 3);
    front.gateway.stop().await;
}

#[tokio::test]
async fn hints_count_as_far_as_they_go_and_a_mark_against_them_is_told_of() {
    let server = FaultServer::start("hinted", Era::Modern).await;
    let mut backend = remote(&server.url());
    backend["trust_annotations"] = json!(true);
    backend["cache"] = json!({ "tools": ["p*", "write"] });
    let front = Front::started(json!({ "backends": { "hinted": backend } })).await;
    for (tool, expected) in [
        ("read", json!("hit")),
        ("put", Value::Null),
        ("write", Value::Null),
    ] {
        let arguments = json!({ "key": tool });
        let name = format!("hinted__{tool}");
        front.client.call(&name, arguments.clone()).await;
        let answer = front.client.call(&name, arguments).await;
        assert_eq!(state(&answer), expected, "{}", answer.raw);
    }
    let output = front.gateway.server().output();
    let told = output.lines();
    let told = told.filter(|line| line.contains("its results are not cached"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 2, "{output}");
    // The one for its name when the file was read, the other when the server had told its tools.
    for (line, tool) in told.iter().zip(["`write`", "\"put\""]) {
        assert!(line.contains(tool), "{line}");
    }
    front.gateway.stop().await;
}
