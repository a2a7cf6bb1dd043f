//! Local processes.

use serde_json::json;
use switchboard_tests::front::{Front, assert_fault, faulty};
use switchboard_tests::waiting::until;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::{PROMPT, assert_ok, beginning, beside, call, front, recovers};

const ERAS: [&str; 2] = ["modern", "legacy"];

async fn ignored(front: &Front) -> f64 {
    let counts = front
        .metrics("switchboard_backend_ignored_messages_total")
        .await;
    let of_bad = counts.iter().filter(|(name, _)| name.contains("\"bad\""));
    of_bad.map(|(_, count)| count).sum()
}

async fn restarts(front: &Front) -> f64 {
    let counts = front.metrics("switchboard_backend_restarts_total").await;
    let of_bad = counts.iter().filter(|(name, _)| name.contains("\"bad\""));
    of_bad.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn noise_on_standard_output_is_ignored_and_counted() {
    let noises = [
        "--banner",
        "--half-message",
        "--invalid-utf8",
        "--unknown-ids",
        "--duplicate-answers",
    ];
    for era in ERAS {
        for noise in noises {
            let front = front(faulty(&["--era", era, noise])).await;
            for at in 0..5 {
                let answer = call(&front, "echo", json!({ "at": at })).await;
                assert_eq!(answer.result()["structuredContent"]["arguments"]["at"], at);
            }
            let what = format!("{era} {noise} is counted");
            until(&what, async || (ignored(&front).await > 0.0).then_some(())).await;
            assert_eq!(restarts(&front).await, 0.0, "{era} {noise}");
            front.gateway.stop().await;
        }
        let all: Vec<&str> = ["--era", era].into_iter().chain(noises).collect();
        let front = front(faulty(&all)).await;
        assert_ok(&call(&front, "echo", json!({})).await);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_process_that_exits_fails_its_calls_at_once_and_is_started_again() {
    for era in ERAS {
        let front = front(faulty(&["--era", era])).await;
        let hanging = tokio::spawn({
            let client = front.client.clone();
            async move { client.call("bad__hang", json!({})).await }
        });
        until("a call in flight", async || {
            let in_flight = front.metrics("switchboard_calls_in_flight").await;
            in_flight.values().any(|count| *count >= 1.0).then_some(())
        })
        .await;
        let exited = call(&front, "exit", json!({ "code": 7 })).await;
        let hanging = hanging.await.expect("an answer");
        for answer in [&exited, &hanging] {
            assert_fault(answer, 502, "bad");
            assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
        }
        recovers(&front, json!({})).await;
        assert_eq!(restarts(&front).await, 1.0);
        front.wait_until("bad", true).await;
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn half_an_answer_before_the_end_is_no_answer() {
    for flags in [
        &["--exit-on-call", "9", "--half-message"][..],
        &["--exit-on-call", "0"],
        &["--era", "legacy", "--exit-on-call", "1"],
    ] {
        let front = front(faulty(flags)).await;
        let answer = call(&front, "echo", json!({})).await;
        assert_fault(&answer, 502, "bad");
        assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
        let attempts = answer.fault()["attempts"].as_array().expect("attempts");
        assert_eq!(attempts[0]["backend"], "bad");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_line_without_end_fails_its_call_and_no_more() {
    let mut bad = faulty(&["--endless-line"]);
    bad["max_message_bytes"] = json!(64 * 1024);
    let front = front(bad).await;
    for _ in 0..2 {
        let answer = call(&front, "hang", json!({})).await;
        assert_fault(&answer, 502, "bad");
        recovers(&front, json!({})).await;
    }
    let kib = front.memory().resident;
    assert!(kib < 200 * 1024, "{kib} KiB resident");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_fails_its_call_and_no_more() {
    for era in ERAS {
        let mut bad = faulty(&["--era", era]);
        bad["max_message_bytes"] = json!(64 * 1024);
        let front = front(bad).await;
        let long = json!({ "text": "x".repeat(100_000) });
        for _ in 0..3 {
            let answer = call(&front, "echo", long.clone()).await;
            assert_fault(&answer, 502, "bad");
            assert_ok(&call(&front, "echo", json!({})).await);
        }
        assert_eq!(restarts(&front).await, 0.0);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_server_is_refused_what_it_may_not_ask() {
    // A legacy server gets an error at once, and an answer to its ping.
    let legacy = front(faulty(&["--era", "legacy", "--asks"])).await;
    let answer = call(&legacy, "echo", json!({})).await;
    assert_ok(&answer);
    let replies = &answer.result()["structuredContent"]["server"]["replies"];
    let replies = replies.as_array().expect("replies");
    assert_eq!(replies.len(), 3, "{}", answer.raw);
    let refused = replies
        .iter()
        .filter(|reply| reply["error"]["code"] == -32601);
    assert_eq!(refused.count(), 2, "{}", answer.raw);
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply["result"].is_object())
            .count(),
        1
    );
    assert!(ignored(&legacy).await >= 2.0);
    legacy.gateway.stop().await;

    // To a modern server no response may be written at all (2026-07-28 basic/transports/stdio,
    // Sending Messages).
    let modern = front(faulty(&["--asks"])).await;
    for _ in 0..3 {
        let answer = call(&modern, "delay", json!({ "ms": 50 })).await;
        assert_ok(&answer);
        let replies = &answer.result()["structuredContent"]["server"]["replies"];
        assert_eq!(*replies, json!([]), "{}", answer.raw);
    }
    assert!(ignored(&modern).await >= 2.0);
    modern.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_hangs_fails_at_the_timeout() {
    for era in ERAS {
        let mut bad = faulty(&["--era", era]);
        bad["timeout"] = json!("700ms");
        let front = front(bad).await;
        let answer = call(&front, "hang", json!({})).await;
        assert_fault(&answer, 504, "bad");
        assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
        // Progress is no reason to go on for ever.
        let meta = json!({ "progressToken": 1 });
        let arguments = json!({ "n": 1000, "ms": 20, "name": "endless" });
        let params = json!({ "name": "bad__report", "arguments": arguments, "_meta": meta });
        let began = Instant::now();
        let answer = beside(&front, front.client.request("tools/call", params)).await;
        assert!(began.elapsed() < PROMPT);
        assert!(!answer.notifications.is_empty());
        assert_fault(&answer, 504, "bad");
        assert_ok(&call(&front, "echo", json!({})).await);
        assert_eq!(restarts(&front).await, 0.0);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_flood_on_standard_error_stalls_nothing() {
    let front = front(faulty(&["--stderr-flood", "10000000"])).await;
    for _ in 0..3 {
        assert_ok(&call(&front, "echo", json!({})).await);
    }
    // What is logged of it is bounded.
    assert!(front.gateway.server().output().len() < 200_000);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_reading_is_given_up() {
    let file = NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path in UTF-8").to_owned();
    let mut bad = faulty(&["--stop-reading", "--while-exists", &path]);
    bad["timeout"] = json!("1s");
    let front = front(bad).await;
    let large = json!({ "text": "x".repeat(1 << 20) });
    assert_fault(&call(&front, "echo", large.clone()).await, 504, "bad");
    file.close().expect("the file is ours");
    // More than the pipe takes: the gateway gives up the process and starts another, which reads.
    recovers(&front, large).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_at_its_start_is_tried_again() {
    for era in ["modern", "legacy", "auto"] {
        let file = NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("a path in UTF-8").to_owned();
        let mut bad = faulty(&["--exit-at-start", "--while-exists", &path]);
        if era == "legacy" {
            bad = faulty(&[
                "--exit-at-start",
                "--while-exists",
                &path,
                "--era",
                "legacy",
            ]);
        }
        bad["era"] = json!(era);
        let front = beginning(bad).await;
        let missing = until("the backend is unavailable", async || {
            let missing = front.missing().await.remove("bad")?;
            (missing["state"] == "unavailable").then_some(missing)
        })
        .await;
        assert!(
            missing["reason"]
                .as_str()
                .is_some_and(|text| text.contains('3')),
            "{missing}"
        );
        assert!(
            missing["since"].is_string() && missing["action"].is_string(),
            "{missing}"
        );
        let answer = call(&front, "echo", json!({})).await;
        assert_fault(&answer, 503, "bad");
        assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
        file.close().expect("the file is ours");
        beside(&front, front.wait_until("bad", true)).await;
        front.works("bad").await;
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named_as_such() {
    let front = beginning(json!({ "command": "no-such-program-anywhere" })).await;
    let missing = until("the backend is unavailable", async || {
        let missing = front.missing().await.remove("bad")?;
        (missing["state"] == "unavailable").then_some(missing)
    })
    .await;
    assert!(
        missing["reason"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{missing}"
    );
    assert_fault(&call(&front, "echo", json!({})).await, 503, "bad");
    front.gateway.stop().await;
}
