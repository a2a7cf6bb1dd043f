//! `initialize`, and the plainest calls after it.

use super::*;

#[tokio::test]
async fn every_version_is_agreed_on_and_works() {
    let scene = Scene::new().await;
    for version in LEGACY {
        let client = LegacyClient::new(scene.url(), setup(version));
        let answer = client.initialize().await;
        assert_eq!(answer.status, 200);
        let result = answer.result();
        assert_eq!(result["protocolVersion"], version, "{answer:?}");
        assert_eq!(result["serverInfo"]["name"], "switchboard");
        for capability in ["tools", "prompts", "resources", "completions", "logging"] {
            assert!(result["capabilities"][capability].is_object(), "{answer:?}");
        }
        assert!(result.get("resultType").is_none(), "{answer:?}");
        assert!(client.session().is_some(), "{version}");

        let list = client.request("tools/list", json!({})).await;
        let tools = list.result()["tools"].as_array().expect("tools");
        assert!(tools.iter().any(|tool| tool["name"] == "srv__echo"));
        let call = client.call("srv__echo", json!({ "a": 1 })).await;
        assert_eq!(call.last_event, None, "JSON is enough: {call:?}");
        assert!(call.result().get("resultType").is_none(), "{call:?}");
        assert!(call.result()["content"].is_array(), "{call:?}");
        assert_eq!(client.request("ping", json!({})).await.result(), &json!({}));
    }
}

#[tokio::test]
async fn an_unknown_version_is_answered_with_the_newest_of_its_era() {
    let scene = Scene::new().await;
    for version in ["2026-07-28", "2099-01-01", "1.0", ""] {
        let client = LegacyClient::new(scene.url(), setup(version));
        let message = client.message(
            "initialize",
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": {} }),
        );
        let answer = client.ask(&message).await;
        assert_eq!(answer.result()["protocolVersion"], LEGACY[0], "{answer:?}");
    }
}

#[tokio::test]
async fn progress_and_logs_come_before_the_answer() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let message = client.message(
        "tools/call",
        json!({ "name": "srv__test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": "mine" } }),
    );
    let answer = client.ask(&message).await;
    assert!(answer.result()["content"].is_array(), "{answer:?}");
    assert_eq!(answer.notifications.len(), 3, "{answer:?}");
    for notification in &answer.notifications {
        assert_eq!(notification["params"]["progressToken"], "mine");
    }
    assert!(answer.last_event.is_some());

    let answer = client.call("srv__test_tool_with_logging", json!({})).await;
    assert_eq!(answer.notifications.len(), 3, "{answer:?}");
}

#[tokio::test]
async fn a_question_goes_to_the_client_and_its_answer_to_the_server() {
    let scene = Scene::new().await;
    for version in ["2025-11-25", "2025-06-18"] {
        let client = scene.client(version).await;
        let tool = "srv__test_input_required_result_elicitation";
        let client_answer = client.call(tool, json!({})).await;
        assert_eq!(client_answer.questions.len(), 1, "{client_answer:?}");
        let question = &client_answer.questions[0];
        assert_eq!(question["method"], "elicitation/create");
        let text = &client_answer.result()["content"][0]["text"];
        assert_eq!(text, "Hello, Ada!", "{client_answer:?}");
    }
}
