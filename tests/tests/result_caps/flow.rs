//! What becomes of results of every way that they come.

use super::*;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::tools;
use switchboard_tests::waiting::until;

#[tokio::test]
async fn a_large_result_is_cut_and_a_small_one_is_as_it_was() {
    let server = serving(text_of(400 * KIB)).await;
    let front = front(&server, json!([{ "max_bytes": "8KiB" }])).await;
    let answer = front.client.call("s__t", json!({})).await;
    let size = assert_cut(&answer, 8 * KIB);
    assert!(size > 7 * KIB, "{size}");
    let first = texts(&answer)[0];
    assert!(first.starts_with("all about \"Zürich\" 世界\n"), "{first}");
    assert_eq!(told(&answer)["maxBytes"], 8 * KIB);
    assert_eq!(told(&answer)["totalBytes"], Value::Null);
    assert_eq!(counted(&front, "truncate").await, 1.0);

    // One of a length that comes at once.
    let short = text_of(20 * KIB);
    let written = short.to_string().len();
    server.answer_with(move |id| pieces(&response(id, &short.to_string()), 5000));
    let answer = front.client.call("s__t", json!({})).await;
    assert_cut(&answer, 8 * KIB);
    assert_eq!(told(&answer)["totalBytes"], written);

    let small = json!({ "resultType": "complete", "content": [], "extra": [1.50, "é"] });
    let expected = small.clone();
    server.answer_with(move |id| pieces(&response(id, &small.to_string()), 5000));
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result(), &expected);
    assert_eq!(counted(&front, "truncate").await, 2.0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn one_that_says_it_is_within_its_cap_is_sent_while_it_arrives() {
    let server = Scripted::start(|id| {
        let text = response(id, &text_of(300 * KIB).to_string());
        let mut steps = pieces(&text, 30_000);
        // What follows never comes.
        steps.insert(steps.len() - 2, Step::Hang);
        steps
    })
    .await;
    server.announce_length();
    let front = front(&server, json!([{ "max_bytes": "8MiB" }])).await;
    let call = front.client.draft(&call("s__t", &json!({})));
    let mut exchange = front.client.send(call).await;
    exchange.read_at_least(200 * KIB).await;
    drop(exchange);

    let whole = text_of(300 * KIB);
    let expected = whole.clone();
    server.answer_with(move |id| pieces(&response(id, &whole.to_string()), 30_000));
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result(), &expected);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_refused_result_tells_a_model_what_to_do_and_its_server_to_stop() {
    let server = Scripted::start(|id| {
        let text = response(id, &text_of(300 * KIB).to_string());
        let mut steps = pieces(&text[..text.len() - 10], 30_000);
        steps.push(Step::Hang);
        steps
    })
    .await;
    let caps = json!([{ "tools": ["s__*"], "max_tokens": 5000, "over": "refuse" }]);
    let front = front(&server, caps).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result()["isError"], true);
    assert_eq!(answer.fault()["code"], 413);
    assert_eq!(answer.fault()["reason"], "too_large");
    assert!(
        texts(&answer)[0].contains("arguments that ask for less"),
        "{:?}",
        texts(&answer)
    );
    until("the server is told", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    assert_eq!(counted(&front, "refuse").await, 1.0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_whose_result_is_cut_is_told_to_stop() {
    let server = Scripted::start(|id| {
        let text = response(id, &text_of(300 * KIB).to_string());
        let mut steps = pieces(&text[..200 * KIB], 30_000);
        steps.push(Step::Hang);
        steps
    })
    .await;
    let front = front(&server, json!([{ "max_bytes": "16KiB" }])).await;
    assert_cut(&front.client.call("s__t", json!({})).await, 16 * KIB);
    until("the server is told", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn prompts_and_resources_are_cut_where_no_tool_is_meant() {
    let long = "x".repeat(200 * KIB);
    let server = serving_text(format!(
        r#"{{"messages":[{{"role":"assistant","content":{{"type":"text","text":"{long}"}}}}],"resultType":"complete"}}"#
    ))
    .await;
    let caps = json!([
        { "tools": ["*"], "max_bytes": "2KiB" },
        { "max_bytes": "4KiB" },
    ]);
    let front = front(&server, caps).await;
    let answer = front
        .client
        .request("prompts/get", json!({ "name": "s__p" }))
        .await;
    let messages = answer.result()["messages"]
        .as_array()
        .expect("messages")
        .clone();
    assert_eq!(messages[0]["role"], "assistant");
    assert!(
        messages[0]["content"]["text"]
            .as_str()
            .is_some_and(|it| it.len() > 3000)
    );
    assert!(
        messages[1]["content"]["text"]
            .as_str()
            .is_some_and(|it| it.contains("cut"))
    );
    assert_eq!(told(&answer)["maxBytes"], 4 * KIB);

    let read = json!({ "resultType": "complete", "ttlMs": 1000, "cacheScope": "public", "contents": [
        { "text": "y".repeat(200 * KIB), "uri": "test://r" },
    ]});
    server.answer_with(move |id| pieces(&response(id, &read.to_string()), 30_000));
    let answer = front
        .client
        .request("resources/read", json!({ "uri": "test://r" }))
        .await;
    let contents = answer.result()["contents"]
        .as_array()
        .expect("contents")
        .clone();
    assert_eq!(contents.len(), 2, "{contents:?}");
    assert!(contents.iter().all(|it| it["uri"] == "test://r"));
    // What is cut for one is no other's.
    assert_eq!(answer.result()["cacheScope"], "private");
    assert_eq!(answer.result()["ttlMs"], 0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn after_progress_there_is_one_answer_and_the_server_is_told_to_stop() {
    let server = Scripted::start(|id| {
        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": serde_json::from_str::<Value>(id).expect("an id"), "progress": 1,
        }});
        let text = response(id, &text_of(300 * KIB).to_string());
        let mut steps = vec![Step::Send(format!("data: {progress}\n\n").into())];
        steps.extend(pieces(
            &format!("event: message\ndata: {}", &text[..250 * KIB]),
            30_000,
        ));
        steps.push(Step::Hang);
        steps
    })
    .await;
    server.answer_as("text/event-stream");
    let front = front(&server, json!([{ "max_bytes": "16KiB" }])).await;
    let mut request = call("s__t", &json!({}));
    request["params"]["_meta"]["progressToken"] = json!("p");
    let id = request["id"].clone();
    let mut exchange = front.client.send(front.client.draft(&request)).await;
    let mut answers = Vec::new();
    let mut progress = 0;
    while let Some(message) = exchange.next().await {
        match message.get("method") {
            Some(_) => progress += 1,
            None => answers.push(message),
        }
    }
    assert_eq!(progress, 1);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["id"], id);
    let result = &answers[0]["result"];
    assert!(result.to_string().len() <= 16 * KIB);
    assert!(
        result["_meta"]["dev.switchboard/truncated"].is_object(),
        "{result}"
    );
    until("the server is told", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_result_of_a_local_server_is_cut_too() {
    let server = serving(text_of(KIB)).await;
    let front = front(
        &server,
        json!([{ "backends": ["other"], "max_bytes": "8KiB" }]),
    )
    .await;
    let answer = front
        .client
        .call("other__echo", json!({ "text": "x".repeat(200_000) }))
        .await;
    assert_cut(&answer, 8 * KIB);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_client_gets_a_cut_result_of_its_version() {
    let server = serving(text_of(300 * KIB)).await;
    let front = front(&server, json!([{ "max_bytes": "8KiB" }])).await;
    let client = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
    let answer = client.call("s__t", json!({})).await;
    let result = answer.result();
    assert!(result.to_string().len() <= 8 * KIB);
    let content = result["content"].as_array().expect("content");
    assert!(
        content
            .last()
            .is_some_and(|it| it["text"].as_str().is_some_and(|it| it.contains("cut")))
    );
    assert!(result.get("resultType").is_none(), "{result}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_takes_the_place_of_a_tool_is_capped_like_it() {
    let server = Scripted::start(|id| {
        let error = json!({ "code": -32000, "message": "no" });
        pieces(
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
            1000,
        )
    })
    .await;
    let config = json!({
        "result_caps": [{ "backends": ["other"], "max_bytes": "8KiB" }],
        "fallbacks": [{ "tool": "s__t", "try": ["other__echo"], "when": ["error"], "only_safe": false }],
    });
    let front = start(&server, config).await;
    let answer = front
        .client
        .call("s__t", json!({ "text": "x".repeat(100_000) }))
        .await;
    let truncated = told(&answer);
    assert!(truncated.is_object(), "{}", answer.result());
    assert!(texts(&answer)[0].len() < 8 * KIB);
    front.gateway.stop().await;
}

#[tokio::test]
async fn errors_are_no_larger_than_results() {
    let server = Scripted::start(|id| {
        let error =
            json!({ "code": -32000, "message": "é".repeat(20_000), "data": "x".repeat(9000) });
        pieces(
            &format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
            30_000,
        )
    })
    .await;
    let front = front(&server, json!([{ "max_bytes": "4KiB" }])).await;
    let request = message("tools/call", json!({ "name": "s__t", "arguments": {} }));
    let answer = front.client.ask(&request).await;
    assert_eq!(answer.error_code(), Some(-32000));
    let error = &answer.raw;
    assert!(
        error.len() < 4500 && error.contains("The gateway cut this error"),
        "{error}"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_puts_other_caps_in_force() {
    let server = serving(text_of(100 * KIB)).await;
    let config = |caps: Value| {
        json!({
            "backends": { "s": { "url": server.url() } },
            "result_caps": caps,
            "server": { "watch_config": false },
        })
    };
    let front = Front::start(config(json!([]))).await;
    front.wait_until("s", true).await;
    let whole = front.client.call("s__t", json!({})).await;
    assert_eq!(whole.result(), &text_of(100 * KIB));
    front
        .gateway
        .rewrite(config(json!([{ "backends": ["s"], "max_bytes": "4KiB" }])));
    front.gateway.hang_up();
    until("the cap is in force", async || {
        let answer = front.client.call("s__t", json!({})).await;
        told(&answer).is_object().then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[test]
fn rules_that_concern_nothing_are_warned_of_and_wrong_ones_refused() {
    let check = |caps: Value| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("switchboard.json");
        let config = json!({ "backends": { "git": { "command": "true" } }, "result_caps": caps });
        std::fs::write(&file, config.to_string()).expect("the folder is ours");
        let mut command = std::process::Command::new(tools::program("switchboard"));
        let output = command.arg("check").arg("-c").arg(&file).output();
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (is_valid, text) = check(json!([{ "backends": ["gti"], "max_tokens": 1000 }]));
    assert!(is_valid, "{text}");
    assert!(
        text.contains("result_caps[0].backends[0]: `gti` fits no backend"),
        "{text}"
    );
    let (is_valid, text) = check(json!([{ "max_bytes": "1000B" }]));
    assert!(!is_valid, "{text}");
    assert!(text.contains("result_caps[0].max_bytes"), "{text}");
    assert!(text.contains("expected at least 1KiB"), "{text}");
}

#[tokio::test]
async fn the_audit_says_that_a_result_was_cut() {
    let server = serving(text_of(100 * KIB)).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("audit.jsonl");
    let config = json!({
        "result_caps": [{ "max_bytes": "4KiB" }],
        "audit": { "file": { "path": file } },
    });
    let front = start(&server, config).await;
    assert_cut(&front.client.call("s__t", json!({})).await, 4 * KIB);
    front.gateway.stop().await;
    let text = std::fs::read_to_string(&file).expect("the audit");
    let cut = r#"{"policy":"result_cap","rule":"truncate","decision":"cut"}"#;
    assert!(text.contains(cut), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_task_is_capped_as_its_tools() {
    // What the server is called is in its results twice.
    let server = FakeTasks::start(Era::Modern, &"long".repeat(350)).await;
    let caps = json!([{ "tools": ["s__later"], "max_bytes": "2KiB" }, { "max_bytes": "64KiB" }]);
    let backends = json!({ "s": remote(server.url()) });
    let front = Front::start(json!({ "backends": backends, "result_caps": caps })).await;
    front.gateway.wait_for_backends().await;
    let request = async |method: &str, mut params: Value| {
        let capabilities = json!({ "elicitation": {}, "extensions": { TASKS: {} } });
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
        let answer = front.client.ask(&message(method, params)).await;
        answer.result().clone()
    };
    let task = request("tools/call", json!({ "name": "s__later", "arguments": {} })).await;
    let id = task["taskId"].as_str().expect("a task");
    let ended = until("the task has ended", async || {
        let task = request("tasks/get", json!({ "taskId": id })).await;
        (task["status"] == "completed").then_some(task)
    })
    .await;
    assert_eq!(ended["taskId"], id);
    let result = &ended["result"];
    let size = result["content"].to_string().len();
    assert!(size <= 2 * KIB, "{result}");
    assert_eq!(
        result["_meta"]["dev.switchboard/truncated"]["maxBytes"],
        2 * KIB
    );
    front.gateway.stop().await;
}
