//! What a client did not declare is never asked of it.

use serde_json::{Value, json};
use switchboard_testkit::asking::Options;
use switchboard_testkit::client::{call, declaring, message};
use switchboard_testkit::fake::Era;
use switchboard_tests::asking::{AskingServer, Way, content};

use super::Stage;

/// Tools, with capabilities that are not enough for them.
fn too_little() -> [(&'static str, Value); 7] {
    [
        ("ask_form", json!({})),
        ("ask_form", json!({ "elicitation": { "url": {} } })),
        ("ask_url", json!({ "elicitation": {} })),
        ("ask_url", json!({ "elicitation": { "form": {} } })),
        ("sample", json!({ "elicitation": {}, "roots": {} })),
        ("sample_with_tools", json!({ "sampling": {} })),
        ("roots", json!({ "sampling": {}, "elicitation": {} })),
    ]
}

#[tokio::test]
async fn a_legacy_server_is_refused_at_once_and_goes_on() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        for (tool, capabilities) in too_little() {
            let message = call(&format!("a__{tool}"), &json!({ "mark": tool }));
            let message = declaring(message, capabilities.clone());
            let answer = stage.front.client.ask(&message).await;
            let refusal = &content(&answer)["replies"][0]["error"]["code"];
            assert_eq!(
                *refusal, -32601,
                "{way:?} {tool} {capabilities}: {}",
                answer.raw
            );
        }
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_session_declares_what_its_caller_declared_and_no_more() {
    for way in Way::ALL {
        let stage = Stage::of(way).await;
        let all = [
            json!({}),
            json!({ "elicitation": {} }),
            json!({ "elicitation": { "form": {}, "url": {} }, "roots": {} }),
            json!({ "sampling": { "tools": {} } }),
        ];
        for capabilities in all {
            let message = declaring(call("a__who_am_i", &json!({})), capabilities.clone());
            let answer = stage.front.client.ask(&message).await;
            let declared = &content(&answer)["capabilities"];
            let named = |capabilities: &Value| -> Vec<String> {
                let members = capabilities.as_object().expect("an object");
                members.keys().cloned().collect()
            };
            assert_eq!(named(declared), named(&capabilities), "{way:?}");
            let urls = |capabilities: &Value| capabilities["elicitation"]["url"].is_object();
            assert_eq!(urls(declared), urls(&capabilities), "{way:?}");
        }
        stage.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn the_input_that_a_modern_server_requires_fails_with_the_capability() {
    for way in [Way::Stdio, Way::Post] {
        let options = Options {
            era: Era::Modern,
            ..Options::default()
        };
        let server = AskingServer::with(way, options).await;
        let stage = Stage::with(server, json!({})).await;
        for (tool, capabilities) in too_little() {
            let message = call(&format!("a__{tool}"), &json!({ "mark": tool }));
            let message = declaring(message, capabilities.clone());
            let answer = stage.front.client.ask(&message).await;
            let what = format!("{way:?} {tool} {capabilities}: {}", answer.raw);
            assert_eq!(answer.error_code(), Some(-32021), "{what}");
            assert_eq!(answer.status, 400, "{what}");
            let required = &answer.response["error"]["data"]["requiredCapabilities"];
            assert!(required.is_object(), "{what}");
        }
        let prompt = message("prompts/get", json!({ "name": "a__asking" }));
        let answer = stage.front.client.ask(&prompt).await;
        assert_eq!(answer.error_code(), Some(-32021), "{}", answer.raw);
        stage.front.gateway.stop().await;
    }
}
