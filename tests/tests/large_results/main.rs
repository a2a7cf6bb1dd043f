//! Results that are larger than what is held back: they pass through while they arrive, are edited
//! on the way, and break off visibly when something about them turns out to be wrong.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchboard_testkit::client::{Exchange, call, message};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::scripted::{Scripted, Step};

mod breaks;
mod edits;
mod flow;

/// More than is held back.
const LARGE: usize = 300 * 1024;

/// A gateway in front of this server as `s`, with these settings of the backend.
async fn front(server: &Scripted, settings: Value) -> Front {
    let mut backend = remote(server.url());
    for (key, value) in settings.as_object().into_iter().flatten() {
        backend[key] = value.clone();
    }
    // A second server with resources, so that not every address leads to the first.
    let other = faulty(&["--label", "other"]);
    let front = Front::of(json!({ "s": backend, "other": other })).await;
    front.wait_until("s", true).await;
    front.wait_until("other", true).await;
    front
}

fn large_text() -> String {
    "all about \\\"Zürich\\\" 世界 ".repeat(LARGE / 30)
}

/// A response with this result.
fn response(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// Everything that came, and whether it ended as it should.
struct Received {
    text: String,
    is_whole: bool,
}

impl Received {
    fn json(&self) -> Value {
        assert!(
            self.is_whole,
            "it broke off behind {} bytes",
            self.text.len()
        );
        serde_json::from_str(&self.text).expect("JSON")
    }
}

async fn receive(mut exchange: Exchange) -> Received {
    let mut all = Vec::new();
    let is_whole = loop {
        match exchange.next_bytes().await {
            Some(Ok(bytes)) => all.extend_from_slice(&bytes),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    Received {
        // It may have been cut within a character.
        text: String::from_utf8_lossy(&all).into_owned(),
        is_whole,
    }
}

/// Calls the tool.
async fn begin(front: &Front) -> Exchange {
    let call = call("s__t", &json!({}));
    front.client.send(front.client.draft(&call)).await
}

/// Calls the tool, and reads how its answer begins.
async fn begun(front: &Front) -> Exchange {
    let mut exchange = begin(front).await;
    let beginning = exchange.next_bytes().await;
    beginning.expect("a beginning").expect("a beginning");
    exchange
}

async fn answer(front: &Front) -> Received {
    receive(begin(front).await).await
}

/// A request of another method.
async fn answer_of(front: &Front, method: &str, params: Value) -> Received {
    let request = message(method, params);
    receive(front.client.send(front.client.draft(&request)).await).await
}

/// How often calls of the tool ended, by `error_type`, as the metric of this name counts.
async fn ends(front: &Front, metric: &str) -> BTreeMap<String, f64> {
    let samples = front.metrics(&format!("{metric}_count")).await;
    samples
        .into_iter()
        .filter(|(labels, count)| labels.contains("\"tools/call\"") && *count > 0.0)
        .filter_map(|(labels, count)| {
            let error = labels.split("error_type=\"").nth(1)?.split('"').next()?;
            Some((error.to_owned(), count))
        })
        .collect()
}

const SERVER_CALLS: &str = "mcp_server_operation_duration_seconds";
const CLIENT_CALLS: &str = "mcp_client_operation_duration_seconds";

/// Waits until both sides have counted this many calls that ended so, and nothing else.
async fn assert_ends(front: &Front, expected: &[(&str, f64)]) {
    let expected: BTreeMap<String, f64> = expected
        .iter()
        .map(|(error, count)| ((*error).to_owned(), *count))
        .collect();
    for metric in [SERVER_CALLS, CLIENT_CALLS] {
        let what = format!("{metric} counts {expected:?}");
        switchboard_tests::waiting::until(&what, async || {
            (ends(front, metric).await == expected).then_some(())
        })
        .await;
    }
}

fn send(text: &str) -> Step {
    Step::Send(text.to_owned().into())
}
