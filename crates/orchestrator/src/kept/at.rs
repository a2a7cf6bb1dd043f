//! Where a kept result is, of several replicas: in its id (decision 20).

use std::sync::Arc;
use std::time::Duration;

use switchboard_protocol::millis;
use switchboard_protocol::token::{Binding, Purpose, SealError, Sealer, digest};

use crate::clock::now_ms;

/// How long an id leads to its replica. How long the result is kept that replica alone decides, and it
/// may be asked for again and again.
const LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// This replica, where there are others: ids that are made here lead here.
#[derive(Clone, Debug)]
pub(crate) struct KeptAt {
    /// At which the others reach it.
    pub(crate) address: Arc<str>,
    pub(crate) sealer: Arc<Sealer>,
}

impl KeptAt {
    /// An id that nobody guesses, for a result of this principal.
    pub(super) fn id(&self, principal: &str) -> Result<String, SealError> {
        self.id_for(principal, LIFETIME)
    }

    fn id_for(&self, principal: &str, lifetime: Duration) -> Result<String, SealError> {
        let expires = now_ms().saturating_add(millis(lifetime));
        let binding = binding(principal);
        let address = self.address.as_bytes();
        self.sealer
            .seal(Purpose::KeptResult, &binding, expires, address)
    }

    /// The address of the replica that made this id for this principal, if one did.
    pub(super) fn replica_of(&self, principal: &str, id: &str) -> Option<Arc<str>> {
        let address = self
            .sealer
            .open(Purpose::KeptResult, &binding(principal), now_ms(), id)
            .ok()?;
        Some(String::from_utf8(address).ok()?.into())
    }
}

fn binding(principal: &str) -> Binding<'_> {
    Binding {
        principal,
        request: digest(&[b"kept result"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_who_made_it_for_one_principal_and_for_a_time() {
        let sealer =
            Arc::new(Sealer::new(&[b"a key that is long enough to seal with"]).expect("fine"));
        let at = KeptAt {
            address: "https://10.0.0.7:8082".into(),
            sealer,
        };
        let (first, second) = (
            at.id("alice").expect("an id"),
            at.id("alice").expect("an id"),
        );
        assert_ne!(first, second);
        assert_eq!(
            at.replica_of("alice", &first).as_deref(),
            Some("https://10.0.0.7:8082")
        );
        assert_eq!(at.replica_of("bob", &first), None);
        assert_eq!(at.replica_of("alice", "no-id-of-ours"), None);
        let expired = at.id_for("alice", Duration::ZERO).expect("an id");
        assert_eq!(at.replica_of("alice", &expired), None);
    }
}
