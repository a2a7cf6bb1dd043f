//! A gateway that is told to end: what it has begun is finished, what listens ends, and it is gone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::until;
use tokio::time::timeout;

const CALLS: usize = 200;
const STREAMS: usize = 20;
/// Far beyond what the calls take, and below the time in which the gateway cuts what goes on.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_in_flight_is_answered_and_what_listens_ends() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let front = Front::start(json!({
        "server": { "drain_timeout": "2m" },
        "backends": { "s": remote(fake.url()) },
    }))
    .await;
    front.wait_until("s", true).await;
    let client = Arc::new(front.client.clone());
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
        stream.next_raw().await.expect("an acknowledgement");
        streams.push(stream);
    }
    let calls: Vec<_> = (0..CALLS)
        .map(|n| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                client
                    .call("s__delay", json!({ "n": n, "ms": 3_000 }))
                    .await
            })
        })
        .collect();
    until("all calls are with the server", async || {
        (fake.requests_of("tools/call").len() == CALLS).then_some(())
    })
    .await;

    let stopped = timeout(PATIENCE, front.gateway.stop());
    let streams = streams
        .into_iter()
        .map(|mut stream| async move { while stream.next_raw().await.is_some() {} });
    let (stopped, answers, _) = tokio::join!(stopped, join_all(calls), join_all(streams));
    stopped.expect("it ends as soon as nothing is in flight");
    for answer in answers {
        let answer = answer.expect("no panic");
        assert_ne!(answer.result()["isError"], json!(true), "{}", answer.raw);
    }
    assert_eq!(fake.requests_of("tools/call").len(), CALLS);
    assert_eq!(fake.cancelled(), 0);
}
