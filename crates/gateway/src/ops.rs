//! What probes and scrapers read, on a listener of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use switchboard_orchestrator::Orchestrator;
use switchboard_telemetry::Metrics;

/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz`: the process runs. `/readyz`: it takes calls, which it does as soon as every backend
/// was tried once, and until it begins to drain. `/metrics`: Prometheus text.
pub(crate) fn router(
    metrics: Arc<Metrics>,
    orchestrator: Orchestrator,
    draining: Arc<AtomicBool>,
) -> Router {
    let ready = move || {
        let is_ready =
            !draining.load(Ordering::Relaxed) && !orchestrator.catalogue().load().is_starting();
        async move {
            if is_ready {
                (StatusCode::OK, "ready\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            }
        }
    };
    let scrape = move || {
        let text = metrics.render();
        async move { ([(CONTENT_TYPE, METRICS_TYPE)], text) }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
}
