//! One exchange with a server: a message, its answer, and the span of both.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use switchboard_protocol::call::Call;
use switchboard_protocol::credentials::OnBehalf;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::CallError;
use switchboard_protocol::header;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Network, Target};

use crate::answer::{self, Answer};
use crate::config::TransportConfig;
use crate::connect::Connection;
use crate::endpoint::Inner;
use crate::legacy::{self, SessionHold};
use crate::link::rest::Large;
use crate::link::watch::Watch;
use crate::link::{self, LinkError, Outgoing, next_id};
use crate::message::{self, Rewrite};

/// What came of an exchange.
pub(crate) enum Exchanged<W = Answer> {
    /// The whole answer.
    Whole(W),
    /// The beginning of a large one.
    Large(Box<Ongoing>),
}

/// An exchange that goes on while its result arrives.
pub(crate) struct Ongoing {
    pub(crate) large: Large,
    pub(crate) span: AttemptSpan,
    pub(crate) claims: Claims,
}

/// What an exchange holds until the last byte of its result. Dropped before, it has a legacy server told
/// that nobody waits.
pub(crate) struct Claims {
    /// One that a call still has is not ended for being worn.
    _connection: Arc<Connection>,
    session: SessionHold,
}

impl Claims {
    /// The connection, and what is held of a session with a legacy server.
    pub(crate) fn new(connection: Arc<Connection>, session: SessionHold) -> Self {
        Self {
            _connection: connection,
            session,
        }
    }

    /// What is held of a session with a legacy server.
    pub(crate) fn session(&mut self) -> &mut SessionHold {
        &mut self.session
    }

    /// The server has said all.
    pub(crate) fn answered(self) {
        self.session.answered();
    }
}

impl Exchanged<Response> {
    /// All of it, however long that takes.
    pub(crate) async fn whole(self) -> Result<Response, LinkError> {
        let ongoing = match self {
            Self::Whole(response) => return Ok(response),
            Self::Large(ongoing) => ongoing,
        };
        let Ongoing {
            large,
            span,
            claims,
        } = *ongoing;
        let response = large.whole().await;
        if response.is_ok() {
            claims.answered();
        }
        span.record(&response);
        response
    }
}

impl Inner {
    /// Sends the call and takes the answer. `connection` is the endpoint's own; a call that waits for
    /// its client goes on without it.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        connection: Option<Arc<Connection>>,
    ) -> Result<Exchanged, CallError> {
        let Some(connection) = connection.filter(|connection| connection.legacy.is_none()) else {
            // Boxed, since it would double the size of every call's future; its place first, so
            // that it is not made elsewhere and moved there.
            let place = Box::new_uninit();
            let attempt = Box::write(place, legacy::attempt(self, call, rewrite, parent));
            let attempt = Box::into_pin(attempt);
            return attempt.await;
        };
        if let Some(responses) = call.request.params.input_responses
            && let Some(error) = legacy::error_among(call.request.slice(responses))
        {
            return Err(error);
        }
        let version = connection.wire.version;
        let (out, span) = self.outgoing(call, rewrite, parent, &connection);
        let watch = Watch::of(call, out.id);
        let arriving = rewrite.may_arrive(call.method);
        let reply = connection
            .link
            .reply(&connection.wire, out, watch, arriving);
        let result = match reply.await {
            Ok(link::Reply::Large(large)) => {
                return Ok(Exchanged::Large(Box::new(Ongoing {
                    large,
                    span,
                    claims: Claims::new(connection, SessionHold::default()),
                })));
            }
            Ok(link::Reply::Whole(response)) => Ok(response),
            Err(error) => Err(error),
        };
        span.record(&result);
        match result {
            Ok(response) => {
                answer::interpret(&self.name, call, version, response).map(Exchanged::Whole)
            }
            Err(error) => {
                if error.is_suspicious() {
                    self.suspicion.notify_one();
                }
                Err(answer::failure(&self.name, call, version, error))
            }
        }
    }

    /// The call as the message for this connection, and the span of sending it.
    pub(crate) fn outgoing(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        connection: &Connection,
    ) -> (Outgoing, AttemptSpan) {
        let id = next_id();
        let span = AttemptSpan {
            span: self.span(call, rewrite, parent, Some((connection, id))),
            answered: false,
            ends_at: call.deadline.map(|deadline| deadline.at),
        };
        let traceparent = span.span.traceparent();
        let mut out = if connection.wire.version.is_modern() {
            message::modern(call, rewrite, id, traceparent.as_deref())
        } else {
            message::legacy(call, rewrite, id, traceparent.as_deref())
        };
        out.on_behalf = self.on_behalf(call);
        out.trace = traceparent.and_then(|parent| TraceHeaders::of(&parent, &span.span));
        (out, span)
    }

    /// Leaves the span of an attempt that ended before there was anything to send it on.
    pub(crate) fn leave_unsent(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        error: &CallError,
    ) {
        if let CallError::Fault(fault) = error
            && parent.is_recording()
        {
            let span = self.span(call, rewrite, parent, None);
            span.record_outcome(Some(&fault.code.to_string()), None);
        }
    }

    /// Whose call the server is told it is; `None` where that is the gateway's.
    pub(crate) fn on_behalf(&self, call: &Call) -> Option<Arc<OnBehalf>> {
        let credentials = self.credentials.as_ref();
        let told_apart = credentials.is_some_and(|credentials| credentials.is_per_principal());
        told_apart.then(|| {
            Arc::new(OnBehalf {
                principal: Arc::from(call.principal.id.as_str()),
                subject_token: call.subject_token.clone(),
            })
        })
    }

    fn span(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        sent: Option<(&Connection, u64)>,
    ) -> CallSpan {
        if !parent.is_recording() {
            return CallSpan::none();
        }
        let id = sent.map(|(_, id)| id.to_string());
        let version = sent.map(|(connection, _)| connection.wire.version);
        let named = call.target();
        let name = rewrite.target.or(named.as_deref());
        let target = match call.method {
            Method::ToolsCall => name.map(Target::Tool),
            Method::PromptsGet => name.map(Target::Prompt),
            Method::ResourcesRead => name.map(Target::Resource),
            _ => None,
        };
        let (address, port) = match &self.config.transport {
            TransportConfig::Http { url, .. } => (url.host_str(), url.port_or_known_default()),
            TransportConfig::Stdio { .. } => (None, None),
        };
        parent.client(&switchboard_telemetry::Attempt {
            method: call.method.as_str(),
            target,
            request_id: id.as_deref(),
            protocol_version: version.map(Version::as_str),
            network: if address.is_some() {
                Network::Http
            } else {
                Network::Pipe
            },
            backend: &self.name,
            endpoint: self.spec.label.as_deref(),
            era: version.map(|version| version.era().as_str()),
            server_address: address,
            server_port: port,
        })
    }
}

