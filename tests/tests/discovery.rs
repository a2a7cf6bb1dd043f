//! A backend whose endpoints Consul knows: they come and go while calls are made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Transport};
use switchboard_tests::front::Front;
use switchboard_tests::waiting::until;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// What a Consul that is none knows of the service: its index, and its instances.
type Known = (u64, Value);

/// Serves this knowledge; answers with its address.
async fn consul(known: watch::Receiver<Known>) -> String {
    let app = Router::new()
        .route("/v1/health/service/mcp", get(health))
        .with_state(known);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// As the API does it: a question for what is newer waits until there is something.
async fn health(
    State(mut known): State<watch::Receiver<Known>>,
    RawQuery(query): RawQuery,
) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let query: HashMap<_, _> = query
        .split('&')
        .filter_map(|one| one.split_once('='))
        .collect();
    let seen: u64 = query["index"].parse().expect("a number");
    let news = known.wait_for(|(index, _)| seen == 0 || *index != seen);
    // Without news, the answer is what is known.
    let _ = timeout(Duration::from_secs(10), news).await;
    let (index, instances) = known.borrow().clone();
    (
        [("x-consul-index", index.to_string())],
        instances.to_string(),
    )
}

fn instances(fakes: &[&FakeHttp]) -> Value {
    let instance = |fake: &&FakeHttp| {
        let address = fake.url().strip_prefix("http://").expect("an http URL");
        let (address, _) = address.split_once('/').expect("a path");
        let (host, port) = address.split_once(':').expect("a port");
        let port: u16 = port.parse().expect("a port");
        json!({ "Node": { "Address": host }, "Service": { "Port": port } })
    };
    fakes.iter().map(instance).collect()
}

fn calls(fake: &FakeHttp) -> usize {
    fake.requests_of("tools/call").len()
}

async fn is_called(fake: &FakeHttp) {
    fake.forget_requests();
    until("it is called", async || (calls(fake) > 0).then_some(())).await;
}

#[tokio::test]
async fn endpoints_come_and_go_and_no_call_fails() {
    let (a, b, c) = (
        FakeHttp::start(Transport::Modern, "a").await,
        FakeHttp::start(Transport::Modern, "b").await,
        FakeHttp::start(Transport::Modern, "c").await,
    );
    for fake in [&a, &b, &c] {
        fake.behave(Behaviour {
            shuffle: Some(1),
            ..Behaviour::default()
        });
    }
    let (known, seen) = watch::channel((1, instances(&[&a, &b])));
    let path = a.url().rsplit('/').next().expect("a path");
    let front = Front::of(json!({ "s": {
        "url": format!("http://mcp.test/{path}"),
        "discovery": { "consul": { "url": consul(seen).await, "service": "mcp" } },
        "balance": "round_robin",
    }}))
    .await;
    front.wait_until("s", true).await;

    let is_over = AtomicBool::new(false);
    let calling = async || {
        while !is_over.load(Ordering::Relaxed) {
            let answer = front.client.call("s__echo", json!({})).await;
            let server = &answer.result()["structuredContent"]["server"]["label"];
            assert!(server.is_string(), "{}", answer.raw);
        }
    };
    let changing = async {
        is_called(&a).await;
        is_called(&b).await;
        known.send_replace((2, instances(&[&b, &c])));
        is_called(&c).await;
        known.send_replace((3, instances(&[&a])));
        is_called(&a).await;
        // Nothing is no news that counts.
        known.send_replace((4, json!([])));
        is_called(&a).await;
        until("the last of their calls has ended", async || {
            b.forget_requests();
            c.forget_requests();
            is_called(&a).await;
            (calls(&b) + calls(&c) == 0).then_some(())
        })
        .await;
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(calling(), calling(), calling(), calling(), changing);

    let request = a.requests_of("tools/call").pop().expect("a call");
    assert_eq!(request.headers["host"], "mcp.test", "as the URL says it");
    front.gateway.stop().await;
}
