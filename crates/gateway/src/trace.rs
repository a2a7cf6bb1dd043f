//! The outermost layer of the call stack: the call's server span, its place in the metrics, and how
//! it ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use switchboard_backends::method_label::method_label;
use switchboard_orchestrator::TracedCall;
use switchboard_protocol::call::{Call, Outcome};
use switchboard_protocol::error::CallError;
use switchboard_protocol::header;
use switchboard_protocol::method::Method;
use switchboard_protocol::trail::{Incident, Step, Trail, Watcher};
use switchboard_protocol::version::Version;
use switchboard_telemetry::{
    CallEvent, CallSpan, ClientVersion, ErrorType, GaugeGuard, InTrace, Incoming, IncomingCall,
    MethodLabel, Metrics, Network, Sampler, Target, TraceContext,
};
use tower::{Layer, Service};

use self::unsampled::Unsampled;
use crate::end_watch::{EndWatcher, Ending, WatchedFuture};

mod unsampled;

/// Makes [`Trace`].
#[derive(Clone)]
pub(crate) struct TraceLayer {
    parts: Arc<TraceParts>,
}

/// What all calls are traced and measured with.
struct TraceParts {
    sampler: Sampler,
    metrics: Arc<Metrics>,
}

impl TraceLayer {
    pub(crate) fn new(sampler: Sampler, metrics: Arc<Metrics>) -> Self {
        Self {
            parts: Arc::new(TraceParts { sampler, metrics }),
        }
    }
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

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        let parts = &self.layer.parts;
        parts.metrics.client_call(client_version(call.version));
        let Begun {
            span,
            unsampled,
            is_given,
        } = begin(&parts.sampler, &call);
        if span.is_recording() {
            let watcher = Box::new(OfSpan(span.clone()));
            call.trail = Some(Arc::new(Trail::watched(watcher)));
        }
        let measured = Measured {
            _in_flight: parts.metrics.call_in_flight(),
            parts: Arc::clone(parts),
            method: method_label(call.method),
            started: Instant::now(),
            has_ended: false,
            span: span.clone(),
            unsampled,
            is_given,
        };
        WatchedFuture::new(self.inner.call(TracedCall { call, span }), Some(measured))
    }
}

/// How a call is traced.
struct Begun {
    span: CallSpan,
    /// What is needed if it turns out to be worth a span.
    unsampled: Option<Box<Unsampled>>,
    /// Whether its caller named a trace.
    is_given: bool,
}

fn begin(sampler: &Sampler, call: &Call) -> Begun {
    let request = &call.request;
    let text = |span| request.text(span);
    let of_message = (
        text(request.meta.traceparent),
        text(request.meta.tracestate),
        text(request.meta.baggage),
    );
    let header = |name| call.headers.get(name).and_then(|value| value.to_str().ok());
    let incoming = Incoming {
        message: of_message.0.as_deref().and_then(|parent| {
            TraceContext::parse(parent, of_message.1.as_deref(), of_message.2.as_deref())
        }),
        http: header(header::TRACEPARENT)
            .and_then(|parent| TraceContext::parse(parent, header(header::TRACESTATE), None)),
    };
    let is_given = incoming.parent().is_some();
    if sampler.sample(incoming.parent()) {
        return Begun {
            span: CallSpan::server(&incoming, &described(call, call.target().as_deref())),
            unsampled: None,
            is_given,
        };
    }
    let trace = sampler.unsampled_trace(&incoming);
    let late = trace.filter(|_| sampler.late().is_some());
    Begun {
        span: trace.map_or(CallSpan::none(), CallSpan::unsampled),
        unsampled: late.map(|trace| Box::new(Unsampled::new(trace, &incoming, call))),
        is_given,
    }
}

/// The call as its span shows it.
fn described<'c>(call: &'c Call, target: Option<&'c str>) -> IncomingCall<'c> {
    IncomingCall {
        method: call.method.as_str(),
        target: target_of(call.method, target),
        request_id: call.request.id().and_then(|id| str::from_utf8(id).ok()),
        protocol_version: Some(call.version.as_str()),
        network: Network::Http,
        client_address: call.peer,
    }
}

fn target_of(method: Method, target: Option<&str>) -> Option<Target<'_>> {
    let target = target?;
    match method {
        Method::ToolsCall => Some(Target::Tool(target)),
        Method::PromptsGet => Some(Target::Prompt(target)),
        Method::ResourcesRead => Some(Target::Resource(target)),
        _ => None,
    }
}

/// Has the span show what becomes of its call.
#[derive(Debug)]
struct OfSpan(CallSpan);

impl Watcher for OfSpan {
    fn noted(&self, step: &Step) {
        match step {
            Step::Decision {
                policy,
                rule,
                decision,
            } => self.0.event(CallEvent::Decision {
                policy,
                rule,
                decision: decision.as_str(),
            }),
            Step::Cached {
                backend,
                served,
                age_ms,
                ..
            } => self.0.event(CallEvent::Cache {
                backend,
                outcome: served.as_str(),
                age: Some(std::time::Duration::from_millis(*age_ms)),
            }),
            // It has a span of its own.
            Step::Attempt { .. } => {}
        }
    }

    fn happened(&self, incident: Incident<'_>) {
        self.0.event(match incident {
            Incident::CacheMiss { backend } => CallEvent::Cache {
                backend,
                outcome: "miss",
                age: None,
            },
            Incident::Redacted { backend } => CallEvent::Redacted { backend },
        });
    }
}

/// Counts a call when it ends, and ends its span; one that is dropped before was cancelled.
pub(crate) struct Measured {
    parts: Arc<TraceParts>,
    _in_flight: GaugeGuard,
    method: MethodLabel,
    started: Instant,
    has_ended: bool,
    span: CallSpan,
    /// Taken when the call has ended.
    unsampled: Option<Box<Unsampled>>,
    is_given: bool,
}

impl EndWatcher for Measured {
    fn ended(&mut self, ending: Ending<'_>) {
        match ending {
            Ending::Complete { is_error } => {
                self.record(is_error.then_some(ErrorType::ToolError), None);
            }
            Ending::InputRequired => {
                self.record(None, None);
            }
            Ending::Failed(error) => {
                let code = error_code(error);
                let is_exported = self.record(Some(ErrorType::from_code(code)), Some(code));
                if let CallError::Fault(fault) = error
                    && (is_exported || self.is_given)
                {
                    let trace = self.span.trace_id();
                    fault.trace_id =
                        trace.map(|trace| u128::from_be_bytes(trace.to_bytes()).into());
                }
            }
        }
    }

    fn enter(&self) -> Option<InTrace> {
        Some(self.span.enter())
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
    /// Counts it and takes note of how it ended; whether anything of it is exported.
    fn record(&mut self, error: Option<ErrorType>, code: Option<i64>) -> bool {
        self.has_ended = true;
        let took = self.started.elapsed();
        let metrics = &self.parts.metrics;
        metrics.server_operation(self.method, error, took);
        if self.span.is_recording() {
            self.span.record_outcome(error.map(ErrorType::as_str), code);
            self.span.end();
            return true;
        }
        match (self.unsampled.take(), self.parts.sampler.late()) {
            (Some(unsampled), Some(late)) => {
                let is_wanted = late.wants(error, code, took);
                if is_wanted {
                    unsampled.export(late, took, error, code);
                }
                is_wanted
            }
            _ => false,
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.has_ended {
            self.record(Some(ErrorType::Cancelled), None);
        }
    }
}