/// The span of one attempt, which says so if it ends before it was answered.
pub(crate) struct AttemptSpan {
    span: CallSpan,
    answered: bool,
    /// When an answer is too late.
    ends_at: Option<Instant>,
}

impl AttemptSpan {
    /// None at all: for a request of the gateway's own.
    pub(crate) fn none() -> Self {
        Self {
            span: CallSpan::none(),
            answered: true,
            ends_at: None,
        }
    }

    /// The span itself, for what belongs to it.
    pub(crate) fn span(&self) -> &CallSpan {
        &self.span
    }

    pub(crate) fn record(mut self, result: &Result<Response, LinkError>) {
        self.answered = true;
        record(&self.span, result);
    }

    /// As [`AttemptSpan::record`], of a result that was handed on while it arrived.
    pub(crate) fn record_arrived(&mut self, error: Option<&str>) {
        self.answered = true;
        self.span.record_outcome(error, None);
        self.span.end();
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if !self.span.is_recording() {
            return;
        }
        if !self.answered {
            let is_late = self.ends_at.is_some_and(|end| Instant::now() >= end);
            let error = if is_late { "timeout" } else { "cancelled" };
            self.span.record_outcome(Some(error), None);
        }
        // Others may hold it for what they link to it.
        self.span.end();
    }
}

fn record(span: &CallSpan, result: &Result<Response, LinkError>) {
    if !span.is_recording() {
        return;
    }
    match result {
        Ok(response) => match response.error_code() {
            Some(code) => span.record_outcome(Some(&code.to_string()), Some(code)),
            None if response.is_tool_error() => span.record_outcome(Some("tool_error"), None),
            None => span.record_outcome(None, None),
        },
        Err(LinkError::Unauthorized(status) | LinkError::Status { status, .. }) => {
            span.record_outcome(Some(&status.to_string()), None)
        }
        Err(error) => {
            let code = answer::reason(error).code();
            span.record_outcome(Some(&code.to_string()), None)
        }
    }
}

/// The headers by which an HTTP request belongs to a span (W3C Trace Context).
pub(crate) struct TraceHeaders {
    traceparent: HeaderValue,
    tracestate: Option<HeaderValue>,
}

impl TraceHeaders {
    fn of(traceparent: &str, span: &CallSpan) -> Option<Box<Self>> {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        Some(Box::new(Self {
            traceparent: value(traceparent)?,
            tracestate: span.tracestate().as_deref().and_then(value),
        }))
    }

    /// Puts them among those of a request.
    pub(crate) fn put_into(self, headers: &mut HeaderMap) {
        headers.insert(header::TRACEPARENT, self.traceparent);
        if let Some(tracestate) = self.tracestate {
            headers.insert(header::TRACESTATE, tracestate);
        }
    }
}
