//! Limits and budgets end to end: what clients see, what a chain does about it, what comes back when a
//! client goes away, and two gateways that count in one Redis.

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::asking::{AskingHttp, Options};
use switchboard_testkit::client::{Client, accept, all_capabilities, call, declaring, retry};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Transport};
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::{soon, until};

const SERVED_BY: &str = "dev.switchboard/served_by";
const CALL: &str = "tools/call";

async fn fake(label: &str) -> FakeHttp {
    FakeHttp::start(Transport::Modern, label).await
}

fn config(near: &FakeHttp, limits: Value, budgets: Value) -> Value {
    let mut config = json!({ "backends": { "near": remote(near.url()) } });
    config["limits"] = limits;
    config["budgets"] = budgets;
    config
}

/// How many of fifty calls at once pass.
async fn passed_of_fifty(clients: &[&Client]) -> usize {
    let calls = (0..50).map(|n| clients[n % clients.len()].call("near__echo", json!({})));
    let answers = join_all(calls).await;
    let refused = answers
        .iter()
        .filter(|answer| answer.result()["isError"] == true);
    let codes: Vec<&Value> = refused.map(|answer| &answer.fault()["code"]).collect();
    assert!(
        codes
            .iter()
            .all(|code| [402, 429].contains(&code.as_u64().unwrap_or(0))),
        "{codes:?}"
    );
    answers.len() - codes.len()
}

/// How often a limit or budget has decided so, if that is shown.
async fn decided(front: &Front, policy: &str, name: &str, decision: &str) -> Option<f64> {
    let metrics = front.metrics("switchboard_limit_decisions_total").await;
    let series = format!(
        "switchboard_limit_decisions_total{{decision=\"{decision}\",name=\"{name}\",policy=\"{policy}\"}}"
    );
    metrics.get(&series).copied()
}

#[tokio::test]
async fn who_is_over_a_limit_is_told_when_to_try_again() {
    let near = fake("near").await;
    let limits = json!([{ "name": "hourly", "per": ["principal"], "rate": "2/1h" }]);
    let budgets = json!([{ "name": "daily", "calls": 10, "window": "1d", "tools": ["near__*"] }]);
    let front = Front::started(config(&near, limits.clone(), budgets)).await;
    for _ in 0..2 {
        front.works("near").await;
    }
    let answer = front.client.call("near__echo", json!({})).await;
    let fault = answer.fault();
    assert_eq!(
        (&fault["code"], &fault["reason"]),
        (&json!(429), &json!("rate_limited"))
    );
    assert_eq!(fault["outcome"], "not_sent");
    let retry_after = fault["retryAfterMs"].as_u64().unwrap();
    assert!(
        (1_700_000..=1_800_000).contains(&retry_after),
        "{}",
        answer.raw
    );
    let text = answer.result()["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("The limit \"hourly\" allows 2 calls in 1h"),
        "{text}"
    );
    assert_eq!(near.requests_of(CALL).len(), 2);
    assert_eq!(
        decided(&front, "limit", "hourly", "refused").await,
        Some(1.0)
    );

    // A reload keeps what was counted: of the four calls that pass now two are gone.
    let budgets = json!([{ "name": "daily", "calls": 2, "window": "1d", "tools": ["near__*"] }]);
    front.gateway.rewrite(config(&near, json!([]), budgets));
    front.gateway.hang_up();
    until("the reload", async || {
        front
            .gateway
            .server()
            .output()
            .contains("in force")
            .then_some(())
    })
    .await;
    let answer = front.client.call("near__echo", json!({})).await;
    let fault = answer.fault();
    assert_eq!(
        (&fault["code"], &fault["reason"]),
        (&json!(402), &json!("over_budget"))
    );
    assert_eq!(
        decided(&front, "budget", "daily", "allowed").await,
        Some(2.0)
    );
    let of_removed = decided(&front, "limit", "hourly", "refused").await;
    assert_eq!(of_removed, None, "it is not configured any more");
    front.gateway.stop().await;
}

/// "If one server has been called 50 times, use the alternative."
#[tokio::test]
async fn who_is_over_budget_is_served_by_the_alternative() {
    let (near, far) = (fake("near").await, fake("far").await);
    let front = Front::started(json!({
        "backends": { "near": remote(near.url()), "far": remote(far.url()) },
        "budgets": [{ "name": "near", "backends": ["near"], "calls": 50, "window": "1d" }],
        "fallbacks": [{ "tool": "near__echo", "try": ["far__echo"], "when": ["budget"] }],
    }))
    .await;
    let answers = join_all((0..60).map(|_| front.client.call("near__echo", json!({})))).await;
    let elsewhere = answers.iter().filter(|answer| {
        let served_by = &answer.result()["_meta"][SERVED_BY];
        served_by["attempts"][0]["reason"] == "over_budget" && served_by["backend"] == "far"
    });
    assert_eq!(elsewhere.count(), 10);
    assert_eq!(near.requests_of(CALL).len(), 50);
    assert_eq!(far.requests_of(CALL).len(), 10);
    front.gateway.stop().await;
}

