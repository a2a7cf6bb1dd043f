//! From the credential of a request to the principal on whose behalf it is made.
//!
//! A credential is a bearer key, an access token of an issuer that is trusted, or the certificate of
//! the connection. What is known of it is looked up by one hash; only a token that was never seen is
//! verified, and only one whose key is not known waits for its issuer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use switchboard_protocol::call::Principal;

pub use self::certificates::ClientCertificate;
pub(crate) use self::claims::named_by;
pub use self::refusal::{AuthError, Reason};
pub use self::resource::{METADATA, Resource, profile_of};

use self::certificates::Certificates;
use self::tokens::{Checked, Tokens};
use crate::config::{ApiKeyConfig, AuthConfig, KeyDigest};
use crate::facade::Facade;

mod certificates;
mod claims;
mod facade;
mod issuer;
mod jwks;
mod jwt;
mod refusal;
mod resource;
mod scopes;
mod tokens;

#[cfg(test)]
mod tests;

const SCHEME: &str = "Bearer";

/// What a request proves itself with, and for which endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'r> {
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// The certificate of its connection, if the TLS handshake has accepted one.
    pub certificate: Option<&'r ClientCertificate>,
    /// Its path: it says which endpoint is called.
    pub path: &'r str,
}

/// On whose behalf a request is made, or why it is not answered.
pub type Verdict = Result<Arc<Principal>, Reason>;

/// The answer to who has made a request.
pub enum Authentication {
    /// Known at once.
    Decided(Verdict),
    /// The issuer of the token has to be asked for its keys first, which takes bounded time.
    Pending(Pin<Box<dyn Future<Output = Verdict> + Send>>),
}

/// Decides who a caller is. Cheap to share behind an [`Arc`]; its rules never change.
#[derive(Clone)]
pub struct Authenticator {
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Open(Arc<Principal>),
    Credentials(Credentials),
}

/// All credentials that are accepted.
#[derive(Clone)]
struct Credentials {
    keys: Vec<Key>,
    /// None if no issuer is trusted.
    tokens: Option<Tokens>,
    certificates: Option<Arc<Certificates>>,
}

/// A key that is accepted.
#[derive(Clone, PartialEq)]
struct Key {
    digest: KeyDigest,
    principal: Arc<Principal>,
    expires: Option<SystemTime>,
}

impl Key {
    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|end| SystemTime::now() >= end)
    }
}

impl Authenticator {
    /// An authenticator for the `auth` section of the configuration, at this resource. Without one
    /// every caller is the same anonymous principal. With issuers it begins to fetch their keys, so
    /// it has to be made within a tokio runtime. `facade` is the authorization server of the same
    /// configuration, if it has one.
    #[must_use]
    pub fn new(config: Option<&AuthConfig>, resource: &Resource, facade: Option<&Facade>) -> Self {
        let Some(config) = config else {
            return Self {
                rule: Rule::Open(Arc::new(Principal::anonymous())),
            };
        };
        let tokens = match &config.jwt[..] {
            [] => None,
            issuers => Some(Tokens::new(issuers, &config.scopes, resource, facade)),
        };
        Self {
            rule: Rule::Credentials(Credentials {
                keys: keys(&config.api_keys),
                tokens,
                certificates: config.mtls.clone().map(Certificates::new).map(Arc::new),
            }),
        }
    }

    /// An authenticator that knows whoever has one of these keys; without any it knows nobody.
    #[must_use]
    pub fn of_keys(keys: &[ApiKeyConfig]) -> Self {
        Self {
            rule: Rule::Credentials(Credentials {
                keys: self::keys(keys),
                tokens: None,
                certificates: None,
            }),
        }
    }

    /// The same, with the principals that `before` gave out and the keys of issuers that it has
    /// fetched, as far as neither they nor their credentials have changed: whoever was
    /// authenticated then is still known, and nobody else is.
    #[must_use]
    pub fn keeping(mut self, before: &Self) -> Self {
        match (&mut self.rule, &before.rule) {
            (Rule::Open(anonymous), Rule::Open(before)) => *anonymous = Arc::clone(before),
            (Rule::Credentials(now), Rule::Credentials(before)) => now.keep(before),
            _ => {}
        }
        self
    }

