//! What turns out to be wrong when a part of the result has been sent.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::json;
use switchboard_tests::front::Front;
use switchboard_tests::scripted::{Scripted, Step, pieces};
use switchboard_tests::waiting::until;
use tokio::time::timeout;

use crate::{
    CLIENT_CALLS, LARGE, answer, assert_ends, begun, ends, front, large_text, receive, response,
    send,
};

/// Expects that an answer breaks off behind its beginning, is counted under this code, said once in
/// the log with this reason, and that the next call works.
async fn breaks_off(
    front: &Front,
    server: &Scripted,
    reason: &str,
    script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
) {
    server.answer_with(script);
    let received = answer(front).await;
    assert!(!received.is_whole, "{reason}: it ended");
    assert!(
        received.text.len() > 60_000,
        "{reason}: {} bytes",
        received.text.len()
    );
    let json = serde_json::from_str::<serde_json::Value>(&received.text);
    assert!(json.is_err(), "{reason}: what came is whole");
    until(&format!("{reason} in the log"), async || {
        let output = front.gateway.server().output();
        let lines = output.lines().filter(|line| line.contains("broke off"));
        let said = lines.filter(|line| line.contains(reason)).count();
        assert!(said < 2, "{output}");
        (said == 1).then_some(())
    })
    .await;
    server.answer_with(|id| {
        pieces(
            &response(id, r#"{"content":[],"resultType":"complete"}"#),
            1000,
        )
    });
    assert_eq!(answer(front).await.json()["result"]["content"], json!([]));
}

#[tokio::test]
async fn a_late_mistake_breaks_the_answer_off() {
    type Late = (&'static str, fn(&str, &str) -> String);
    let late: [Late; 5] = [
        ("no JSON", |id, text| {
            response(id, &format!(r#"{{"content":["{text}" oops]}}"#))
        }),
        ("no UTF-8", |id, text| {
            response(id, &format!(r#"{{"content":["{text}{}"]}}"#, '\u{1}'))
        }),
        ("another id", |_, text| {
            format!(r#"{{"jsonrpc":"2.0","result":{{"content":["{text}"]}},"id":"other"}}"#)
        }),
        ("no plain result", |id, text| {
            response(
                id,
                &format!(r#"{{"content":["{text}"],"resultType":"input_required"}}"#),
            )
        }),
        ("cut short", |id, text| {
            let mut whole = response(id, &format!(r#"{{"content":["{text}"]}}"#));
            whole.truncate(whole.len() - 1);
            whole
        }),
    ];
    for (what, text) in late {
        let server = Scripted::start(|_| Vec::new()).await;
        let front = front(&server, json!({})).await;
        let script = move |id: &str| pieces(&text(id, &large_text()), 20_000);
        eprintln!("{what}");
        breaks_off(&front, &server, "invalid_answer", script).await;
        assert_ends(&front, &[("", 1.0), ("502", 1.0)]).await;
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_late_breaks_the_answer_off() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({})).await;
    breaks_off(&front, &server, "connection_lost", |id| {
        let beginning = response(id, &format!(r#"{{"content":["{}"#, large_text()));
        let mut steps = pieces(&beginning, 20_000);
        steps.push(Step::Break);
        steps
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_result_that_goes_on_too_long_breaks_the_answer_off() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({ "max_message_bytes": 200 * 1024 })).await;
    breaks_off(&front, &server, "answer_too_large", |id| {
        pieces(
            &response(id, &format!(r#"{{"content":["{}"]}}"#, "z".repeat(LARGE))),
            20_000,
        )
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_deadline_goes_to_the_last_byte() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({ "timeout": "2s" })).await;
    breaks_off(&front, &server, "timeout", |id| {
        let beginning = response(id, &format!(r#"{{"content":["{}"#, large_text()));
        let mut steps = pieces(&beginning, 20_000);
        steps.push(Step::Hang);
        steps
    })
    .await;
    until("the server sees it", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    assert_ends(&front, &[("", 1.0), ("504", 1.0)]).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_the_server_beyond_the_deadline() {
    let piece = Bytes::from(vec![b'a'; 100 * 1024]);
    let server = Scripted::start(move |id| {
        let mut steps = vec![send(&response(id, r#"{"content":[""#).replace("}", ""))];
        // More than all buffers between server and client.
        steps.extend((0..1000).map(|_| Step::Send(piece.clone())));
        steps
    })
    .await;
    let settings = json!({
        "timeout": "2s",
        "max_message_bytes": 256 * 1024 * 1024,
        "breaker": { "consecutive_failures": 1, "open_for": "1h" },
    });
    let front = front(&server, settings).await;
    let exchange = begun(&front).await;
    until("the server sees it", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    let counted = ends(&front, CLIENT_CALLS).await;
    assert_eq!(counted, BTreeMap::from([("504".to_owned(), 1.0)]));
    assert!(!receive(exchange).await.is_whole);
    assert_ends(&front, &[("504", 1.0)]).await;
    // The server was not too slow, so that nobody else has to do without it.
    let next = begun(&front).await;
    drop(next);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_cancels_the_call() {
    let server = Scripted::start(|id| {
        let mut steps = pieces(
            &response(id, &format!(r#"{{"content":["{}"#, large_text())),
            20_000,
        );
        steps.push(send("and"));
        steps.push(Step::Hang);
        steps
    })
    .await;
    let front = front(&server, json!({})).await;
    let exchange = begun(&front).await;
    let gauge = "switchboard_calls_in_flight";
    let in_flight = front.metrics(gauge).await.into_values().sum::<f64>();
    assert_eq!(in_flight, 1.0, "a call whose result arrives is in flight");
    assert_eq!(server.given_up(), 0);
    drop(exchange);
    let closed = until("the server sees it", async || {
        (server.given_up() == 1).then_some(())
    });
    timeout(Duration::from_secs(30), closed)
        .await
        .expect("well before the timeout");
    assert_ends(&front, &[("cancelled", 1.0)]).await;
    front.gateway.stop().await;
}
