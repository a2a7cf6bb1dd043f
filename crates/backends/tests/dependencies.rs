//! A backend that depends on another which never comes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchboard_backends::config::parked::ParkedCallsConfig;
use switchboard_backends::status::{ChangedLists, Observer, State};
use switchboard_backends::{Backend, BackendContext, KnownLists, Shared, Supervisor};
use switchboard_telemetry::Metrics;
use switchboard_testkit::fake_http::RefusedPort;
use tokio::time::Instant;

struct Quiet;

impl Observer for Quiet {
    fn changed(&self, _: &str) {}
    fn lists_changed(&self, _: &str, _: ChangedLists) {}
    fn resource_updated(&self, _: &str, _: &str) {}
}

#[tokio::test(start_paused = true)]
async fn it_is_started_after_a_minute_all_the_same() {
    let metrics = Metrics::new().expect("metrics");
    let port = RefusedPort::take();
    let start = |name: &str, dependencies: &[Backend]| {
        let config = json!({ "url": port.url() });
        let config = serde_json::from_value(config).expect("a configuration");
        let context = BackendContext {
            metrics: metrics.backend(name),
            observer: Arc::new(Quiet),
            shared: Shared::new(ParkedCallsConfig::default()),
            supervisor: Supervisor::this_program(),
            known_lists: KnownLists::none(),
            runtime: None,
        };
        Backend::start(name.into(), config, context, dependencies)
    };
    let first = start("first", &[]);
    let began = Instant::now();
    let second = start("second", std::slice::from_ref(&first));
    let waits = || second.status().reason.contains("waits for \"first\"");
    while !waits() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while waits() {
        assert_eq!(second.status().state, State::Starting);
        assert!(began.elapsed() < Duration::from_secs(70), "it waits on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(60));
    second.shut_down().await;
    first.shut_down().await;
}
