//! Clients that send what they must not. Each gets the specified error, and the next good call
//! works.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, Draft, call};
use switchboard_tests::front::{Front, faulty};

mod bodies;
mod frames;
mod headers;
mod readers;
mod requests;
mod sockets;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;

async fn front() -> Front {
    let front = Front::of(json!({ "a": faulty(&[]) })).await;
    front.wait_until("a", true).await;
    front
}

fn good() -> Value {
    call("a__echo", &json!({ "x": 1 }))
}

async fn answer_to(client: &Client, draft: Draft) -> Answer {
    client.send(draft).await.finish().await
}

/// Sends a body with the headers of a good call and expects this status and JSON-RPC error; then a
/// good call.
async fn refuses_body(front: &Front, what: &str, body: impl Into<Vec<u8>>, status: u16, code: i64) {
    let draft = front.client.draft(&good()).with_body(body.into());
    refuses(front, what, draft, status, code).await;
}

async fn refuses(front: &Front, what: &str, draft: Draft, status: u16, code: i64) {
    let answer = answer_to(&front.client, draft).await;
    assert_eq!(answer.status, status, "{what}: {}", answer.raw);
    assert_eq!(answer.error_code(), Some(code), "{what}: {}", answer.raw);
    let message = &answer.response["error"]["message"];
    assert!(
        message.as_str().is_some_and(|text| !text.is_empty()),
        "{what}: {}",
        answer.raw
    );
    front.works("a").await;
}

/// The good call as text, with one part of it changed.
fn changed(from: &str, to: &str) -> String {
    let text = good().to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1)
}
