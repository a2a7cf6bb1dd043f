//! Where something lives that a call goes on with: a question, a task.

use std::fmt;
use std::sync::Arc;

use switchboard_backends::Answer;

/// Parts the name of a backend, which may be any text without it, from its endpoint.
const BEFORE_ENDPOINT: char = '\u{1}';
/// What stands before the address of a replica that alone has it, and of one that is asked first.
const BEFORE_ONLY: char = '\u{2}';
const BEFORE_FIRST: char = '\u{3}';
/// What the address of a replica begins with, and hardly the end of a backend's name.
const SCHEME: &str = "https://";

/// A backend, which of its endpoints, and which replica of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Home {
    /// The backend.
    pub(crate) backend: Arc<str>,
    /// The endpoint as the backend calls it; 0 where there is but one.
    pub(crate) endpoint: u64,
    /// The replica, if it matters which.
    pub(crate) replica: Option<Replica>,
}

/// A replica of the gateway, by its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Replica {
    /// Nobody else has it.
    Only(Arc<str>),
    /// Anybody can go on with it, but this one remembers more.
    First(Arc<str>),
}

impl Replica {
    pub(crate) fn address(&self) -> &Arc<str> {
        match self {
            Self::Only(address) | Self::First(address) => address,
        }
    }
}

impl Home {
    /// Where an answer of a backend came from; `replica` is the address of this one, if there are
    /// others.
    pub(crate) fn of(backend: &Arc<str>, answer: &Answer, replica: Option<&Arc<str>>) -> Self {
        Self {
            backend: Arc::clone(backend),
            endpoint: answer.endpoint,
            replica: replica.map(|address| {
                let address = Arc::clone(address);
                match answer.stays {
                    true => Replica::Only(address),
                    false => Replica::First(address),
                }
            }),
        }
    }

    /// The same without the replica that is asked first, for something that none remembers more of than
    /// its server.
    pub(crate) fn without_first(mut self) -> Self {
        self.replica = self.replica.filter(|it| matches!(it, Replica::Only(_)));
        self
    }

    /// The endpoint, if the backend has several.
    pub(crate) fn endpoint(&self) -> Option<u64> {
        Some(self.endpoint).filter(|endpoint| *endpoint != 0)
    }

    /// Whether another replica than the one at this address has it, and nobody else.
    pub(crate) fn is_elsewhere(&self, here: Option<&Arc<str>>) -> bool {
        matches!(&self.replica, Some(Replica::Only(address)) if Some(address) != here)
    }

    /// Reads what its `Display` wrote.
    pub(crate) fn parse(text: &str) -> Self {
        let (text, replica) = parse_replica(text);
        let parted = text.rsplit_once(BEFORE_ENDPOINT);
        let read = parted.and_then(|(backend, endpoint)| {
            let endpoint = u64::from_str_radix(endpoint, 16).ok()?;
            Some((backend, endpoint))
        });
        let (backend, endpoint) = read.unwrap_or((text, 0));
        Self {
            backend: backend.into(),
            endpoint,
            replica,
        }
    }
}

/// Takes the replica off the end, if there is one.
fn parse_replica(text: &str) -> (&str, Option<Replica>) {
    let Some(at) = text.rfind([BEFORE_ONLY, BEFORE_FIRST]) else {
        return (text, None);
    };
    let (before, mark, address) = (&text[..at], &text[at..=at], &text[at + 1..]);
    if !address.starts_with(SCHEME) {
        return (text, None);
    }
    let replica = match mark.starts_with(BEFORE_ONLY) {
        true => Replica::Only(address.into()),
        false => Replica::First(address.into()),
    };
    (before, Some(replica))
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.backend)?;
        if let Some(endpoint) = self.endpoint() {
            write!(f, "{BEFORE_ENDPOINT}{endpoint:x}")?;
        }
        match &self.replica {
            Some(Replica::Only(address)) => write!(f, "{BEFORE_ONLY}{address}"),
            Some(Replica::First(address)) => write!(f, "{BEFORE_FIRST}{address}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let address: Arc<str> = "https://10.0.0.7:8082".into();
        let replicas = [
            None,
            Some(Replica::Only(Arc::clone(&address))),
            Some(Replica::First(address)),
        ];
        for (backend, endpoint) in [
            ("files", 0),
            ("files", u64::MAX),
            ("of \u{1} two", 7),
            ("of \u{2} two", 0),
        ] {
            for replica in replicas.clone() {
                let home = Home {
                    backend: backend.into(),
                    endpoint,
                    replica,
                };
                assert_eq!(Home::parse(&home.to_string()), home);
            }
        }
    }

    #[test]
    fn what_is_written_without_replicas_stays_as_it_was() {
        let home = Home {
            backend: "files".into(),
            endpoint: 0x2a,
            replica: None,
        };
        assert_eq!(home.to_string(), "files\u{1}2a");
    }

    #[test]
    fn only_what_one_replica_alone_has_is_elsewhere() {
        let (here, there): (Arc<str>, Arc<str>) = ("https://a:1".into(), "https://b:1".into());
        let at = |replica| Home {
            backend: "files".into(),
            endpoint: 0,
            replica,
        };
        let of_one = at(Some(Replica::Only(Arc::clone(&there))));
        assert!(of_one.is_elsewhere(Some(&here)) && of_one.is_elsewhere(None));
        assert!(!of_one.is_elsewhere(Some(&there)));
        assert!(!at(Some(Replica::First(there))).is_elsewhere(Some(&here)));
        assert!(!at(None).is_elsewhere(Some(&here)));
    }
}
