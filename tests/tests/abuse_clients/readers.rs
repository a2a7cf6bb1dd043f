//! Clients that do not read what they asked for.

use serde_json::json;
use switchboard_testkit::client::{Client, Draft};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Form, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::until;

use crate::good;

const ANSWER: usize = 8 * 1024 * 1024;
/// What the gateway holds of answers (`shed/answer_memory.rs`).
const MAX_HELD: usize = 64 * 1024 * 1024;

/// A server whose answers are large and, as event streams, collected before they are passed on.
async fn front() -> (FakeHttp, Front) {
    let backend = FakeHttp::start(Transport::Modern, "a").await;
    let front = Front::of(json!({ "a": remote(backend.url()) })).await;
    front.wait_until("a", true).await;
    backend.behave(Behaviour {
        form: Form::EventStream,
        fault: Some(Fault::Huge(ANSWER)),
        ..Behaviour::default()
    });
    (backend, front)
}

/// A client of one HTTP/2 connection that takes the heads of answers alone: what it was promised of
/// the body, for each time that it makes this request.
async fn heads(draft: &Draft, times: usize) -> (Vec<usize>, Vec<reqwest::Response>) {
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(65_535)
        .http2_initial_connection_window_size(65_535)
        .build()
        .expect("a client");
    let (mut sizes, mut unread) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let response = client
            .post(draft.uri.to_string())
            .headers(draft.headers.clone())
            .body(draft.body.clone())
            .send()
            .await
            .expect("the head of an answer");
        sizes.push(response.content_length().expect("a length") as usize);
        unread.push(response);
    }
    (sizes, unread)
}

async fn keeps_no_more_than_it_may(front: &Front, draft: &Draft) {
    let fitting = MAX_HELD / (ANSWER + 1024);
    let (sizes, unread) = heads(draft, fitting + 1).await;
    let (refused, held) = sizes.split_last().expect("answers");
    assert!(held.iter().all(|size| *size > ANSWER), "{held:?}");
    assert!(*refused < 1024, "one of {refused} bytes is held as well");
    let shed = front.metrics("switchboard_shed_total").await;
    assert!(shed[r#"switchboard_shed_total{reason="answers"}"#] > 0.0);

    drop(unread);
    let reading = Client::new(front.gateway.url());
    until("room for an answer", async || {
        let answer = reading.ask(&good()).await;
        (answer.raw.len() > ANSWER).then_some(())
    })
    .await;
}

#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory() {
    let (_backend, front) = front().await;
    keeps_no_more_than_it_may(&front, &front.client.draft(&good())).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_same_with_answers_that_were_translated_for_an_older_client() {
    let (_backend, front) = front().await;
    let setup = Setup {
        version: "2025-06-18",
        ..Setup::default()
    };
    let client = LegacyClient::connect(front.gateway.url(), setup).await;
    let draft = client.draft(&client.call_message("a__echo", json!({})));
    keeps_no_more_than_it_may(&front, &draft).await;
    front.gateway.stop().await;
}
