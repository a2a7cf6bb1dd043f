//! The way of a finished span to the collector: a bounded queue, a thread, OTLP over HTTP or gRPC.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, Status, TraceState};
use opentelemetry::{Context, Key, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter, SpanProcessor,
};
use url::Url;

use self::grpc::GrpcExporter;
use crate::config::TracesProtocol;
use crate::redaction::{Outlet, redacted};

mod grpc;

/// Spans that may wait for the collector, those being sent included.
const MAX_QUEUED: usize = 2048;

/// The longest text that is exported, in bytes.
const MAX_SHOWN: usize = 256;

/// Time that the collector has to take one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the exporter of spans cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The client of the collector cannot be made.
    #[error(transparent)]
    Client(#[from] ExporterBuildError),
    /// There is no thread to send on.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where spans go that are to be exported: those that the provider makes, and whole ones.
pub(crate) struct Exporting {
    pub(crate) provider: SdkTracerProvider,
    pub(crate) processor: Arc<BoundedProcessor>,
}

/// What sends to the collector at `endpoint`. Dropped spans are added to `dropped`.
///
/// # Errors
/// The client cannot be made.
pub(crate) fn otlp(
    endpoint: &Url,
    protocol: TracesProtocol,
    dropped: &Arc<AtomicU64>,
) -> Result<Exporting, ExportError> {
    Ok(match protocol {
        TracesProtocol::Http => {
            let exporter = opentelemetry_otlp::SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(traces_url(endpoint))
                .with_timeout(EXPORT_TIMEOUT)
                .build()?;
            exporting(exporter, dropped)
        }
        TracesProtocol::Grpc => exporting(GrpcExporter::new(endpoint)?, dropped),
    })
}

/// What hands batches of spans to `exporter` on a thread of its own.
pub(crate) fn exporting(
    exporter: impl SpanExporter + 'static,
    dropped: &Arc<AtomicU64>,
) -> Exporting {
    let queue = Arc::new(Queue {
        length: AtomicUsize::new(0),
        dropped: Arc::clone(dropped),
    });
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(MAX_QUEUED)
        .build();
    let mut inner = BatchSpanProcessor::builder(CountingExporter {
        inner: exporter,
        queue: Arc::clone(&queue),
    })
    .with_batch_config(batch)
    .build();
    let resource = resource();
    // The provider would do that, and cannot any more once the processor is shared.
    inner.set_resource(&resource);
    let processor = Arc::new(BoundedProcessor { inner, queue });
    let provider = SdkTracerProvider::builder()
        // Whether a call is traced was decided before its span was made.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .with_span_processor(SharedProcessor(Arc::clone(&processor)))
        .build();
    Exporting {
        provider,
        processor,
    }
}

/// What all spans have in common: what the environment says (`OTEL_SERVICE_NAME`,
/// `OTEL_RESOURCE_ATTRIBUTES`), and else the name and version of this program.
fn resource() -> Resource {
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let named = Resource::builder().build();
    let name = named.get(&Key::from_static_str("service.name"));
    let is_named = name.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    match is_named {
        true => builder.build(),
        false => builder.with_service_name("switchboard").build(),
    }
}

/// A bare address means the path that OTLP over HTTP gives to traces; any other path is taken as it
/// is.
fn traces_url(endpoint: &Url) -> String {
    if endpoint.path() == "/" {
        let mut url = endpoint.clone();
        url.set_path("/v1/traces");
        url.into()
    } else {
        endpoint.as_str().to_owned()
    }
}

/// How many spans wait. The library's processor keeps such a count too, but tells nobody what it
/// dropped.
#[derive(Debug)]
struct Queue {
    length: AtomicUsize,
    dropped: Arc<AtomicU64>,
}

/// Drops and counts the spans for which the queue of the processor inside has no place.
#[derive(Debug)]
pub(crate) struct BoundedProcessor {
    inner: BatchSpanProcessor,
    queue: Arc<Queue>,
}

/// The provider's hold on it.
#[derive(Debug)]
struct SharedProcessor(Arc<BoundedProcessor>);

impl SpanProcessor for SharedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.length.fetch_add(1, Ordering::Relaxed) >= MAX_QUEUED {
            self.queue.length.fetch_sub(1, Ordering::Relaxed);
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}

/// Takes a batch out of the count when it was sent, and counts it as dropped when it could not be.
#[derive(Debug)]
struct CountingExporter<E> {
    inner: E,
    queue: Arc<Queue>,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        batch.iter_mut().for_each(redact);
        let result = self.inner.export(batch).await;
        self.queue.length.fetch_sub(spans, Ordering::Relaxed);
        if result.is_err() {
            self.queue
                .dropped
                .fetch_add(spans as u64, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Takes secrets out of what a span says, and cuts what others chose.
fn redact(span: &mut SpanData) {
    let without = |text: &str| shown(redacted(Outlet::Traces, text, false));
    if let Some(name) = without(&span.name) {
        span.name = name.into();
    }
    let events = span.events.events.iter_mut();
    let of_events = events.flat_map(|event| event.attributes.iter_mut());
    for attribute in span.attributes.iter_mut().chain(of_events) {
        if let Value::String(text) = &attribute.value
            && let Some(text) = without(text.as_str())
        {
            attribute.value = Value::String(text.into());
        }
    }
    if let Status::Error { description } = &mut span.status
        && let Some(text) = without(description)
    {
        *description = text.into();
    }
    let links = span
        .links
        .links
        .iter_mut()
        .map(|link| &mut link.span_context);
    for context in links.chain([&mut span.span_context]) {
        let state = context.trace_state().header();
        if matches!(redacted(Outlet::Traces, &state, false), Cow::Owned(_)) {
            *context = SpanContext::new(
                context.trace_id(),
                context.span_id(),
                context.trace_flags(),
                context.is_remote(),
                TraceState::NONE,
            );
        }
    }
}

/// A text as it is exported, if that is not as it was. Cut after secrets were taken out: half of one is
/// known by nobody.
fn shown(text: Cow<'_, str>) -> Option<String> {
    let end = text.floor_char_boundary(MAX_SHOWN);
    match text {
        Cow::Borrowed(text) if end == text.len() => None,
        text => Some(text[..end].to_owned()),
    }
}

#[cfg(test)]
mod tests;
