//! What a client is asked in the middle of a call, and how it answers.

use super::*;

const ASKS: &str = "srv__test_input_required_result_elicitation";
const ASKS_ALL: &str = "srv__test_input_required_result_multiple_inputs";
const ASKS_TWICE: &str = "srv__test_input_required_result_multi_round";

fn with_replies(
    capabilities: Value,
    replies: impl Fn(&Value) -> Reply + Send + Sync + 'static,
) -> Setup {
    Setup {
        capabilities,
        replies: Arc::new(replies),
        ..setup("2025-11-25")
    }
}

#[tokio::test]
async fn several_questions_are_asked_at_once_and_several_rounds_one_after_the_other() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let answer = client.call(ASKS_ALL, json!({})).await;
    let mut methods: Vec<&str> = answer
        .questions
        .iter()
        .filter_map(|q| q["method"].as_str())
        .collect();
    methods.sort_unstable();
    assert_eq!(answer.error_code(), None, "{answer:?}");
    assert_eq!(
        methods,
        ["elicitation/create", "roots/list", "sampling/createMessage"]
    );
    assert_eq!(
        answer.result()["content"][0]["text"],
        "Hello, Ada: Generate a greeting"
    );

    let answer = client.call(ASKS_TWICE, json!({})).await;
    assert_eq!(answer.questions.len(), 2, "{answer:?}");
    assert_ne!(answer.questions[0]["id"], answer.questions[1]["id"]);
    assert_eq!(answer.result()["content"][0]["text"], "All steps done: Ada");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn prompts_ask_too_and_every_transport_is_asked() {
    let scene = Scene::new().await;
    let client = scene.client("2025-11-25").await;
    let params = json!({ "name": "srv__test_input_required_result_prompt" });
    let answer = client.request("prompts/get", params).await;
    let text = &answer.result()["messages"][0]["content"]["text"];
    assert_eq!(text, "Use this context: Ada", "{answer:?}");

    let setup = Setup {
        wire: Wire::Sse,
        ..setup("2025-06-18")
    };
    let oldest = LegacyClient::connect(&scene.beside("/sse"), setup).await;
    let answer = oldest.call(ASKS, json!({})).await;
    assert_eq!(answer.result()["content"][0]["text"], "Hello, Ada!");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn what_was_not_declared_is_not_asked() {
    let scene = Scene::new().await;
    for capabilities in [
        json!({}),
        json!({ "elicitation": { "url": {} } }),
        json!({ "roots": {} }),
    ] {
        let setup = with_replies(capabilities.clone(), |question| panic!("asked {question}"));
        let client = LegacyClient::connect(scene.url(), setup).await;
        let answer = client.call(ASKS, json!({})).await;
        assert!(answer.questions.is_empty(), "{capabilities}: {answer:?}");
        assert!(answer.error_code().is_some(), "{capabilities}: {answer:?}");
    }
    // Elicitation came later than this version.
    let client = scene.client("2025-03-26").await;
    let answer = client.call(ASKS, json!({})).await;
    assert!(
        answer.questions.is_empty() && answer.error_code().is_some(),
        "{answer:?}"
    );
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn an_answer_counts_once_and_an_error_ends_the_call() {
    let scene = Scene::new().await;
    let twice = with_replies(all_capabilities(), |question| {
        let say = |name: &str| {
            let result = json!({ "action": "accept", "content": { "name": name } });
            json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
        };
        let unknown = json!({ "jsonrpc": "2.0", "id": 987_654, "result": {} });
        let no_number = json!({ "jsonrpc": "2.0", "id": "x", "result": {} });
        Reply::Messages(vec![unknown, no_number, say("first"), say("second")])
    });
    let client = LegacyClient::connect(scene.url(), twice).await;
    let answer = client.call(ASKS, json!({})).await;
    assert_eq!(answer.result()["content"][0]["text"], "Hello, first!");
    until("all answers were taken", async || {
        (client.reply_statuses().len() == 4).then_some(())
    })
    .await;
    assert!(client.reply_statuses().iter().all(|status| *status == 202));

    let refuses = with_replies(all_capabilities(), |_| Reply::Error(-1, "no"));
    let client = LegacyClient::connect(scene.url(), refuses).await;
    let answer = client.call(ASKS, json!({})).await;
    assert_eq!(answer.questions.len(), 1, "{answer:?}");
    let failed = answer.error_code().is_some() || answer.result()["isError"] == true;
    assert!(failed, "{answer:?}");
    scene.works().await;
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn another_clients_answer_is_nobodys() {
    let scene = Scene::new().await;
    let asked = LegacyClient::connect(
        scene.url(),
        with_replies(all_capabilities(), |_| Reply::Nothing),
    )
    .await;
    let message = asked.call_message(ASKS, json!({}));
    let mut exchange = asked.start(&message).await;
    let question = loop {
        let event = exchange.next_event().await.expect("a question");
        if let Ok(question) = serde_json::from_str::<Value>(&event.data) {
            break question;
        }
    };
    let say = |name: &str| {
        let result = json!({ "action": "accept", "content": { "name": name } });
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": result })
    };
    let other = scene.client("2025-11-25").await;
    assert_eq!(other.post(&say("eve")).await, 202);
    assert_eq!(asked.post(&say("ada")).await, 202);
    let answer = asked.follow(exchange, &message["id"]).await;
    assert_eq!(answer.result()["content"][0]["text"], "Hello, ada!");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_never_answers_is_waited_for_no_longer_than_configured() {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let front = Front::start(json!({
        "parked_calls": { "timeout": "1s" },
        "backends": { "srv": remote(&server.url()) },
    }))
    .await;
    front.wait_until("srv", true).await;
    let setup = with_replies(all_capabilities(), |_| Reply::Nothing);
    let client = LegacyClient::connect(front.gateway.url(), setup).await;
    let answer = client.call(ASKS, json!({})).await;
    let fault = &answer.result()["_meta"]["dev.switchboard/error"];
    assert_eq!(fault["code"], 504, "{answer:?}");
    let question = &answer.questions[0];
    let taken_back = |notification: &Value| {
        notification["method"] == "notifications/cancelled"
            && notification["params"]["requestId"] == question["id"]
    };
    assert!(answer.notifications.iter().any(taken_back), "{answer:?}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_asks_is_taken_back_with_its_question() {
    let scene = Scene::new().await;
    let setup = with_replies(all_capabilities(), |_| Reply::Nothing);
    let client = LegacyClient::connect(scene.url(), setup).await;
    let message = client.call_message(ASKS, json!({}));
    let mut exchange = client.start(&message).await;
    exchange.next_event().await.expect("a priming event");
    exchange.next_event().await.expect("a question");
    let cancel = Some(json!({ "requestId": message["id"] }));
    client.notify("notifications/cancelled", cancel).await;
    let answer = client.follow(exchange, &message["id"]).await;
    assert!(answer.response.is_null(), "{answer:?}");
    assert_eq!(answer.notifications.len(), 1, "{answer:?}");
    assert_eq!(answer.notifications[0]["method"], "notifications/cancelled");
    scene.works().await;
    scene.front.gateway.stop().await;
}
