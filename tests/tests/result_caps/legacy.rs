//! Results of legacy servers are cut while they arrive, as those of modern ones.

use super::*;
use switchboard_testkit::client::{accept, all_capabilities, declaring, retry};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::waiting::until;

/// The forms in which a legacy server answers.
const MEDIA_TYPES: [&str; 2] = ["application/json", "text/event-stream"];

/// These, each for a client that can do nothing, and one that the server may ask during a call.
fn forms() -> impl Iterator<Item = (&'static str, Value)> {
    MEDIA_TYPES
        .into_iter()
        .flat_map(|media_type| [json!({}), all_capabilities()].map(|it| (media_type, it)))
}

/// Waits until the server is told that nobody waits, by the connection and by a notification.
async fn until_cancelled(server: &Scripted) {
    until("the server is told", async || {
        let told = (server.given_up(), server.cancelled());
        (told == (1, 1)).then_some(())
    })
    .await;
}

/// A legacy server that answers with this much of a result of 300 KiB and this end, in this form.
async fn server(media_type: &'static str, bytes: usize, end: Option<Step>) -> Scripted {
    let server = Scripted::start(|_| Vec::new()).await.speaking_legacy();
    server.answer_as(media_type);
    answer(&server, media_type, bytes, end);
    server
}

fn answer(server: &Scripted, media_type: &'static str, bytes: usize, end: Option<Step>) {
    let (before, after) = match media_type {
        "text/event-stream" => ("event: message\ndata: ", "\n\n"),
        _ => ("", ""),
    };
    server.answer_with(move |id| {
        let text = format!("{before}{}{after}", response(id, &legacy_text(300 * KIB)));
        let mut steps = pieces(&text[..bytes.min(text.len())], 30_000);
        steps.extend(end.clone());
        steps
    });
}

/// A result with one text, as servers of 2025-11-25 write it.
fn legacy_text(bytes: usize) -> String {
    json!({ "content": [{ "type": "text", "text": "a line\n".repeat(bytes / 7) }] }).to_string()
}

/// A call of a client with these capabilities.
fn call_with(capabilities: &Value) -> Value {
    declaring(call("s__t", &json!({})), capabilities.clone())
}

