//! What the maker of a request wants to hear while it runs.

use bytes::Bytes;
use std::sync::Arc;
use switchboard_protocol::call::{Call, Sink};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json;
use switchboard_protocol::method::LogLevel;
use switchboard_protocol::splice::{self, Splice};

use super::refuse_request;
use crate::legacy::{ParkedCall, Relay};

/// The listener of one request. Maps what the server says back into the caller's terms.
#[derive(Default)]
pub(crate) struct Watch {
    sink: Option<Arc<dyn Sink>>,
    /// The caller's own progress token, as it wrote it.
    token: Option<Bytes>,
    /// The id that the request went out with, which is its token upstream.
    id: u64,
    log_level: Option<LogLevel>,
    /// The call, if it is one that can wait for its client: then that hears in this one's place.
    parked: Option<Arc<ParkedCall>>,
    is_call: bool,
    is_subscription: bool,
}

/// Who hears what a server says while it works on a request.
pub(crate) trait Hear {
    /// Takes a notification. `false` if it was for nobody, or there was no room.
    fn hear(&mut self, notification: &Envelope) -> bool;

    /// Takes a request of the server's other than `ping`, or refuses it.
    fn asked(&mut self, request: &Envelope) -> Asked {
        Asked::Refused(refuse_request(
            request.id().unwrap_or_default(),
            &request.method(),
        ))
    }

    /// Takes a notification that is for the client itself, not for a call of its.
    fn aside(&mut self, _notification: &Envelope) {}

    /// Takes word that the server no longer waits for what it asked. `false` if it asked nobody
    /// here.
    fn withdrawn(&mut self, _notification: &Envelope) -> bool {
        false
    }

    /// The stream on which things are heard is open, or there is none to wait for.
    fn opened(&mut self) {}
}

/// What became of a server's request.
pub(crate) enum Asked {
    /// It is answered in time.
    Taken,
    /// It is to be answered with this at once.
    Refused(Bytes),
    /// It belongs to no call: this way leads to the client.
    Relay(Arc<Relay>),
}

impl Hear for Watch {
    fn hear(&mut self, notification: &Envelope) -> bool {
        self.deliver(notification)
    }

    fn asked(&mut self, request: &Envelope) -> Asked {
        match &self.parked {
            Some(call) => call.asked(request),
            None => Asked::Refused(refuse_request(
                request.id().unwrap_or_default(),
                &request.method(),
            )),
        }
    }

    fn aside(&mut self, notification: &Envelope) {
        if let Some(call) = &self.parked {
            call.aside(notification);
        }
    }

    fn withdrawn(&mut self, notification: &Envelope) -> bool {
        let parked = self.parked.as_ref();
        parked.is_some_and(|call| call.withdrawn(notification))
    }
}

/// Gives a log notification that names no request to the only call that can own it. With a second
/// call in flight, whether that one wants logs or not, it could be the other's, and is nobody's.
pub(crate) fn deliver_to_only<'w>(
    mut calls: impl Iterator<Item = &'w mut Watch>,
    notification: &Envelope,
) -> Option<bool> {
    match (calls.next(), calls.next()) {
        (Some(only), None) => Some(only.deliver(notification)),
        _ => None,
    }
}

impl Watch {
    /// Hears nothing.
    pub(crate) fn deaf() -> Self {
        Self::default()
    }

    /// Hears nothing; the request is a subscription, which stays open as long as the connection.
    pub(crate) fn subscription() -> Self {
        Self {
            is_subscription: true,
            ..Self::default()
        }
    }

