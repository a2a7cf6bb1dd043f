//! Why there was no connection to a replica, and when one that does not answer is gone.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_rustls::rustls;

/// How long a replica may let all connections time out until it is gone: longer than one that has
/// much to do, as short as clients may be kept from beginning anew.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// How long nobody may have tried for what was seen before to count.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// The most replicas of which is known since when they do not answer. Of others it is not, so they
/// are not gone until they refuse.
const MAX_SILENT: usize = 1_024;

/// Why there was no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unconnected {
    /// Nobody takes connections at the address, or somebody who does not belong to the cluster.
    Gone,
    /// Nobody proved anything in time: a replica that has too much to do, or a host that is gone.
    Silent,
    /// It was not tried, for want of something here.
    Here,
}

/// What the system lacks when it has no descriptor, port or memory left.
#[cfg(target_os = "linux")]
const LACKS: [i32; 6] = [11, 12, 23, 24, 99, 105];
#[cfg(not(target_os = "linux"))]
const LACKS: [i32; 6] = [35, 12, 23, 24, 49, 55];

impl Unconnected {
    /// What an error of the connector means.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let Some(error) = io_error(error) else {
            return Self::Silent;
        };
        if error.raw_os_error().is_some_and(|it| LACKS.contains(&it)) {
            return Self::Here;
        }
        let inner = error.get_ref();
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return Self::Gone;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidData => Self::Gone,
            io::ErrorKind::ResourceBusy => Self::Here,
            _ => Self::Silent,
        }
    }
}

/// Whether a connection ended before anything was proved: a replica that has many handshakes ends the
/// oldest, and may take the next.
pub(super) fn may_be_crowded_out(error: &(dyn Error + 'static)) -> bool {
    io_error(error).is_some_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    })
}

/// What the system or TLS said, below what wraps it.
fn io_error<'e>(mut error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    loop {
        let Some(found) = error.downcast_ref::<io::Error>() else {
            error = error.source()?;
            continue;
        };
        // The source of an `io::Error` is that of what it wraps.
        match found.get_ref() {
            Some(inner) if inner.is::<io::Error>() => error = inner,
            _ => return Some(found),
        }
    }
}

/// The replicas that do not answer, and since when. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence(Arc<Mutex<HashMap<Arc<str>, Silent>>>);

#[derive(Clone, Copy, Debug)]
struct Silent {
    since: Instant,
    last: Instant,
}

impl Silence {
    /// Notes that a replica did not answer now. Whether it is gone.
    pub(super) fn note(&self, replica: &Arc<str>, now: Instant) -> bool {
        let mut all = self.0.lock();
        all.retain(|_, it| now.duration_since(it.last) < FORGET_AFTER);
        if let Some(silent) = all.get_mut(replica) {
            silent.last = now;
            return now.duration_since(silent.since) >= GONE_AFTER;
        }
        if all.len() < MAX_SILENT {
            let silent = Silent {
                since: now,
                last: now,
            };
            all.insert(Arc::clone(replica), silent);
        }
        false
    }

    /// Notes that it answered.
    pub(super) fn end(&self, replica: &Arc<str>) {
        self.0.lock().remove(replica);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_gone_and_who_is_late_is_not() {
        let of = |error: io::Error| Unconnected::of(&io::Error::other(error));
        let refused = io::ErrorKind::ConnectionRefused;
        assert_eq!(of(refused.into()), Unconnected::Gone);
        // It may have had too many handshakes.
        let ended = io::ErrorKind::UnexpectedEof;
        assert_eq!(of(ended.into()), Unconnected::Silent);
        assert!(may_be_crowded_out(&io::Error::other(io::Error::from(
            ended
        ))));
        assert!(!may_be_crowded_out(&io::Error::from(refused)));
        let unproved = rustls::Error::General("not of the cluster".to_owned());
        let unproved = io::Error::new(io::ErrorKind::InvalidData, unproved);
        assert_eq!(of(unproved), Unconnected::Gone);
        assert_eq!(of(io::ErrorKind::TimedOut.into()), Unconnected::Silent);
        assert_eq!(
            of(io::ErrorKind::HostUnreachable.into()),
            Unconnected::Silent
        );
        // Too many open files.
        assert_eq!(of(io::Error::from_raw_os_error(24)), Unconnected::Here);
        assert_eq!(of(io::Error::from_raw_os_error(23)), Unconnected::Here);
    }

    #[test]
    fn who_is_silent_for_long_is_gone_until_he_answers() {
        let silence = Silence::default();
        let (one, other): (Arc<str>, Arc<str>) = ("https://a:1".into(), "https://b:1".into());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!silence.note(&one, at(0)));
        assert!(!silence.note(&one, at(9)));
        assert!(silence.note(&one, at(10)));
        assert!(!silence.note(&other, at(10)));
        assert!(silence.note(&one, at(69)));
        silence.end(&one);
        assert!(!silence.note(&one, at(70)));
        assert!(!silence.note(&one, at(79)));
        // What was long ago says nothing of now.
        assert!(!silence.note(&one, at(139)));
    }
}
