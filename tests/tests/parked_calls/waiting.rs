//! Servers that stop waiting, clients that never come back, and the bounds of it all.

use serde_json::{Value, json};
use switchboard_testkit::asking::RESOURCE_URI;
use switchboard_testkit::client::{accept, all_capabilities, declaring, message, retry};
use switchboard_tests::asking::{
    AskingServer, Way, accepted, asking_call, assert_invalid, content,
};
use switchboard_tests::waiting::until;

use super::Stage;

/// Too long for any test.
const FOREVER_MS: u64 = 600_000;

#[tokio::test]
async fn a_server_that_stops_waiting_leaves_its_outcome_for_the_retry() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        for (tool, said) in [
            ("ask_and_withdraw", "withdrew"),
            ("ask_and_give_up", "gave_up"),
        ] {
            let arguments = json!({ "mark": tool, "ms": 300 });
            let (first, asked) = stage.park(tool, &arguments).await;
            stage.server.wait_for("end", tool, 1).await;
            let again = retry(first, &asked, accepted(&asked, "late"));
            for _ in 0..2 {
                let answer = stage.front.client.ask(&again).await;
                assert_eq!(content(&answer)[said], true, "{way:?}: {}", answer.raw);
            }
            assert_eq!(stage.server.count("begin", tool), 1, "{way:?}");
            assert_eq!(stage.server.count("answered", tool), 0, "{way:?}");
        }
        assert_eq!(stage.server.count_all("cancelled"), 0, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_never_comes_back_costs_one_cancelled_call() {
    for way in Way::ALL {
        let server = AskingServer::start(way).await;
        let config = json!({ "parked_calls": { "timeout": "500ms" } });
        let stage = Stage::with(server, config).await;
        let (first, asked) = stage.park("ask_form", &json!({ "mark": "m" })).await;
        stage.server.wait_for("cancelled", "m", 1).await;
        let late = retry(first, &asked, accepted(&asked, "late"));
        assert_invalid(&stage.front.client.ask(&late).await, "expired");
        let echo = stage
            .front
            .client
            .ask(&asking_call("a__echo", &json!({})))
            .await;
        content(&echo);
        assert_eq!(stage.server.count("answered", "m"), 0, "{way:?}");
        assert_eq!(stage.server.count("cancelled", "m"), 1, "{way:?}");
        assert_eq!(stage.server.count_all("cancelled_nothing"), 0, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_leg_that_is_dropped_cancels_the_call_once() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let client = &stage.front.client;
        // Before anything is asked.
        let message = asking_call("a__hang", &json!({ "mark": "early" }));
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.ask(&message).await }
        });
        stage.server.wait_for("begin", "early", 1).await;
        waiting.abort();
        stage.server.wait_for("cancelled", "early", 1).await;
        // When it was answered.
        let arguments = json!({ "mark": "late", "then_ms": FOREVER_MS });
        let (first, asked) = stage.park("ask_form", &arguments).await;
        let again = retry(first, &asked, accepted(&asked, "mine"));
        let waiting = tokio::spawn({
            let (client, again) = (client.clone(), again.clone());
            async move { client.ask(&again).await }
        });
        stage.server.wait_for("answered", "late", 1).await;
        waiting.abort();
        stage.server.wait_for("cancelled", "late", 1).await;
        assert_invalid(&client.ask(&again).await, "cancelled");
        let echo = client.ask(&asking_call("a__echo", &json!({}))).await;
        content(&echo);
        assert_eq!(stage.server.count_all("cancelled"), 2, "{way:?}");
        assert_eq!(stage.server.count_all("cancelled_nothing"), 0, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn prompts_and_resources_ask_too() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let client = &stage.front.client;
        let prompt = json!({ "name": "a__asking", "arguments": { "mark": "m" } });
        let prompt = declaring(message("prompts/get", prompt), all_capabilities());
        let answer = client.converse(&prompt, accept).await;
        let text = &answer.result()["messages"][0]["content"]["text"];
        let text = text.as_str().unwrap_or_default();
        assert!(text.contains("asking m 1 of"), "{way:?}: {}", answer.raw);
        let read = message("resources/read", json!({ "uri": RESOURCE_URI }));
        let read = declaring(read, all_capabilities());
        let answer = client.converse(&read, accept).await;
        let text = answer.result()["contents"][0]["text"].as_str();
        let text = text.unwrap_or_default();
        assert!(text.contains("\"accept\""), "{way:?}: {}", answer.raw);
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn two_questions_at_once_come_together_and_missing_answers_are_asked_for_again() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let client = &stage.front.client;
        let kinds = json!(["form", "sample", "roots", "url"]);
        let arguments = json!({ "mark": "m", "kinds": kinds });
        let (first, asked) = stage.park("ask_two", &arguments).await;
        let questions = asked.questions();
        assert_eq!(questions.len(), 4, "{way:?}: {}", asked.raw);
        let reply = |only: &dyn Fn(&Value) -> bool| {
            let replies = questions.iter().filter(|(_, question)| only(question));
            let replies = replies.map(|(key, question)| (key.clone(), accept(question)));
            Value::Object(replies.collect())
        };
        let is_roots = |question: &Value| question["method"] == "roots/list";
        let partly = retry(first.clone(), &asked, reply(&is_roots));
        let again = client.ask(&partly).await;
        assert_eq!(again.questions().len(), 3, "{way:?}: {}", again.raw);
        let rest = retry(first, &again, reply(&|question| !is_roots(question)));
        let answer = client.ask(&rest).await;
        let replies = content(&answer)["replies"].as_array().expect("replies");
        assert!(replies[1]["result"]["model"].is_string(), "{}", answer.raw);
        assert!(replies[2]["result"]["roots"].is_array(), "{}", answer.raw);
        assert_eq!(stage.server.count("answered", "m"), 4, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn beyond_the_bounds_a_question_is_refused_and_the_call_goes_on() {
    for bound in ["max", "max_per_principal"] {
        let server = AskingServer::start(Way::Stdio).await;
        let stage = Stage::with(server, json!({ "parked_calls": { bound: 1 } })).await;
        let (first, asked) = stage.park("ask_form", &json!({ "mark": "first" })).await;
        let second = asking_call("a__ask_form", &json!({ "mark": "second" }));
        let answer = stage.front.client.ask(&second).await;
        let refusal = &content(&answer)["replies"][0]["error"]["code"];
        assert!(refusal.is_i64(), "{bound}: {}", answer.raw);
        let again = retry(first, &asked, accepted(&asked, "mine"));
        content(&stage.front.client.ask(&again).await);
        // The place is free again.
        stage.park("ask_form", &json!({ "mark": "third" })).await;
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn calls_that_wait_hold_up_neither_others_nor_the_end() {
    let stage = Stage::of(Way::Stdio).await;
    let (_, _) = stage.park("ask_form", &json!({ "mark": "m" })).await;
    for _ in 0..5 {
        content(&stage.front.client.call("a__echo", json!({})).await);
        let echo = stage
            .front
            .client
            .ask(&asking_call("a__echo", &json!({})))
            .await;
        content(&echo);
    }
    let below = stage.front.census().await.processes;
    assert!(below >= 2, "{below} processes");
    stage.front.gateway.stop().await;
    until("the process is gone", async || {
        (stage.server.count_all("closed") == stage.server.count_all("opened")).then_some(())
    })
    .await;
}