    /// A subscription whose acknowledgement and news of tasks go to this sink.
    pub(crate) fn of_tasks(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink: Some(sink),
            ..Self::subscription()
        }
    }

    /// Hears what the caller asked for.
    pub(crate) fn of(call: &Call, id: u64) -> Self {
        Self {
            id,
            sink: call.sink.clone(),
            // A part of the request, which it keeps in memory.
            token: call
                .sink
                .as_ref()
                .and(call.request.meta.progress_token)
                .map(|span| call.request.bytes(span)),
            log_level: call.log_level,
            parked: None,
            is_call: true,
            is_subscription: false,
        }
    }

    /// Hears whatever its present leg wants to hear, and takes what the server asks.
    pub(crate) fn of_parked(call: Arc<ParkedCall>) -> Self {
        Self {
            parked: Some(call),
            is_call: true,
            ..Self::default()
        }
    }

    /// Takes a question that may be another call's, of the same client.
    pub(crate) fn asked_perhaps(&self, request: &Envelope) -> Asked {
        match &self.parked {
            Some(call) => call.asked_perhaps(request),
            None => Self::deaf().asked(request),
        }
    }

    /// Whether it is a call that can be asked something.
    pub(crate) fn may_be_asked(&self) -> bool {
        self.parked.is_some()
    }

    /// Whether the request is somebody's call, not one of the gateway's own.
    pub(crate) fn is_call(&self) -> bool {
        self.is_call
    }

    /// Whether the request is one that is not answered before the end.
    pub(crate) fn is_subscription(&self) -> bool {
        self.is_subscription
    }

    /// Hears only logs of what the caller asked for.
    pub(crate) fn logs_of(call: &Call, id: u64) -> Self {
        Self {
            token: None,
            ..Self::of(call, id)
        }
    }

    /// Passes a notification of this request on. `false` if it was for nobody, or there was no
    /// room.
    pub(crate) fn deliver(&mut self, notification: &Envelope) -> bool {
        if let Some(call) = &self.parked {
            return call.hear(notification);
        }
        let Some(sink) = &self.sink else { return false };
        let message = match &*notification.method() {
            "notifications/progress" => {
                let Some(token) = &self.token else {
                    return false;
                };
                let Some(token_span) = notification.params.progress_token else {
                    return false;
                };
                // A token of another request, or of none.
                if notification.number(Some(token_span)) != Some(self.id) {
                    return false;
                }
                // Values must rise (specification: `basic/patterns/progress`). What does not comes
                // from a server that starts over.
                let value = notification
                    .params
                    .progress
                    .and_then(|span| number(notification.slice(span)));
                let sink = self.sink.as_ref();
                if !value.is_some_and(|value| sink.is_some_and(|sink| sink.rises(value))) {
                    return false;
                }
                let mut splice = Splice::new();
                splice.replace(token_span, token.to_vec());
                spliced(notification, splice)
            }
            "notifications/message" => {
                let level = notification.text(notification.params.level);
                let level = level.and_then(|level| LogLevel::parse(&level));
                if level.is_none() || level < self.log_level || self.log_level.is_none() {
                    return false;
                }
                spliced(notification, Splice::new())
            }
            "notifications/tasks" | "notifications/subscriptions/acknowledged"
                if self.is_subscription =>
            {
                notification.raw.clone()
            }
            _ => return false,
        };
        sink.offer(message)
    }
}

fn number(raw: &[u8]) -> Option<f64> {
    std::str::from_utf8(raw)
        .ok()?
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

/// The notification without the gateway's own metadata.
pub(crate) fn without_own_meta(notification: &Envelope) -> Bytes {
    spliced(notification, Splice::new())
}

/// The notification with `splice` applied and without the gateway's own metadata, which a server
/// has no business to set.
fn spliced(notification: &Envelope, mut splice: Splice<'_>) -> Bytes {
    if notification.has_own_meta
        && let Some(meta) = notification.params.meta
    {
        splice.replace(meta, splice::without_own_meta(notification.slice(meta)));
    }
    let whole = json::Span::of_all(&notification.raw).filter(|_| !splice.is_empty());
    let Some(whole) = whole else {
        return notification.raw.clone();
    };
    let mut out = Vec::with_capacity(notification.raw.len() + 32);
    splice.apply(&notification.raw, whole, &mut out);
    out.into()
}
