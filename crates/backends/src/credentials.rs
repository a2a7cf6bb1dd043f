//! The gateway's own OAuth 2.1 client: where a server's tokens are asked for, and the tokens that
//! were given.
//!
//! `slot` is one token and what is done about getting the next; `grant` asks for one, at the place
//! that `metadata` finds; `fetch` does the HTTP, within bounds, and `guard` says where it may not go.
//! What the operator configured is trusted, what a server or a document says is not.

mod assertion;
mod callers;
pub(crate) mod challenge;
mod fetch;
mod grant;
mod guard;
mod metadata;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use switchboard_protocol::credentials::{
    Authorization, Blame, Credential, CredentialError, Credentials, OnBehalf, Refusal,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::callers::Callers;
use self::grant::{Client, Wanted};
use self::slot::{Fetch, Slot};
use crate::config::oauth::is_scope;
use crate::config::{BackendConfig, TransportConfig};

/// The most scopes of a challenge that are looked at.
const MAX_SCOPES: usize = 32;

/// The credentials of a backend, if it has any beside its headers. What they fetch is fetched by
/// `tasks`, until `stop` is cancelled.
pub(crate) fn of_backend(
    name: &Arc<str>,
    config: &BackendConfig,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Option<Arc<dyn Credentials>> {
    let oauth = config.oauth.as_ref()?;
    let TransportConfig::Http { url, .. } = &config.transport else {
        return None;
    };
    let client = Client::new(Arc::clone(name), oauth.clone(), url.clone(), tasks.clone());
    Some(Arc::new(OAuth {
        client: Arc::new(client),
        own: Arc::default(),
        callers: Callers::default(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    }))
}

/// The tokens of one backend.
struct OAuth {
    client: Arc<Client>,
    /// The gateway's own.
    own: Arc<Slot>,
    /// Those of callers, if each has its own.
    callers: Callers,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OAuth")
    }
}

impl OAuth {
    /// Where the token for such a request is, and what to ask for if there is none.
    fn slot(&self, on_behalf: Option<&OnBehalf>) -> Result<(Arc<Slot>, Wanted), CredentialError> {
        let on_behalf = on_behalf.filter(|_| self.is_per_principal());
        let Some(on_behalf) = on_behalf else {
            return Ok((Arc::clone(&self.own), Wanted::Own));
        };
        let subject = on_behalf.subject_token.as_ref().ok_or_else(no_subject)?;
        let slot = self.callers.slot(&on_behalf.principal, subject);
        Ok((slot, Wanted::Exchanged(Arc::clone(subject))))
    }

    fn fetch(&self, wanted: Wanted) -> impl Fn(Vec<String>) -> Fetch + '_ {
        move |extra| {
            let (client, wanted) = (Arc::clone(&self.client), wanted.clone());
            Fetch {
                asking: Box::pin(async move { client.ask(&wanted, &extra).await }),
                tasks: self.tasks.clone(),
                stop: self.stop.clone(),
            }
        }
    }

    /// Those of the scopes that may be asked for in addition; `None` if one of them may not.
    fn allowed(&self, scopes: &str) -> Option<Vec<String>> {
        let config = self.client.config();
        let mut allowed = Vec::new();
        for scope in scopes.split(' ').filter(|scope| !scope.is_empty()) {
            let is_free = config.scopes.is_empty() && config.extra_scopes.is_empty();
            let is_known = |known: &String| known == scope;
            if config.scopes.iter().any(is_known) {
                continue;
            }
            let may_be = is_free || config.extra_scopes.iter().any(is_known);
            if !may_be || !is_scope(scope) || allowed.len() == MAX_SCOPES {
                return None;
            }
            allowed.push(scope.to_owned());
        }
        Some(allowed)
    }
}

impl Credentials for OAuth {
    fn is_per_principal(&self) -> bool {
        self.client.config().is_per_principal()
    }

    fn authorize(&self, on_behalf: Option<&OnBehalf>) -> Authorization {
        match self.slot(on_behalf) {
            Ok((slot, wanted)) => slot.get(self.fetch(wanted)),
            Err(error) => Authorization::Known(Err(error)),
        }
    }

    fn replace(
        &self,
        on_behalf: Option<&OnBehalf>,
        used: &Credential,
        refusal: Refusal<'_>,
    ) -> Option<Authorization> {
        let (slot, wanted) = self.slot(on_behalf).ok()?;
        match refusal {
            Refusal::Invalid => slot.renew(used, self.fetch(wanted)),
            Refusal::InsufficientScope(scopes) => {
                let extra = self.allowed(scopes)?;
                slot.widen(used, extra, self.fetch(wanted))
            }
        }
    }

    fn try_again(&self) {
        self.client.forget_place();
        self.own.forgive();
        self.callers.forget();
    }
}

fn no_subject() -> CredentialError {
    CredentialError {
        blame: Blame::Caller,
        reason: Arc::from(
            "it is called with a token of the caller's own, and this caller did not sign in with one that can be exchanged: sign in with a JWT",
        ),
        cause: None,
    }
}
