//! The spans of a call, with the names and attributes of the OpenTelemetry conventions for MCP.

use std::net::IpAddr;

use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt as _};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::CALL_TARGET;
use crate::context::{TraceContext, TraceParent};
use crate::labels::ErrorType;

/// Names and addresses are cut to this many bytes, so that a waiting span stays small.
const MAX_TEXT: usize = 256;

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
    fn transport(self) -> &'static str {
        match self {
            Self::Http => "tcp",
            Self::Pipe => "pipe",
        }
    }

    fn protocol(self) -> Option<&'static str> {
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
    /// The backend's host, or its command for a process.
    pub server_address: Option<&'a str>,
    /// The backend's port.
    pub server_port: Option<u16>,
}

/// A span of a call, or nothing at all if the call is not sampled. It ends when its last clone is
/// dropped.
#[derive(Clone, Debug)]
pub struct CallSpan {
    span: Span,
    server: bool,
}

impl CallSpan {
    /// The span of a call that is not sampled: nothing is recorded, nothing is allocated.
    pub const fn none() -> Self {
        Self {
            span: Span::none(),
            server: true,
        }
    }

    /// Begins the server span of a call that is sampled (see [`Sampler::sample`](crate::Sampler::sample)), a child of the
    /// caller's span.
    pub fn server(parent: Option<&TraceContext<'_>>, call: &IncomingCall<'_>) -> Self {
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
        if let Some(parent) = parent {
            let remote = Context::new().with_remote_span_context(parent.to_remote());
            // It fails only where no trace layer listens, and there the parent does not matter.
            let _ = span.set_parent(remote);
        }
        Self { span, server: true }
    }

    /// Begins the client span of one attempt, a child of this span; nothing if this one is nothing.
    pub fn client(&self, attempt: &Attempt<'_>) -> Self {
        if !self.is_recording() {
            return Self::none();
        }
        let target = TargetFields::new(attempt.target);
        let span = info_span!(
            target: CALL_TARGET,
            parent: &self.span,
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
        );
        Self {
            span,
            server: false,
        }
    }

    /// Whether there is a span.
    pub fn is_recording(&self) -> bool {
        !self.span.is_disabled()
    }

    /// The `traceparent` that names this span as the parent, for the request sent upstream. `None`
    /// if nothing is recorded: then the caller's own `traceparent` goes on unchanged.
    pub fn traceparent(&self) -> Option<String> {
        if !self.is_recording() {
            return None;
        }
        let parent = TraceParent::of(self.span.context().span().span_context())?;
        Some(parent.to_string())
    }

    /// Records how the call or the attempt ended. `code` is that of the JSON-RPC error, if there
    /// was one.
    ///
    /// A server span shows no error for a code that [is the caller's](ErrorType::is_the_callers).
    pub fn record_outcome(&self, error_type: Option<&str>, code: Option<i64>) {
        if !self.is_recording() {
            return;
        }
        if let Some(code) = code {
            self.span
                .set_attribute("rpc.response.status_code", code.to_string());
        }
        let excused =
            self.server && code.is_some_and(|code| ErrorType::from_code(code).is_the_callers());
        if let Some(error_type) = error_type.filter(|_| !excused) {
            self.span
                .set_attribute("error.type", short(error_type).to_owned());
            self.span.set_status(Status::error(""));
        }
    }
}

/// A target, sorted into the attributes that it fills.
#[derive(Default)]
struct TargetFields<'a> {
    tool: Option<&'a str>,
    prompt: Option<&'a str>,
    resource: Option<&'a str>,
}

impl<'a> TargetFields<'a> {
    fn new(target: Option<Target<'a>>) -> Self {
        let mut fields = Self::default();
        match target {
            Some(Target::Tool(name)) => fields.tool = Some(short(name)),
            Some(Target::Prompt(name)) => fields.prompt = Some(short(name)),
            Some(Target::Resource(uri)) => fields.resource = Some(short(uri)),
            None => {}
        }
        fields
    }

    fn span_name(&self, method: &str) -> String {
        match self.tool.or(self.prompt) {
            Some(name) => format!("{} {name}", short(method)),
            None => short(method).to_owned(),
        }
    }

    fn operation(&self) -> Option<&'static str> {
        self.tool.map(|_| "execute_tool")
    }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests;
