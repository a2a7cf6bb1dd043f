//! An exchange in a session, and what a large result holds of the session while it arrives.

use std::sync::Arc;

use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::method::LogLevel;

use super::pool::Lease;
use super::session::{NotedCall, ensure_log_level, until_heard};
use crate::connect::Connection;
use crate::exchange::{AttemptSpan, Claims, Exchanged, Ongoing};
use crate::link::watch::Watch;
use crate::link::{LinkError, MayArrive, Outgoing, Reply};

/// A request to be sent in a session.
pub(super) struct Exchange {
    /// What its caller wants the server to log.
    log_level: Option<LogLevel>,
    out: Outgoing,
    span: AttemptSpan,
    watch: Watch,
    elsewhere: Watch,
}

impl Exchange {
    /// The request of this call; `elsewhere` hears of it what is not said on its own stream.
    pub(super) fn new(
        call: &Call,
        out: Outgoing,
        span: AttemptSpan,
        watch: Watch,
        elsewhere: Watch,
    ) -> Self {
        Self {
            log_level: call.log_level,
            out,
            span,
            watch,
            elsewhere,
        }
    }

    /// Sends the request and waits for its answer; a large one may be given while it arrives, if
    /// `arriving` says so. Dropped before that, it tells the server so.
    pub(super) async fn run(
        self,
        connection: &Arc<Connection>,
        arriving: Option<MayArrive>,
    ) -> Result<Exchanged<Response>, LinkError> {
        if self.log_level.is_some() || self.watch.may_be_asked() {
            until_heard(connection).await;
            ensure_log_level(connection, self.log_level).await;
        }
        let mut noted = NotedCall::enter(connection, self.out.id, self.elsewhere);
        let reply = connection
            .link
            .reply(&connection.wire, self.out, self.watch, arriving);
        let reply = reply.await;
        if let Some(noted) = &mut noted {
            noted.answers(!matches!(reply, Ok(Reply::Large(_)))).await;
        }
        let result = match reply {
            Ok(Reply::Large(large)) => {
                return Ok(Exchanged::Large(Box::new(Ongoing {
                    large,
                    span: self.span,
                    claims: Claims::new(Arc::clone(connection), SessionHold { noted, lease: None }),
                })));
            }
            Ok(Reply::Whole(response)) => Ok(response),
            Err(error) => Err(error),
        };
        self.span.record(&result);
        result.map(Exchanged::Whole)
    }

    /// As [`Exchange::run`], and waits for all of the answer.
    pub(super) async fn run_to_end(
        self,
        connection: &Arc<Connection>,
    ) -> Result<Response, LinkError> {
        self.run(connection, None).await?.whole().await
    }
}

/// What a large result holds of a session until its last byte; nothing, where there is none. Dropped
/// before, it cancels the call.
#[derive(Default)]
pub(crate) struct SessionHold {
    /// First, since the server is told before its session may be closed.
    noted: Option<NotedCall>,
    lease: Option<Lease>,
}

impl SessionHold {
    /// Holds the session itself.
    pub(super) fn keep(&mut self, lease: Lease) {
        self.lease = Some(lease);
    }

    /// The server has said all.
    pub(crate) fn answered(self) {
        if let Some(noted) = self.noted {
            noted.answered();
        }
    }
}
