//! OTLP over gRPC. Its client needs a runtime of tokio, which the thread that exports has not: it gets
//! one of its own, with one thread.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::{EXPORT_TIMEOUT, ExportError};

/// Sends spans over gRPC.
#[derive(Debug)]
pub(super) struct GrpcExporter {
    inner: Arc<opentelemetry_otlp::SpanExporter>,
    /// Until it is dropped, which must not wait for it.
    runtime: Option<Runtime>,
}

impl GrpcExporter {
    /// A client of the collector at this address, which connects when it first has something to
    /// send.
    pub(super) fn new(endpoint: &Url) -> Result<Self, ExportError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()?;
        let builder = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint.as_str())
            .with_timeout(EXPORT_TIMEOUT);
        let builder = match endpoint.scheme() {
            // Without a word of it, nobody is trusted.
            "https" => builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
            _ => builder,
        };
        let exporter = {
            let _on_runtime = runtime.enter();
            builder.build()?
        };
        Ok(Self {
            inner: Arc::new(exporter),
            runtime: Some(runtime),
        })
    }
}

impl SpanExporter for GrpcExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(runtime) = &self.runtime else {
            return Err(OTelSdkError::AlreadyShutdown);
        };
        let inner = Arc::clone(&self.inner);
        let sent = runtime.spawn(async move { inner.export(batch).await });
        let sent = sent.await;
        sent.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nobody else has it yet.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.set_resource(resource);
        }
    }
}

impl Drop for GrpcExporter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
