//! The outermost layer of the call stack: the call's server span, its place in the metrics, and how
//! it ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::{Call, Outcome};
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{
    CallSpan, ClientVersion, ErrorType, GaugeGuard, IncomingCall, MethodLabel, Metrics, Network,
    Sampler, Target, TraceContext,
};
use tower::{Layer, Service};

use crate::end_watch::{EndWatcher, Ending, WatchedFuture};

/// Makes [`Trace`].
#[derive(Clone)]
pub(crate) struct TraceLayer {
    pub(crate) sampler: Sampler,
    pub(crate) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace {
            inner,
            layer: self.clone(),
        }
    }
}

/// The label of a method, without a search for its name.
const fn label_of(method: Method) -> MethodLabel {
    match method {
        Method::Discover => MethodLabel::ServerDiscover,
        Method::ToolsList => MethodLabel::ToolsList,
        Method::ToolsCall => MethodLabel::ToolsCall,
        Method::ResourcesList => MethodLabel::ResourcesList,
        Method::ResourceTemplatesList => MethodLabel::ResourceTemplatesList,
        Method::ResourcesRead => MethodLabel::ResourcesRead,
        Method::PromptsList => MethodLabel::PromptsList,
        Method::PromptsGet => MethodLabel::PromptsGet,
        Method::Complete => MethodLabel::CompletionComplete,
        Method::Listen => MethodLabel::SubscriptionsListen,
        Method::TasksGet => MethodLabel::TasksGet,
        Method::TasksUpdate => MethodLabel::TasksUpdate,
        Method::TasksCancel => MethodLabel::TasksCancel,
        Method::SkillsList => MethodLabel::SkillsList,
        Method::SkillsGet => MethodLabel::SkillsGet,
        Method::DirectoryRead => MethodLabel::DirectoryRead,
    }
}

/// The label of the version that a client speaks.
const fn client_version(version: Version) -> ClientVersion {
    match version {
        Version::V2024_11_05 => ClientVersion::V2024_11_05,
        Version::V2025_03_26 => ClientVersion::V2025_03_26,
        Version::V2025_06_18 => ClientVersion::V2025_06_18,
        Version::V2025_11_25 => ClientVersion::V2025_11_25,
        Version::V2026_07_28 => ClientVersion::V2026_07_28,
    }
}

/// Traces and measures every call.
#[derive(Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    layer: TraceLayer,
}

impl<S> Service<Box<Call>> for Trace<S>
where
    S: Service<TracedCall, Response = Outcome, Error = Infallible>,
{
    type Response = Outcome;
    type Error = Infallible;
    type Future = WatchedFuture<S::Future, Measured>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        self.layer.metrics.client_call(client_version(call.version));
        let span = server_span(&self.layer.sampler, &call);
        let measured = Measured {
            metrics: Arc::clone(&self.layer.metrics),
            _in_flight: self.layer.metrics.call_in_flight(),
            method: label_of(call.method),
            started: Instant::now(),
            error: Some(ErrorType::Cancelled),
            span: span.clone(),
        };
        WatchedFuture::new(self.inner.call(TracedCall { call, span }), Some(measured))
    }
}

fn server_span(sampler: &Sampler, call: &Call) -> CallSpan {
    let request = &call.request;
    let (traceparent, tracestate, baggage) = (
        request.text(request.meta.traceparent),
        request.text(request.meta.tracestate),
        request.text(request.meta.baggage),
    );
    let context = traceparent
        .as_deref()
        .and_then(|parent| TraceContext::parse(parent, tracestate.as_deref(), baggage.as_deref()));
    if !sampler.sample(context.as_ref()) {
        return CallSpan::none();
    }
    let target = call.target();
    let target = target.as_deref().and_then(|name| match call.method {
        Method::ToolsCall => Some(Target::Tool(name)),
        Method::PromptsGet => Some(Target::Prompt(name)),
        Method::ResourcesRead => Some(Target::Resource(name)),
        _ => None,
    });
    CallSpan::server(
        context.as_ref(),
        &IncomingCall {
            method: call.method.as_str(),
            target,
            request_id: request.id().and_then(|id| std::str::from_utf8(id).ok()),
            protocol_version: Some(call.version.as_str()),
            network: Network::Http,
            client_address: call.peer,
        },
    )
}

/// Counts a call when it ends; one that is dropped before was cancelled.
pub(crate) struct Measured {
    metrics: Arc<Metrics>,
    _in_flight: GaugeGuard,
    method: MethodLabel,
    started: Instant,
    error: Option<ErrorType>,
    span: CallSpan,
}

impl EndWatcher for Measured {
    fn ended(&mut self, ending: Ending<'_>) {
        match ending {
            Ending::Complete { is_error } => {
                self.record(is_error.then_some(ErrorType::ToolError), None);
            }
            Ending::InputRequired => self.record(None, None),
            Ending::Failed(error) => {
                let code = error_code(error);
                self.record(Some(ErrorType::from_code(code)), Some(code));
            }
        }
    }
}

/// The code of an error, JSON-RPC's or HTTP's.
pub(crate) fn error_code(error: &CallError) -> i64 {
    match error {
        CallError::Protocol(error) => error.code,
        CallError::Backend { code, .. } => *code,
        CallError::Fault(fault) => i64::from(fault.code),
    }
}

impl Measured {
    fn record(&mut self, error: Option<ErrorType>, code: Option<i64>) {
        self.span.record_outcome(error.map(ErrorType::as_str), code);
        self.error = error;
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics
            .server_operation(self.method, self.error, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_the_label_of_its_name() {
        for method in Method::ALL {
            assert_eq!(
                label_of(method),
                MethodLabel::from_method(method.as_str()),
                "{method:?}"
            );
        }
    }
}
