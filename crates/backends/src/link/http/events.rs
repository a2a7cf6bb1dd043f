//! An event stream of a server: the response that is awaited on it, and what comes before.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use switchboard_protocol::envelope::{Envelope, Message};
use switchboard_protocol::passage::{MAX_HELD, may_pass};
use switchboard_telemetry::IgnoredMessage;
use tokio::time::timeout;

use super::resume::{Resumption, may_resume};
use super::{HttpLink, NO_REQUEST, method_of};
use crate::link::pool::ResponseBody;
use crate::link::rest::{Large, Rest};
use crate::link::sse::Decoder;
use crate::link::watch::{Asked, Hear};
use crate::link::{LinkError, MayArrive, Reply, Wire, refuse_request};

impl HttpLink {
    /// Reads a stream until the response to the request of this id comes, or enough of a large one; of
    /// [`NO_REQUEST`], until it ends. One that breaks is taken up again where the server lets it.
    pub(super) async fn read_stream(
        &self,
        wire: &Wire,
        mut body: ResponseBody,
        id: u64,
        hearer: &mut (impl Hear + Send),
        arriving: Option<MayArrive>,
    ) -> Result<Reply, LinkError> {
        let mut events = Decoder::new(self.inner.bounds.max_message);
        let mut resumption = Resumption::default();
        let mut arriving = arriving;
        loop {
            while let Some(event) = events.next_event().map_err(|_| LinkError::TooLarge)? {
                // An event without data primes the stream's id (2025-11-25) and says nothing.
                if event.data.is_empty() {
                    continue;
                }
                match Message::parse(event.data) {
                    Ok(Message::Response(response))
                        if response.id_number() == Some(id) || response.names_no_request() =>
                    {
                        if !body.is_end_stream() {
                            self.inner.inbox.tasks.spawn(body.reach_end());
                        }
                        return Ok(Reply::Whole(response));
                    }
                    Ok(Message::Response(_)) => self.inner.inbox.ignored(IgnoredMessage::UnknownId),
                    Ok(Message::Request(request)) if request.is_request() => {
                        self.asked(wire, &request, hearer).await
                    }
                    Ok(Message::Request(notification)) => self.notified(&notification, hearer),
                    Err(_) => self.inner.inbox.ignored(IgnoredMessage::Banner),
                }
            }
            // One that could be taken up again is worth more than one that passes; a bound on what is held is
            // worth more than either.
            let arriving_now =
                arriving.filter(|arriving| arriving.at_once || !may_resume(wire, &events));
            if let Some(method) = arriving_now.and_then(|arriving| method_of(arriving, &body))
                && let Some((beginning, tail)) = events.large(MAX_HELD)
            {
                if let Ok(true) = may_pass(&beginning, id, method) {
                    return Ok(Reply::Large(Large {
                        beginning,
                        rest: Rest::of_event(body, tail, self.inner.bounds.stream_idle),
                        id,
                        method,
                        max_message: self.inner.bounds.max_message,
                    }));
                }
                // It is none that can be judged by its beginning, and is read as a whole.
                arriving = None;
            }
            let frame = match self.inner.bounds.stream_idle {
                Some(bound) if id != NO_REQUEST => timeout(bound, body.frame())
                    .await
                    .map_err(|_| LinkError::Silent)?,
                _ => body.frame().await,
            };
            let lost = match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        events.push(&data);
                    }
                    continue;
                }
                Some(Err(_)) => "the stream broke before the answer came",
                None => "the stream ended before the answer came",
            };
            let resumed = resumption.resume(self, wire, &mut events).await;
            let Some(resumed) = resumed else {
                return Err(LinkError::Lost(lost.to_owned()));
            };
            body = resumed;
        }
    }

    fn notified(&self, notification: &Envelope, hearer: &mut impl Hear) {
        match &*notification.method() {
            "notifications/subscriptions/acknowledged" => {
                hearer.hear(notification);
                self.inner.inbox.put(notification);
            }
            "notifications/progress" | "notifications/message" | "notifications/tasks" => {
                if !hearer.hear(notification) {
                    self.inner
                        .inbox
                        .ignored(IgnoredMessage::DroppedNotification);
                }
            }
            // One that comes late withdraws nothing any more.
            "notifications/cancelled" => drop(hearer.withdrawn(notification)),
            "notifications/elicitation/complete" => hearer.aside(notification),
            _ => self.inner.inbox.put(notification),
        }
    }

    async fn asked(&self, wire: &Wire, request: &Envelope, hearer: &mut impl Hear) {
        let method = request.method();
        // A client of 2026-07-28 sends no responses.
        if wire.version.is_modern() {
            if method != "ping" {
                self.inner.inbox.ignored(IgnoredMessage::UnexpectedRequest);
            }
            return;
        }
        let answer = match &*method {
            "ping" => refuse_request(&request.id_bytes(), &method),
            _ => match self.attribute(wire, request, hearer) {
                Some(refusal) => {
                    self.inner.inbox.ignored(IgnoredMessage::UnexpectedRequest);
                    refusal
                }
                None => return,
            },
        };
        let _ = self.notify(wire, answer).await;
    }

    /// Finds somebody to ask, or gives the refusal.
    fn attribute(&self, wire: &Wire, request: &Envelope, hearer: &mut impl Hear) -> Option<Bytes> {
        match hearer.asked(request) {
            Asked::Taken => None,
            Asked::Refused(refusal) => Some(refusal),
            Asked::Relay(relay) => {
                let (link, wire) = (self.clone(), wire.clone());
                let tell = |answer| async move { link.notify(&wire, answer).await };
                relay.ask(request, tell).err()
            }
        }
    }
}
