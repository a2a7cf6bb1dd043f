//! The spans of a call, with the names and attributes of the OpenTelemetry conventions for MCP.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _, TraceId};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::CALL_TARGET;
use crate::context::{Incoming, TraceParent};
use crate::current::InTrace;
use crate::event::CallEvent;
use crate::labels::ErrorType;

/// The instrumentation scope of all spans.
pub(crate) const SCOPE: &str = "switchboard";

/// Names and addresses are cut to this many bytes, so that a waiting span stays small. More than is
/// exported, so that a secret in that is whole when it is looked for.
const MAX_TEXT: usize = 1024;

/// What a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The tool's name.
    Tool(&'a str),
    /// The prompt's name.
    Prompt(&'a str),
    /// The resource's URI; it does not become part of the span's name.
    Resource(&'a str),
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// HTTP over TCP.
    Http,
    /// The standard streams of a process.
    Pipe,
}

impl Network {
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Http => "tcp",
            Self::Pipe => "pipe",
        }
    }

    pub(crate) fn protocol(self) -> Option<&'static str> {
        (self == Self::Http).then_some("http")
    }
}

/// What is known of a call when it comes in.
#[derive(Clone, Copy, Debug)]
pub struct IncomingCall<'a> {
    /// The method as the client wrote it.
    pub method: &'a str,
    /// What it is about, if it names something.
    pub target: Option<Target<'a>>,
    /// The id of the request, a number in its decimal form.
    pub request_id: Option<&'a str>,
    /// The MCP revision of the request.
    pub protocol_version: Option<&'a str>,
    /// How the request came.
    pub network: Network,
    /// Where it came from.
    pub client_address: Option<IpAddr>,
}

/// What is known of one attempt at a backend when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The method sent.
    pub method: &'a str,
    /// What it is about, under the backend's own name for it.
    pub target: Option<Target<'a>>,
    /// The id of the request sent.
    pub request_id: Option<&'a str>,
    /// The MCP revision spoken with the backend.
    pub protocol_version: Option<&'a str>,
    /// How the request is sent.
    pub network: Network,
    /// The backend's name in the configuration.
    pub backend: &'a str,
    /// Which of its endpoints, where there are several.
    pub endpoint: Option<&'a str>,
    /// The era of its server, `modern` or `legacy`, if it is known.
    pub era: Option<&'static str>,
    /// The backend's host, or its command for a process.
    pub server_address: Option<&'a str>,
    /// The backend's port.
    pub server_port: Option<u16>,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A place among the calls that are in a backend.
    Place,
    /// A session with a legacy server that is free, or opened.
    Session,
    /// A connection to a backend, or the start of its process.
    Start,
    /// The next attempt, after one that failed.
    Retry,
    /// The client, whose answer a legacy server needs in the middle of the call.
    Client,
}

impl Wait {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Place,
        Self::Session,
        Self::Start,
        Self::Retry,
        Self::Client,
    ];

    /// The name of its spans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Place => "wait for place",
            Self::Session => "wait for session",
            Self::Start => "wait for start",
            Self::Retry => "wait to retry",
            Self::Client => "wait for client",
        }
    }
}

/// A span of a call, or nothing at all if the call is not sampled. It ends with [`CallSpan::end`], or
/// when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct CallSpan {
    recorded: Option<Arc<Recorded>>,
    /// Of a call that is not sampled as well, if it has one.
    trace: TraceId,
}

#[derive(Debug)]
struct Recorded {
    /// Until it ends. Never inside of the span that is its parent: there is no telling which of them
    /// ends first.
    open: Mutex<Option<Span>>,
    context: SpanContext,
    is_server: bool,
}

impl CallSpan {
    /// The span of a call that is not sampled and belongs to no trace: nothing is recorded, nothing is
    /// allocated.
    pub const fn none() -> Self {
        Self {
            recorded: None,
            trace: TraceId::INVALID,
        }
    }

    /// The span of a call that is not sampled, of this trace.
    pub const fn unsampled(trace: TraceId) -> Self {
        Self {
            recorded: None,
            trace,
        }
    }

