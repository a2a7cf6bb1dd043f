//! An exchange in a session: what is sent, what is answered, and what a large result holds of the
//! session while it arrives.

use std::sync::Arc;

use switchboard_protocol::envelope::Response;
use switchboard_protocol::method::LogLevel;

use super::pool::Lease;
use super::session::{InFlight, ensure_log_level, until_heard};
use crate::connect::Connection;
use crate::exchange::{AttemptSpan, Begun};
use crate::link::watch::Watch;
use crate::link::{LinkError, MayArrive, Outgoing, Reply};

/// A request to be sent in a session.
pub(super) struct Exchange {
    /// What its caller wants the server to log.
    pub(super) log_level: Option<LogLevel>,
    pub(super) out: Outgoing,
    pub(super) span: AttemptSpan,
    pub(super) watch: Watch,
    /// Hears of it what is not said on its own stream.
    pub(super) elsewhere: Watch,
    /// How a large result may be given before it is whole, if it may.
    pub(super) arriving: Option<MayArrive>,
}

impl Exchange {
    /// Sends the request and waits for its answer. Dropped before that, it tells the server so.
    pub(super) async fn run(self, connection: &Arc<Connection>) -> Result<Answered, LinkError> {
        if self.log_level.is_some() || self.watch.may_be_asked() {
            until_heard(connection).await;
            ensure_log_level(connection, self.log_level).await;
        }
        let mut in_flight = InFlight::enter(connection, self.out.id, self.elsewhere);
        let reply = connection
            .link
            .reply(&connection.wire, self.out, self.watch, self.arriving);
        let result = reply.await;
        if let Some(in_flight) = &in_flight {
            in_flight.hear_late_logs().await;
        }
        let result = match result {
            Ok(Reply::Large(large)) => {
                if let Some(in_flight) = &mut in_flight {
                    in_flight.answering();
                }
                return Ok(Answered::Large(Box::new(Begun {
                    large,
                    span: self.span,
                    session: in_flight.map(Hold::new),
                })));
            }
            Ok(Reply::Whole(response)) => Ok(response),
            Err(error) => Err(error),
        };
        if let Some(in_flight) = in_flight {
            in_flight.answered();
        }
        self.span.record(&result);
        result.map(Answered::Whole)
    }

    /// As [`Exchange::run`], and waits for all of the answer.
    pub(super) async fn run_to_end(
        self,
        connection: &Arc<Connection>,
    ) -> Result<Response, LinkError> {
        self.run(connection).await?.whole().await
    }
}

/// What a server answers in a session.
pub(crate) enum Answered {
    /// The response.
    Whole(Response),
    /// The beginning of a large one.
    Large(Box<Begun>),
}

impl Answered {
    /// All of it, however long that takes.
    pub(super) async fn whole(self) -> Result<Response, LinkError> {
        let begun = match self {
            Self::Whole(response) => return Ok(response),
            Self::Large(begun) => begun,
        };
        let Begun {
            large,
            span,
            session,
        } = *begun;
        let response = large.whole().await;
        if let Some(session) = session {
            session.answered();
        }
        span.record(&response);
        response
    }
}

/// What a large result that arrives over HTTP holds of its session until its last byte. Dropped before,
/// it cancels the call.
pub(crate) struct Hold {
    in_flight: Option<InFlight>,
    lease: Option<Lease>,
}

impl Hold {
    fn new(in_flight: InFlight) -> Self {
        Self {
            in_flight: Some(in_flight),
            lease: None,
        }
    }

    /// The server has said all.
    pub(crate) fn answered(mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.answered();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // First, since the server is told before its session may be closed.
        self.in_flight = None;
        // Whether or not all of it came: once it answers, a server asks nothing more in the session.
        if let Some(lease) = self.lease.take() {
            lease.answered();
        }
    }
}

/// Gives a session to the result that arrives in it; on a channel that calls share, what arrives needs
/// none.
pub(super) fn give(lease: Lease, begun: &mut Begun) {
    match &mut begun.session {
        Some(session) => session.lease = Some(lease),
        None => lease.answered(),
    }
}