    /// Whether every caller needs a credential.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.rule, Rule::Credentials(_))
    }

    /// Whether the credential that this principal was found by is one that is accepted, or was
    /// renewed by one that is good for this profile, or for the endpoint without one.
    #[must_use]
    pub fn knows(&self, principal: &Arc<Principal>, profile: Option<&str>) -> bool {
        self.knew(principal, profile, 0)
    }

    /// As [`knows`](Self::knows), also for some minutes after a token has expired: its holder is about
    /// to come with a newer one.
    #[must_use]
    pub fn may_return(&self, principal: &Arc<Principal>, profile: Option<&str>) -> bool {
        self.knew(principal, profile, tokens::GRACE)
    }

    fn knew(&self, principal: &Arc<Principal>, profile: Option<&str>, grace: u64) -> bool {
        let credentials = match &self.rule {
            Rule::Open(anonymous) => return Arc::ptr_eq(anonymous, principal),
            Rule::Credentials(credentials) => credentials,
        };
        let has_key = credentials
            .keys
            .iter()
            .any(|key| Arc::ptr_eq(&key.principal, principal) && !key.has_expired());
        let tokens = credentials.tokens.as_ref();
        let certificates = credentials.certificates.as_ref();
        has_key
            || tokens.is_some_and(|tokens| tokens.know(principal, profile, grace))
            || certificates.is_some_and(|certificates| certificates.know(principal))
    }

    /// The principal of a request whose headers have a key.
    ///
    /// # Errors
    ///
    /// If a credential is needed and the request has none, several, or one that is not accepted.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, AuthError> {
        let presented = Presented {
            headers,
            certificate: None,
            path: "",
        };
        match self.identify(&presented) {
            Authentication::Decided(Ok(principal)) => Ok(principal),
            Authentication::Decided(Err(Reason::Missing)) => Err(AuthError::Missing),
            _ => Err(AuthError::Invalid),
        }
    }

    /// The principal of a request. A credential in its headers counts before its certificate.
    #[must_use]
    pub fn identify(&self, presented: &Presented<'_>) -> Authentication {
        match &self.rule {
            Rule::Open(anonymous) => Authentication::Decided(Ok(Arc::clone(anonymous))),
            Rule::Credentials(credentials) => credentials.identify(presented),
        }
    }

    /// Whose credential these headers have, where it was refused for this reason alone: it is one that
    /// is accepted, but not for what was asked.
    #[must_use]
    pub fn principal_of(&self, headers: &HeaderMap, reason: Reason) -> Option<Arc<Principal>> {
        let Rule::Credentials(credentials) = &self.rule else {
            return None;
        };
        let is_elsewhere = matches!(
            reason,
            Reason::Profile | Reason::InsufficientScope | Reason::TokenAudience
        );
        let digest = is_elsewhere.then(|| bearer(headers).ok()).flatten()?;
        let digest: [u8; 32] = Sha256::digest(digest).into();
        match find(&credentials.keys, &digest) {
            Some(key) => Some(Arc::clone(&key.principal)),
            None => credentials.tokens.as_ref()?.principal_of(&digest),
        }
    }

    /// The value of `WWW-Authenticate` for a request to this path that is refused for this reason, if
    /// there is one for it (RFC 6750, section 3; RFC 9728, section 5.1).
    #[must_use]
    pub fn challenge(&self, reason: Reason, path: &str) -> Option<http::HeaderValue> {
        let tokens = match &self.rule {
            Rule::Open(_) => None,
            Rule::Credentials(credentials) => credentials.tokens.as_ref(),
        };
        match tokens {
            Some(tokens) => tokens.challenge(reason, path),
            None => reason.challenge(),
        }
    }

    /// The metadata of the protected resource that this path is for (RFC 9728, section 3), if tokens
    /// are accepted.
    #[must_use]
    pub fn metadata(&self, path: &str) -> Option<String> {
        match &self.rule {
            Rule::Open(_) => None,
            Rule::Credentials(credentials) => credentials.tokens.as_ref()?.metadata(path),
        }
    }
}

