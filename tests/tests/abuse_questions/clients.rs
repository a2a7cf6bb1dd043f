//! Legacy clients that answer wrongly, or not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_testkit::legacy_client::{Answer, LegacyClient, Reply};
use switchboard_tests::asking::{AskingServer, Way};
use switchboard_tests::waiting::until;

use super::Stage;

async fn stage(way: Way) -> Stage {
    // A call waits no longer than this for its client.
    let config = json!({ "parked_calls": { "timeout": "1s" } });
    Stage::with(AskingServer::start(way).await, json!({}), config).await
}

fn result_of(question: &Value, result: Value) -> Value {
    let mut message = json!({ "jsonrpc": "2.0", "id": question["id"] });
    message["result"] = result;
    message
}

/// The next question on a stream.
async fn question(exchange: &mut switchboard_testkit::client::Exchange) -> Value {
    let question = exchange.next().await.expect("a message");
    assert_eq!(question["method"], "elicitation/create", "{question}");
    question
}

fn reply(answer: &Answer) -> &Value {
    let replies = &answer.result()["structuredContent"]["replies"];
    assert!(replies.is_array(), "{answer:?}");
    &replies[0]
}

#[tokio::test]
async fn the_second_of_two_answers_goes_nowhere() {
    for way in Way::ALL {
        let stage = stage(way).await;
        let twice = |question: &Value| {
            let of = |text: &str| {
                let accepted = json!({ "action": "accept", "content": { "answer": text } });
                result_of(question, accepted)
            };
            Reply::Messages(vec![of("one"), of("two"), of("two")])
        };
        let client = stage.legacy(Arc::new(twice)).await;
        let answer = client.call("a__ask_form", json!({ "mark": "m" })).await;
        assert_eq!(reply(&answer)["result"]["content"]["answer"], "one");
        until("all answers were posted", async || {
            (client.reply_statuses().len() == 3).then_some(())
        })
        .await;
        assert!(
            client
                .reply_statuses()
                .iter()
                .all(|status| !status.is_server_error())
        );
        stage.works().await;
        assert_eq!(stage.server.count("answered", "m"), 1, "{way:?}");
        assert_eq!(stage.server.count_all("stray"), 0, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_never_answers_is_told_so_and_the_server_too() {
    for way in Way::ALL {
        let stage = stage(way).await;
        let client = stage.legacy(Arc::new(|_| Reply::Nothing)).await;
        let answer = client.call("a__ask_form", json!({ "mark": "m" })).await;
        assert!(
            answer.result()["isError"] == true || answer.error_code().is_some(),
            "{way:?}: {answer:?}"
        );
        until("the server's call is over", async || {
            let over = stage.server.count("cancelled", "m") + stage.server.count("end", "m");
            (over == 1).then_some(())
        })
        .await;
        assert_eq!(stage.server.count_all("cancelled_nothing"), 0, "{way:?}");
        stage.works().await;
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_to_anothers_question_goes_nowhere() {
    let stage = stage(Way::Stdio).await;
    let silent = || Arc::new(|_: &Value| Reply::Nothing);
    let anna = stage.legacy(silent()).await;
    let ben = stage.legacy(silent()).await;
    let ask = async |client: &LegacyClient, mark: &str| {
        let message = client.call_message("a__ask_form", json!({ "mark": mark }));
        let mut exchange = client.start(&message).await;
        let question = question(&mut exchange).await;
        (message["id"].clone(), exchange, question)
    };
    // Ben is asked twice, so that he has an id that Anna has not.
    let (bens_first, bens_first_stream, first) = ask(&ben, "ben first").await;
    let (bens_second, bens_second_stream, second) = ask(&ben, "ben second").await;
    let (annas, annas_stream, annas_question) = ask(&anna, "anna").await;
    let of = |question: &Value, text: &str| {
        let accepted = json!({ "action": "accept", "content": { "answer": text } });
        result_of(question, accepted)
    };
    for question in [&first, &second] {
        if question["id"] != annas_question["id"] {
            let status = anna.post(&of(question, "annas")).await;
            assert!(!status.is_server_error(), "{status}");
        }
    }
    for stranger in [
        json!("stranger"),
        json!(-1),
        json!(1.5),
        json!(null),
        json!(999_999),
    ] {
        let stranger = json!({ "id": stranger });
        let status = anna.post(&of(&stranger, "annas")).await;
        assert!(!status.is_server_error(), "{status}");
    }
    anna.post(&of(&annas_question, "annas")).await;
    ben.post(&of(&second, "bens second")).await;
    ben.post(&of(&first, "bens first")).await;
    let expected = [
        (&anna, annas_stream, annas, "annas"),
        (&ben, bens_first_stream, bens_first, "bens first"),
        (&ben, bens_second_stream, bens_second, "bens second"),
    ];
    for (client, stream, id, text) in expected {
        let answer = client.follow(stream, &id).await;
        assert_eq!(reply(&answer)["result"]["content"]["answer"], text);
    }
    assert_eq!(stage.server.count_all("answered"), 3);
    assert_eq!(stage.server.count_all("stray"), 0);
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn an_answer_of_the_wrong_form_ends_the_call_and_leaves_nothing() {
    let stage = stage(Way::Stdio).await;
    let wrong = [
        json!({ "result": 17 }),
        json!({ "result": null }),
        json!({ "result": [] }),
        json!({ "result": {} }),
        json!({ "result": { "action": "maybe" } }),
        json!({ "result": { "action": "accept", "content": 17 } }),
        json!({ "error": {} }),
        json!({ "error": 17 }),
        json!({}),
        json!({ "result": { "action": "decline" }, "error": { "code": 1, "message": "x" } }),
    ];
    let one = async |(at, wrong): (usize, Value)| {
        let mark = format!("wrong {at}");
        let members = wrong.clone();
        let replies = move |question: &Value| {
            let mut message = members.clone();
            message["jsonrpc"] = json!("2.0");
            message["id"] = question["id"].clone();
            Reply::Messages(vec![message])
        };
        let client = stage.legacy(Arc::new(replies)).await;
        let answer = client.call("a__ask_form", json!({ "mark": mark })).await;
        assert!(answer.response.is_object(), "{wrong}: {answer:?}");
        assert!(
            client
                .reply_statuses()
                .iter()
                .all(|status| !status.is_server_error())
        );
        until("the server's call is over", async || {
            let over = stage.server.count("cancelled", &mark) + stage.server.count("end", &mark);
            (over == 1).then_some(())
        })
        .await;
        assert!(stage.server.count("answered", &mark) <= 1, "{wrong}");
    };
    join_all(wrong.into_iter().enumerate().map(one)).await;
    stage.works().await;
    assert_eq!(stage.server.count_all("stray"), 0);
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn an_error_of_the_client_reaches_the_server() {
    for way in Way::ALL {
        let stage = stage(way).await;
        let client = stage
            .legacy(Arc::new(|_| Reply::Error(-1, "not now")))
            .await;
        let answer = client.call("a__ask_form", json!({ "mark": "m" })).await;
        let error = json!({ "code": -1, "message": "not now" });
        assert_eq!(reply(&answer)["error"], error, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_session_that_ends_while_it_is_asked_cancels_the_call_once() {
    for way in Way::ALL {
        let stage = stage(way).await;
        let client = stage.legacy(Arc::new(|_| Reply::Nothing)).await;
        let message = client.call_message("a__ask_form", json!({ "mark": "m" }));
        let mut exchange = client.start(&message).await;
        question(&mut exchange).await;
        assert!(client.delete().await.is_success());
        until("the server's call is over", async || {
            let over = stage.server.count("cancelled", "m") + stage.server.count("end", "m");
            (over == 1).then_some(())
        })
        .await;
        assert_eq!(stage.server.count_all("cancelled_nothing"), 0, "{way:?}");
        let answer = client.call("a__echo", json!({})).await;
        assert_eq!(answer.status, 404, "{way:?}: {answer:?}");
        stage.works().await;
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_after_the_call_was_cancelled_goes_nowhere() {
    let stage = stage(Way::Stdio).await;
    let late = |question: &Value| {
        let declined = result_of(question, json!({ "action": "decline" }));
        let messages = Reply::Messages(vec![declined]);
        Reply::After(Duration::from_millis(300), Box::new(messages))
    };
    let client = stage.legacy(Arc::new(late)).await;
    let message = client.call_message("a__ask_form", json!({ "mark": "m" }));
    let exchange = client.start(&message).await;
    let cancel = async {
        stage.server.wait_for("asked", "m", 1).await;
        let params = json!({ "requestId": message["id"] });
        client.notify("notifications/cancelled", Some(params)).await
    };
    let (answer, _) = tokio::join!(client.follow(exchange, &message["id"]), cancel);
    assert!(answer.result().is_null(), "{answer:?}");
    until(
        "the answer was posted, or there was nothing to answer",
        async || {
            let over = stage.server.count("cancelled", "m") + stage.server.count("end", "m");
            let posted = client.reply_statuses().len() == answer.questions.len();
            (over == 1 && posted).then_some(())
        },
    )
    .await;
    assert_eq!(stage.server.count_all("stray"), 0);
    stage.works().await;
    stage.front.gateway.stop().await;
}
