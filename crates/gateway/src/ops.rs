//! What probes and scrapers read, on a listener of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use switchboard_orchestrator::Orchestrator;
use switchboard_policy::limits::Limits;
use switchboard_telemetry::{Metrics, Observed};

use crate::policy::LimitsInForce;

/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How everything is that is looked at for a scrape.
fn observe(orchestrator: &Orchestrator, limits: &Limits) -> Observed {
    let mut observed = Observed::default();
    orchestrator.observe(&mut observed);
    for level in limits.levels() {
        observed.limit(level.policy, &level.name, level.measure, level.level);
    }
    observed
}

/// `/healthz`: the process runs. `/readyz`: it takes calls, which it does as soon as every backend
/// was tried once, and until it begins to drain. `/metrics`: Prometheus text.
pub(crate) fn router(
    metrics: Arc<Metrics>,
    orchestrator: Orchestrator,
    limits: LimitsInForce,
    draining: Arc<AtomicBool>,
) -> Router {
    // Backends that a reload adds start beside others that work.
    let was_ready = Arc::new(AtomicBool::new(false));
    let measured = orchestrator.clone();
    let ready = move || {
        let all_known = !orchestrator.catalogue().load().is_starting();
        let was_ready = was_ready.fetch_or(all_known, Ordering::Relaxed);
        let is_ready = !draining.load(Ordering::Relaxed) && (was_ready || all_known);
        async move {
            if is_ready {
                (StatusCode::OK, "ready\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            }
        }
    };
    let scrape = move || {
        let (metrics, orchestrator) = (Arc::clone(&metrics), measured.clone());
        let limits = limits.load_full();
        async move {
            orchestrator.measure_processes().await;
            let observed = observe(&orchestrator, &limits);
            let text = metrics.render_with(observed);
            ([(CONTENT_TYPE, METRICS_TYPE)], text)
        }
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
}