    /// Begins the server span of a call that is sampled (see [`Sampler::sample`](crate::Sampler::sample)), a child of the
    /// caller's span.
    pub fn server(incoming: &Incoming<'_>, call: &IncomingCall<'_>) -> Self {
        let target = TargetFields::new(call.target);
        let span = info_span!(
            target: CALL_TARGET,
            parent: None,
            "server",
            otel.name = target.span_name(call.method),
            otel.kind = "server",
            mcp.method.name = short(call.method),
            mcp.protocol.version = call.protocol_version.map(short),
            mcp.resource.uri = target.resource,
            gen_ai.tool.name = target.tool,
            gen_ai.prompt.name = target.prompt,
            gen_ai.operation.name = target.operation(),
            jsonrpc.request.id = call.request_id.map(short),
            network.transport = call.network.transport(),
            network.protocol.name = call.network.protocol(),
            client.address = call.client_address.map(tracing::field::display),
        );
        if let Some(link) = incoming.link() {
            span.add_link(link.to_remote());
        }
        let parent = incoming.parent().map(|parent| parent.to_remote());
        Self::begin(span, parent, true)
    }

    /// Begins the client span of one attempt, a child of this span; nothing if this one is nothing.
    pub fn client(&self, attempt: &Attempt<'_>) -> Self {
        let Some(parent) = self.context() else {
            return self.clone();
        };
        let target = TargetFields::new(attempt.target);
        let span = info_span!(
            target: CALL_TARGET,
            parent: None,
            "client",
            otel.name = target.span_name(attempt.method),
            otel.kind = "client",
            mcp.method.name = short(attempt.method),
            mcp.protocol.version = attempt.protocol_version.map(short),
            mcp.resource.uri = target.resource,
            gen_ai.tool.name = target.tool,
            gen_ai.prompt.name = target.prompt,
            gen_ai.operation.name = target.operation(),
            jsonrpc.request.id = attempt.request_id.map(short),
            network.transport = attempt.network.transport(),
            network.protocol.name = attempt.network.protocol(),
            server.address = attempt.server_address.map(short),
            server.port = attempt.server_port.map(i64::from),
            switchboard.backend = short(attempt.backend),
            switchboard.endpoint = attempt.endpoint.map(short),
            switchboard.era = attempt.era,
        );
        Self::begin(span, Some(parent.clone()), false)
    }

    /// Begins the span of a wait, a child of this span; nothing if this one is nothing.
    pub fn wait(&self, wait: Wait, backend: &str) -> Self {
        let Some(parent) = self.context() else {
            return self.clone();
        };
        let span = info_span!(
            target: CALL_TARGET,
            parent: None,
            "wait",
            otel.name = wait.name(),
            otel.kind = "internal",
            switchboard.backend = short(backend),
        );
        Self::begin(span, Some(parent.clone()), false)
    }