impl Credentials {
    fn keep(&mut self, before: &Self) {
        for key in &mut self.keys {
            if let Some(known) = before.keys.iter().find(|known| *known == key) {
                key.principal = Arc::clone(&known.principal);
            }
        }
        if let (Some(tokens), Some(before)) = (&mut self.tokens, &before.tokens) {
            tokens.keep(before);
        }
        if let (Some(certificates), Some(before)) = (&mut self.certificates, &before.certificates)
            && certificates.is_like(before)
        {
            *certificates = Arc::clone(before);
        }
    }

    fn identify(&self, presented: &Presented<'_>) -> Authentication {
        let credential = match bearer(presented.headers) {
            Ok(credential) => credential,
            Err(Reason::Missing) => return Authentication::Decided(self.by_certificate(presented)),
            Err(reason) => return Authentication::Decided(Err(reason)),
        };
        let digest: [u8; 32] = Sha256::digest(credential).into();
        let profile = profile_of(presented.path);
        if let Some(key) = find(&self.keys, &digest) {
            let verdict = match key.has_expired() {
                true => Err(Reason::ExpiredKey),
                false => may_call(&key.principal, profile),
            };
            return Authentication::Decided(verdict);
        }
        let Some(tokens) = &self.tokens else {
            return Authentication::Decided(Err(Reason::UnknownKey));
        };
        match tokens.check(credential, &digest, profile) {
            Checked::Decided(verdict) => Authentication::Decided(verdict),
            Checked::Pending(refreshed) => {
                let tokens = tokens.clone();
                let (credential, profile) = (credential.to_vec(), profile.map(str::to_owned));
                Authentication::Pending(Box::pin(async move {
                    refreshed.await;
                    tokens.check_again(&credential, &digest, profile.as_deref())
                }))
            }
        }
    }

    fn by_certificate(&self, presented: &Presented<'_>) -> Verdict {
        match (&self.certificates, presented.certificate) {
            (Some(certificates), Some(certificate)) => certificates.identify(certificate),
            _ => Err(Reason::Missing),
        }
    }
}

/// Whether the credential of a principal is for this profile, or the endpoint without one.
///
/// # Errors
/// [`Reason::Profile`].
fn may_call(principal: &Arc<Principal>, profile: Option<&str>) -> Verdict {
    let is_for = match (&principal.profiles, profile) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(profiles), Some(profile)) => profiles.iter().any(|known| known == profile),
    };
    match is_for {
        true => Ok(Arc::clone(principal)),
        false => Err(Reason::Profile),
    }
}

// Digests of weak keys can be searched for offline, so none is shown.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Rule::Open(_) => f.write_str("Authenticator(open)"),
            Rule::Credentials(credentials) => {
                write!(f, "Authenticator({} keys)", credentials.keys.len())
            }
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided(Ok(_)) => f.write_str("Decided(Ok)"),
            Self::Decided(Err(reason)) => write!(f, "Decided({reason:?})"),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

fn keys(keys: &[ApiKeyConfig]) -> Vec<Key> {
    let each = keys.iter().flat_map(|key| {
        key.key_sha256.iter().map(|digest| Key {
            digest: *digest,
            // One for each digest: whoever came by one that is gone is not known by another.
            principal: Arc::new(Principal {
                groups: key.groups.clone(),
                profiles: key.profiles.clone(),
                ..Principal::new(format!("key:{}", key.name))
            }),
            expires: key.expires.map(|day| day.end()),
        })
    });
    each.collect()
}

fn bearer(headers: &HeaderMap) -> Result<&[u8], Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Reason::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(Reason::Malformed);
    }
    let (scheme, rest) = value
        .split_at_checked(SCHEME.len())
        .ok_or(Reason::Malformed)?;
    let key = rest.trim_ascii();
    let separated = rest.first() == Some(&b' ');
    if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && separated && !key.is_empty() {
        Ok(key)
    } else {
        Err(Reason::Malformed)
    }
}

fn find<'k>(keys: &'k [Key], digest: &[u8; 32]) -> Option<&'k Key> {
    // All keys are looked at, whichever fits: how long it takes says nothing about any of them.
    let mut found = None;
    for key in keys {
        if bool::from(key.digest.as_bytes().ct_eq(digest)) {
            found = Some(key);
        }
    }
    found
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
