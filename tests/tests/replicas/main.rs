//! Two and three gateways of one cluster behind a plain round-robin proxy: what one of them alone has
//! is found whichever a request comes to, and nobody else gets in between.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, all_capabilities};
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup, Wire};
use switchboard_tests::replicas::Replicas;
use switchboard_tests::waiting::until;

mod certificates;
mod intruders;
mod killed;
mod owned;
mod sessions;
mod shared;

/// Starts so many replicas, and waits until nothing is missing at any of them.
async fn replicas(count: usize, config: Value) -> Replicas {
    let replicas = Replicas::start(count, config).await;
    for at in 0..count {
        replicas.front(at).gateway.wait_for_backends().await;
    }
    replicas
}

/// A client of this revision that may be asked anything.
fn setup(version: &'static str) -> Setup {
    Setup {
        version,
        capabilities: all_capabilities(),
        replies: Arc::new(Reply::accept),
        ..Setup::default()
    }
}

/// A client at one replica that goes on with a session that the first replica has.
async fn beside(replicas: &Replicas, at: usize) -> LegacyClient {
    let first = LegacyClient::connect(replicas.front(0).gateway.url(), setup("2025-11-25")).await;
    let beside = LegacyClient::new(replicas.front(at).gateway.url(), setup("2025-11-25"));
    beside.set_session(first.session());
    beside
}

/// The text of a tool's first block.
fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// Checks that a call failed without anybody knowing what it did.
fn assert_unknown(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
}
