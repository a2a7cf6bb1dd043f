//! Servers that ask what, when and how often they must not.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::asking::Options;
use switchboard_testkit::client::accept;
use switchboard_testkit::legacy_client::Reply;
use switchboard_tests::asking::{AskingServer, Way, asking_call, content};
use switchboard_tests::waiting::until;

use super::Stage;

/// The most rounds of a call.
const MAX_ROUNDS: usize = 16;

#[tokio::test]
async fn a_server_that_asks_forever_is_cancelled_in_the_end() {
    for way in [Way::Stdio, Way::Post] {
        let server = AskingServer::start(way).await;
        let stage = Stage::with(server, json!({ "timeout": "1s" }), json!({})).await;
        let call = asking_call("a__ask_forever", &json!({ "mark": "modern" }));
        let answer = stage.front.client.converse(&call, accept).await;
        assert!(
            answer.error_code().is_some() || answer.result()["isError"] == true,
            "{way:?}: {}",
            answer.raw
        );
        stage.server.wait_for("cancelled", "modern", 1).await;
        let legacy = stage.legacy(Arc::new(Reply::accept)).await;
        let answer = legacy
            .call("a__ask_forever", json!({ "mark": "legacy" }))
            .await;
        assert!(answer.questions.len() <= MAX_ROUNDS, "{way:?}: {answer:?}");
        assert!(
            answer.error_code().is_some() || answer.result()["isError"] == true,
            "{way:?}: {answer:?}"
        );
        stage.server.wait_for("cancelled", "legacy", 1).await;
        for mark in ["modern", "legacy"] {
            let events = stage.server.events();
            let is_given = |event: &&Value| {
                event["event"] == "answered"
                    && event["mark"] == mark
                    && event["reply"]["result"].is_object()
            };
            let given = events.iter().filter(is_given).count();
            assert!(given <= MAX_ROUNDS, "{way:?} {mark}: {given}");
        }
        stage.works().await;
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_question_after_the_answer_reaches_nobody() {
    for way in Way::ALL {
        for tool in ["ask_after_answer", "ask_outside"] {
            let server = AskingServer::start(way).await;
            let stage = Stage::with(server, json!({}), json!({})).await;
            let answer = stage.call(tool, &json!({ "mark": "m" })).await;
            assert_eq!(content(&answer)["mark"], "m", "{way:?} {tool}");
            stage.server.wait_for("asked", "m", 1).await;
            stage.works().await;
            let legacy = stage.legacy(Arc::new(Reply::accept)).await;
            let arguments = json!({ "mark": "legacy" });
            let answer = legacy.call(&format!("a__{tool}"), arguments).await;
            assert!(answer.questions.is_empty(), "{way:?} {tool}: {answer:?}");
            stage.server.wait_for("asked", "legacy", 1).await;
            let next = legacy.call("a__echo", json!({})).await;
            assert!(next.questions.is_empty(), "{way:?} {tool}: {next:?}");
            stage.works().await;
            assert_eq!(legacy.heard(), Vec::<Value>::new(), "{way:?} {tool}");
            let events = stage.server.events();
            for event in events.iter().filter(|event| {
                event["event"] == "answered"
                    && matches!(event["mark"].as_str(), Some("m" | "legacy"))
            }) {
                assert!(
                    event["reply"]["error"].is_object(),
                    "{way:?} {tool}: {event}"
                );
            }
            stage.front.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_question_outside_of_calls_is_refused_at_once() {
    for way in Way::ALL {
        let options = Options {
            asks_at_once: true,
            ..Options::default()
        };
        let server = AskingServer::with(way, options).await;
        let stage = Stage::with(server, json!({}), json!({})).await;
        stage.works().await;
        until("every question is refused", async || {
            let asked = stage.server.count("asked", "at once");
            (stage.server.count("answered", "at once") == asked && asked >= 1).then_some(())
        })
        .await;
        let events = stage.server.events();
        for event in events
            .iter()
            .filter(|event| event["event"] == "answered" && event["mark"] == "at once")
        {
            assert!(event["reply"]["error"]["code"].is_i64(), "{way:?}: {event}");
        }
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_question_outside_of_calls_reaches_the_one_client_whose_session_it_is() {
    for way in [Way::Stdio, Way::Get, Way::Sse] {
        let server = AskingServer::start(way).await;
        let stage = Stage::with(server, json!({ "sessions": "per_client" }), json!({})).await;
        let anna = stage.legacy(Arc::new(Reply::accept)).await;
        let ben = stage.legacy(Arc::new(Reply::accept)).await;
        anna.listen().await;
        ben.listen().await;
        ben.call("a__echo", json!({})).await;
        let mut times = 0;
        until("Anna is asked outside of her calls", async || {
            times += 1;
            let mark = format!("annas {times}");
            anna.call("a__ask_outside", json!({ "mark": mark })).await;
            stage.server.wait_for("answered", &mark, 1).await;
            let events = stage.server.events();
            let answered = events
                .iter()
                .find(|event| event["event"] == "answered" && event["mark"] == *mark)
                .expect("an answer");
            // One that overtakes the answer to the call is the call's, and ends with it.
            if answered["reply"]["error"].is_object() {
                return None;
            }
            let repeated = &answered["reply"]["result"]["content"]["answer"];
            let repeated = repeated.as_str().unwrap_or_default();
            assert!(repeated.contains(&mark), "{way:?}: {answered}");
            Some(())
        })
        .await;
        assert!(!anna.heard().is_empty(), "{way:?}");
        for heard in anna.heard() {
            assert!(heard.to_string().contains("annas"), "{way:?}: {heard}");
        }
        assert_eq!(ben.heard(), Vec::<Value>::new(), "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_question_outside_of_calls_has_no_secrets() {
    const SECRET: &str = "of-the-gateway-4f1b77";
    for way in [Way::Stdio, Way::Get, Way::Sse] {
        let server = AskingServer::start(way).await;
        let redaction = json!({ "redaction": { "secrets": [SECRET] } });
        let stage = Stage::with(server, json!({ "sessions": "per_client" }), redaction).await;
        let anna = stage.legacy(Arc::new(Reply::accept)).await;
        anna.listen().await;
        let mut times = 0;
        until("she is asked outside of her calls", async || {
            times += 1;
            let mark = format!("{SECRET} {times}");
            anna.call("a__ask_outside", json!({ "mark": mark })).await;
            stage.server.wait_for("answered", &mark, 1).await;
            let events = stage.server.events();
            let answered = events
                .iter()
                .find(|event| event["event"] == "answered" && event["mark"] == *mark);
            // One that overtakes the answer to the call is the call's, and ends with it.
            let reply = &answered.expect("an answer")["reply"];
            reply["error"].is_null().then_some(())
        })
        .await;
        let heard = serde_json::to_string(&anna.heard()).expect("JSON");
        assert!(heard.contains("[redacted:secret]"), "{way:?}: {heard}");
        assert!(!heard.contains(SECRET), "{way:?}: {heard}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn answers_to_requests_that_were_never_made_change_nothing() {
    for way in Way::ALL {
        let server = AskingServer::start(way).await;
        let stage = Stage::with(server, json!({}), json!({})).await;
        for _ in 0..3 {
            let answer = stage
                .call("answer_never_sent", &json!({ "mark": "m" }))
                .await;
            assert_eq!(content(&answer)["mark"], "m", "{way:?}");
        }
        stage.works().await;
        stage.front.gateway.stop().await;
    }
}
