//! Results that are larger than the gateway lets them be: cut, or refused, before more of them is held
//! than the cap allows, and their servers are told to stop.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, call, message};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::scripted::{Scripted, Step, pieces};

mod convert;
mod docs;
mod flow;
mod legacy;
mod local;
mod memory;
mod structured;

const KIB: usize = 1024;

/// A gateway in front of this server as `s`, with these caps.
async fn front(server: &Scripted, caps: Value) -> Front {
    start(server, json!({ "result_caps": caps })).await
}

/// The same with these sections.
async fn start(server: &Scripted, mut config: Value) -> Front {
    let mut backend = remote(server.url());
    backend["max_message_bytes"] = json!(256 * KIB * KIB);
    backend["timeout"] = json!("4m");
    config["backends"] = json!({ "s": backend, "other": faulty(&["--label", "other"]) });
    let front = Front::start(config).await;
    front.wait_until("s", true).await;
    front.wait_until("other", true).await;
    front
}

/// A response with this result.
fn response(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A server whose calls are answered with this result, in pieces.
async fn serving(result: Value) -> Scripted {
    serving_text(result.to_string()).await
}

/// The same, with its members in this order.
async fn serving_text(result: String) -> Scripted {
    Scripted::start(move |id| pieces(&response(id, &result), 30_000)).await
}

/// A result with one text of this many bytes.
fn text_of(bytes: usize) -> Value {
    let line = "all about \"Zürich\" 世界\n";
    let text = line.repeat(bytes / line.len());
    json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] })
}

fn texts(answer: &Answer) -> Vec<&str> {
    let blocks = answer.result()["content"].as_array().expect("content");
    blocks.iter().filter_map(|it| it["text"].as_str()).collect()
}

/// What a cut result says of itself.
fn told(answer: &Answer) -> &Value {
    &answer.result()["_meta"]["dev.switchboard/truncated"]
}

/// Checks that a result is cut, and gives its size in bytes.
fn assert_cut(answer: &Answer, cap: usize) -> usize {
    let size = answer.result().to_string().len();
    assert!(size <= cap, "{size} bytes are more than {cap}");
    assert!(told(answer).is_object(), "{}", answer.result());
    let last = texts(answer).pop().expect("a text").to_owned();
    assert!(last.starts_with("[The gateway cut this result"), "{last}");
    size
}

/// How many results were capped, by what became of them.
async fn counted(front: &Front, over: &str) -> f64 {
    let samples = front.metrics("switchboard_results_capped_total").await;
    let of_server = format!("switchboard_results_capped_total{{backend=\"s\",over=\"{over}\"}}");
    samples.get(&of_server).copied().unwrap_or_default()
}