    /// The future with a span around it from when it first has to wait, a child of this one.
    pub fn around<'a, F: Future>(
        &'a self,
        wait: Wait,
        backend: &'a str,
        inner: F,
    ) -> Waiting<'a, F> {
        Waiting {
            inner,
            parent: self,
            wait,
            backend,
            span: None,
        }
    }

    fn begin(span: Span, parent: Option<SpanContext>, is_server: bool) -> Self {
        if span.is_disabled() {
            return Self::none();
        }
        if let Some(parent) = parent {
            // It fails only where no trace layer listens, and there the parent does not matter.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        let context = span.context().span().span_context().clone();
        if !context.is_valid() {
            return Self::none();
        }
        Self {
            trace: context.trace_id(),
            recorded: Some(Arc::new(Recorded {
                open: Mutex::new(Some(span)),
                context,
                is_server,
            })),
        }
    }

    fn context(&self) -> Option<&SpanContext> {
        self.recorded.as_ref().map(|recorded| &recorded.context)
    }

    /// Does this to the span, if it has not ended.
    fn with(&self, act: impl FnOnce(&Span)) {
        if let Some(recorded) = &self.recorded
            && let Some(span) = &*recorded.open.lock()
        {
            act(span);
        }
    }

    /// Whether there is a span.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// The trace that it belongs to, sampled or not.
    pub fn trace_id(&self) -> Option<TraceId> {
        (self.trace != TraceId::INVALID).then_some(self.trace)
    }

    /// Has the log lines of this thread belong to its trace until what is returned is dropped.
    #[inline]
    pub fn enter(&self) -> InTrace {
        InTrace::enter(self.trace)
    }

    /// The `traceparent` that names this span as the parent, for the request sent upstream. `None`
    /// if nothing is recorded: then the caller's own `traceparent` goes on unchanged.
    pub fn traceparent(&self) -> Option<String> {
        Some(TraceParent::of(self.context()?)?.to_string())
    }

    /// The `tracestate` that goes with it; `None` for none.
    pub fn tracestate(&self) -> Option<String> {
        let state = self.context()?.trace_state().header();
        (!state.is_empty()).then_some(state)
    }

    /// Notes a link to another span, in the same trace or another.
    pub fn link(&self, to: &TraceParent) {
        self.with(|span| span.add_link(to.to_remote()));
    }

    /// The span as others name it, to be linked to.
    pub fn as_parent(&self) -> Option<TraceParent> {
        TraceParent::of(self.context()?)
    }

    /// Notes that something happened just now.
    pub fn event(&self, event: CallEvent<'_>) {
        self.with(|span| span.add_event(event.name(), event.attributes()));
    }

    /// Records how the call or the attempt ended. `code` is that of the JSON-RPC error, if there
    /// was one.
    ///
    /// A server span shows no error for a code that [is the caller's](ErrorType::is_the_callers).
    pub fn record_outcome(&self, error_type: Option<&str>, code: Option<i64>) {
        let Some(recorded) = &self.recorded else {
            return;
        };
        let is_excused = recorded.is_server && ErrorType::is_excused(code);
        self.with(|span| {
            if let Some(code) = code {
                span.set_attribute("rpc.response.status_code", code.to_string());
            }
            if let Some(error_type) = error_type.filter(|_| !is_excused) {
                span.set_attribute("error.type", short(error_type).to_owned());
                span.set_status(Status::error(""));
            }
        });
    }

    /// Ends it now, though others still hold it: nothing more is noted of it.
    pub fn end(&self) {
        if let Some(recorded) = &self.recorded {
            let open = recorded.open.lock().take();
            drop(open);
        }
    }
}

pin_project! {
    /// A future with a span around it from when it first has to wait.
    pub struct Waiting<'a, F> {
        #[pin]
        inner: F,
        parent: &'a CallSpan,
        wait: Wait,
        backend: &'a str,
        span: Option<CallSpan>,
    }
}

impl<F: Future> Future for Waiting<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = this.inner.poll(context);
        if this.parent.is_recording() {
            match output {
                Poll::Pending if this.span.is_none() => {
                    *this.span = Some(this.parent.wait(*this.wait, this.backend));
                }
                Poll::Pending => {}
                Poll::Ready(_) => *this.span = None,
            }
        }
        output
    }
}

/// A target, sorted into the attributes that it fills.
#[derive(Default)]
pub(crate) struct TargetFields<'a> {
    pub(crate) tool: Option<&'a str>,
    pub(crate) prompt: Option<&'a str>,
    pub(crate) resource: Option<&'a str>,
}

impl<'a> TargetFields<'a> {
    pub(crate) fn new(target: Option<Target<'a>>) -> Self {
        let mut fields = Self::default();
        match target {
            Some(Target::Tool(name)) => fields.tool = Some(short(name)),
            Some(Target::Prompt(name)) => fields.prompt = Some(short(name)),
            Some(Target::Resource(uri)) => fields.resource = Some(short(uri)),
            None => {}
        }
        fields
    }

    pub(crate) fn span_name(&self, method: &str) -> String {
        match self.tool.or(self.prompt) {
            Some(name) => format!("{} {name}", short(method)),
            None => short(method).to_owned(),
        }
    }

    pub(crate) fn operation(&self) -> Option<&'static str> {
        self.tool.map(|_| "execute_tool")
    }
}

pub(crate) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests;
