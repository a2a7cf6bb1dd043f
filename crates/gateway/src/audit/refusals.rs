//! Refused credentials of one connection.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use switchboard_protocol::call::Principal;

use super::queue::{AuditLog, Refused};

/// Where is noted that credentials of a connection were refused.
#[derive(Clone)]
pub(crate) struct Refusals {
    log: Option<AuditLog>,
    listener: &'static str,
    peer: IpAddr,
}

impl Refusals {
    /// Of a connection to the endpoint.
    pub(crate) fn of_endpoint(log: Option<AuditLog>, peer: IpAddr) -> Self {
        Self {
            log,
            listener: "endpoint",
            peer,
        }
    }

    /// Of a connection to the admin API.
    pub(crate) fn of_admin(log: Option<AuditLog>, peer: IpAddr) -> Self {
        Self {
            log,
            listener: "admin",
            peer,
        }
    }

    /// Notes that one was refused. `status` is what the caller is told, `reason` the word of the
    /// metric for it.
    pub(crate) fn note(&self, status: StatusCode, reason: &'static str) {
        self.note_of(status, reason, None, None);
    }

    /// As [`note`](Self::note), of a credential that is good, but not for the profile that was called:
    /// then it is known whose it is.
    pub(crate) fn note_of(
        &self,
        status: StatusCode,
        reason: &'static str,
        principal: Option<Arc<Principal>>,
        profile: Option<&str>,
    ) {
        if let Some(log) = &self.log {
            log.refused(&Refused {
                listener: self.listener,
                peer: Some(self.peer),
                status,
                reason,
                principal,
                profile,
            });
        }
    }
}
