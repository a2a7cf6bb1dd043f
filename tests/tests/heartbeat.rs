//! The gateway's dead man's switch: a metric and a URL that say that it still works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;
use switchboard_tests::front::{Front, faulty};
use switchboard_tests::waiting::until;

const ROUND: &str = "switchboard_health_round_completed_timestamp_seconds";
const LOST: &str = "the heartbeat is not heard";

/// Somebody who listens for the heartbeat and answers with a status of the test's choice.
struct Listener {
    url: String,
    beats: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
}

impl Listener {
    async fn start() -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let socket = socket.expect("a free port");
        let url = format!("http://{}/beat", socket.local_addr().expect("bound"));
        let beats = Arc::new(AtomicUsize::new(0));
        let status = Arc::new(AtomicU16::new(200));
        let (counted, answered) = (Arc::clone(&beats), Arc::clone(&status));
        let app = Router::new().route(
            "/beat",
            get(move || async move {
                counted.fetch_add(1, Ordering::SeqCst);
                StatusCode::from_u16(answered.load(Ordering::SeqCst)).expect("a status")
            }),
        );
        tokio::spawn(async move { axum::serve(socket, app).await });
        Self { url, beats, status }
    }

    /// Waits for so many more beats.
    async fn hears(&self, more: usize) {
        let before = self.beats.load(Ordering::SeqCst);
        until("the heartbeat", async || {
            (self.beats.load(Ordering::SeqCst) >= before + more).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn every_completed_round_is_told_and_a_listener_that_fails_is_logged_once() {
    let listener = Listener::start().await;
    let front = Front::start(json!({
        "heartbeat": { "url": listener.url, "interval": "50ms" },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    listener.hears(3).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let told = front.metrics(ROUND).await[ROUND];
    let age = now.saturating_sub(Duration::from_secs_f64(told));
    assert!(age < Duration::from_secs(60), "{age:?}");

    listener.status.store(500, Ordering::SeqCst);
    // Of two beats the first may have been answered well before.
    listener.hears(5).await;
    listener.status.store(200, Ordering::SeqCst);
    until("the end of the failure is logged", async || {
        let log = front.gateway.server().output();
        log.contains("the heartbeat is heard again").then_some(())
    })
    .await;
    let log = front.gateway.server().output();
    assert_eq!(log.matches(LOST).count(), 1, "{log}");
    assert!(!log.contains("/beat"), "{log}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_is_no_listener() {
    let elsewhere = Listener::start().await;
    let location = elsewhere.url.clone();
    let redirects = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&redirects);
    let app = Router::new().route(
        "/",
        get(move || async move {
            counted.fetch_add(1, Ordering::SeqCst);
            axum::response::Redirect::temporary(&location)
        }),
    );
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let socket = socket.expect("a free port");
    let url = format!("http://{}/", socket.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(socket, app).await });
    let front = Front::start(json!({
        "heartbeat": { "url": url, "interval": "50ms" },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    until("redirects", async || {
        (redirects.load(Ordering::SeqCst) >= 3).then_some(())
    })
    .await;
    assert_eq!(elsewhere.beats.load(Ordering::SeqCst), 0);
    assert!(front.gateway.server().output().contains(LOST));
    front.gateway.stop().await;
}
