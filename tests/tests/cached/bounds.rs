//! How much is cached, and that what was cut is not.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switchboard_tests::scripted::{Scripted, pieces};

const KIB: usize = 1024;

/// A server whose results have a text of so many bytes, and how often it was asked.
async fn server(bytes: usize) -> (Scripted, Arc<AtomicUsize>) {
    let server = Scripted::start(|_| Vec::new()).await;
    let calls = answering(&server, bytes);
    (server, calls)
}

/// Has the server answer with so many bytes from now on, in pieces, and counts anew.
fn answering(server: &Scripted, bytes: usize) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    server.answer_with(move |id| {
        counted.fetch_add(1, Ordering::SeqCst);
        pieces(&response(id, bytes), 10_000)
    });
    calls
}

fn response(id: &str, bytes: usize) -> String {
    let text = "x".repeat(bytes);
    let result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn text(answer: &Answer) -> &str {
    let text = answer.result()["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {}", answer.raw))
}

/// A backend whose `t` only reads.
fn backend(server: &Scripted) -> Value {
    json!({ "url": server.url(), "cache": { "tools": ["t"] } })
}

#[tokio::test]
async fn nothing_is_cached_above_the_total_and_what_is_asked_for_least_goes() {
    const TOTAL: f64 = 64.0 * 1024.0;
    let (server, calls) = server(4 * KIB).await;
    let front = Front::started(json!({
        "cache": { "max_total": "64KiB", "max_entry": "64KiB" },
        "backends": { "s": backend(&server) },
    }))
    .await;
    let asked = async |a: Value| state(&front.client.call("s__t", json!({ "a": a })).await);
    assert_eq!(asked(json!("often")).await, Value::Null);
    let mut most = 0.0_f64;
    for other in 0..100 {
        assert_eq!(asked(json!("often")).await, "hit", "after {other} others");
        assert_eq!(asked(json!(other)).await, Value::Null);
        let metrics = front.metrics("switchboard_cache").await;
        let bytes = metrics["switchboard_cache_bytes"];
        assert!(bytes <= TOTAL, "{bytes}");
        // Each needs 512 bytes beside its text.
        let entries = metrics["switchboard_cache_entries"];
        assert!(bytes >= entries * 4.5 * 1024.0, "{metrics:?}");
        most = most.max(bytes);
    }
    // It is full, and no more than that.
    assert!(most > TOTAL * 0.8, "{most}");
    assert_eq!(calls.load(Ordering::SeqCst), 101);

    // One that `max_entry` lets be, and that is larger than all may be with what it needs beside its text.
    let large = answering(&server, 64 * KIB - 200);
    for _ in 0..2 {
        assert_eq!(asked(json!("large")).await, Value::Null);
    }
    assert_eq!(large.load(Ordering::SeqCst), 2);
    // And nothing went for it.
    assert_eq!(asked(json!("often")).await, "hit");
    front.gateway.stop().await;
}

/// A gateway whose profile `small` gets results of 2 KiB, and `large` all.
async fn capped(server: &Scripted, over: &str) -> (Front, [Client; 2]) {
    let front = Front::started(json!({
        "backends": { "s": backend(server) },
        "profiles": { "small": {}, "large": {} },
        "result_caps": [{ "profiles": ["small"], "max_bytes": "2KiB", "over": over }],
    }))
    .await;
    let url = front.gateway.url();
    let clients = ["small", "large"].map(|profile| Client::new(&format!("{url}/{profile}")));
    (front, clients)
}

fn assert_cut(answer: &Answer, bytes: usize) {
    assert!(answer.raw.len() < 4 * KIB, "{}", answer.raw);
    let told = &answer.result()["_meta"]["dev.switchboard/truncated"];
    assert_eq!(told["maxBytes"], 2 * KIB, "{}", answer.raw);
    assert!(text(answer).len() < bytes);
}

fn assert_whole(answer: &Answer, bytes: usize) {
    assert_eq!(text(answer).len(), bytes);
    let told = &answer.result()["_meta"]["dev.switchboard/truncated"];
    assert!(told.is_null(), "{told}");
}

#[tokio::test]
async fn what_was_cut_while_it_arrived_is_no_other_profiles() {
    let bytes = 300 * KIB;
    let (server, calls) = server(bytes).await;
    let (front, [small, large]) = capped(&server, "truncate").await;
    let call = async |client: &Client| client.call("s__t", json!({})).await;
    let cut = call(&small).await;
    assert_cut(&cut, bytes);
    let whole = call(&large).await;
    assert_whole(&whole, bytes);
    assert_eq!((state(&cut), state(&whole)), (Value::Null, Value::Null));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    // What the other got answers both, each by its own cap.
    let cut = call(&small).await;
    assert_cut(&cut, bytes);
    let whole = call(&large).await;
    assert_whole(&whole, bytes);
    assert_eq!((state(&cut), state(&whole)), (json!("hit"), json!("hit")));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_came_whole_and_was_cut_then_is_cached_whole() {
    for (over, bytes) in [
        ("truncate", 20 * KIB),
        ("handle", 20 * KIB),
        ("handle", 300 * KIB),
    ] {
        let (server, calls) = server(bytes).await;
        let (front, [small, large]) = capped(&server, over).await;
        let cut = small.call("s__t", json!({})).await;
        assert_cut(&cut, bytes);
        assert_eq!(state(&cut), Value::Null);
        let whole = large.call("s__t", json!({})).await;
        assert_whole(&whole, bytes);
        assert_eq!(state(&whole), "hit", "{over} {bytes}");
        let cut = small.call("s__t", json!({})).await;
        assert_cut(&cut, bytes);
        assert_eq!(state(&cut), "hit");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        front.gateway.stop().await;
    }
}
