//! Answers that nobody asked for, questions that nobody may ask, and no answers at all.

use serde_json::json;
use switchboard_tests::front::{Front, assert_fault, faulty};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{ERAS, PROMPT, did, front, ignored, misbehave, misbehaving, process};

#[tokio::test]
async fn an_answer_that_comes_twice_counts_once() {
    for era in ERAS {
        let front = front(faulty(&["--duplicate-answers", "--era", era])).await;
        let before = process(&front).await;
        for at in 0..20 {
            let answer = front.client.call("bad__echo", json!({ "at": at })).await;
            let echoed = &answer.result()["structuredContent"]["arguments"]["at"];
            assert_eq!(*echoed, at, "{}", answer.raw);
        }
        assert_eq!(process(&front).await, before);
        // The last one may still be on its way.
        assert!(ignored(&front, "unknown_id").await >= 20.0);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_server_answers_no_other_servers_calls() {
    for era in ERAS {
        let front = front(misbehaving(era)).await;
        let before = process(&front).await;
        let mut waiting = JoinSet::new();
        for at in 0..8 {
            let client = front.client.clone();
            waiting.spawn(async move {
                let arguments = json!({ "ms": 1500, "at": at });
                let answer = client.call("good__delay", arguments.clone()).await;
                let content = &answer.result()["structuredContent"];
                assert_eq!(content["arguments"], arguments, "{}", answer.raw);
                assert_eq!(content["server"]["label"], "good", "{}", answer.raw);
            });
        }
        while !waiting.is_empty() {
            did(&misbehave(&front, json!({ "evil": "answer_others" })).await);
            while let Some(answered) = waiting.try_join_next() {
                answered.expect("the good server's own answer");
            }
        }
        assert!(ignored(&front, "unknown_id").await > 100.0);
        assert_eq!(process(&front).await, before);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn whatever_a_server_asks_unasked_is_refused_or_ignored() {
    for era in ERAS {
        let front = front(misbehaving(era)).await;
        let before = process(&front).await;
        let listed = front.client.request("tools/list", json!({})).await;
        for _ in 0..20 {
            let answer = misbehave(&front, json!({ "evil": "ask_everything" })).await;
            did(&answer);
            assert!(answer.notifications.is_empty(), "{}", answer.raw);
        }
        // All requests but pings.
        assert_eq!(
            ignored(&front, "unexpected_request").await,
            20.0 * 7.0,
            "{era}"
        );
        assert!(ignored(&front, "dropped_notification").await > 0.0);
        assert_eq!(process(&front).await, before);
        let listed_now = front.client.request("tools/list", json!({})).await;
        assert_eq!(listed.result()["tools"], listed_now.result()["tools"]);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_until_the_deadline() {
    for era in ERAS {
        let mut bad = faulty(&["--never-answers", "--era", era]);
        bad["timeout"] = json!("1s");
        let front = Front::of(json!({ "bad": bad, "good": faulty(&["--label", "good"]) })).await;
        front.wait_until("good", true).await;
        let began = Instant::now();
        let call = front.client.call("bad__echo", json!({}));
        let answer = front.beside("good", PROMPT, call).await;
        assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
        assert_fault(&answer, 503, "bad");
        assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
        front.gateway.stop().await;
    }
}
