//! Refused credentials of one connection.

use std::fmt::Display;
use std::net::IpAddr;

use http::StatusCode;

use super::queue::AuditLog;

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

    /// Notes that one was refused. `status` and `why` are what the caller is told.
    pub(crate) fn note(&self, status: StatusCode, why: &impl Display) {
        if let Some(log) = &self.log {
            log.refused(self.listener, Some(self.peer), status, why.to_string());
        }
    }
}
