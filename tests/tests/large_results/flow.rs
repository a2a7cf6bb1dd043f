//! How a result flows: what is held of it, and in which form it is sent.

use axum::body::Bytes;
use serde_json::{Value, json};
use switchboard_testkit::client::message;
use switchboard_tests::front::Front;
use switchboard_tests::scripted::{Scripted, Step, pieces};
use switchboard_tests::waiting::until;
use tokio::time::{Duration, sleep};

use crate::{answer, begin, begun, front, large_text, receive, response, send};

const MIB: u64 = 1024 * 1024;

/// The memory of a gateway, in bytes.
fn resident(front: &Front) -> u64 {
    front.memory().resident * 1024
}

#[tokio::test]
async fn the_beginning_is_sent_before_the_end_is_there() {
    let server = Scripted::start(|id| {
        let mut steps = pieces(
            &response(id, &format!(r#"{{"content":["{}"#, large_text())),
            20_000,
        );
        steps.push(Step::Hang);
        steps
    })
    .await;
    let front = front(&server, json!({})).await;
    let mut exchange = begin(&front).await;
    assert_eq!(exchange.headers["content-type"], "application/json");
    exchange.read_at_least(200_000).await;
    drop(exchange);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_slow_reader_costs_little_memory() {
    const PIECES: u64 = 1000;
    let piece = Bytes::from(vec![b'a'; 100 * 1024]);
    let whole = PIECES * piece.len() as u64;
    let server = Scripted::start(move |id| {
        let beginning = response(
            id,
            r#"{"resultType":"complete","content":[{"type":"text","text":""#,
        );
        let beginning = beginning.strip_suffix('}').expect("a brace").to_owned();
        let mut steps = vec![send(&beginning)];
        steps.extend((0..PIECES).map(|_| Step::Send(piece.clone())));
        steps.push(send(r#""}]}}"#));
        steps
    })
    .await;
    let settings = json!({ "max_message_bytes": 256 * MIB, "timeout": "120s" });
    let front = front(&server, settings).await;
    // Once, so that what the gateway needs anyway is there.
    receive(begin(&front).await).await.json();
    let before = resident(&front);
    let sent_before = server.sent();
    let exchange = begun(&front).await;
    // The server is held up as soon as all buffers between it and the client are full.
    let mut sent = server.sent();
    until("the server is held up", async || {
        sleep(Duration::from_millis(300)).await;
        let now = server.sent();
        (std::mem::replace(&mut sent, now) == now).then_some(())
    })
    .await;
    assert!(
        sent - sent_before < whole / 2,
        "{} bytes were read ahead",
        sent - sent_before
    );
    let grown = resident(&front).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes more");
    let received = receive(exchange).await;
    assert!(received.is_whole);
    assert!(received.text.len() as u64 > whole - MIB);
    front.gateway.stop().await;
}

#[tokio::test]
async fn in_an_event_stream_the_result_is_the_last_event() {
    let text = large_text();
    let spaced =
        format!("{{\n  \"content\": [\r\n\"{text}\"\n],\n \"resultType\": \"complete\" }}");
    let server = Scripted::start(move |id| pieces(&response(id, &spaced), 33_333)).await;
    let front = front(&server, json!({})).await;
    // A silence of ten seconds opens an event stream, and nothing else does for a server that
    // answers with JSON: so the answer waits for the test.
    let (open, opened) = tokio::sync::watch::channel(false);
    let expected: Value = serde_json::from_str(&format!("[\"{text}\"]")).expect("JSON");
    server.wait_for(opened);
    let call = message("tools/call", json!({ "name": "s__t", "arguments": {} }));
    let exchange = front.client.send(front.client.draft(&call)).await;
    assert_eq!(exchange.headers["content-type"], "text/event-stream");
    open.send_replace(true);
    let received = receive(exchange).await;
    assert!(received.is_whole);
    let events: Vec<&str> = received
        .text
        .split("\n\n")
        .filter(|event| event.starts_with("data: "))
        .collect();
    let [event] = events[..] else {
        panic!("{} events", events.len());
    };
    assert!(!event.contains(['\n', '\r']));
    let message: Value = serde_json::from_str(&event["data: ".len()..]).expect("JSON");
    assert_eq!(message["result"]["content"], expected);
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_an_event_stream_is_collected() {
    let text = large_text();
    let expected: Value = serde_json::from_str(&format!("[\"{text}\"]")).expect("JSON");
    let server = Scripted::start(move |id| {
        let event = response(
            id,
            &format!(r#"{{"content":["{text}"],"resultType":"complete"}}"#),
        );
        pieces(&format!("data: {event}\n\n"), 20_000)
    })
    .await;
    let front = front(&server, json!({})).await;
    server.answer_as("text/event-stream");
    assert_eq!(answer(&front).await.json()["result"]["content"], expected);
    front.gateway.stop().await;
}
