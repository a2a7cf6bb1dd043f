//! One attempt at a server: its span, the exchange, and a second one where the first provably did
//! nothing.

use std::sync::Arc;

use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use switchboard_telemetry::{CallSpan, Network, Target};

use crate::answer::{self, Answer};
use crate::backend::Inner;
use crate::config::TransportConfig;
use crate::connect::Connection;
use crate::legacy;
use crate::link::watch::Watch;
use crate::link::{Link, LinkError, next_id};
use crate::message::{self, Rewrite};
use crate::status::State;

impl Inner {
    /// One attempt: the exchange, once more if the server had only forgotten the session.
    pub(crate) async fn attempt(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        connection: Arc<Connection>,
    ) -> Result<Answer, CallError> {
        let version = connection.wire.version;
        let error = match self.exchange(call, rewrite, parent, &connection).await {
            Ok(response) => return answer::interpret(&self.name, call, version, response),
            Err(error) => error,
        };
        // The server has forgotten the session and said so before it did anything: a new one, and
        // once more.
        if !connection.wire.lost_by(&error) {
            if matches!(
                error,
                LinkError::NotSent(_) | LinkError::Unauthorized(_) | LinkError::Status { .. }
            ) {
                self.suspicion.notify_one();
            }
            return Err(answer::failure(&self.name, call, version, error));
        }
        // Boxed, since it is rare and would double the size of every call's future.
        Box::pin(async {
            let renewed = self.renewed(&connection).await?;
            let version = renewed.wire.version;
            match self.exchange(call, rewrite, parent, &renewed).await {
                Ok(response) => answer::interpret(&self.name, call, version, response),
                Err(error) => Err(answer::failure(&self.name, call, version, error)),
            }
        })
        .await
    }

    async fn exchange(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        connection: &Connection,
    ) -> Result<Response, LinkError> {
        let id = next_id();
        let version = connection.wire.version;
        let span = AttemptSpan {
            span: self.span(call, rewrite, parent, connection, id),
            answered: false,
        };
        let traceparent = span.span.traceparent();
        let out = if version.is_modern() {
            message::modern(call, rewrite, id, traceparent.as_deref())
        } else {
            message::legacy(call, rewrite, id, traceparent.as_deref())
        };
        if call.log_level.is_some() {
            Box::pin(legacy::ensure_log_level(connection, call.log_level)).await;
        }
        let in_flight = match (&connection.link, &connection.legacy) {
            (Link::Http(_), Some(session)) => Some(session.enter(id, call)),
            _ => None,
        };
        let cancel = match (&connection.link, version.is_modern()) {
            (Link::Http(http), false) => Some(legacy::cancel_on_drop(
                http.clone(),
                connection.wire.clone(),
                id,
            )),
            _ => None,
        };
        let result = connection
            .link
            .request(&connection.wire, out, Watch::of(call, id))
            .await;
        if let Some(cancel) = cancel {
            cancel.disarm();
        }
        if let Some(in_flight) = in_flight {
            in_flight.answered();
        }
        span.record(&result);
        result
    }

    /// A connection other than the one whose session is gone.
    async fn renewed(&self, gone: &Arc<Connection>) -> Result<Arc<Connection>, CallError> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            match self.connection.load_full() {
                Some(connection) if !Arc::ptr_eq(&connection, gone) => return Ok(connection),
                Some(_) => gone.session_lost.notify_one(),
                None => return self.connected().await,
            }
            if changed.changed().await.is_err() {
                return Err(answer::not_connected(&self.name, State::Unavailable, "").into());
            }
        }
    }

    fn span(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        parent: &CallSpan,
        connection: &Connection,
        id: u64,
    ) -> CallSpan {
        if !parent.is_recording() {
            return CallSpan::none();
        }
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
            request_id: Some(&id.to_string()),
            protocol_version: Some(connection.wire.version.as_str()),
            network: if address.is_some() {
                Network::Http
            } else {
                Network::Pipe
            },
            backend: &self.name,
            server_address: address,
            server_port: port,
        })
    }
}

/// The span of one attempt, which says so if it ends before it was answered.
struct AttemptSpan {
    span: CallSpan,
    answered: bool,
}

impl AttemptSpan {
    fn record(mut self, result: &Result<Response, LinkError>) {
        self.answered = true;
        record(&self.span, result);
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if !self.answered {
            self.span.record_outcome(Some("cancelled"), None);
        }
    }
}

fn record(span: &CallSpan, result: &Result<Response, LinkError>) {
    if !span.is_recording() {
        return;
    }
    match result {
        Ok(response) => match response.error_code() {
            Some(code) => span.record_outcome(Some(&code.to_string()), Some(code)),
            None if response
                .keys
                .is_error
                .is_some_and(|span| response.slice(span) == b"true") =>
            {
                span.record_outcome(Some("tool_error"), None);
            }
            None => span.record_outcome(None, None),
        },
        Err(LinkError::Unauthorized(status) | LinkError::Status { status, .. }) => {
            span.record_outcome(Some(&status.to_string()), None)
        }
        Err(_) => span.record_outcome(Some("_OTHER"), None),
    }
}
