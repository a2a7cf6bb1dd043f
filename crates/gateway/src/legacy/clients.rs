//! What clients said of themselves, kept once for all sessions whose clients say the same.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::version::Version;

use super::translate::ClientIdentity;

/// How many different clients are remembered. Most sessions are of a few programs.
const MAX_KNOWN: usize = 64;

/// What was agreed on when a session was initialized.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Version, client and capabilities.
    pub(super) identity: ClientIdentity,
    /// The capabilities, read.
    pub(super) declared: ClientCapabilities,
}

impl Agreed {
    pub(super) fn new(identity: ClientIdentity) -> Self {
        Self {
            declared: ClientCapabilities::parse(&identity.capabilities),
            identity,
        }
    }

    pub(super) fn version(&self) -> Version {
        self.identity.version
    }
}

/// The clients seen last, at most [`MAX_KNOWN`].
#[derive(Default)]
pub(super) struct KnownClients {
    known: Mutex<VecDeque<Arc<Agreed>>>,
}

impl KnownClients {
    /// The same, shared with every session that agreed on it before, unless that was long ago.
    pub(super) fn share(&self, agreed: Agreed) -> Arc<Agreed> {
        let mut known = self.known.lock();
        let same = known.iter().find(|same| same.identity == agreed.identity);
        if let Some(same) = same {
            return Arc::clone(same);
        }
        let agreed = Arc::new(agreed);
        let oldest = (known.len() >= MAX_KNOWN).then(|| known.pop_front());
        known.push_back(Arc::clone(&agreed));
        drop(known);
        drop(oldest);
        agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(name: &str) -> Agreed {
        let info = format!("{{\"name\":\"{name}\"}}");
        Agreed::new(ClientIdentity::new(
            Version::LATEST_LEGACY,
            Some(info.as_bytes()),
            b"{\"roots\":{}}",
        ))
    }

    #[test]
    fn equal_clients_are_kept_once_and_others_apart() {
        let clients = KnownClients::default();
        let ada = clients.share(agreed("ada"));
        assert!(Arc::ptr_eq(&ada, &clients.share(agreed("ada"))));
        let eve = clients.share(agreed("eve"));
        assert_eq!(
            eve.identity.client_info.as_deref(),
            Some(&br#"{"name":"eve"}"#[..])
        );
    }

    #[test]
    fn only_so_many_clients_are_remembered() {
        let clients = KnownClients::default();
        let first = clients.share(agreed("first"));
        for number in 0..MAX_KNOWN {
            clients.share(agreed(&number.to_string()));
        }
        assert_eq!(clients.known.lock().len(), MAX_KNOWN);
        assert!(!Arc::ptr_eq(&first, &clients.share(agreed("first"))));
    }
}
