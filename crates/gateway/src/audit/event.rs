//! What is left in the queue: as much as a call can leave behind without any work of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::error::Reason;
use switchboard_protocol::json::Span;
use switchboard_protocol::method::Method;
use switchboard_protocol::trail::Trail;
use switchboard_protocol::version::Version;
use switchboard_telemetry::TraceId;

use super::subscription::SubscriptionEvent;

/// Something that a record is made of.
pub(crate) enum Event {
    /// A call has ended.
    Call(Box<CallEvent>),
    /// A subscription was asked for.
    Subscription(Box<SubscriptionEvent>),
    /// A credential was refused.
    Refusal(Box<RefusalEvent>),
    /// An operator changed something.
    Admin(Box<AdminEvent>),
}

impl Event {
    /// How much memory it holds on to, in bytes, about.
    pub(super) fn size(&self) -> usize {
        let held = match self {
            Self::Call(call) => call.quotes.raw.len(),
            Self::Subscription(subscription) => subscription.size(),
            Self::Refusal(refusal) => refusal.profile.as_ref().map_or(0, |name| name.len()),
            Self::Admin(change) => change.path.len(),
        };
        held + 512
    }
}

/// A call that has ended.
pub(crate) struct CallEvent {
    /// When it began.
    pub(super) at: SystemTime,
    /// The same, on the clock that measures how long it took.
    pub(super) began: Instant,
    pub(super) took: Duration,
    pub(super) method: Method,
    pub(super) quotes: Quotes,
    pub(super) principal: Arc<Principal>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) version: Version,
    /// The name of the legacy session.
    pub(super) session: Option<Box<str>>,
    pub(super) peer: Option<IpAddr>,
    pub(super) trail: Arc<Trail>,
    /// The trace that it belongs to, sampled or not.
    pub(super) trace: Option<TraceId>,
    pub(super) result_bytes: u64,
    pub(super) end: CallEnd,
}

/// What of the request is quoted, in the request itself.
pub(crate) struct Quotes {
    pub(super) raw: Bytes,
    pub(super) target: Option<Span>,
    pub(super) arguments: Option<Span>,
    pub(super) client_info: Option<Span>,
}

impl Quotes {
    pub(super) fn of(call: &Call) -> Self {
        let request = &call.request;
        let of_reference = request
            .reference
            .as_ref()
            .and_then(|reference| reference.name.or(reference.uri));
        Self {
            raw: request.raw.clone(),
            target: request.params.target(call.method).or(of_reference),
            arguments: request.params.arguments,
            client_info: request.meta.client_info,
        }
    }

    pub(super) fn slice(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| span.of(&self.raw))
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Ok,
    ToolError,
    InputRequired,
    /// The request was wrong, or asked for what is not there.
    Invalid {
        code: i64,
    },
    BackendError {
        code: i64,
    },
    Fault {
        code: i64,
        reason: Reason,
        backend: Option<Arc<str>>,
    },
    /// Nobody waited for its end.
    Cancelled,
}

/// A credential that was refused.
pub(crate) struct RefusalEvent {
    pub(super) at: SystemTime,
    pub(super) listener: &'static str,
    pub(super) peer: Option<IpAddr>,
    /// The status of the answer.
    pub(super) status: StatusCode,
    /// Why, in one word.
    pub(super) reason: &'static str,
    /// Whose it is, if it is good elsewhere.
    pub(super) principal: Option<Arc<Principal>>,
    /// The profile that it is not good for.
    pub(super) profile: Option<Box<str>>,
    /// How many more there were since the last record of one.
    pub(super) suppressed: u64,
}

/// What an operator changed.
pub(crate) struct AdminEvent {
    pub(super) at: SystemTime,
    pub(super) principal: Arc<Principal>,
    pub(super) peer: Option<IpAddr>,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) status: u16,
}