#[tokio::test]
async fn one_that_is_cut_is_cancelled_and_its_session_goes_on() {
    for (media_type, capabilities) in forms() {
        // What follows never comes.
        let server = server(media_type, 200 * KIB, Some(Step::Hang)).await;
        let front = front(&server, json!([{ "max_bytes": "16KiB" }])).await;
        let request = call_with(&capabilities);
        assert_cut(&front.client.ask(&request).await, 16 * KIB);
        until_cancelled(&server).await;
        let sessions = server.sessions();
        assert_cut(&front.client.ask(&request).await, 16 * KIB);
        assert_eq!(server.sessions(), sessions, "{media_type} {capabilities}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn one_that_is_kept_is_read_to_its_end_and_nobody_is_told() {
    for (media_type, capabilities) in forms() {
        let server = server(media_type, usize::MAX, None).await;
        let caps = json!([{ "max_bytes": "16KiB", "over": "handle" }]);
        let front = front(&server, caps).await;
        let answer = front.client.ask(&call_with(&capabilities)).await;
        assert_cut(&answer, 16 * KIB);
        assert_eq!(told(&answer)["isWhole"], true);
        assert_eq!(told(&answer)["keptInAll"], 300 * KIB / 7 * 7);
        let sessions = server.sessions();
        front.client.ask(&call_with(&capabilities)).await;
        assert_eq!(server.sessions(), sessions);
        front.gateway.stop().await;
        assert_eq!((server.given_up(), server.cancelled()), (0, 0));
    }
}

#[tokio::test]
async fn one_within_its_cap_is_as_it_was() {
    for (media_type, capabilities) in forms() {
        let server = server(media_type, usize::MAX, None).await;
        let front = front(&server, json!([{ "max_bytes": "1MiB" }])).await;
        let answer = front.client.ask(&call_with(&capabilities)).await;
        let result = answer.result();
        assert_eq!(
            result["content"][0]["text"],
            "a line\n".repeat(300 * KIB / 7)
        );
        assert_eq!(result["resultType"], "complete");
        let legacy = LegacyClient::connect(front.gateway.url(), Setup::default()).await;
        let answer = legacy.call("s__t", json!({})).await;
        let whole: Value = serde_json::from_str(&legacy_text(300 * KIB)).expect("JSON");
        assert_eq!(answer.result(), &whole);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn without_a_cap_it_is_sent_while_it_arrives() {
    for (media_type, capabilities) in forms() {
        let server = server(media_type, 290 * KIB, Some(Step::Hang)).await;
        let front = front(&server, json!([])).await;
        let draft = front.client.draft(&call_with(&capabilities));
        let mut exchange = front.client.send(draft).await;
        exchange.read_at_least(200 * KIB).await;
        drop(exchange);
        until_cancelled(&server).await;
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn one_behind_a_question_is_cut_when_it_is_whole() {
    let server = Scripted::start(|id| {
        let question = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
            "message": "May I?", "requestedSchema": { "type": "object", "properties": {} },
        }});
        let text = response(id, &legacy_text(300 * KIB));
        let mut steps = vec![Step::Send(format!("data: {question}\n\n").into()), Step::AwaitReply];
        steps.extend(pieces(&format!("data: {text}\n\n"), 30_000));
        steps
    })
    .await
    .speaking_legacy();
    server.answer_as("text/event-stream");
    let front = front(&server, json!([{ "max_bytes": "16KiB" }])).await;
    let request = call_with(&all_capabilities());
    let asked = front.client.ask(&request).await;
    assert_eq!(asked.result()["resultType"], "input_required");
    let (key, question) = asked.result()["inputRequests"]
        .as_object()
        .and_then(|questions| questions.iter().next())
        .expect("a question");
    let answers = json!({ key: accept(question) });
    let again = retry(request, &asked, answers);
    let answer = front.client.ask(&again).await;
    assert_cut(&answer, 16 * KIB);
    assert!(told(&answer)["totalBytes"].is_number());
    // Whoever lost the response gets it once more.
    assert_eq!(front.client.ask(&again).await.result(), answer.result());
    front.gateway.stop().await;
}

#[tokio::test]
async fn one_that_takes_too_long_is_cancelled() {
    for bound in ["timeout", "stream_idle_timeout"] {
        for (media_type, capabilities) in forms() {
            let server = server(media_type, 200 * KIB, Some(Step::Hang)).await;
            let mut backend = remote(server.url());
            backend[bound] = json!("500ms");
            let caps = json!([{ "max_bytes": "1MiB" }]);
            let front =
                Front::start(json!({ "backends": { "s": backend }, "result_caps": caps })).await;
            front.wait_until("s", true).await;
            let failed = front.client.ask(&call_with(&capabilities)).await;
            assert_eq!(failed.fault()["reason"], "timeout", "{bound}");
            until_cancelled(&server).await;
            front.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn one_that_breaks_off_below_its_cap_fails_once() {
    for (media_type, capabilities) in forms() {
        let server = server(media_type, 200 * KIB, Some(Step::Break)).await;
        let front = front(&server, json!([{ "max_bytes": "1MiB" }])).await;
        let request = call_with(&capabilities);
        let failed = front.client.ask(&request).await;
        assert_eq!(failed.fault()["reason"], "connection_lost");
        assert_eq!(failed.fault()["outcome"], "unknown");
        answer(&server, media_type, usize::MAX, None);
        let again = front.client.ask(&request).await;
        assert!(again.result()["content"][0]["text"].is_string());
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_server_whose_results_all_break_off_is_left_alone() {
    for end in [Step::Break, Step::Hang] {
        let server = server("application/json", 200 * KIB, Some(end)).await;
        let mut backend = remote(server.url());
        backend["timeout"] = json!("200ms");
        let caps = json!([{ "max_bytes": "1MiB" }]);
        let front =
            Front::start(json!({ "backends": { "s": backend }, "result_caps": caps })).await;
        front.wait_until("s", true).await;
        let request = call_with(&json!({}));
        // As often as it takes by default.
        for _ in 0..5 {
            let failed = front.client.ask(&request).await;
            assert_eq!(failed.fault()["outcome"], "unknown");
        }
        let refused = front.client.ask(&request).await;
        assert_eq!(refused.fault()["reason"], "breaker_open");
        front.gateway.stop().await;
    }
}
