//! Ten times as many clients as the gateway takes calls: it does as much work as it can, says at
//! once and with a hint that it does not do more, and nothing of that is left afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use switchboard_testkit::client::{Answer, Client, call};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::until;

const MAX_IN_FLIGHT: usize = 8;
const CLIENTS: usize = 10 * MAX_IN_FLIGHT;
/// What a call takes at the backend.
const WORK: Duration = Duration::from_millis(50);
/// After so many calls the load ends, and after so many requests of one client at the latest.
const ENOUGH_CALLS: usize = 20 * MAX_IN_FLIGHT;
const MAX_ROUNDS: usize = 10_000;
/// Far below any deadline of a call, and far above what a refusal takes on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

async fn front(backend: &FakeHttp) -> Front {
    let front = Front::start(json!({
        "server": { "max_in_flight": MAX_IN_FLIGHT },
        "backends": { "a": remote(backend.url()) },
    }))
    .await;
    front.wait_until("a", true).await;
    front
}

async fn delay(client: &Client) -> Answer {
    let ms = u64::try_from(WORK.as_millis()).expect("a short time");
    client.call("a__delay", json!({ "ms": ms })).await
}

fn is_refusal(answer: &Answer) -> bool {
    answer.fault()["reason"] == "overloaded"
}

fn assert_has_hint(answer: &Answer) {
    let fault = answer.fault();
    assert!(fault["retryAfterMs"].as_u64() > Some(0), "{}", answer.raw);
    assert_eq!(fault["outcome"], "not_sent", "{}", answer.raw);
    // Refused early, or as a call: a tool's result.
    if answer.status == 503 {
        assert_eq!(answer.headers["retry-after"], "1");
    } else {
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_ten_times_its_load_it_works_on_and_refuses_the_rest_at_once() {
    let backend = Arc::new(FakeHttp::start(Transport::Modern, "a").await);
    let front = front(&backend).await;
    let completed = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = front.client.clone();
            let (backend, completed, most) = (
                Arc::clone(&backend),
                Arc::clone(&completed),
                Arc::clone(&most),
            );
            tokio::spawn(async move {
                for _ in 0..MAX_ROUNDS {
                    if completed.load(Ordering::Relaxed) >= ENOUGH_CALLS {
                        break;
                    }
                    let asked = Instant::now();
                    let answer = delay(&client).await;
                    most.fetch_max(backend.in_flight(), Ordering::Relaxed);
                    if is_refusal(&answer) {
                        assert_has_hint(&answer);
                        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
                        tokio::time::sleep(WORK / 10).await;
                    } else {
                        assert_eq!(answer.result()["structuredContent"]["server"]["label"], "a");
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client that saw right answers alone");
    }

    // How many a second is judged by `switchboard-bench overload`, on a machine that does nothing else.
    let completed = completed.load(Ordering::Relaxed);
    assert!(completed >= ENOUGH_CALLS, "{completed} calls");
    let most = most.load(Ordering::Relaxed);
    assert!(most <= MAX_IN_FLIGHT, "{most} calls at once");
    let shed = front.metrics("switchboard_shed_total").await;
    assert!(shed[r#"switchboard_shed_total{reason="in_flight"}"#] > 0.0);

    for _ in 0..MAX_IN_FLIGHT {
        let answer = delay(&front.client).await;
        assert!(!is_refusal(&answer), "{}", answer.raw);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn subscriptions_and_sessions_take_no_place_of_a_call() {
    let backend = FakeHttp::start(Transport::Modern, "a").await;
    let front = front(&backend).await;
    let mut streams = Vec::new();
    for _ in 0..2 * MAX_IN_FLIGHT {
        let mut stream = front
            .client
            .listen(json!({ "toolsListChanged": true }))
            .await;
        stream.next().await.expect("an open stream");
        streams.push(stream);
    }
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_was_made_up_is_no_way_past_the_refusal() {
    let backend = FakeHttp::start(Transport::Modern, "a").await;
    let front = front(&backend).await;
    let calls: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|_| {
            let client = front.client.clone();
            tokio::spawn(async move { client.call("a__hang", json!({})).await })
        })
        .collect();
    until("a gateway that is full", async || {
        (backend.in_flight() == MAX_IN_FLIGHT).then_some(())
    })
    .await;
    let draft = front.client.draft(&call("a__echo", &json!({})));
    let draft = draft
        .with_header("mcp-session-id", "made up")
        .with_body("not looked at");
    let answer = front.client.send(draft).await.finish().await;
    assert_eq!(answer.status, 503, "{}", answer.raw);
    assert_eq!(answer.headers["retry-after"], "1");
    for call in calls {
        call.abort();
    }
    front.gateway.stop().await;
}
