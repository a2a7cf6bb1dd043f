//! Servers that end all the time: how often they are started again.

use serde_json::json;
use switchboard_testkit::client::Answer;
use switchboard_tests::front::{Front, assert_fault, faulty};
use switchboard_tests::waiting::until;

use super::{PROMPT, counted, counting_starts, front, process, starts};

/// Calls the bad server once, as long as it is not left alone.
async fn call_until_left_alone(front: &Front) -> Answer {
    until("it is left alone", async || {
        let answer = front.client.call("bad__echo", json!({})).await;
        let text = answer.result()["content"][0]["text"].as_str()?;
        text.contains("left alone for 5 minutes").then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_server_that_ends_after_so_many_calls_is_started_again() {
    let front = front(faulty(&["--exit-after", "3"])).await;
    let before = process(&front).await;
    for _ in 0..2 {
        assert_eq!(process(&front).await, before);
    }
    let answer = front.client.call("bad__echo", json!({})).await;
    assert_fault(&answer, 502, "bad");
    assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
    let another = async || {
        let answer = front.client.call("bad__echo", json!({})).await;
        answer.result()["structuredContent"]["server"]["pid"].as_u64()
    };
    let another = front
        .beside("good", PROMPT, until("another process", another))
        .await;
    assert_ne!(another, before);
    let restarts = counted(&front, "switchboard_backend_restarts_total", "").await;
    assert_eq!(restarts, 1.0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_before_it_reads_is_started_once_a_try() {
    let (mut bad, noted) = counting_starts("exit 3");
    bad["restarts"] = json!({ "max": 2 });
    let front = Front::of(json!({ "bad": bad })).await;
    let missing = until("it is left alone", async || {
        let missing = front.missing().await.remove("bad")?;
        (missing["state"] == "needs_attention").then_some(missing)
    })
    .await;
    let reason = missing["reason"].as_str().expect("a reason");
    assert!(reason.contains("exit code 3"), "{reason}");
    assert_eq!(starts(&noted), 3);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_on_the_question_for_its_era_gets_a_fresh_start() {
    let flags = "--era legacy --exit-before-initialize";
    let (bad, noted) = counting_starts(&format!("exec \"$0\" {flags}"));
    let front = front(bad).await;
    assert_eq!(starts(&noted), 2);
    process(&front).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn sessions_whose_processes_keep_ending_cost_no_start_for_each_call() {
    let (mut bad, noted) = counting_starts("exec \"$0\" --era legacy --exit-on-call 7");
    bad["restarts"] = json!({ "max": 2 });
    bad["era"] = json!("legacy");
    bad["breaker"] = json!({ "consecutive_failures": 1000, "min_calls": 1000 });
    let front = front(bad).await;
    assert_eq!(starts(&noted), 1, "for the lists");
    let calls = call_until_left_alone(&front);
    let answer = front.beside("good", PROMPT, calls).await;
    assert_fault(&answer, 503, "bad");
    assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
    let text = answer.result()["content"][0]["text"].to_string();
    assert!(text.contains("exit code 7"), "{text}");
    assert_eq!(starts(&noted), 1 + 3);
    for _ in 0..20 {
        let answer = front.client.call("bad__echo", json!({})).await;
        assert_fault(&answer, 503, "bad");
    }
    assert_eq!(starts(&noted), 1 + 3);
    // The lists are there all the same.
    assert!(!front.missing().await.contains_key("bad"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_opened_again_when_the_configuration_is_loaded_again() {
    let (mut bad, noted) = counting_starts("exec \"$0\" --era legacy --exit-on-call 7");
    bad["restarts"] = json!({ "max": 1 });
    bad["era"] = json!("legacy");
    bad["breaker"] = json!({ "consecutive_failures": 1000, "min_calls": 1000 });
    let config = json!({ "server": { "watch_config": false }, "backends": { "bad": bad } });
    let front = Front::start(config.clone()).await;
    front.wait_until("bad", true).await;
    call_until_left_alone(&front).await;
    let before = starts(&noted);
    front.gateway.rewrite(config);
    front.gateway.hang_up();
    until("another start", async || {
        front.client.call("bad__echo", json!({})).await;
        (starts(&noted) > before).then_some(())
    })
    .await;
    front.gateway.stop().await;
}
