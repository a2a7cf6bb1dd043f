//! Ten times as many calls as fit: as many as fit are answered whatever else is offered, the rest is
//! told when to try again while those are under way, and afterwards all is as before.
//!
//! The server holds the calls of a wave until the rest of it was refused, so that no clock decides
//! what is counted. How much is done a second under such a load is judged by `switchboard-bench
//! overload`.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fault::FaultServer;
use switchboard_tests::front::Front;
use tokio::task::JoinSet;

/// How many calls fit.
const FIT: usize = 4;
/// How many are offered in an overload.
const MANY: usize = 10 * FIT;
/// How often they are.
const WAVES: usize = 5;

/// Offers so many calls at once, of which the server answers none until those that do not fit were
/// refused: these were not executed, and are told when to try again. All others are answered.
async fn wave(front: &Front, server: &FaultServer, name: &str, offered: usize) {
    server.hold();
    let mut calling = JoinSet::new();
    for number in 0..offered {
        let key = format!("{name} {number}");
        let client = Client::new(front.gateway.url());
        calling.spawn(async move {
            let answer = client.call("slow__write", json!({ "key": key })).await;
            (key, answer)
        });
    }
    for _ in FIT..offered {
        let (key, answer) = next(&mut calling).await;
        assert!(has_hint(&answer), "{} {}", answer.status, answer.raw);
        assert_eq!(server.journal().of(&key).executed, 0, "{key} was executed");
    }
    server.release();
    while !calling.is_empty() {
        let (key, answer) = next(&mut calling).await;
        let answered = &answer.result()["structuredContent"]["key"];
        assert_eq!(*answered, key, "{} {}", answer.status, answer.raw);
        assert_eq!(server.journal().of(&key).executed, 1, "{key}");
    }
}

async fn next(calling: &mut JoinSet<(String, Answer)>) -> (String, Answer) {
    let called = calling.join_next().await.expect("a call");
    called.expect("every call is answered")
}

/// Whether a refusal says when to try again: in HTTP's words before a call exists, in ours after.
fn has_hint(answer: &Answer) -> bool {
    let fault = answer.fault();
    if fault.is_object() {
        return fault["outcome"] == "not_sent"
            && fault["retryable"] == true
            && fault["retryAfterMs"].is_u64();
    }
    answer.status == 503 && answer.headers.contains_key("retry-after")
}

/// Offers ten times what fits to a gateway with this configuration, in front of a server as `slow`.
async fn holds_under_overload(mut config: Value) {
    let server = FaultServer::start("slow", Era::Modern).await;
    config["backends"]["slow"]["url"] = json!(server.url());
    let front = Front::start(config).await;
    front.wait_until("slow", true).await;

    for number in 0..WAVES {
        wave(&front, &server, &format!("overload {number}"), MANY).await;
        // Every place is free again, and the backend is not held for ill.
        wave(&front, &server, &format!("after {number}"), FIT).await;
    }
    front.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_a_cap_answers_what_fits() {
    // However late a busy machine is, it is the cap that refuses.
    let server = json!({ "max_in_flight": FIT, "max_queue_delay": 0 });
    holds_under_overload(json!({ "server": server })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_with_a_cap_answers_what_fits() {
    let bulkhead = json!({ "max_concurrent": FIT, "max_queue": FIT, "queue_timeout": "200ms" });
    holds_under_overload(json!({
        "server": { "max_queue_delay": 0 },
        "backends": { "slow": { "bulkhead": bulkhead } },
    }))
    .await;
}
