//! The set-up of logs and traces for the whole process.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::CALL_TARGET;
use crate::config::{LogFormat, TelemetryConfig};
use crate::export::{self, ExportError, Exporting};
use crate::late::LateSpans;
use crate::log_control::LogControl;
use crate::logs::{self, LogQueue};
use crate::metrics::Metrics;
use crate::sampler::Sampler;
use crate::span::SCOPE;

/// How long a dropped [`Guard`] waits for the collector.
const FLUSH_SPANS: Duration = Duration::from_secs(5);

/// How long a dropped [`Guard`] waits for standard error.
const FLUSH_LOG: Duration = Duration::from_secs(1);

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// `telemetry.log.level` cannot be read.
    #[error("the log filter is not valid")]
    Filter(#[from] ParseError),
    /// The exporter of spans cannot be made.
    #[error("the exporter of traces cannot be set up: {0}")]
    Exporter(#[from] ExportError),
    /// The thread that writes the log cannot be started.
    #[error("the log cannot be started")]
    Log(#[from] io::Error),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Sets up logs, and traces if an endpoint is configured, for the whole process. It may be called
/// inside or outside of an async runtime.
///
/// # Errors
/// See [`InitError`].
pub fn init(config: &TelemetryConfig, metrics: &Metrics) -> Result<Guard, InitError> {
    let (subscriber, guard) = build(config, metrics, io::stderr())?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(guard)
}

/// Everything of [`init`] but making it the process's own.
fn build(
    config: &TelemetryConfig,
    metrics: &Metrics,
    log: impl Write + Send + 'static,
) -> Result<(impl Subscriber + Send + Sync, Guard), InitError> {
    let dropped = Arc::new(AtomicU64::new(0));
    let traces = &config.traces;
    let exporting = match &traces.endpoint {
        Some(endpoint) => Some(export::otlp(endpoint, traces.protocol, &dropped)?),
        None => None,
    };
    let queue = LogQueue::start(log, config.log.format == LogFormat::Json)?;
    let (log_layer, filter) = logs::layer(&config.log, queue.clone())?;
    // A list and not an `Option`: an absent layer counts as one that wants everything.
    let mut layers = vec![log_layer];
    let mut sampler = Sampler::OFF;
    let mut provider = None;
    if let Some(exporting) = exporting {
        let Exporting {
            provider: made,
            processor,
        } = exporting;
        layers.push(trace_layer(&made).boxed());
        let late = LateSpans::new(traces, processor);
        sampler = Sampler::new(traces.sample_ratio).with_late(Arc::new(late));
        provider = Some(made);
    }
    let subscriber = Registry::default().with(layers);

    let lines = queue.clone();
    metrics.count_dropped_with("logs", move || lines.dropped());
    metrics.count_dropped_with("spans", move || dropped.load(Ordering::Relaxed));
    let guard = Guard {
        sampler,
        log: LogControl::of(filter, &config.log.level),
        provider,
        queue,
    };
    Ok((subscriber, guard))
}

/// The layer that turns spans of calls into OpenTelemetry spans with exactly the attributes that
/// the span has.
pub(crate) fn trace_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // Spans of calls are never entered: a call moves between threads, and its parent is always
        // named.
        .with_context_activation(false)
        .with_filter(
            filter_fn(|metadata| metadata.is_span() && metadata.target() == CALL_TARGET)
                .with_max_level_hint(LevelFilter::INFO),
        )
}

/// Keeps logs and traces going; dropped, it flushes both. Hold it until the last thing worth a log
/// line has happened.
///
/// Dropping it blocks for at most 6 s and needs no async runtime, so it may be dropped inside of
/// one.
#[derive(Debug)]
#[must_use = "logs and traces end when this is dropped"]
pub struct Guard {
    sampler: Sampler,
    log: LogControl,
    provider: Option<SdkTracerProvider>,
    queue: LogQueue,
}

impl Guard {
    /// Decides which calls are traced: none without an endpoint for traces.
    pub fn sampler(&self) -> Sampler {
        self.sampler.clone()
    }

    /// Changes what is logged.
    pub fn log_control(&self) -> LogControl {
        self.log.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH_SPANS)
        {
            tracing::warn!(%error, "not all spans reached the collector");
        }
        self.queue.close(FLUSH_LOG);
    }
}

#[cfg(test)]
mod tests;
