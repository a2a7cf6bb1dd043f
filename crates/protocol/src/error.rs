//! What a call fails with, sorted by who is at fault.

use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

use crate::json::write_str;

mod reason;

pub use self::reason::Reason;

/// JSON-RPC error codes (specification: `basic/index`, Error Codes).
pub mod code {
    /// The bytes are not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON, but not a request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method does not exist.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are not what the method takes; also an unknown tool, prompt or resource.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Something went wrong on the server's side.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// Resource not found in 2025-11-25 and older; never sent to modern clients.
    pub const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;
    /// URL elicitation required, 2025-11-25 only; never sent to modern clients.
    pub const LEGACY_URL_ELICITATION_REQUIRED: i64 = -32042;
    /// HTTP headers and body disagree, or a required header is missing.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs a capability that the client did not declare.
    pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
    /// The version is not served here.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
}

/// A request that is wrong by the protocol's own rules: the client's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProtocolError {
    /// One of [`code`].
    pub code: i64,
    /// What was wrong and what would be right.
    pub message: Cow<'static, str>,
    /// `data` of the error object, as JSON.
    pub data: Option<String>,
}

impl ProtocolError {
    /// An error without `data`.
    #[must_use]
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// [`code::METHOD_NOT_FOUND`].
    #[must_use]
    pub fn method_not_found() -> Self {
        Self::new(code::METHOD_NOT_FOUND, "Method not found")
    }

    /// [`code::INVALID_PARAMS`].
    #[must_use]
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// The error object.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = format!("{{\"code\":{},\"message\":", self.code).into_bytes();
        write_str(&mut out, &self.message);
        if let Some(data) = &self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data.as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// Whether a failed call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It never reached the backend.
    NotSent,
    /// The backend refused it.
    Failed,
    /// It may or may not have been executed.
    Unknown,
}

impl Effect {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One try at one backend.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The backend tried.
    pub backend: Arc<str>,
    /// Why it failed.
    pub reason: Reason,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

impl Attempt {
    /// Adds the object that stands for it in `attempts`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"backend\":");
        write_str(out, &self.backend);
        let rest = format!(",\"reason\":\"{}\",\"ms\":{}}}", self.reason, self.ms);
        out.extend_from_slice(rest.as_bytes());
    }
}

/// A call that the gateway could not bring to an answer: a backend's, a policy's or our own fault.
///
/// Its `message` is for the caller and the model behind it: one or two plain sentences with no
/// secret, path or stack trace in them. `detail` is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Positive, following HTTP: 402, 403, 413, 422, 429, 502, 503, 504.
    pub code: u16,
    /// What happened, in one word.
    pub reason: Reason,
    /// The backend concerned.
    pub backend: Option<Arc<str>>,
    /// For the caller: what happened, what to do next.
    pub message: String,
    /// For the log.
    pub detail: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Whether the call took effect.
    pub effect: Effect,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// The trace that the call belongs to, where it is traced or its caller named one.
    pub trace_id: Option<Box<u128>>,
}

impl Fault {
    /// One of a call that may or may not have taken effect, so that making it again is not to be
    /// advised.
    #[must_use]
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason,
            backend: None,
            message: message.into(),
            detail: None,
            retryable: false,
            retry_after_ms: None,
            effect: Effect::Unknown,
            attempts: Vec::new(),
            trace_id: None,
        }
    }

    /// One of a call that reached nobody, for want of something that may be there a second later
    /// (503).
    #[must_use]
    pub fn not_sent(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code: 503,
            retryable: true,
            retry_after_ms: Some(1000),
            effect: Effect::NotSent,
            ..Self::unknown(reason, message)
        }
    }

    /// One of a call that a policy refuses, now or for ever: nothing was sent.
    #[must_use]
    pub fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            effect: Effect::NotSent,
            ..Self::unknown(reason, message)
        }
    }

    /// Whether nothing was executed, for certain: it was not sent, or was refused before anything was
    /// looked at.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        match self.effect {
            Effect::NotSent => true,
            Effect::Failed => matches!(self.reason, Reason::BackendLimit | Reason::NeedsAuth),
            Effect::Unknown => false,
        }
    }

    /// The same, of this backend.
    #[must_use]
    pub fn of(self, backend: &Arc<str>) -> Self {
        Self {
            backend: Some(Arc::clone(backend)),
            ..self
        }
    }

    /// The same, with this for the log.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// The object under `_meta["dev.switchboard/error"]`, or `data` of an error.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out =
            format!("{{\"code\":{},\"reason\":\"{}\"", self.code, self.reason).into_bytes();
        if let Some(backend) = &self.backend {
            out.extend_from_slice(b",\"backend\":");
            write_str(&mut out, backend);
        }
        out.extend_from_slice(format!(",\"retryable\":{}", self.retryable).as_bytes());
        if let Some(ms) = self.retry_after_ms {
            out.extend_from_slice(format!(",\"retryAfterMs\":{ms}").as_bytes());
        }
        out.extend_from_slice(b",\"attempts\":[");
        for (index, attempt) in self.attempts.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            attempt.write_json(&mut out);
        }
        out.extend_from_slice(format!("],\"outcome\":\"{}\"", self.effect.as_str()).as_bytes());
        if let Some(trace_id) = &self.trace_id {
            out.extend_from_slice(format!(",\"traceId\":\"{:032x}\"", **trace_id).as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The client's fault.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The backend answered with an error of its own, which passes through.
    #[error("the backend answered with error {code}")]
    Backend {
        /// Its code, mapped to the client's version.
        code: i64,
        /// The error object as JSON.
        error: Bytes,
        /// Whether it came with an HTTP status that says that the server itself failed (5xx).
        is_failure: bool,
    },
    /// Nobody answered, or nobody may.
    #[error(transparent)]
    Fault(Box<Fault>),
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}
