//! What `requestState` is good for, for whom, and how often.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, retry};
use switchboard_tests::asking::{
    AskingServer, Way, accepted, asking_call, assert_invalid, content, only_question, ready_for,
};
use switchboard_tests::front::Front;
use switchboard_tests::keys::{auth_of, key_of};

use super::Stage;

#[tokio::test]
async fn the_same_answers_again_get_the_same_outcome() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let client = &stage.front.client;
        let arguments = json!({ "mark": "m", "then_ms": 200, "x": { "a": 1, "b": [2.50] } });
        let (first, asked) = stage.park("ask_form", &arguments).await;
        let again = retry(first, &asked, accepted(&asked, "mine"));
        // Twice at once, and once more afterwards.
        let (one, two) = tokio::join!(client.ask(&again), client.ask(&again));
        let three = client.ask(&again).await;
        for answer in [&two, &three] {
            assert_eq!(content(&one), content(answer), "{way:?}");
        }
        let reordered = again.to_string().replacen(
            r#"{"a":1,"b":[2.5]}"#,
            "{ \"b\" : [2.5],\n \"\\u0061\":1}",
            1,
        );
        assert_ne!(reordered, again.to_string());
        let draft = client.draft(&again).with_body(reordered);
        let four = client.send(draft).await.finish().await;
        assert_eq!(content(&one), content(&four), "{way:?}");

        let other = retry(again.clone(), &asked, accepted(&asked, "another"));
        assert_invalid(&client.ask(&other).await, "other answers");
        assert_eq!(stage.server.count("begin", "m"), 1, "{way:?}");
        assert_eq!(stage.server.count("answered", "m"), 1, "{way:?}");
        assert_eq!(stage.server.count_all("stray"), 0, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn the_answers_of_a_round_again_get_the_next_round_again() {
    let stage = Stage::of(Way::Stdio).await;
    let client = &stage.front.client;
    let arguments = json!({ "mark": "m", "n": 3 });
    let (first, asked) = stage.park("ask_rounds", &arguments).await;
    let second = retry(first.clone(), &asked, accepted(&asked, "one"));
    let asked_again = client.ask(&second).await;
    let lost = client.ask(&second).await;
    assert_eq!(only_question(&asked_again), only_question(&lost));
    // Either state does.
    let third = retry(first.clone(), &lost, accepted(&lost, "two"));
    let asked_last = client.ask(&third).await;
    let late = retry(first.clone(), &asked_again, accepted(&lost, "two"));
    assert_eq!(
        only_question(&asked_last),
        only_question(&client.ask(&late).await)
    );
    assert_invalid(
        &client
            .ask(&retry(first.clone(), &asked_again, accepted(&lost, "too")))
            .await,
        "other answers to the second round",
    );
    let last = retry(first, &asked_last, accepted(&asked_last, "three"));
    let answer = client.ask(&last).await;
    let replies = content(&answer)["replies"].as_array().expect("replies");
    let texts: Vec<&Value> = replies
        .iter()
        .map(|reply| &reply["result"]["content"]["answer"])
        .collect();
    assert_eq!(texts, ["one", "two", "three"], "{}", answer.raw);
    assert_eq!(stage.server.count("answered", "m"), 3);
    stage.front.gateway.stop().await;
}

/// The message with this state instead.
fn with_state(message: &Value, state: &str) -> Value {
    let mut message = message.clone();
    message["params"]["requestState"] = json!(state);
    message
}

/// The state with one of its characters changed.
fn tampered(asked: &Answer, at: usize) -> String {
    let state = asked.state().expect("a state");
    let mut bytes = state.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn state_that_is_not_for_this_request_is_refused() {
    let server = AskingServer::start(Way::Stdio).await;
    let names = ["anna".to_owned(), "ben".to_owned()];
    // The other gateway can open what this one sealed, and still knows nothing of its calls.
    let config = json!({
        "server": { "sealing_keys": ["a secret that two gateways have in common"] },
        "auth": auth_of(&names),
        "backends": { "a": server.backend(), "b": server.backend() },
    });
    let front = Front::start(config.clone()).await;
    let other_gateway = Front::start(config).await;
    let anna = front.client.with_key(&key_of("anna"));
    let ben = front.client.with_key(&key_of("ben"));
    let elsewhere = other_gateway.client.with_key(&key_of("anna"));
    ready_for(&anna).await;
    ready_for(&elsewhere).await;

    let first = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = anna.ask(&first).await;
    let good = retry(first, &asked, accepted(&asked, "mine"));
    for at in [0, 7, 31, 32, 33, 60, usize::MAX] {
        let wrong = with_state(&good, &tampered(&asked, at));
        assert_invalid(&anna.ask(&wrong).await, "tampered");
    }
    for wrong in ["", "x", "..", "AAAA", "1.1.1"] {
        assert_invalid(&anna.ask(&with_state(&good, wrong)).await, wrong);
    }
    assert_invalid(&ben.ask(&good).await, "another principal");
    assert_invalid(&elsewhere.ask(&good).await, "another gateway");
    let mut changed = good.clone();
    changed["params"]["name"] = json!("a__ask_rounds");
    assert_invalid(&anna.ask(&changed).await, "another tool");
    changed["params"]["name"] = json!("b__ask_form");
    assert_invalid(&anna.ask(&changed).await, "another backend");
    let mut changed = good.clone();
    changed["params"]["arguments"]["mark"] = json!("n");
    assert_invalid(&anna.ask(&changed).await, "other arguments");

    // None of that was for the call.
    let answer = anna.ask(&good).await;
    let replied = &content(&answer)["replies"][0]["result"]["content"]["answer"];
    assert_eq!(*replied, "mine");
    assert_eq!(server.count("begin", "m"), 1);
    assert_eq!(server.count("answered", "m"), 1);
    for front in [front, other_gateway] {
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn answers_without_a_state_are_a_new_call() {
    let stage = Stage::of(Way::Stdio).await;
    let (first, asked) = stage.park("ask_form", &json!({ "mark": "m" })).await;
    let mut new = retry(first, &asked, accepted(&asked, "mine"));
    let params = new["params"].as_object_mut().expect("an object");
    params.remove("requestState");
    let answer = stage.front.client.ask(&new).await;
    assert!(answer.is_input_required(), "{}", answer.raw);
    assert_ne!(only_question(&answer), only_question(&asked));
    assert_eq!(stage.server.count("begin", "m"), 2);
    stage.front.gateway.stop().await;
}
