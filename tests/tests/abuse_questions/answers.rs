//! `inputResponses` that are not what was asked for.

use serde_json::{Value, json};
use switchboard_testkit::client::{accept, retry};
use switchboard_tests::asking::{
    AskingServer, Way, accepted, asking_call, assert_invalid, content, only_question,
};

use super::Stage;

async fn stage() -> Stage {
    Stage::with(AskingServer::start(Way::Stdio).await, json!({}), json!({})).await
}

#[tokio::test]
async fn what_is_missing_is_asked_for_again_and_what_is_unknown_is_ignored() {
    let stage = stage().await;
    let client = &stage.front.client;
    let first = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let mut asked = client.ask(&first).await;
    let (_, question) = only_question(&asked);
    let nothing = [
        json!({}),
        json!({ "unknown": { "action": "accept", "content": {} } }),
        json!({ "": 17, "q999": null }),
    ];
    for responses in nothing {
        let again = client
            .ask(&retry(first.clone(), &asked, responses.clone()))
            .await;
        assert!(again.is_input_required(), "{responses}: {}", again.raw);
        assert_eq!(only_question(&again).1, question, "{responses}");
        asked = again;
    }
    let mut without = retry(first.clone(), &asked, json!({}));
    let params = without["params"].as_object_mut().expect("an object");
    params.remove("inputResponses");
    let again = client.ask(&without).await;
    assert!(again.is_input_required(), "{}", again.raw);
    assert_eq!(stage.server.count("answered", "m"), 0);

    let mut more = accepted(&again, "mine");
    more["unknown"] = json!({ "action": "accept", "content": { "answer": "another" } });
    more["q999"] = json!([]);
    let answer = client.ask(&retry(first, &again, more)).await;
    let replies = &content(&answer)["replies"];
    assert_eq!(replies[0]["result"]["content"]["answer"], "mine");
    assert_eq!(stage.server.count("answered", "m"), 1);
    assert_eq!(stage.server.count_all("stray"), 0);
    stage.front.gateway.stop().await;
}

/// Tools with answers that do not fit what they ask.
fn wrong() -> Vec<(&'static str, Value)> {
    let anywhere = [json!(null), json!(17), json!("x"), json!([]), json!({})];
    let own = [
        ("ask_form", json!({ "action": "maybe" })),
        ("ask_form", json!({ "action": 1 })),
        ("ask_form", json!({ "content": { "answer": "x" } })),
        ("ask_form", json!({ "action": "accept" })),
        ("ask_form", json!({ "action": "accept", "content": "x" })),
        ("ask_form", json!({ "action": "accept", "content": ["x"] })),
        ("ask_url", json!({ "action": "open" })),
        ("sample", json!({ "role": "assistant", "model": "m" })),
        ("sample", json!({ "content": {}, "model": "m" })),
        (
            "sample",
            json!({ "role": "boss", "content": { "type": "text", "text": "x" }, "model": "m" }),
        ),
        ("roots", json!({ "roots": {} })),
        ("roots", json!({ "roots": [17] })),
        ("roots", json!({ "roots": [{ "name": "x" }] })),
        ("roots", json!({ "dev.switchboard/error": 17 })),
        (
            "ask_form",
            json!({ "dev.switchboard/error": { "code": "x" } }),
        ),
    ];
    let tools = ["ask_form", "ask_url", "sample", "roots"];
    let everywhere = tools
        .into_iter()
        .flat_map(|tool| anywhere.iter().map(move |answer| (tool, answer.clone())));
    everywhere.chain(own).collect()
}

#[tokio::test]
async fn an_answer_of_the_wrong_form_is_refused_and_takes_nothing() {
    let stage = stage().await;
    let client = &stage.front.client;
    for tool in ["ask_form", "ask_url", "sample", "roots"] {
        let first = asking_call(&format!("a__{tool}"), &json!({ "mark": tool }));
        let asked = client.ask(&first).await;
        let (key, question) = only_question(&asked);
        for (_, answer) in wrong().iter().filter(|(of, _)| *of == tool) {
            let responses = json!({ key.as_str(): answer });
            let refused = client.ask(&retry(first.clone(), &asked, responses)).await;
            assert_invalid(&refused, &format!("{tool} {answer}"));
        }
        let asked_about = stage.server.count("answered", tool);
        assert_eq!(asked_about, 0, "{tool}");
        let right = json!({ key: accept(&question) });
        let answer = client.ask(&retry(first, &asked, right)).await;
        let reply = &content(&answer)["replies"][0];
        assert_eq!(reply["result"], accept(&question), "{tool}");
        assert_eq!(stage.server.count("answered", tool), 1, "{tool}");
    }
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn responses_that_are_no_object_are_refused_and_take_nothing() {
    let stage = stage().await;
    let client = &stage.front.client;
    let first = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = client.ask(&first).await;
    for responses in [json!(17), json!("x"), json!([]), json!([{}]), json!(true)] {
        let refused = client
            .ask(&retry(first.clone(), &asked, responses.clone()))
            .await;
        assert_eq!(
            refused.error_code(),
            Some(-32602),
            "{responses}: {}",
            refused.raw
        );
    }
    for state in [json!(17), json!({}), json!([]), json!(true)] {
        let mut wrong = retry(first.clone(), &asked, accepted(&asked, "mine"));
        wrong["params"]["requestState"] = state.clone();
        let refused = client.ask(&wrong).await;
        assert_eq!(
            refused.error_code(),
            Some(-32602),
            "{state}: {}",
            refused.raw
        );
    }
    let answer = client
        .ask(&retry(first, &asked, accepted(&asked, "mine")))
        .await;
    content(&answer);
    assert_eq!(stage.server.count("begin", "m"), 1);
    assert_eq!(stage.server.count("answered", "m"), 1);
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn a_doubled_key_answers_a_question_once() {
    let stage = stage().await;
    let client = &stage.front.client;
    let first = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = client.ask(&first).await;
    let (key, _) = only_question(&asked);
    let good = retry(first, &asked, accepted(&asked, "mine"));
    let entry = format!(r#""{key}":{{"action":"accept""#);
    let doubled = format!(r#""{key}":{{"action":"decline"}},{entry}"#);
    let body = good.to_string().replacen(&entry, &doubled, 1);
    assert_ne!(body, good.to_string());
    let draft = client.draft(&good).with_body(body);
    let answer = client.send(draft).await.finish().await;
    assert!(
        answer.result()["structuredContent"].is_object() || answer.error_code() == Some(-32602),
        "{}",
        answer.raw
    );
    assert!(stage.server.count("answered", "m") <= 1);
    assert_eq!(stage.server.count_all("stray"), 0);
    stage.works().await;
    stage.front.gateway.stop().await;
}
