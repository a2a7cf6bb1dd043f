//! Links: how bytes get to a server and its messages back.
//!
//! A link knows JSON-RPC, and of the eras only that legacy servers ask: whom, [`watch`] says. There
//! are two kinds: [`http`] (every request its own exchange) and [`mux`] (all requests share one
//! channel: a process's pipes, or the deprecated HTTP+SSE transport).

mod dial;
pub(crate) mod http;
pub(crate) mod http_sse;
pub(crate) mod inbox;
pub(crate) mod mux;
pub(crate) mod pool;
pub(crate) mod rest;
pub(crate) mod sse;
pub(crate) mod stdio;
mod unreachable;
pub(crate) mod watch;

use ::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard_protocol::credentials::{Blame, CredentialError, OnBehalf};
use switchboard_protocol::envelope::Response;
use switchboard_protocol::method::Method;
use switchboard_protocol::passage::Refusal;
use switchboard_protocol::version::Version;

use self::watch::Watch;
use crate::exchange::TraceHeaders;

/// Gives out the ids of all requests of this process, which serve as progress tokens too: no two
/// requests to any server ever share one, so that not even a server that mixes up its clients can
/// mix up ours.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A request as a link sends it.
pub(crate) struct Outgoing {
    /// Its id, from [`next_id`].
    pub(crate) id: u64,
    /// Its method.
    pub(crate) method: &'static str,
    /// `Mcp-Name`, where the method has one.
    pub(crate) name: Option<HeaderValue>,
    /// `Mcp-Param-*`.
    pub(crate) param_headers: Vec<(HeaderName, HeaderValue)>,
    /// Whose call it is, if the server is shown a credential for each caller; else the gateway's.
    pub(crate) on_behalf: Option<Arc<OnBehalf>>,
    /// The headers of its span, if it has one.
    pub(crate) trace: Option<Box<TraceHeaders>>,
    /// The whole message.
    pub(crate) body: Bytes,
}

#[cfg(test)]
impl Outgoing {
    /// A call of a tool without parameters.
    pub(crate) fn for_test(id: u64) -> Self {
        Self {
            id,
            method: "tools/call",
            name: None,
            param_headers: Vec::new(),
            on_behalf: None,
            trace: None,
            body: format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\"}}").into(),
        }
    }
}

/// What is agreed with the server, and so goes with every message over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// The version spoken.
    pub(crate) version: Version,
    /// The session, with legacy servers that gave one.
    pub(crate) session: Option<HeaderValue>,
}

impl Wire {
    /// Whether the error says that the server has forgotten the session, and so did nothing
    /// (2025-11-25: `basic/transports`, Session Management).
    pub(crate) fn lost_by(&self, error: &LinkError) -> bool {
        self.session.is_some() && matches!(error, LinkError::Status { status: 404, .. })
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The server never saw the request.
    #[error("not sent: {0}")]
    NotSent(String),
    /// Nor did it here: there is no connection to it. Why, for operators: it names addresses.
    #[error("not sent: no connection to the server: {0}")]
    Unreachable(String),
    /// Nor did it here: there is nothing to prove to it who calls.
    #[error("not sent: no credential: {0}")]
    NoCredential(Box<CredentialError>),
    /// The request was sent, the answer is lost; it may have been executed.
    #[error("lost: {0}")]
    Lost(String),
    /// The request was sent, and nothing came for longer than the server may keep silent; it may
    /// have been executed.
    #[error("silent for too long")]
    Silent,
    /// HTTP status 401 or 403: the server wants another credential.
    #[error("HTTP status {0}")]
    Unauthorized(u16),
    /// Another HTTP status that is no success, with the JSON-RPC error in its body if there was
    /// one.
    #[error("HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
        /// When to try again, if the server says (RFC 9110, 10.2.3), a day at most.
        retry_after: Option<Duration>,
        /// The error in the body.
        error: Option<Box<Response>>,
    },
    /// The answer is larger than `max_message_bytes`.
    #[error("the answer is larger than the limit")]
    TooLarge,
    /// The answer is not one.
    #[error("invalid answer: {0}")]
    Invalid(String),
    /// `initialize` was answered with an error of this code.
    #[error("invalid answer: it refuses the handshake with error {0}")]
    HandshakeRefused(i64),
    /// Too many requests wait on this link already.
    #[error("too many requests in flight")]
    Full,
}

impl From<Refusal> for LinkError {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(refusal.to_string())
    }
}