#[tokio::test]
async fn of_fifty_calls_for_the_last_one_exactly_one_passes() {
    let near = fake("near").await;
    let budgets = json!([{ "name": "b", "per": ["principal"], "calls": 1, "window": "31d" }]);
    let front = Front::started(config(&near, json!([]), budgets)).await;
    assert_eq!(passed_of_fifty(&[&front.client]).await, 1);
    assert_eq!(near.requests_of(CALL).len(), 1);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_question_and_its_answer_are_one_call() {
    let asking = AskingHttp::start(Options {
        era: Era::Modern,
        ..Options::default()
    })
    .await;
    let front = Front::started(json!({
        "backends": { "near": remote(&asking.url()) },
        "budgets": [{ "name": "b", "calls": 1, "window": "31d" }],
        "limits": [{ "name": "l", "rate": "1/1h", "concurrency": 1 }],
    }))
    .await;
    let message = declaring(
        call("near__ask_form", &json!({ "mark": "m" })),
        all_capabilities(),
    );
    let asked = front.client.ask(&message).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    let responses = asked.replies(accept);
    let answer = front
        .client
        .ask(&retry(message.clone(), &asked, responses))
        .await;
    assert!(
        !answer.is_input_required() && answer.raw.contains("\"m\""),
        "{}",
        answer.raw
    );
    let refused = front.client.ask(&message).await;
    assert_eq!(refused.fault()["reason"], "rate_limited", "{}", refused.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_held_comes_back_when_it_goes_away_a_thousand_times() {
    let near = fake("near").await;
    let limits = json!([{ "name": "c", "concurrency": 2 }]);
    let front = Front::started(config(&near, limits, json!([]))).await;
    near.fail_calls(Fault::NeverAnswers);
    for round in 0..1_000 {
        near.forget_requests();
        let draft = front.client.draft(&call("near__echo", &json!({})));
        let client = Client::new(front.gateway.url());
        let asking = tokio::spawn(async move { client.send(draft).await });
        let what = format!("call {round} reaches the server");
        soon(&what, || !near.requests_of(CALL).is_empty()).await;
        asking.abort();
        soon("the server hears of its end", || near.in_flight() == 0).await;
    }
    near.behave(Behaviour::default());
    front.works("near").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_was_never_sent_is_not_charged_and_a_streamed_result_is_charged_whole() {
    let near = fake("near").await;
    let budgets = json!([{ "name": "b", "calls": 2, "bytes": "1MiB", "window": "31d" }]);
    let limits = json!([{ "name": "c", "concurrency": 1 }]);
    let front = Front::started(config(&near, limits, budgets)).await;
    near.fail_calls(Fault::Status(429));
    for _ in 0..10 {
        let answer = front.client.call("near__echo", json!({})).await;
        assert_eq!(answer.fault()["reason"], "backend_limit", "{}", answer.raw);
    }
    near.fail_calls(Fault::Huge(2 << 20));
    let answer = front.client.call("near__echo", json!({})).await;
    assert!(answer.raw.len() > 2 << 20, "{} bytes", answer.raw.len());
    near.behave(Behaviour::default());
    let answer = front.client.call("near__echo", json!({})).await;
    assert_eq!(answer.fault()["reason"], "over_budget", "{}", answer.raw);
    let text = answer.result()["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("1048576 bytes"), "{text}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn two_gateways_count_in_one_redis_and_what_a_crash_held_comes_back() {
    let (redis, near) = (RedisServer::start().await, fake("near").await);
    let mut config = config(
        &near,
        json!([{ "name": "c", "concurrency": 1, "tools": ["near__echo"] }]),
        json!([{ "name": "b", "per": ["principal"], "calls": 2, "window": "31d" }]),
    );
    config["store"] = json!({ "redis": redis.url(), "timeout": "5s" });
    let (one, other) = (
        Front::started(config.clone()).await,
        Front::started(config).await,
    );

    // A gateway is killed in the midst of a call: its permit comes back by itself.
    near.fail_calls(Fault::NeverAnswers);
    let draft = one.client.draft(&call("near__echo", &json!({})));
    let client = Client::new(one.gateway.url());
    let asking = tokio::spawn(async move { client.send(draft).await });
    until("the call", async || (near.in_flight() == 1).then_some(())).await;
    let refused = other.client.call("near__echo", json!({})).await;
    assert_eq!(refused.fault()["reason"], "rate_limited", "{}", refused.raw);
    let id = one.gateway.server().id().expect("a running gateway");
    let id = Pid::from_raw(id.cast_signed()).expect("an id");
    kill_process(id, Signal::KILL).expect("it runs");
    asking.abort();
    near.behave(Behaviour::default());
    until("the permit comes back", async || {
        let answer = other.client.call("near__echo", json!({})).await;
        (answer.result()["isError"] != true).then_some(())
    })
    .await;
    let answer = other.client.call("near__echo", json!({})).await;
    assert_eq!(answer.fault()["reason"], "over_budget", "{}", answer.raw);
    other.gateway.stop().await;
}

#[tokio::test]
async fn of_fifty_calls_exactly_one_passes_on_two_gateways_together() {
    let (redis, near) = (RedisServer::start().await, fake("near").await);
    let budgets = json!([{ "name": "b", "per": ["principal"], "calls": 1, "window": "31d" }]);
    let mut config = config(&near, json!([]), budgets);
    config["store"] = json!({ "redis": redis.url(), "timeout": "5s" });
    let (one, other) = (
        Front::started(config.clone()).await,
        Front::started(config).await,
    );
    assert_eq!(passed_of_fifty(&[&one.client, &other.client]).await, 1);
    assert_eq!(near.requests_of(CALL).len(), 1);

    // Without its store a budget refuses, and the answer says so.
    drop(redis);
    until("the store is away", async || {
        let answer = one.client.call("near__echo", json!({})).await;
        (answer.fault()["reason"] == "policy_unavailable").then_some(())
    })
    .await;
    let up = one.metrics("switchboard_store_up").await;
    assert_eq!(up.get("switchboard_store_up"), Some(&0.0), "{up:?}");
    one.gateway.stop().await;
    other.gateway.stop().await;
}
