//! The error −32042 of 2025-11-25: a URL has to be visited before the call can be made.

use serde_json::json;
use switchboard_testkit::client::{all_capabilities, call, declaring, retry};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::asking::{Way, assert_invalid, content, only_question};

use super::Stage;

#[tokio::test]
async fn a_modern_client_is_asked_and_the_call_is_made_again() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let client = &stage.front.client;
        let (first, asked) = stage.park("needs_url_42", &json!({ "mark": "m" })).await;
        let (key, question) = only_question(&asked);
        let url = question["params"]["url"].as_str().unwrap_or_default();
        assert!(url.starts_with("https://visit.example/"), "{question}");
        assert_eq!(question["params"]["mode"], "url", "{question}");
        assert!(question["params"]["elicitationId"].is_null(), "{question}");
        let mut changed = retry(first.clone(), &asked, json!({}));
        changed["params"]["arguments"]["mark"] = json!("n");
        assert_invalid(&client.ask(&changed).await, "other arguments");
        assert_eq!(stage.server.count_all("begin"), 1, "{way:?}");
        let accepted = json!({ key: { "action": "accept" } });
        let answer = client.ask(&retry(first, &asked, accepted)).await;
        assert_eq!(content(&answer)["needed"], 1, "{way:?}: {}", answer.raw);
        assert_eq!(stage.server.count("begin", "m"), 2, "{way:?}");
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_user_who_does_not_visit_it_ends_the_call() {
    let stage = Stage::of(Way::Stdio).await;
    for action in ["decline", "cancel"] {
        let (first, asked) = stage.park("needs_url_42", &json!({ "mark": action })).await;
        let (key, _) = only_question(&asked);
        let responses = json!({ key: { "action": action } });
        let again = retry(first, &asked, responses);
        let answer = stage.front.client.ask(&again).await;
        assert!(!answer.is_input_required(), "{action}: {}", answer.raw);
        assert!(
            answer.error_code().is_some() || answer.result()["isError"] == true,
            "{action}: {}",
            answer.raw
        );
        assert_eq!(stage.server.count("begin", action), 1, "{action}");
    }
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn a_modern_client_without_urls_gets_an_error() {
    let stage = Stage::of(Way::Stdio).await;
    let capabilities = json!({ "elicitation": {} });
    let message = declaring(call("a__needs_url_42", &json!({})), capabilities);
    let answer = stage.front.client.ask(&message).await;
    let code = answer.error_code();
    assert!(code.is_some() && code != Some(-32042), "{}", answer.raw);
    assert!(!answer.is_input_required(), "{}", answer.raw);
    stage.front.gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_client_that_knows_it_gets_it_as_it_is() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let setup = Setup {
            capabilities: all_capabilities(),
            ..Setup::default()
        };
        let client = LegacyClient::connect(stage.front.gateway.url(), setup).await;
        let answer = client.call("a__needs_url_42", json!({ "mark": "m" })).await;
        assert_eq!(answer.error_code(), Some(-32042), "{way:?}: {answer:?}");
        let needed = &answer.response["error"]["data"]["elicitations"][0];
        assert_eq!(needed["mode"], "url", "{way:?}: {answer:?}");
        assert!(needed["elicitationId"].is_string(), "{way:?}: {answer:?}");
        let answer = client.call("a__needs_url_42", json!({ "mark": "m" })).await;
        let content = &answer.result()["structuredContent"];
        assert_eq!(content["needed"], 1, "{way:?}: {answer:?}");
        stage.front.gateway.stop().await;
    }
}