impl LinkError {
    /// A status that is no success. What the body says of a refused credential is nobody's answer.
    pub(crate) fn of_status(
        status: u16,
        retry_after: Option<Duration>,
        error: Option<Box<Response>>,
    ) -> Self {
        match status {
            401 | 403 => Self::Unauthorized(status),
            _ => Self::Status {
                status,
                retry_after,
                error,
            },
        }
    }

    /// Whether it gives reason to look whether the server is still what it was.
    pub(crate) fn is_suspicious(&self) -> bool {
        // What one caller lacks says nothing of the server.
        if let Self::NoCredential(error) = self {
            return error.blame != Blame::Caller;
        }
        matches!(
            self,
            Self::NotSent(_) | Self::Unreachable(_) | Self::Unauthorized(_) | Self::Status { .. }
        )
    }
}

/// The code of the JSON-RPC error that a request ended with, under whatever HTTP status.
pub(crate) fn error_code(ended: &Result<Response, LinkError>) -> Option<i64> {
    match ended {
        Ok(response) => response.error_code(),
        Err(LinkError::Status {
            error: Some(response),
            ..
        }) => response.error_code(),
        Err(_) => None,
    }
}

/// A request whose large result may be given while it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayArrive {
    /// Its method.
    pub(crate) method: Method,
    /// Whether it is read as fast as it comes.
    pub(crate) at_once: bool,
}

/// What a request is answered with.
pub(crate) enum Reply {
    /// The response.
    Whole(Response),
    /// The beginning of a large one.
    Large(rest::Large),
}

impl Reply {
    /// All of it, however long that takes.
    pub(crate) async fn whole(self) -> Result<Response, LinkError> {
        match self {
            Self::Whole(response) => Ok(response),
            Self::Large(large) => large.whole().await,
        }
    }
}

/// A way to one server. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Link {
    /// Streamable HTTP.
    Http(http::HttpLink),
    /// A shared channel.
    Mux(mux::Mux),
}

impl Link {
    /// Sends a request and waits for its answer, however long; dropping the future cancels it in
    /// the way of its era.
    pub(crate) async fn request(
        &self,
        wire: &Wire,
        out: Outgoing,
        watch: Watch,
    ) -> Result<Response, LinkError> {
        match self {
            Self::Http(link) => link.request(wire, out, watch).await,
            Self::Mux(link) => link.request(out, watch).await,
        }
    }

    /// As [`Link::request`]; a large result may be given while it arrives, if `arriving` says so.
    pub(crate) async fn reply(
        &self,
        wire: &Wire,
        out: Outgoing,
        watch: Watch,
        arriving: Option<MayArrive>,
    ) -> Result<Reply, LinkError> {
        match self {
            Self::Http(link) => link.reply(wire, out, watch, arriving).await,
            Self::Mux(link) => link.reply(out, watch, arriving).await,
        }
    }

    /// Sends a notification; whether it arrived is not known.
    pub(crate) async fn notify(&self, wire: &Wire, body: Bytes) -> Result<(), LinkError> {
        match self {
            Self::Http(link) => link.notify(wire, body).await,
            Self::Mux(link) => link.notify(body).await,
        }
    }

    /// Resolves when the link is of no more use, with the reason; what it owned may not be gone yet. An
    /// HTTP link never ends by itself.
    pub(crate) async fn ended(&self) -> String {
        match self {
            Self::Http(_) => std::future::pending().await,
            Self::Mux(link) => link.ended().await,
        }
    }

    /// Whether the link is known to be of no more use.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http(_) => false,
            Self::Mux(link) => link.is_closed(),
        }
    }

    /// Ends the link and what it owns (a process and its group), politely first; returns when all
    /// is gone.
    pub(crate) async fn shut_down(&self) {
        if let Self::Mux(link) = self {
            link.shut_down().await;
        }
    }
}

/// How long one message may take to be written to a server that has stopped reading.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// The answer to a request of a server's: `ping` is answered, everything else refused.
pub(crate) fn refuse_request(id: &[u8], method: &str) -> Bytes {
    let mut out = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
    out.extend_from_slice(id);
    if method == "ping" {
        out.extend_from_slice(b",\"result\":{}}");
    } else {
        out.extend_from_slice(
            b",\"error\":{\"code\":-32601,\"message\":\"this belongs to no call of a client that declared the capability for it\"}}",
        );
    }
    out.into()
}
