//! Passing on what another replica has, and what is said where that cannot be.

use std::net::IpAddr;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts as Head;
use http::{HeaderValue, StatusCode};
use switchboard_protocol::call::{Call, Outcome, Principal};
use switchboard_protocol::envelope::Message;
use switchboard_protocol::error::{Fault, Reason, code};
use switchboard_protocol::method::Method;

use super::client::{Cluster, NoAnswer};
use super::origin::Origin;
use crate::edge::decode::Rejection;
use crate::edge::respond;
use crate::listener::Standing;

/// When it is worth trying again while too much is on its way.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Passes on the requests of one connection.
#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) cluster: Arc<Cluster>,
    /// Of the connection.
    pub(crate) standing: Standing,
}

/// What was posted in a session, as far as it matters if it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InSession {
    /// A request of this method that waits for an answer, with its id.
    Request(Method, Bytes),
    /// Several messages, of which some may be requests.
    Batch,
    /// Nothing that waits for an answer which could not be lost.
    Nothing,
}

/// Why a request in a session has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The session is gone, as far as anybody knows.
    NoSession,
    /// What was posted may have been done.
    Lost(Rejection),
}

impl InSession {
    /// What is known of a message that was read.
    pub(crate) fn of_message(message: &Message) -> Self {
        match message {
            Message::Request(request) if request.is_request() => {
                let method = Method::of_name(&request.method_name());
                // How a call is told of a failure differs from all else.
                Self::Request(method.unwrap_or(Method::Discover), request.id_bytes())
            }
            _ => Self::Nothing,
        }
    }
}

impl Relay {
    fn origin(&self, peer: IpAddr) -> Origin {
        Origin {
            peer,
            certificate: self.standing.certificate().cloned(),
        }
    }

    /// The replica's answer to a call. `None`: it is gone, and nothing was sent.
    pub(crate) async fn call(
        &self,
        replica: &Arc<str>,
        head: &Head,
        call: &Call,
        peer: IpAddr,
    ) -> Option<Response> {
        let body = call.request.raw.clone();
        let origin = self.origin(peer);
        let sender = (&call.principal, &origin);
        let sent = self.cluster.send(replica, head, body, sender);
        let fault = match sent.await {
            Ok(response) => return Some(response),
            Err(NoAnswer::Gone) => return None,
            Err(NoAnswer::Unreachable) => unreachable(),
            Err(NoAnswer::Overloaded) => overloaded(),
            Err(NoAnswer::Lost) => lost(),
        };
        let outcome = Outcome::Failed(fault.into());
        let id = call.request.id_bytes();
        Some(respond::response(call.method, &id, outcome))
    }

    /// The replica's answer to a request in a session.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn in_session(
        &self,
        replica: &Arc<str>,
        head: &Head,
        body: Bytes,
        posted: &InSession,
        (principal, peer): (&Arc<Principal>, IpAddr),
    ) -> Result<Response, Unanswered> {
        let origin = self.origin(peer);
        let sent = self.cluster.send(replica, head, body, (principal, &origin));
        match sent.await {
            Ok(response) => Ok(response),
            Err(NoAnswer::Gone) => Err(Unanswered::NoSession),
            Err(NoAnswer::Unreachable) => Ok(unavailable(&unreachable())),
            Err(NoAnswer::Overloaded) => Ok(unavailable(&overloaded())),
            Err(NoAnswer::Lost) => match posted {
                InSession::Request(method, id) => {
                    let outcome = Outcome::Failed(lost().into());
                    Ok(respond::response(*method, id, outcome))
                }
                InSession::Batch => {
                    let lost = lost();
                    Err(Unanswered::Lost(Rejection::new(
                        StatusCode::BAD_GATEWAY,
                        code::INTERNAL_ERROR,
                        lost.message,
                    )))
                }
                InSession::Nothing => Err(Unanswered::NoSession),
            },
        }
    }
}

fn unavailable(fault: &Fault) -> Response {
    let mut response = respond::unavailable(fault);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    response
}

fn unreachable() -> Fault {
    let message = "The replica of the gateway that has this cannot be reached at the moment. Nothing was executed: try again in a second.";
    Fault::not_sent(Reason::Overloaded, message)
}

fn overloaded() -> Fault {
    let message = "Too many requests are on their way to the replica of the gateway that has this. Nothing was executed: try again in a second.";
    Fault::not_sent(Reason::Overloaded, message)
}

fn lost() -> Fault {
    let message = "The replica of the gateway that has this was lost before it answered. What was done is not known: check before you make the call again.";
    Fault::unknown(Reason::ConnectionLost, message)
}
