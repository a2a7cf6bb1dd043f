//! What is told of a Redis that gives no usable answer: in words of our own, since its own may quote
//! what was sent.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// It has said nothing for as long as an answer may take.
pub(super) const TIMEOUT: &str = "it does not answer in time";

/// Its answer is not that of the script.
pub(super) const ANSWER: &str = "it answers what nobody understands";

/// Why it gives no usable answer.
pub(super) fn cause_of(error: &RedisError) -> &'static str {
    // Of what is sent while the connection is made only the text of the answer is left.
    let detail = error.detail().unwrap_or_default();
    if detail.contains("DB index") {
        return "it has no database of the number in its `redis` (DB index is out of range)";
    }
    if error.code() == Some("NOAUTH") || detail.contains("Authentication required") {
        return "it wants a password, and there is none in its `redis` (NOAUTH)";
    }
    if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS") {
        return "it does not accept the user and password in its `redis` (WRONGPASS)";
    }
    match error.kind() {
        _ if error.is_timeout() => TIMEOUT,
        _ if error.is_connection_refusal() => "nobody listens at its address",
        ErrorKind::Server(kind) => of_server(kind),
        ErrorKind::Extension => match error.code() {
            Some("OOM") => "its memory is full (OOM)",
            Some("MISCONF") => "it cannot write to its disk, and takes no writes (MISCONF)",
            Some("NOREPLICAS") => "it has too few replicas to take writes (NOREPLICAS)",
            Some("WRONGTYPE") => {
                "a key that begins with its `prefix` is another program's (WRONGTYPE)"
            }
            _ => "it refuses what it is asked",
        },
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => ANSWER,
        _ if error.is_connection_dropped() => "the connection to it broke",
        _ => "it cannot be reached",
    }
}

fn of_server(kind: ServerErrorKind) -> &'static str {
    match kind {
        ServerErrorKind::NoPerm => "its user may not do what is needed (NOPERM)",
        ServerErrorKind::ReadOnly => "it is a replica that takes no writes (READONLY)",
        ServerErrorKind::BusyLoading => "it is still reading its data (LOADING)",
        ServerErrorKind::MasterDown => "it is a replica whose primary is away (MASTERDOWN)",
        ServerErrorKind::ClusterDown => "its cluster is not complete (CLUSTERDOWN)",
        ServerErrorKind::CrossSlot => {
            "the keys are on several nodes of a cluster; its `prefix` needs a part in braces (CROSSSLOT)"
        }
        _ => "it refuses what it is asked",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn causes_are_told_in_words_that_repeat_nothing() {
        let select = RedisError::from((
            ErrorKind::Server(ServerErrorKind::ResponseError),
            "Redis server refused to switch database",
            "DB index is out of range".to_owned(),
        ));
        let login = RedisError::from((
            ErrorKind::AuthenticationFailed,
            "Password authentication failed",
            "hunter2".to_owned(),
        ));
        let silent = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        for (error, expected) in [
            (select, "DB index is out of range"),
            (login, "WRONGPASS"),
            (silent, "nobody listens"),
        ] {
            let cause = cause_of(&error);
            assert!(cause.contains(expected), "{cause}");
            assert!(!cause.contains("hunter2"));
        }
    }
}
