//! Which calls may share a session.

use std::sync::Arc;
use switchboard_protocol::call::Call;
use switchboard_protocol::extension;
use switchboard_protocol::version::Version;

use super::super::Introduction;
use crate::config::SessionScope;

/// What calls have in common that may share a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose session it is; `None`: everybody's.
    pub(super) principal: Option<Arc<str>>,
    /// The legacy client whose session it is; `None`: not one client's alone.
    pub(super) client: Option<Arc<str>>,
    /// What the server is told at its beginning.
    pub(super) introduction: Introduction,
}

impl Key {
    /// Whether it is of the one session that declares nothing, which all calls share.
    pub(super) fn is_everybodys(&self) -> bool {
        self.principal.is_none()
    }
}

/// How the calls of one key share sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// One session, all at once.
    Together,
    /// One session, one call after the other: the server keeps its state, and a question of its own
    /// can only be the one call's.
    InTurn,
    /// As many sessions as calls. Beyond the bounds calls share one where `may_share` says that
    /// questions name their call all the same, else they wait.
    Apart {
        /// Whether a session may have several calls at once.
        may_share: bool,
    },
}

/// What a call wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) sharing: Sharing,
}

impl Wish {
    /// What this call wants of a server whose requests name no call if `names_no_call`.
    pub(super) fn of(scope: SessionScope, call: &Call, names_no_call: bool) -> Self {
        let introduction = introduction(call);
        let asked = introduction.may_be_asked();
        let principal = || Some(Arc::from(call.principal.id.as_str()));
        let (principal, client, sharing) = match scope {
            SessionScope::Shared if !asked && !introduction.ui => {
                return Self {
                    key: Key {
                        principal: None,
                        client: None,
                        introduction: Introduction::BARE,
                    },
                    sharing: Sharing::Together,
                };
            }
            SessionScope::Shared if asked => {
                let may_share = !names_no_call;
                (principal(), None, Sharing::Apart { may_share })
            }
            SessionScope::Shared => (principal(), None, Sharing::Together),
            SessionScope::PerPrincipal | SessionScope::PerClient => {
                let client = call
                    .client
                    .as_ref()
                    .filter(|_| scope == SessionScope::PerClient)
                    .map(|client| Arc::from(client.id()));
                let sharing = if asked && names_no_call && client.is_none() {
                    Sharing::InTurn
                } else {
                    Sharing::Together
                };
                (principal(), client, sharing)
            }
        };
        Self {
            key: Key {
                principal,
                client,
                introduction,
            },
            sharing,
        }
    }
}

/// As what the gateway introduces itself on behalf of a caller.
fn introduction(call: &Call) -> Introduction {
    Introduction {
        version: if call.version.is_modern() {
            Version::LATEST_LEGACY
        } else {
            call.version
        },
        capabilities: call.client_capabilities(),
        ui: call.declares(extension::UI),
    }
}

#[cfg(test)]
mod tests;
