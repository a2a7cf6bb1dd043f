//! What proves to a server who calls: the seam between what sends requests to servers and what has,
//! fetches and renews credentials.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use zeroize::Zeroizing;

/// The token that a caller proved itself with to the gateway. It goes to no server: only to the
/// authorization server that gives another one for it (RFC 8693).
#[derive(Clone)]
pub struct SubjectToken(Zeroizing<String>);

impl SubjectToken {
    /// This token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectToken")
    }
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct OnBehalf {
    /// The name of the principal.
    pub principal: Arc<str>,
    /// What it proved itself with; `None` if that was no token that could be exchanged.
    pub subject_token: Option<Arc<SubjectToken>>,
}

/// What goes with one request as its `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(HeaderValue);

impl Credential {
    /// The value of the header, which is marked sensitive.
    #[must_use]
    pub fn new(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self(value)
    }

    /// The value of the header.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// How a server refused a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'r> {
    /// It does not take it (401).
    Invalid,
    /// It takes it, and wants more: these scopes, separated by spaces (403 with
    /// `insufficient_scope`, RFC 6750, 3.1).
    InsufficientScope(&'r str),
}

/// Who can do something about it that there is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody has to: whoever gives them out cannot be reached, or is not well.
    Passing,
    /// The operator: it was refused, and will be again.
    Operator,
    /// The caller: its own token is missing, or was refused.
    Caller,
}

/// Why there is no credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CredentialError {
    /// Who can do something about it.
    pub blame: Blame,
    /// What happened and what can be done, in a few plain words that are fit for a caller.
    pub reason: Arc<str>,
    /// What else an operator needs to mend it. Not for callers.
    pub cause: Option<Arc<str>>,
}

/// A credential, or why there is none.
pub type Found = Result<Credential, CredentialError>;

/// The answer to what goes with a request.
pub enum Authorization {
    /// Known at once.
    Known(Found),
    /// Somebody else has to be asked, who answers in bounded time. Dropping the future takes nothing
    /// from others that wait for the same.
    Pending(Pin<Box<dyn Future<Output = Found> + Send>>),
}

impl Authorization {
    /// The credential, however long it takes.
    ///
    /// # Errors
    /// If there is none.
    pub async fn found(self) -> Found {
        match self {
            Self::Known(found) => found,
            Self::Pending(pending) => pending.await,
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(Ok(_)) => "Known(Ok)",
            Self::Known(Err(_)) => "Known(Err)",
            Self::Pending(_) => "Pending",
        })
    }
}

/// What one server is shown: a client's token of the gateway's, a token for each caller, or one that
/// a user has consented to.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// Whether callers are told apart, so that nobody may use what was made for another.
    fn is_per_principal(&self) -> bool;

    /// What goes with a request on behalf of a caller, or of the gateway itself (`None`).
    fn authorize(&self, on_behalf: Option<&OnBehalf>) -> Authorization;

    /// What goes with the same request instead, after the server refused `used` before it did
    /// anything. `None`: nothing else can be had, and the refusal stands.
    fn replace(
        &self,
        on_behalf: Option<&OnBehalf>,
        used: &Credential,
        refusal: Refusal<'_>,
    ) -> Option<Authorization>;

    /// Forgets what was refused: an operator has mended it.
    fn try_again(&self);
}
