//! From the credential of a request to the principal on whose behalf it is made.

use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchboard_protocol::call::Principal;

use crate::config::{ApiKeyConfig, AuthConfig, KeyDigest};

const SCHEME: &str = "Bearer";

/// Why a request has no principal. Answer both with status 401 and [`AuthError::challenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error("a credential is needed: send `Authorization: Bearer` with an API key")]
    Missing,
    /// There are several, or it is not one that is accepted.
    #[error("the credential is not accepted")]
    Invalid,
}

impl AuthError {
    /// The value of `WWW-Authenticate` for the answer (RFC 6750, section 3: a request without a
    /// credential is told no error code).
    #[must_use]
    pub fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Missing => "Bearer",
            Self::Invalid => "Bearer error=\"invalid_token\"",
        })
    }
}

/// Decides who a caller is. Cheap to share behind an [`Arc`]; never changes.
#[derive(Clone)]
pub struct Authenticator {
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Open(Arc<Principal>),
    Keys(Vec<(KeyDigest, Arc<Principal>)>),
}

impl Authenticator {
    /// An authenticator for the `auth` section of the configuration. Without one every caller is
    /// the same anonymous principal.
    #[must_use]
    pub fn new(config: Option<&AuthConfig>) -> Self {
        match config {
            None => Self {
                rule: Rule::Open(Arc::new(Principal::anonymous())),
            },
            Some(config) => Self::of_keys(&config.api_keys),
        }
    }

    /// An authenticator that knows whoever has one of these keys; without any it knows nobody.
    #[must_use]
    pub fn of_keys(keys: &[ApiKeyConfig]) -> Self {
        let keys = keys.iter().map(|key| {
            let principal = Principal {
                groups: key.groups.clone(),
                ..Principal::new(format!("key:{}", key.name))
            };
            (key.key_sha256, Arc::new(principal))
        });
        Self {
            rule: Rule::Keys(keys.collect()),
        }
    }

    /// The same, with the principals that `before` gave out, as far as neither they nor their keys
    /// have changed: whoever was authenticated then is still known, and nobody else is.
    #[must_use]
    pub fn keeping(mut self, before: &Self) -> Self {
        match (&mut self.rule, &before.rule) {
            (Rule::Open(anonymous), Rule::Open(before)) => *anonymous = Arc::clone(before),
            (Rule::Keys(keys), Rule::Keys(before)) => {
                for key in keys {
                    if let Some(known) = before.iter().find(|known| *known == key) {
                        key.1 = Arc::clone(&known.1);
                    }
                }
            }
            _ => {}
        }
        self
    }

    /// Whether the credential that this principal was found by is one that is accepted.
    #[must_use]
    pub fn knows(&self, principal: &Arc<Principal>) -> bool {
        match &self.rule {
            Rule::Open(anonymous) => Arc::ptr_eq(anonymous, principal),
            Rule::Keys(keys) => keys.iter().any(|(_, known)| Arc::ptr_eq(known, principal)),
        }
    }

    /// The principal of a request with these headers.
    ///
    /// # Errors
    ///
    /// If a credential is needed and the request has none, several, or one that is not accepted.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, AuthError> {
        match &self.rule {
            Rule::Open(anonymous) => Ok(Arc::clone(anonymous)),
            Rule::Keys(keys) => find(keys, bearer(headers)?).ok_or(AuthError::Invalid),
        }
    }
}

// Digests of weak keys can be searched for offline, so none is shown.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Open(_) => f.write_str("Authenticator(open)"),
            Rule::Keys(keys) => write!(f, "Authenticator({} keys)", keys.len()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(AuthError::Invalid);
    }
    let (scheme, rest) = value
        .split_at_checked(SCHEME.len())
        .ok_or(AuthError::Invalid)?;
    let key = rest.trim_ascii();
    let separated = rest.first() == Some(&b' ');
    if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && separated && !key.is_empty() {
        Ok(key)
    } else {
        Err(AuthError::Invalid)
    }
}

fn find(keys: &[(KeyDigest, Arc<Principal>)], key: &[u8]) -> Option<Arc<Principal>> {
    let digest: [u8; 32] = Sha256::digest(key).into();
    // All keys are looked at, whichever fits: how long it takes says nothing about any of them.
    let mut found = None;
    for (known, principal) in keys {
        if bool::from(known.as_bytes().ct_eq(&digest)) {
            found = Some(principal);
        }
    }
    found.cloned()
}

#[cfg(test)]
mod tests;
