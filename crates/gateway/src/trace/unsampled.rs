//! What is kept of a call that is not sampled, until it is known whether it is worth a span.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{
    EndedCall, ErrorType, Incoming, IncomingCall, LateSpans, Network, TraceId, TraceParent,
};

use super::target_of;

/// A call that is not sampled: where in its request stands what a span would show. Boxed by whoever keeps
/// it, since it would be moved with all that a call is made of.
pub(super) struct Unsampled {
    trace: TraceId,
    parent: Option<TraceParent>,
    raw: Bytes,
    id: Option<Span>,
    target: Option<Span>,
    method: Method,
    version: Version,
    peer: Option<IpAddr>,
}

impl Unsampled {
    pub(super) fn new(trace: TraceId, incoming: &Incoming<'_>, call: &Call) -> Self {
        let request = &call.request;
        Self {
            trace,
            parent: incoming.parent().map(|context| context.parent),
            raw: request.raw.clone(),
            id: request.keys.id,
            target: request.params.target(call.method),
            method: call.method,
            version: call.version,
            peer: call.peer,
        }
    }

    /// Exports it as one span, now that it has ended.
    pub(super) fn export(
        &self,
        late: &LateSpans,
        took: Duration,
        error: Option<ErrorType>,
        code: Option<i64>,
    ) {
        let text = |span: Option<Span>| span.map(|span| span.of(&self.raw));
        let target: Option<Cow<'_, str>> = text(self.target).and_then(json::as_str);
        late.export(&EndedCall {
            trace: self.trace,
            parent: self.parent,
            call: IncomingCall {
                method: self.method.as_str(),
                target: target_of(self.method, target.as_deref()),
                request_id: text(self.id).and_then(|id| str::from_utf8(id).ok()),
                protocol_version: Some(self.version.as_str()),
                network: Network::Http,
                client_address: self.peer,
            },
            took,
            error,
            code,
        });
    }
}
